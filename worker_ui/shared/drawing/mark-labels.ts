/** Where the name tags of marks go: by their mark, clear of each other and of what can be taken hold of. */

import type { Point } from '../shapes/geometry';
import type { Size } from '../state/view';
import { clamp, type Box } from '../shapes/geometry';

export interface TagWish {
  readonly id: string;
  readonly text: string;
  /** The mark on the screen. */
  readonly box: Box;
}

export interface PlacedTag {
  readonly id: string;
  readonly text: string;
  readonly box: Box;
}

const HEIGHT = 18;
const PADDING = 6;
/** That of the style sheet. */
const FONT = '600 12px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif';
const GAP = 8;
const LONGEST = 28;

export function shortened(text: string): string {
  const letters = [...text];
  return letters.length <= LONGEST ? text : `${letters.slice(0, LONGEST - 1).join('').trimEnd()}…`;
}

/** Return a place for every tag whose mark can be seen; `taken` are boxes on the screen that stay free. */
export function placeTags(
  wishes: readonly TagWish[], taken: readonly Box[], size: Size, widthOf: (text: string) => number = textWidth,
): PlacedTag[] {
  const full: Box[] = [...taken];
  const placed: PlacedTag[] = [];
  for (const { id, text, box } of wishes) {
    if (box.right < 0 || box.bottom < 0 || box.left > size.width || box.top > size.height) continue;
    const width = widthOf(text) + 2 * PADDING;
    const places = candidates(box, width).map((at) => ({ at, box: within(at, width, size) }));
    const free = places.filter((one) => !full.some((other) => overlap(one.box, other)));
    const whole = free.filter(({ at, box: { left, top } }) => at[0] === left && at[1] === top);
    const others = wishes.filter((one) => one.id !== id);
    const clear = whole.find((one) => !others.some((other) => overlap(one.box, other.box)));
    const best = clear ?? whole[0] ?? free[0] ?? places[0]!;
    full.push(best.box);
    placed.push({ id, text, box: best.box });
  }
  return placed;
}

let pen: CanvasRenderingContext2D | null | undefined;

/** Width of a text as the style sheet sets it; guessed from its letters where nothing can be drawn. */
function textWidth(text: string): number {
  pen ??= document.createElement('canvas').getContext('2d');
  if (!pen) return [...text].length * 7.2;
  pen.font = FONT;
  return pen.measureText(text).width;
}

function candidates(box: Box, width: number): Point[] {
  const above = box.top - GAP - HEIGHT, below = box.bottom + GAP;
  return [
    [box.left, above], [box.right - width, above], [box.left, below], [box.right - width, below],
    [box.right + GAP, box.top], [box.left - GAP - width, box.top], [box.left, above - HEIGHT], [box.left, below + HEIGHT],
    [box.left + GAP, box.top + GAP], [box.left, above - 2 * HEIGHT], [box.left, below + 2 * HEIGHT],
  ];
}

function within([x, y]: Point, width: number, size: Size): Box {
  const left = clamp(x, 2, Math.max(2, size.width - width - 2)), top = clamp(y, 2, Math.max(2, size.height - HEIGHT - 2));
  return { left, top, right: left + width, bottom: top + HEIGHT };
}

export function overlap(a: Box, b: Box): boolean {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}

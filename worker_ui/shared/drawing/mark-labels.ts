/** Placement of mark labels: next to their mark, without covering each other or a handle. */

import type { Point } from '../shapes/geometry';
import type { Size } from '../state/view';
import { clamp, type Box } from '../shapes/geometry';

export interface LabelRequest {
  readonly id: string;
  readonly text: string;
  /** The mark on the screen. */
  readonly box: Box;
}

export interface PlacedLabel {
  readonly id: string;
  readonly text: string;
  readonly box: Box;
}

const HEIGHT = 18;
const PADDING = 6;
/** Must match the style sheet. */
const FONT = '600 12px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif';
const GAP = 8;
const LONGEST = 28;

export function shortened(text: string): string {
  const letters = [...text];
  return letters.length <= LONGEST
    ? text
    : `${letters
        .slice(0, LONGEST - 1)
        .join('')
        .trimEnd()}…`;
}

/** Return a position for the label of every visible mark; `taken` are screen boxes to keep free. */
export function placeLabels(
  requests: readonly LabelRequest[],
  taken: readonly Box[],
  size: Size,
  widthOf: (text: string) => number = textWidth,
): PlacedLabel[] {
  const full: Box[] = [...taken];
  const placed: PlacedLabel[] = [];
  for (const { id, text, box } of requests) {
    if (box.right < 0 || box.bottom < 0 || box.left > size.width || box.top > size.height) continue;
    const width = widthOf(text) + 2 * PADDING;
    const places = candidates(box, width).map((at) => ({ at, box: within(at, width, size) }));
    const free = places.filter((one) => !full.some((other) => overlap(one.box, other)));
    const whole = free.filter(({ at, box: { left, top } }) => at[0] === left && at[1] === top);
    const others = requests.filter((one) => one.id !== id);
    const clear = whole.find((one) => !others.some((other) => overlap(one.box, other.box)));
    const best = clear ?? whole[0] ?? free[0] ?? places[0]!;
    full.push(best.box);
    placed.push({ id, text, box: best.box });
  }
  return placed;
}

let pen: CanvasRenderingContext2D | null | undefined;

/** Return the width of a text in the style sheet's font; estimated where there is no canvas. */
function textWidth(text: string): number {
  pen ??= document.createElement('canvas').getContext('2d');
  if (!pen) return [...text].length * 7.2;
  pen.font = FONT;
  return pen.measureText(text).width;
}

function candidates(box: Box, width: number): Point[] {
  const above = box.top - GAP - HEIGHT,
    below = box.bottom + GAP;
  return [
    [box.left, above],
    [box.right - width, above],
    [box.left, below],
    [box.right - width, below],
    [box.right + GAP, box.top],
    [box.left - GAP - width, box.top],
    [box.left, above - HEIGHT],
    [box.left, below + HEIGHT],
    [box.left + GAP, box.top + GAP],
    [box.left, above - 2 * HEIGHT],
    [box.left, below + 2 * HEIGHT],
  ];
}

function within([x, y]: Point, width: number, size: Size): Box {
  const left = clamp(x, 2, Math.max(2, size.width - width - 2)),
    top = clamp(y, 2, Math.max(2, size.height - HEIGHT - 2));
  return { left, top, right: left + width, bottom: top + HEIGHT };
}

export function overlap(a: Box, b: Box): boolean {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}

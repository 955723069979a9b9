/** The handles of a selected mark, and the result of dragging one. */

import type { Point, Shape } from '../shapes/geometry';
import { apply, type Affine } from '../state/view';
import {
  bounds,
  distance,
  inside,
  middle,
  resized,
  translated,
  withVertex,
  withVertexAfter,
  type Extent,
  type Side,
} from '../shapes/geometry';

export type Handle =
  | { readonly kind: 'box'; readonly x: Side; readonly y: Side }
  | { readonly kind: 'vertex'; readonly index: number }
  /** Between the vertex of that index and the next one; dragging it inserts a vertex. */
  | { readonly kind: 'edge'; readonly index: number };

export interface PlacedHandle {
  readonly handle: Handle;
  /** On the screen, in CSS pixels of the viewport. */
  readonly at: Point;
}

/** Shape of a mark; a line is a length or an angle. */
export type MarkShape = Shape | 'line';

/** CSS pixels between the centers of two handles; their hit targets are 24 wide. */
const APART = 26;

export function handlesOf(shape: MarkShape, points: readonly Point[], map: Affine): PlacedHandle[] {
  const onScreen = points.map((point) => apply(map, point));
  if (shape === 'rectangle' || shape === 'ellipse') return boxHandles(points, onScreen, map);
  if (shape === 'point') return [];
  const vertices = onScreen.map((at, index): PlacedHandle => ({ handle: { kind: 'vertex', index }, at }));
  if (shape === 'line') return vertices;
  const edges = onScreen.flatMap((at, index): PlacedHandle[] => {
    const next = onScreen[(index + 1) % onScreen.length]!;
    return distance(at, next) < 2 * APART ? [] : [{ handle: { kind: 'edge', index }, at: middle(at, next) }];
  });
  return [...edges, ...vertices];
}

function boxHandles(points: readonly Point[], onScreen: readonly Point[], map: Affine): PlacedHandle[] {
  const box = bounds(points),
    screen = bounds(onScreen);
  const width = screen.right - screen.left,
    height = screen.bottom - screen.top;
  // The handles of a small box are moved away from it, so that each can be hit and the box stays visible.
  const offX = Math.max(0, (2 * APART - width) / 4),
    offY = Math.max(0, (2 * APART - height) / 4);
  const handles: PlacedHandle[] = [];
  for (const y of [-1, 0, 1] as const) {
    for (const x of [-1, 0, 1] as const) {
      if (x === 0 && y === 0) continue;
      const [px, py] = apply(map, [side(x, box.left, box.right), side(y, box.top, box.bottom)]);
      const dx = Math.sign(map.a * x + map.c * y),
        dy = Math.sign(map.b * x + map.d * y); // direction from the center, on the screen
      const crowded = (dx === 0 && width < 2 * APART) || (dy === 0 && height < 2 * APART);
      if ((x === 0 || y === 0) && crowded) continue;
      handles.push({ handle: { kind: 'box', x, y }, at: [px + dx * offX, py + dy * offY] });
    }
  }
  return handles;
}

function side(which: Side, low: number, high: number): number {
  return which < 0 ? low : which > 0 ? high : (low + high) / 2;
}

/** Return the handle nearest to a point of the screen, within reach; vertices go before edges. */
export function handleAt(handles: readonly PlacedHandle[], at: Point, reach: number): PlacedHandle | null {
  let nearest: PlacedHandle | null = null,
    least = reach;
  for (const one of handles) {
    const off = distance(one.at, at);
    if (off < least || (off === least && nearest?.handle.kind === 'edge')) [nearest, least] = [one, off];
  }
  return nearest;
}

/** Return the points after a handle, or the whole mark, was dragged by some image pixels. */
export function dragged(points: readonly Point[], handle: Handle | null, by: Point, extent: Extent): readonly Point[] {
  if (handle === null) return translated(points, by, extent);
  if (handle.kind === 'box') return resized(points, handle.x, handle.y, by, extent);
  if (handle.kind === 'edge') {
    const [x, y] = middle(points[handle.index]!, points[(handle.index + 1) % points.length]!);
    return withVertexAfter(points, handle.index, inside([x + by[0], y + by[1]], extent));
  }
  if (by[0] === 0 && by[1] === 0) return points;
  const [x, y] = points[handle.index]!;
  return withVertex(points, handle.index, inside([x + by[0], y + by[1]], extent));
}

/** Return the sides of a box in the image that are the right one and the lower one on the screen. */
export function lowerRight(map: Affine): { readonly x: Side; readonly y: Side } {
  const x = Math.sign(map.a + map.b) as Side; // views rotate in steps of 90 degrees, so that a or b is zero
  const y = Math.sign(map.c + map.d) as Side;
  return { x, y };
}

/** Return the CSS cursor for a handle, by its direction on the screen. */
export function cursorFor(handle: Handle, map: Affine): string {
  if (handle.kind === 'edge') return 'copy';
  if (handle.kind === 'vertex') return 'move';
  const dx = map.a * handle.x + map.c * handle.y,
    dy = map.b * handle.x + map.d * handle.y;
  if (handle.x === 0 || handle.y === 0) return Math.abs(dx) > Math.abs(dy) ? 'ew-resize' : 'ns-resize';
  return dx * dy > 0 ? 'nwse-resize' : 'nesw-resize';
}

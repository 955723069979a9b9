/** Geometry of marks, in image or screen coordinates. Nothing is rounded. */

export type Shape = 'rectangle' | 'ellipse' | 'polygon' | 'point';
export type Point = readonly [x: number, y: number];

/** Size of the image, in its pixels. */
export interface Extent {
  readonly columns: number;
  readonly rows: number;
}

export interface Box {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

/** Side of a box that a handle moves: -1 for left or top, 1 for right or bottom, 0 for neither. */
export type Side = -1 | 0 | 1;

/** Smallest side of a marked box, in image pixels. */
const LEAST_SIDE = 1;

export function bounds(points: readonly Point[]): Box {
  let left = Infinity,
    top = Infinity,
    right = -Infinity,
    bottom = -Infinity;
  for (const [x, y] of points) {
    left = Math.min(left, x);
    right = Math.max(right, x);
    top = Math.min(top, y);
    bottom = Math.max(bottom, y);
  }
  return { left, top, right, bottom };
}

export function distance([ax, ay]: Point, [bx, by]: Point): number {
  return Math.hypot(ax - bx, ay - by);
}

export function middle([ax, ay]: Point, [bx, by]: Point): Point {
  return [(ax + bx) / 2, (ay + by) / 2];
}

export function clamp(value: number, least: number, most: number): number {
  return Math.min(Math.max(value, least), most);
}

/** Return the nearest point inside the image. */
export function inside([x, y]: Point, extent: Extent): Point {
  return [clamp(x, 0, extent.columns), clamp(y, 0, extent.rows)];
}

/** Return the points translated together, as far as the image allows. */
export function translated(points: readonly Point[], [dx, dy]: Point, extent: Extent): readonly Point[] {
  const box = bounds(points);
  const x = allowed(dx, box.left, box.right, extent.columns);
  const y = allowed(dy, box.top, box.bottom, extent.rows);
  if (x === 0 && y === 0) return points;
  const fits = box.right - box.left <= extent.columns && box.bottom - box.top <= extent.rows;
  // Rounding may put a sum just outside the image. A mark larger than the image is not clipped.
  return points.map(([px, py]): Point => (fits ? inside([px + x, py + y], extent) : [px + x, py + y]));
}

function allowed(by: number, low: number, high: number, limit: number): number {
  if (by === 0 || high - low > limit) return 0;
  return clamp(by, -low, limit - high);
}

/** Return two opposite corners after one or two sides were moved; the same points when none was. */
export function resized(points: readonly Point[], x: Side, y: Side, [dx, dy]: Point, extent: Extent): readonly Point[] {
  const box = bounds(points);
  const [left, right] = stretched(box.left, box.right, x, dx, extent.columns);
  const [top, bottom] = stretched(box.top, box.bottom, y, dy, extent.rows);
  if (left === box.left && right === box.right && top === box.top && bottom === box.bottom) return points;
  return [
    [left, top],
    [right, bottom],
  ];
}

function stretched(low: number, high: number, side: Side, by: number, limit: number): readonly [number, number] {
  if (side === 0 || by === 0) return [low, high];
  const fixed = side < 0 ? high : low;
  let moving = clamp((side < 0 ? low : high) + by, 0, limit);
  if (Math.abs(moving - fixed) < LEAST_SIDE) {
    const pushed = fixed + side * LEAST_SIDE;
    moving = pushed < 0 || pushed > limit ? fixed - side * LEAST_SIDE : pushed;
  }
  return moving < fixed ? [moving, fixed] : [fixed, moving];
}

/** Return a polygon stretched with its bounding box. */
export function stretchedPolygon(points: readonly Point[], x: Side, y: Side, by: Point, extent: Extent): readonly Point[] {
  const from = bounds(points);
  const corners: readonly Point[] = [
    [from.left, from.top],
    [from.right, from.bottom],
  ];
  const stretchedCorners = resized(corners, x, y, by, extent);
  if (stretchedCorners === corners) return points;
  const to = bounds(stretchedCorners);
  const along = scale(from.left, from.right, to.left, to.right),
    down = scale(from.top, from.bottom, to.top, to.bottom);
  return points.map(([px, py]): Point => inside([along(px), down(py)], extent));
}

function scale(low: number, high: number, newLow: number, newHigh: number): (value: number) => number {
  if (low === newLow && high === newHigh) return (value) => value; // keeps the unchanged direction exact
  if (high === low) return () => newLow;
  const factor = (newHigh - newLow) / (high - low);
  return (value) => newLow + (value - low) * factor;
}

export function withVertex(points: readonly Point[], index: number, at: Point): readonly Point[] {
  return points.map((point, one) => (one === index ? at : point));
}

/** Return the points with one more after the given one. */
export function withVertexAfter(points: readonly Point[], index: number, at: Point): readonly Point[] {
  return [...points.slice(0, index + 1), at, ...points.slice(index + 1)];
}

/** Return the polygon without a vertex; the same when only three are left. */
export function withoutVertex(points: readonly Point[], index: number): readonly Point[] {
  return points.length <= 3 ? points : points.filter((_, one) => one !== index);
}

/** Return the corner that makes a square with the opposite one, as large as the drag and the limits allow. */
export function squareCorner([ax, ay]: Point, [x, y]: Point, limits: Box): Point {
  const right = x >= ax,
    down = y >= ay;
  const available = Math.min(right ? limits.right - ax : ax - limits.left, down ? limits.bottom - ay : ay - limits.top);
  const side = Math.min(Math.max(Math.abs(x - ax), Math.abs(y - ay)), available);
  return [ax + (right ? side : -side), ay + (down ? side : -side)];
}

/** Return the point rotated around the first one to the nearest multiple of 45 degrees. */
export function snapped([ax, ay]: Point, [x, y]: Point): Point {
  const eighth = Math.round(Math.atan2(y - ay, x - ax) / (Math.PI / 4));
  if (eighth % 4 === 0) return [x, ay];
  if (eighth % 2 === 0) return [ax, y];
  const side = (Math.abs(x - ax) + Math.abs(y - ay)) / 2;
  return [ax + Math.sign(x - ax) * side, ay + Math.sign(y - ay) * side];
}

/** Whether both sides of the bounding box have the minimum length. */
export function largeEnough(points: readonly Point[]): boolean {
  const box = bounds(points);
  return box.right - box.left >= LEAST_SIDE && box.bottom - box.top >= LEAST_SIDE;
}

/** Return the points without those that lie within the tolerance of the line through the others (Ramer, Douglas, Peucker). */
export function simplified(points: readonly Point[], tolerance: number): readonly Point[] {
  const kept = new Set([0, points.length - 1]);
  const spans: [number, number][] = [[0, points.length - 1]];
  for (let span = spans.pop(); span !== undefined; span = spans.pop()) {
    const [first, last] = span;
    let farthest = -1,
      most = tolerance;
    for (let index = first + 1; index < last; index += 1) {
      const off = distanceToSegment(points[index]!, points[first]!, points[last]!);
      if (off > most) [farthest, most] = [index, off];
    }
    if (farthest < 0) continue;
    kept.add(farthest);
    spans.push([first, farthest], [farthest, last]);
  }
  return points.filter((_, index) => kept.has(index));
}

export function distanceToSegment(at: Point, from: Point, to: Point): number {
  const dx = to[0] - from[0],
    dy = to[1] - from[1];
  const square = dx * dx + dy * dy;
  const along = square === 0 ? 0 : clamp(((at[0] - from[0]) * dx + (at[1] - from[1]) * dy) / square, 0, 1);
  return distance(at, [from[0] + along * dx, from[1] + along * dy]);
}

/** Whether a point is inside a mark, or within `reach` of its outline. */
export function under(shape: Shape | 'line', points: readonly Point[], at: Point, reach: number): boolean {
  if (shape === 'point') return points[0] !== undefined && distance(points[0], at) <= reach + 6;
  if (shape === 'polygon') return inPolygon(points, at) || distanceToPath(points, at, true) <= reach;
  if (shape === 'line') return distanceToPath(points, at, false) <= reach;
  const { left, top, right, bottom } = bounds(points);
  if (shape === 'rectangle')
    return at[0] >= left - reach && at[0] <= right + reach && at[1] >= top - reach && at[1] <= bottom + reach;
  const x = (at[0] - (left + right) / 2) / ((right - left) / 2 + reach);
  const y = (at[1] - (top + bottom) / 2) / ((bottom - top) / 2 + reach);
  return x * x + y * y <= 1;
}

function distanceToPath(points: readonly Point[], at: Point, closed: boolean): number {
  let least = Infinity;
  for (let index = closed ? 0 : 1; index < points.length; index += 1) {
    least = Math.min(least, distanceToSegment(at, points.at(index - 1)!, points[index]!));
  }
  return least;
}

function inPolygon(points: readonly Point[], [x, y]: Point): boolean {
  let within = false;
  for (let index = 0; index < points.length; index += 1) {
    const [ax, ay] = points.at(index - 1)!,
      [bx, by] = points[index]!;
    if (ay > y !== by > y && x < ax + ((y - ay) / (by - ay)) * (bx - ax)) within = !within;
  }
  return within;
}

/** Area of a mark, to find the smallest of several under a point; 0 for lines and points. */
export function area(shape: Shape | 'line', points: readonly Point[]): number {
  if (shape === 'point' || shape === 'line') return 0;
  if (shape !== 'polygon') {
    const box = bounds(points);
    return (box.right - box.left) * (box.bottom - box.top) * (shape === 'ellipse' ? Math.PI / 4 : 1);
  }
  let twice = 0;
  points.forEach(([x, y], index) => {
    const [ax, ay] = points.at(index - 1)!;
    twice += ax * y - x * ay;
  });
  return Math.abs(twice) / 2;
}

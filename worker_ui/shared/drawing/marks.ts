/** Regions and measurements of the reading, as the drawing tools write and find them. */

import { LIMITS } from '../answer/form';
import type { Store, Tool } from '../state/store';
import type { Measurement, Region } from '../state/types';
import type { Point } from '../shapes/geometry';
import { apply } from '../state/view';
import type { Frame } from './frame';
import type { Handle, MarkShape } from './handles';
import { area, bounds, distance, largeEnough, simplified, under, withoutVertex } from '../shapes/geometry';

const DRAW_TOOLS = ['rectangle', 'ellipse', 'polygon', 'freehand', 'length', 'angle'] as const;
export type DrawTool = (typeof DRAW_TOOLS)[number];

/** A press that moved fewer CSS pixels is a click. */
export const CLICK = 3;
/** Tolerance of the simplification of a freehand path, in CSS pixels. */
const TOLERANCE = 0.5;
/** CSS pixels by which a click may miss an outline. */
const REACH = 6;

export interface Mark {
  readonly id: string;
  readonly shape: MarkShape;
  readonly points: readonly Point[];
}

export function isDrawTool(tool: Tool): tool is DrawTool {
  return (DRAW_TOOLS as readonly string[]).includes(tool);
}

/** Return the visible marks of the reading, from bottom to top. */
export function shownMarks(store: Store): Mark[] {
  if (!store.ui.regionsShown) return [];
  const lines = store.reading.measurements.map(({ id, points }): Mark => ({ id, shape: 'line', points }));
  return [...store.reading.regions, ...lines].filter(({ id }) => !store.ui.hiddenRegions.has(id));
}

export function markOf(store: Store, id: string | null): Mark | null {
  if (id === null) return null;
  const region: Region | undefined = store.reading.regions.find((one) => one.id === id);
  if (region) return region;
  const line: Measurement | undefined = store.reading.measurements.find((one) => one.id === id);
  return line ? { id, shape: 'line', points: line.points } : null;
}

/** Return the smallest mark under a screen point; of equal ones the topmost. */
export function markAt(store: Store, frame: Frame, at: Point): Mark | null {
  let best: Mark | null = null,
    least = Infinity;
  for (const mark of shownMarks(store)) {
    const points = mark.points.map((point) => apply(frame.map, point));
    if (!under(mark.shape, points, at, REACH)) continue;
    const size = area(mark.shape, points);
    if (size <= least) [best, least] = [mark, size];
  }
  return best;
}

/** Return a simplified freehand path, without its last point when it meets the first. */
export function simplifiedPath(frame: Frame, path: readonly Point[]): readonly Point[] {
  const onScreen = path.map((point) => apply(frame.map, point));
  let tolerance = TOLERANCE,
    kept = simplified(onScreen, tolerance);
  while (kept.length > LIMITS.points) kept = simplified(onScreen, (tolerance *= 2));
  const left = new Set(kept);
  const thin = path.filter((_, index) => left.has(onScreen[index]!));
  const closes = kept.length > 3 && distance(kept[0]!, kept.at(-1)!) < CLICK;
  return closes ? thin.slice(0, -1) : thin;
}

export function tooSmall(tool: DrawTool, points: readonly Point[]): boolean {
  if (tool === 'length' || tool === 'angle')
    return points.some((point, index) => index > 0 && distance(point, points[index - 1]!) === 0);
  return !largeEnough(points);
}

/** Write a finished mark into the reading, select it, and return its id. */
export function writeMark(store: Store, tool: DrawTool, points: readonly Point[]): string {
  if (tool === 'length' || tool === 'angle') {
    const id = newId(store, 'm');
    store.dispatch({ kind: 'add-measurement', measurement: { id, kind: tool, points } });
    store.set({ selected: id, regionsShown: true, spoken: `${tool === 'length' ? 'Length' : 'Angle'} placed` });
    return id;
  }
  const id = newId(store, 'r');
  const label = labelFor(store);
  const box = bounds(points);
  const shape = tool === 'freehand' ? 'polygon' : tool;
  const corners: readonly Point[] = [
    [box.left, box.top],
    [box.right, box.bottom],
  ];
  const region: Region = { id, label, shape, points: shape === 'polygon' ? points : corners, comment: '' };
  store.dispatch({ kind: 'add-region', region });
  store.set({ selected: id, regionsShown: true, spoken: `${named(region)} placed: ${placeOf(region.points)}` });
  if (label === '') store.set({ notice: 'Which finding is it? Press its key or click its name.' });
  return id;
}

/** Return the active finding, unless it cannot have a region. */
function labelFor(store: Store): string {
  const label = store.ui.activeLabel ?? '';
  const finding = store.task.findings.find((one) => one.label === label);
  return label === store.task.labelSet.noFinding || finding?.region === 'none' ? '' : label;
}

export function named(region: Region): string {
  const shape = { rectangle: 'Rectangle', ellipse: 'Ellipse', polygon: 'Polygon', point: 'Point' }[region.shape];
  return region.label === '' ? `${shape} without a finding` : `${shape} for ${region.label}`;
}

/** Describe size and position in whole image pixels. */
export function placeOf(points: readonly Point[]): string {
  const { left, top, right, bottom } = bounds(points);
  return `${Math.round(right - left)} by ${Math.round(bottom - top)} pixels at ${Math.round(left)}, ${Math.round(top)}`;
}

let count = 0;

/** Ids must also differ from those in a restored draft, which another page made. */
function newId(store: Store, kind: 'r' | 'm'): string {
  count += 1;
  const [random] = crypto.getRandomValues(new Uint32Array(1));
  const id = `${kind}${count}-${random!.toString(36)}`;
  return markOf(store, id) ? newId(store, kind) : id;
}

export function movePoints(store: Store, id: string, points: readonly Point[], tag = ''): void {
  const region = store.reading.regions.find((one) => one.id === id);
  if (region && region.points !== points) store.dispatch({ kind: 'move-region', id, points }, tag);
  const line = store.reading.measurements.find((one) => one.id === id);
  if (line && line.points !== points) store.dispatch({ kind: 'move-measurement', id, points }, tag);
}

/** Remove a vertex of a polygon; return false when the handle is not a vertex. */
export function removeVertex(store: Store, id: string, handle: Handle): boolean {
  const mark = markOf(store, id);
  if (handle.kind !== 'vertex' || mark?.shape !== 'polygon') return false;
  const points = withoutVertex(mark.points, handle.index);
  if (points === mark.points) store.set({ notice: 'A polygon keeps three corners' });
  movePoints(store, id, points);
  return true;
}

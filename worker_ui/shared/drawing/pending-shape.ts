/** What is half drawn or half pulled, and what the next point makes of it. */

import type { Tool } from '../state/store';
import type { Point } from '../shapes/geometry';
import { apply } from '../state/view';
import { imageOnScreen, type Frame } from './frame';
import type { Handle, MarkShape } from './handles';
import type { DrawTool } from './marks';
import { distance, inside, snapped, squareCorner } from '../shapes/geometry';

/** CSS pixels around the first vertex that close a polygon. */
export const CLOSING = 10;

export interface Draft {
  readonly tool: DrawTool;
  /** Placed so far, in image pixels. */
  readonly points: readonly Point[];
}

export interface Edit {
  readonly id: string;
  readonly shape: MarkShape;
  /** What is pulled; the whole mark without one. */
  readonly handle: Handle | null;
  readonly start: readonly Point[];
  /** Image point the pull began at, not clamped. */
  readonly from: Point;
  /** Image pixels it was pulled by. */
  readonly by: Point;
  /** Follows without a button: taken by a click or by a key, put down by the next. */
  readonly sticky: boolean;
  /** The tool it began with: another one ends it. */
  readonly tool: Tool;
}

export interface Press {
  readonly at: Point;
  /** Whether this press put the first point. */
  readonly first: boolean;
  readonly moved: boolean;
}

export function isPolygon(draft: Draft): boolean {
  return draft.tool === 'polygon' || draft.tool === 'freehand';
}

export function isMeasure(draft: Draft): boolean {
  return draft.tool === 'length' || draft.tool === 'angle';
}

/** Whether a vertex there would close the polygon. */
export function closes(draft: Draft, at: Point, frame: Frame): boolean {
  const [first] = draft.points;
  if (!first || !isPolygon(draft) || draft.points.length < 3) return false;
  return distance(apply(frame.map, at), apply(frame.map, first)) <= CLOSING;
}

/** Return the nearest point that makes a square, a circle or a straight direction on the screen. */
export function regular(draft: Draft, at: Point, frame: Frame): Point {
  const clamped = inside(at, frame.image);
  const anchor = draft.points.at(-1);
  if (!anchor || isPolygon(draft)) return clamped;
  const from = apply(frame.map, anchor), to = apply(frame.map, clamped);
  const made = isMeasure(draft) ? snapped(from, to) : squareCorner(from, to, imageOnScreen(frame));
  return inside(apply(frame.back, made), frame.image);
}

/** A shape that is being drawn or dragged, and the rules for its next point. */

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
  /** Points placed so far, in image pixels. */
  readonly points: readonly Point[];
}

export interface Edit {
  readonly id: string;
  readonly shape: MarkShape;
  /** The dragged handle, or null for the whole mark. */
  readonly handle: Handle | null;
  readonly start: readonly Point[];
  /** Image point where the drag began, not clamped. */
  readonly from: Point;
  /** Image pixels it was dragged by. */
  readonly by: Point;
  /** Follows the pointer without a pressed button: started by a click or key, dropped by the next. */
  readonly sticky: boolean;
  /** The tool at the start of the drag; another tool ends it. */
  readonly tool: Tool;
}

export interface Press {
  readonly at: Point;
  /** Whether this press placed the first point. */
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

/** Return the nearest point that makes a square, a circle or a multiple of 45 degrees on the screen. */
export function regular(draft: Draft, at: Point, frame: Frame): Point {
  const clamped = inside(at, frame.image);
  const anchor = draft.points.at(-1);
  if (!anchor || isPolygon(draft)) return clamped;
  const from = apply(frame.map, anchor), to = apply(frame.map, clamped);
  const made = isMeasure(draft) ? snapped(from, to) : squareCorner(from, to, imageOnScreen(frame));
  return inside(apply(frame.back, made), frame.image);
}

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

export interface PendingShape {
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

export function isPolygon(pending: PendingShape): boolean {
  return pending.tool === 'polygon' || pending.tool === 'freehand';
}

export function isMeasure(pending: PendingShape): boolean {
  return pending.tool === 'length' || pending.tool === 'angle';
}

/** Whether a vertex there would close the polygon. */
export function closes(pending: PendingShape, at: Point, frame: Frame): boolean {
  const [first] = pending.points;
  if (!first || !isPolygon(pending) || pending.points.length < 3) return false;
  return distance(apply(frame.map, at), apply(frame.map, first)) <= CLOSING;
}

/** Return the nearest point that makes a square, a circle or a multiple of 45 degrees on the screen. */
export function regular(pending: PendingShape, at: Point, frame: Frame): Point {
  const clamped = inside(at, frame.image);
  const anchor = pending.points.at(-1);
  if (!anchor || isPolygon(pending)) return clamped;
  const from = apply(frame.map, anchor),
    to = apply(frame.map, clamped);
  const made = isMeasure(pending) ? snapped(from, to) : squareCorner(from, to, imageOnScreen(frame));
  return inside(apply(frame.back, made), frame.image);
}

/** Drawing and editing marks by keyboard while the image is focused. Arrow keys act in screen directions in every view. */

import { panBy } from '../state/viewport-commands';
import { canEdit } from '../state/marks';
import type { Store } from '../state/store';
import type { Point } from '../shapes/geometry';
import { apply } from '../state/view';
import { frameOf, stepInImage, visibleMiddle, type Frame } from './frame';
import { handlesOf, lowerRight, dragged, type MarkShape } from './handles';
import { isDrawTool, markOf, movePoints, named, placeOf, removeVertex, shownMarks } from './marks';
import { select } from '../state/marks';
import { drawingOf, type Drawing } from './drawing';
import { inside, stretchedPolygon } from '../shapes/geometry';

export interface KeyHelp {
  readonly keys: string;
  readonly text: string;
}

/** For the help dialog. */
export const DRAWING_KEYS: readonly KeyHelp[] = [
  { keys: 'Arrows', text: 'With a drawing tool: move the cross (Shift: far, Alt: by single pixels of the screen)' },
  { keys: 'Enter, Space', text: 'Put a point where the cross is; a rectangle or an ellipse has two' },
  { keys: 'Shift + Enter', text: 'Close the polygon; Enter twice at one place does too' },
  { keys: 'Backspace, Ctrl + Z', text: 'Take back the last point of what is being drawn' },
  { keys: 'Escape', text: 'Stop drawing; leave the selected region' },
  { keys: '. ,', text: 'Select the next or the previous region' },
  { keys: 'Arrows', text: 'With a region selected: move it (Shift: ten times as far)' },
  { keys: 'Ctrl + arrows', text: 'With a region selected: move its lower right corner (Shift: ten times as far)' },
  { keys: 'Enter', text: 'With a region selected by the Select tool: take its first handle, and put it down again' },
  { keys: '. ,', text: 'With a handle taken: take the next or the previous one' },
  { keys: 'Delete', text: 'With a corner of a polygon taken: remove it' },
];

type Key = Pick<KeyboardEvent, 'key' | 'shiftKey' | 'altKey' | 'ctrlKey' | 'metaKey' | 'preventDefault'>;

const ARROWS: Readonly<Record<string, Point>> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
/** CSS pixels of one step of the crosshair. */
const STEP = { plain: 4, shift: 40, alt: 1 } as const;
/** Nudges that follow each other within this time are undone together. */
const TOGETHER_MS = 1000;

/** Handle a key on the image; return false when drawing does not use it. */
export function drawingKey(store: Store, event: Key): boolean {
  const frame = frameOf(store);
  if (!frame || store.ui.sending || store.ui.sent) return false;
  const handled = handle(store, drawingOf(store), frame, event);
  if (handled) event.preventDefault();
  return handled;
}

function handle(store: Store, drawing: Drawing, frame: Frame, event: Key): boolean {
  const arrow = Object.hasOwn(ARROWS, event.key) ? ARROWS[event.key] : undefined;
  if (drawing.edit) return editKey(store, drawing, frame, event, arrow);
  if (event.key === 'Escape') return escape(store, drawing);
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'z' && !event.shiftKey) return drawing.stepBack();
  if (event.key === 'Backspace' && drawing.pending) return drawing.stepBack();
  const marked = !drawing.pending && markOf(store, store.ui.selected) !== null;
  const nudges = marked && (store.ui.tool === 'select' || drawing.lastDrawn === store.ui.selected);
  if (arrow && nudges && !event.altKey) return nudge(store, frame, arrow, event);
  if (event.ctrlKey || event.metaKey) return false;
  if (isDrawTool(store.ui.tool)) {
    if (arrow) return moveCrosshair(store, drawing, frame, arrow, event);
    if (event.key === 'Enter' || event.key === ' ') return putPoint(store, drawing, frame, event);
  }
  if (event.altKey) return false;
  if (event.key === 'Enter' && store.ui.tool === 'select' && marked) return takeHandle(store, drawing, frame, 0);
  if (event.key === '.') return selectNext(store);
  if (event.key === ',') return selectPrevious(store);
  return false;
}

function escape(store: Store, drawing: Drawing): boolean {
  const kept = drawing.abandon();
  if (kept !== null) {
    store.set({ notice: kept ? 'Not drawn. Ctrl+Z brings it back.' : 'Not drawn.' });
    return true;
  }
  if (store.ui.selected !== null) {
    store.set({ selected: null });
    return true;
  }
  if (!drawing.crosshair) return false;
  drawing.crosshair = null;
  drawing.changed();
  return true;
}

// ---- Drawing ------------------------------------------------------------------------------------------------------------

function moveCrosshair(store: Store, drawing: Drawing, frame: Frame, [dx, dy]: Point, event: Key): boolean {
  const step = event.shiftKey ? STEP.shift : event.altKey ? STEP.alt : STEP.plain;
  const [x, y] = crosshairOf(drawing, frame),
    [byX, byY] = stepInImage(frame, [dx * step, dy * step]);
  const at = inside([x + byX, y + byY], frame.image);
  const [left, top] = apply(frame.map, at),
    { width, height } = frame.size;
  drawing.crosshair = at;
  drawing.changed();
  // Pan when the crosshair leaves the viewport.
  const outX = left < 0 ? left - STEP.shift : left > width ? left - width + STEP.shift : 0;
  const outY = top < 0 ? top - STEP.shift : top > height ? top - height + STEP.shift : 0;
  if (outX !== 0 || outY !== 0) panBy(store, -outX, -outY);
  return true;
}

/** Switch from pointer to keyboard drawing, until the pointer moves again. */
function crosshairOf(drawing: Drawing, frame: Frame): Point {
  if (drawing.pointer && drawing.pending) drawing.crosshair = drawing.next(frame);
  drawing.pointer = null;
  drawing.regular = false;
  return drawing.crosshair ?? visibleMiddle(frame);
}

function putPoint(store: Store, drawing: Drawing, frame: Frame, event: Key): boolean {
  if (!canEdit(store)) return true;
  const polygon = drawing.pending?.tool === 'polygon' || drawing.pending?.tool === 'freehand';
  // While drawing with the mouse, Enter closes the polygon wherever the pointer is.
  if (polygon && drawing.pointer && event.key === 'Enter') return drawing.closePolygon(frame);
  if (polygon && event.key === 'Enter' && event.shiftKey) return drawing.closePolygon(frame);
  drawing.crosshair = crosshairOf(drawing, frame);
  const before = drawing.pending;
  drawing.placePoint(frame);
  if (drawing.pending && drawing.pending !== before) {
    const [x, y] = drawing.crosshair;
    store.set({ spoken: `Point ${drawing.pending.points.length} at ${Math.round(x)}, ${Math.round(y)}` });
  }
  return true;
}

// ---- Changing -----------------------------------------------------------------------------------------------------------

/** Nudges in quick succession share a number, and are one undo step. */
let row = 0,
  nudgedAt = -Infinity;

function nudge(store: Store, frame: Frame, [dx, dy]: Point, event: Key): boolean {
  const mark = markOf(store, store.ui.selected);
  if (!mark || !canEdit(store)) return false;
  const step = event.shiftKey ? 10 : 1;
  const by = stepInImage(frame, [dx * step, dy * step]);
  const now = performance.now();
  if (now - nudgedAt > TOGETHER_MS) row += 1;
  nudgedAt = now;
  movePoints(
    store,
    mark.id,
    event.ctrlKey || event.metaKey ? grown(mark.shape, mark.points, by, frame) : dragged(mark.points, null, by, frame.image),
    `nudge-${mark.id}-${row}`,
  );
  return true;
}

/** Move the lower right corner on the screen; the opposite corner stays. */
function grown(shape: MarkShape, points: readonly Point[], by: Point, frame: Frame): readonly Point[] {
  const { x, y } = lowerRight(frame.map);
  if (shape === 'polygon') return stretchedPolygon(points, x, y, by, frame.image);
  if (shape === 'line') return dragged(points, { kind: 'vertex', index: points.length - 1 }, by, frame.image);
  return shape === 'point' ? points : dragged(points, { kind: 'box', x, y }, by, frame.image);
}

function takeHandle(store: Store, drawing: Drawing, frame: Frame, index: number): boolean {
  if (!canEdit(store)) return true;
  const mark = markOf(store, store.ui.selected);
  const handles = mark ? handlesOf(mark.shape, mark.points, frame.map) : [];
  const taken = handles.at(index % Math.max(1, handles.length));
  if (!mark || !taken) return false;
  drawing.take(mark.id, taken.handle, frame, null);
  store.set({ notice: `Handle ${handles.indexOf(taken) + 1} of ${handles.length}: arrows move it, Enter puts it down` });
  return true;
}

function editKey(store: Store, drawing: Drawing, frame: Frame, event: Key, arrow: Point | undefined): boolean {
  const edit = drawing.edit;
  if (!edit) return false;
  if (event.key === 'Escape' || ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'z')) return drawing.cancel();
  if (!edit.sticky) return false;
  if (arrow) {
    const step = event.shiftKey ? 10 : 1;
    drawing.dragBy(stepInImage(frame, [arrow[0] * step, arrow[1] * step]));
    return true;
  }
  if (event.key === 'Enter') {
    drawing.drop(frame);
    return true;
  }
  if (event.key === '.' || event.key === ',') return otherHandle(store, drawing, frame, event.key === '.' ? 1 : -1);
  if ((event.key === 'Delete' || event.key === 'Backspace') && edit.handle) return removeTaken(store, drawing);
  return false;
}

function otherHandle(store: Store, drawing: Drawing, frame: Frame, by: number): boolean {
  const edit = drawing.edit;
  const moved = edit && (edit.by[0] !== 0 || edit.by[1] !== 0);
  const before = JSON.stringify(edit?.handle);
  const mark = markOf(store, edit?.id ?? null);
  if (!mark) return false;
  const at = handlesOf(mark.shape, mark.points, frame.map).findIndex(({ handle: one }) => JSON.stringify(one) === before);
  if (moved) drawing.drop(frame);
  const count = handlesOf(mark.shape, markOf(store, mark.id)?.points ?? mark.points, frame.map).length;
  return takeHandle(store, drawing, frame, (at + by + count) % Math.max(1, count));
}

function removeTaken(store: Store, drawing: Drawing): boolean {
  const edit = drawing.edit;
  drawing.cancel();
  return edit?.handle ? removeVertex(store, edit.id, edit.handle) : false;
}

// ---- Selecting ----------------------------------------------------------------------------------------------------------

export function selectNext(store: Store): boolean {
  return selectBy(store, 1);
}

function selectPrevious(store: Store): boolean {
  return selectBy(store, -1);
}

function selectBy(store: Store, by: 1 | -1): boolean {
  const marks = shownMarks(store);
  if (marks.length === 0) return false;
  const at = marks.findIndex(({ id }) => id === store.ui.selected);
  const next = marks[at < 0 ? (by > 0 ? 0 : marks.length - 1) : (at + by + marks.length) % marks.length]!;
  const region = store.reading.regions.find(({ id }) => id === next.id);
  const name = region ? named(region) : 'Measurement';
  select(store, next.id);
  store.set({ spoken: `${name}, ${marks.indexOf(next) + 1} of ${marks.length}: ${placeOf(next.points)}` });
  return true;
}

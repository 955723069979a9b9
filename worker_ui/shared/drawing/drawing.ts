/**
 * The shape that is being drawn or dragged. It is not part of the reading: nothing is saved or undone before it is finished,
 * and a finished mark is one undo step.
 */

import type { History } from '../state/history';
import type { Store, Unfinished } from '../state/store';
import type { Point } from '../shapes/geometry';
import { apply } from '../state/view';
import { closes, isPolygon, regular, type PendingShape, type Edit, type Press } from './pending-shape';
import { frameOf, type Frame } from './frame';
import { dragged, type Handle } from './handles';
import { CLICK, isDrawTool, markOf, movePoints, simplifiedPath, tooSmall, writeMark, type DrawTool } from './marks';
import { distance, inside } from '../shapes/geometry';

const DOUBLE_CLICK_MS = 500;

export class Drawing implements Unfinished {
  pending: PendingShape | null = null;
  edit: Edit | null = null;
  /** Image point of the keyboard crosshair, while it is shown. */
  crosshair: Point | null = null;
  /** Last position of the pointer on the screen; null while drawing by keyboard. */
  pointer: Point | null = null;
  press: Press | null = null;
  /** Constrain to squares and multiples of 45 degrees (Shift). */
  regular = false;
  /** Id of the mark just drawn: arrow keys move it although its tool is still active. */
  lastDrawn: string | null = null;
  /** The shape that Escape discarded: undo restores it as long as the history has not changed. */
  private abandoned: { readonly pending: PendingShape; readonly history: History } | null = null;
  private clicked = { at: -Infinity, where: [0, 0] as Point };
  private readonly listeners = new Set<() => void>();

  constructor(private readonly store: Store) {
    store.subscribe(() => this.follow());
    store.unfinished = this;
  }

  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  changed(): void {
    for (const listener of [...this.listeners]) listener();
  }

  get busy(): boolean {
    return this.pending !== null || this.edit !== null;
  }

  /** Return the image point that the next click would place. */
  next(frame: Frame): Point {
    const at = this.pointer ? apply(frame.back, this.pointer) : (this.crosshair ?? [0, 0]);
    return this.regular && this.pending ? regular(this.pending, at, frame) : inside(at, frame.image);
  }

  // ---- Drawing ----------------------------------------------------------------------------------------------------------

  /** The pointer was pressed with a drawing tool. */
  pressDown(frame: Frame, at: Point): void {
    this.pointer = at;
    const first = this.pending === null;
    this.press = { at, first, moved: false };
    if (first) this.begin(this.next(frame));
    this.changed();
  }

  /** The pointer moved, with or without a button; `path` has its positions since the last event. */
  moveTo(frame: Frame, path: readonly Point[]): void {
    const at = path.at(-1);
    if (!at) return;
    this.pointer = at;
    if (this.press && distance(this.press.at, at) >= CLICK) this.press = { ...this.press, moved: true };
    if (this.pending?.tool === 'freehand' && this.press?.moved) {
      const points = path.map((one) => inside(apply(frame.back, one), frame.image));
      this.pending = { ...this.pending, points: [...this.pending.points, ...points] };
    }
    this.drag(frame);
    this.changed();
  }

  pressUp(frame: Frame, at: Point): void {
    this.moveTo(frame, [at]);
    const press = this.press;
    this.press = null;
    if (!press || !this.pending) return;
    if (this.pending.tool === 'freehand' && press.moved) this.close(frame, this.pending.points);
    else if (!press.first || press.moved) this.placePoint(frame);
    else this.clicked = { at: performance.now(), where: at };
    this.changed();
  }

  private begin(at: Point): void {
    const { tool } = this.store.ui;
    if (!isDrawTool(tool)) return;
    this.pending = { tool, points: [at] };
    this.abandoned = null;
    this.edit = null;
    this.lastDrawn = null;
    if (this.store.ui.selected !== null) this.store.set({ selected: null });
  }

  /** Place the next point at the pointer or the crosshair. */
  placePoint(frame: Frame): void {
    const at = this.next(frame);
    const pending = this.pending;
    if (!pending) {
      this.begin(at);
      this.changed();
      return;
    }
    const where = apply(frame.map, at),
      last = apply(frame.map, pending.points.at(-1)!);
    const again = distance(where, last) < CLICK;
    if (isPolygon(pending)) this.placeVertex(frame, pending, at, again);
    else if (!again) {
      const points = [...pending.points, at];
      if (points.length < (pending.tool === 'angle' ? 3 : 2)) this.pending = { ...pending, points };
      else this.finish(pending.tool, points);
    }
    this.clicked = { at: performance.now(), where };
    this.changed();
  }

  private placeVertex(frame: Frame, pending: PendingShape, at: Point, again: boolean): void {
    const twice = again && (!this.pointer || performance.now() - this.clicked.at < DOUBLE_CLICK_MS);
    if (closes(pending, at, frame) || (twice && pending.points.length >= 3)) this.close(frame, pending.points);
    else if (!again) this.pending = { ...pending, points: [...pending.points, at] };
  }

  /** Close the polygon in progress; return whether there was one. */
  closePolygon(frame: Frame): boolean {
    if (!this.pending || !isPolygon(this.pending)) return false;
    if (this.pending.points.length >= 3) this.close(frame, this.pending.points);
    else this.store.set({ notice: 'A polygon needs three corners' });
    this.changed();
    return true;
  }

  private close(frame: Frame, path: readonly Point[]): void {
    const tool = this.pending?.tool;
    const placed = tool === 'freehand' ? simplifiedPath(frame, path) : path;
    if (tool && placed.length >= 3) this.finish(tool, placed);
    else this.discard();
  }

  private finish(tool: DrawTool, points: readonly Point[]): void {
    this.pending = null;
    this.press = null;
    if (tooSmall(tool, points)) this.store.set({ notice: 'Too small: nothing was drawn' });
    else this.lastDrawn = writeMark(this.store, tool, points);
  }

  private discard(): void {
    this.pending = null;
    this.press = null;
  }

  /** Remove the last point; return whether something was in progress. */
  stepBack(): boolean {
    if (this.edit) return this.cancel();
    if (!this.pending) return this.resume();
    const points = this.pending.points.slice(0, -1);
    if (points.length === 0 || this.press) this.discard();
    else this.pending = { ...this.pending, points };
    this.changed();
    return true;
  }

  cancel(): boolean {
    if (!this.busy) return false;
    this.edit = null;
    this.discard();
    this.changed();
    return true;
  }

  /** Discard what is in progress: null when nothing is, else whether undo can restore it (a polygon of several clicks). */
  abandon(): boolean | null {
    const { pending, press } = this;
    if (!this.cancel()) return null;
    const worth = pending !== null && press === null && isPolygon(pending) && pending.points.length > 1;
    this.abandoned = worth ? { pending, history: this.store.history } : null;
    return worth;
  }

  private resume(): boolean {
    const { abandoned } = this;
    this.abandoned = null;
    if (abandoned?.history !== this.store.history || abandoned.pending.tool !== this.store.ui.tool) return false;
    this.pending = abandoned.pending;
    if (this.store.ui.notice !== '') this.store.set({ notice: '' });
    this.changed();
    return true;
  }

  /** Cancel the current press, for example because a second finger touched: what was drawn before it stays. */
  abortPress(): void {
    if (this.edit || this.press?.first || this.pending?.tool === 'freehand') this.cancel();
    this.press = null;
  }

  // ---- Editing ----------------------------------------------------------------------------------------------------------

  /** Start to drag a handle, or the whole mark, from a screen point or, by keyboard, from its own position. */
  take(id: string, handle: Handle | null, frame: Frame, at: Point | null): void {
    const mark = markOf(this.store, id);
    if (!mark) return;
    this.pointer = at;
    this.press = at ? { at, first: true, moved: false } : null;
    this.edit = {
      id,
      handle,
      shape: mark.shape,
      start: mark.points,
      from: at ? apply(frame.back, at) : [0, 0],
      by: [0, 0],
      sticky: at === null,
      tool: this.store.ui.tool,
    };
    this.changed();
  }

  /** A press while a handle follows the pointer: the handle is dropped where the press ends. */
  pressWhileFollowing(at: Point): void {
    this.press = { at, first: false, moved: true };
  }

  private drag(frame: Frame): void {
    if (!this.edit || !this.pointer || (!this.edit.sticky && !this.press?.moved)) return;
    const [x, y] = apply(frame.back, this.pointer),
      [fromX, fromY] = this.edit.from;
    this.edit = { ...this.edit, by: [x - fromX, y - fromY] };
  }

  /** Drag by keyboard. */
  dragBy([dx, dy]: Point): void {
    if (!this.edit) return;
    const {
      by: [x, y],
      from: [fromX, fromY],
    } = this.edit;
    // A later pointer movement continues from here.
    this.edit = { ...this.edit, by: [x + dx, y + dy], from: [fromX - dx, fromY - dy] };
    this.changed();
  }

  /** Release the pointer: after a click on a handle it follows the pointer, otherwise the drag ends. */
  release(frame: Frame, at: Point): void {
    this.moveTo(frame, [at]);
    const press = this.press;
    this.press = null;
    if (!this.edit) return;
    if (press?.first && !press.moved) this.edit = this.edit.handle ? { ...this.edit, sticky: true } : null;
    else this.drop(frame);
    this.changed();
  }

  drop(frame: Frame): void {
    const edit = this.edit;
    this.edit = null;
    this.press = null;
    if (edit) movePoints(this.store, edit.id, dragged(edit.start, edit.handle, edit.by, frame.image));
    this.changed();
  }

  /** Return the points of a mark to display, with a drag in progress applied. */
  pointsOf(id: string, points: readonly Point[], frame: Frame): readonly Point[] {
    return this.edit?.id === id ? dragged(this.edit.start, this.edit.handle, this.edit.by, frame.image) : points;
  }

  /** React to a change of the store, which may end what is in progress. */
  private follow(): void {
    const { ui } = this.store;
    if (this.lastDrawn !== ui.selected) this.lastDrawn = null;
    const { edit } = this;
    if (edit && (ui.selected !== edit.id || ui.tool !== edit.tool || markOf(this.store, edit.id)?.points !== edit.start)) {
      this.edit = null;
      this.press = null;
    }
    // Contrast and pan may be used while drawing; choosing any other tool finishes the mark.
    const leaves = this.pending && ui.tool !== this.pending.tool && ui.tool !== 'window' && ui.tool !== 'pan';
    if (leaves) this.settle();
    if (!isDrawTool(ui.tool) && !this.pending) this.crosshair = null;
  }

  /** Finish a polygon with enough vertices and discard anything else; return whether a mark was made. */
  settle(): boolean {
    const frame = frameOf(this.store),
      pending = this.pending;
    this.edit = null;
    this.pending = null;
    this.press = null;
    if (!frame || !pending || !isPolygon(pending) || pending.points.length < 3) {
      this.changed();
      return false;
    }
    const marks = this.store.reading.regions.length;
    this.pending = pending;
    this.close(frame, pending.points);
    this.changed();
    return this.store.reading.regions.length > marks;
  }
}

const drawings = new WeakMap<Store, Drawing>();

/** Return the drawing state of a store's main image. */
export function drawingOf(store: Store): Drawing {
  let drawing = drawings.get(store);
  if (!drawing) drawings.set(store, (drawing = new Drawing(store)));
  return drawing;
}

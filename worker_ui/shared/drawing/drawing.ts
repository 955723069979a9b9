/**
 * What is being drawn or pulled at the moment. It is no part of the reading: nothing is kept or undone before it is finished,
 * and a finished mark is one step.
 */

import type { History } from '../state/history';
import type { Store, Unfinished } from '../state/store';
import type { Point } from '../shapes/geometry';
import { apply } from '../state/view';
import { closes, isPolygon, regular, type Draft, type Edit, type Press } from './pending-shape';
import { frameOf, type Frame } from './frame';
import { pulled, type Handle } from './handles';
import { CLICK, isDrawTool, markOf, movePoints, thinned, tooSmall, writeMark, type DrawTool } from './marks';
import { distance, inside } from '../shapes/geometry';

const DOUBLE_CLICK_MS = 500;

export class Drawing implements Unfinished {
  draft: Draft | null = null;
  edit: Edit | null = null;
  /** Image point of the keyboard's cursor, while it is shown. */
  crosshair: Point | null = null;
  /** Last place of the pointer on the screen; null while the keyboard draws. */
  pointer: Point | null = null;
  press: Press | null = null;
  /** Squares and straight directions. */
  regular = false;
  /** A mark that was just made: arrows move it though its tool is still active. */
  fresh: string | null = null;
  /** What Escape gave up, and when in the history: undo brings it back as long as nothing else was done. */
  private abandoned: { readonly draft: Draft; readonly history: History } | null = null;
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
    return this.draft !== null || this.edit !== null;
  }

  /** Image point the next click would put. */
  next(frame: Frame): Point {
    const at = this.pointer ? apply(frame.back, this.pointer) : (this.crosshair ?? [0, 0]);
    return this.regular && this.draft ? regular(this.draft, at, frame) : inside(at, frame.image);
  }

  // ---- Drawing ----------------------------------------------------------------------------------------------------------

  /** A pointer goes down with a drawing tool. */
  pressDown(frame: Frame, at: Point): void {
    this.pointer = at;
    const first = this.draft === null;
    this.press = { at, first, moved: false };
    if (first) this.begin(this.next(frame));
    this.changed();
  }

  /** The pointer moves, with or without a button; `path` is where it was since the last time. */
  moveTo(frame: Frame, path: readonly Point[]): void {
    const at = path.at(-1);
    if (!at) return;
    this.pointer = at;
    if (this.press && distance(this.press.at, at) >= CLICK) this.press = { ...this.press, moved: true };
    if (this.draft?.tool === 'freehand' && this.press?.moved) {
      const points = path.map((one) => inside(apply(frame.back, one), frame.image));
      this.draft = { ...this.draft, points: [...this.draft.points, ...points] };
    }
    this.pull(frame);
    this.changed();
  }

  pressUp(frame: Frame, at: Point): void {
    this.moveTo(frame, [at]);
    const press = this.press;
    this.press = null;
    if (!press || !this.draft) return;
    if (this.draft.tool === 'freehand' && press.moved) this.close(frame, this.draft.points);
    else if (!press.first || press.moved) this.put(frame);
    else this.clicked = { at: performance.now(), where: at };
    this.changed();
  }

  private begin(at: Point): void {
    const { tool } = this.store.ui;
    if (!isDrawTool(tool)) return;
    this.draft = { tool, points: [at] };
    this.abandoned = null;
    this.edit = null;
    this.fresh = null;
    if (this.store.ui.selected !== null) this.store.set({ selected: null });
  }

  /** Put the next point where the pointer or the crosshair is. */
  put(frame: Frame): void {
    const at = this.next(frame);
    const draft = this.draft;
    if (!draft) {
      this.begin(at);
      this.changed();
      return;
    }
    const where = apply(frame.map, at), last = apply(frame.map, draft.points.at(-1)!);
    const again = distance(where, last) < CLICK;
    if (isPolygon(draft)) this.putVertex(frame, draft, at, again);
    else if (!again) {
      const points = [...draft.points, at];
      if (points.length < (draft.tool === 'angle' ? 3 : 2)) this.draft = { ...draft, points };
      else this.finish(draft.tool, points);
    }
    this.clicked = { at: performance.now(), where };
    this.changed();
  }

  private putVertex(frame: Frame, draft: Draft, at: Point, again: boolean): void {
    const twice = again && (!this.pointer || performance.now() - this.clicked.at < DOUBLE_CLICK_MS);
    if (closes(draft, at, frame) || (twice && draft.points.length >= 3)) this.close(frame, draft.points);
    else if (!again) this.draft = { ...draft, points: [...draft.points, at] };
  }

  /** Close the polygon in progress; whether there was one. */
  closePolygon(frame: Frame): boolean {
    if (!this.draft || !isPolygon(this.draft)) return false;
    if (this.draft.points.length >= 3) this.close(frame, this.draft.points);
    else this.store.set({ notice: 'A polygon needs three corners' });
    this.changed();
    return true;
  }

  private close(frame: Frame, path: readonly Point[]): void {
    const tool = this.draft?.tool;
    const placed = tool === 'freehand' ? thinned(frame, path) : path;
    if (tool && placed.length >= 3) this.finish(tool, placed);
    else this.discard();
  }

  private finish(tool: DrawTool, points: readonly Point[]): void {
    this.draft = null;
    this.press = null;
    if (tooSmall(tool, points)) this.store.set({ notice: 'Too small: nothing was drawn' });
    else this.fresh = writeMark(this.store, tool, points);
  }

  private discard(): void {
    this.draft = null;
    this.press = null;
  }

  /** Take back the last point; whether something was in progress. */
  stepBack(): boolean {
    if (this.edit) return this.cancel();
    if (!this.draft) return this.resume();
    const points = this.draft.points.slice(0, -1);
    if (points.length === 0 || this.press) this.discard();
    else this.draft = { ...this.draft, points };
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

  /** Give up what is in progress; null when nothing is, else whether undo brings it back: a polygon of many clicks is not lost to one key. */
  abandon(): boolean | null {
    const { draft, press } = this;
    if (!this.cancel()) return null;
    const worth = draft !== null && press === null && isPolygon(draft) && draft.points.length > 1;
    this.abandoned = worth ? { draft, history: this.store.history } : null;
    return worth;
  }

  private resume(): boolean {
    const { abandoned } = this;
    this.abandoned = null;
    if (abandoned?.history !== this.store.history || abandoned.draft.tool !== this.store.ui.tool) return false;
    this.draft = abandoned.draft;
    if (this.store.ui.notice !== '') this.store.set({ notice: '' });
    this.changed();
    return true;
  }

  /** The press came to nothing, by a second finger say: what was there before it stays. */
  abortPress(): void {
    if (this.edit || this.press?.first || this.draft?.tool === 'freehand') this.cancel();
    this.press = null;
  }

  // ---- Editing ----------------------------------------------------------------------------------------------------------

  /** Take hold of a handle, or of the whole mark, at a point of the screen or, by key, where it is. */
  take(id: string, handle: Handle | null, frame: Frame, at: Point | null): void {
    const mark = markOf(this.store, id);
    if (!mark) return;
    this.pointer = at;
    this.press = at ? { at, first: true, moved: false } : null;
    this.edit = {
      id, handle, shape: mark.shape, start: mark.points, from: at ? apply(frame.back, at) : [0, 0], by: [0, 0],
      sticky: at === null, tool: this.store.ui.tool,
    };
    this.changed();
  }

  /** A press while a handle follows the pointer: it will be put down where the press ends. */
  pressSticky(at: Point): void {
    this.press = { at, first: false, moved: true };
  }

  private pull(frame: Frame): void {
    if (!this.edit || !this.pointer || (!this.edit.sticky && !this.press?.moved)) return;
    const [x, y] = apply(frame.back, this.pointer), [fromX, fromY] = this.edit.from;
    this.edit = { ...this.edit, by: [x - fromX, y - fromY] };
  }

  /** Pull by keys. */
  pullBy([dx, dy]: Point): void {
    if (!this.edit) return;
    const { by: [x, y], from: [fromX, fromY] } = this.edit;
    // The pointer, should it move again, goes on from here.
    this.edit = { ...this.edit, by: [x + dx, y + dy], from: [fromX - dx, fromY - dy] };
    this.changed();
  }

  /** Let go: a click on a handle keeps it in hand, anything else is done. */
  letGo(frame: Frame, at: Point): void {
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
    if (edit) movePoints(this.store, edit.id, pulled(edit.start, edit.handle, edit.by, frame.image));
    this.changed();
  }

  /** Points of a mark as they are to be shown: pulled, while it is. */
  pointsOf(id: string, points: readonly Point[], frame: Frame): readonly Point[] {
    return this.edit?.id === id ? pulled(this.edit.start, this.edit.handle, this.edit.by, frame.image) : points;
  }

  /** The store changed: what was in progress may have lost its ground. */
  private follow(): void {
    const { ui } = this.store;
    if (this.fresh !== ui.selected) this.fresh = null;
    const { edit } = this;
    if (edit && (ui.selected !== edit.id || ui.tool !== edit.tool || markOf(this.store, edit.id)?.points !== edit.start)) {
      this.edit = null;
      this.press = null;
    }
    // Contrast and moving are for looking while one draws; another tool means that the mark is done.
    const leaves = this.draft && ui.tool !== this.draft.tool && ui.tool !== 'window' && ui.tool !== 'pan';
    if (leaves) this.settle();
    if (!isDrawTool(ui.tool) && !this.draft) this.crosshair = null;
  }

  /** Finish what can be finished, let go of the rest: a polygon of many clicks is not lost to one key. Whether a mark was made. */
  settle(): boolean {
    const frame = frameOf(this.store), draft = this.draft;
    this.edit = null;
    this.draft = null;
    this.press = null;
    if (!frame || !draft || !isPolygon(draft) || draft.points.length < 3) {
      this.changed();
      return false;
    }
    const marks = this.store.reading.regions.length;
    this.draft = draft;
    this.close(frame, draft.points);
    this.changed();
    return this.store.reading.regions.length > marks;
  }
}

const drawings = new WeakMap<Store, Drawing>();

/** Return what is being drawn on a store's main image. */
export function drawingOf(store: Store): Drawing {
  let drawing = drawings.get(store);
  if (!drawing) drawings.set(store, (drawing = new Drawing(store)));
  return drawing;
}

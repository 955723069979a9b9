/** Mouse, pen and touch input on the drawing layer. Events that are not for drawing reach the viewport below. */

import { canEdit } from '../state/marks';
import type { Store } from '../state/store';
import type { Point } from '../shapes/geometry';
import { frameOf, type Frame } from './frame';
import { cursorFor, handleAt, handlesOf, type PlacedHandle } from './handles';
import { isDrawTool, markAt, markOf, removeVertex } from './marks';
import { select } from '../state/marks';
import { drawingOf, type Drawing } from './drawing';

/** Radius of a handle's hit target in CSS pixels; smaller with a drawing tool, so that a new mark can begin close by. */
const REACH = { mouse: 12, touch: 22, drawing: 7 } as const;

/** Listen for pointer events on the layer; returns a function that stops listening. */
export function listenToPointer(svg: SVGSVGElement, store: Store): () => void {
  const drawing = drawingOf(store);
  let held: number | null = null;

  const down = (event: PointerEvent): void => {
    const frame = frameOf(store);
    if (!frame || event.button !== 0 || !event.isPrimary) {
      // A second finger starts a zoom: discard what the first one began.
      if (!event.isPrimary && held !== null) drawing.abortPress();
      return;
    }
    const started = isDrawTool(store.ui.tool)
      ? pressDrawing(store, drawing, frame, svg, event)
      : pressSelect(store, drawing, frame, svg, event);
    if (!started) return;
    held = event.pointerId;
    svg.setPointerCapture(event.pointerId);
  };

  const move = (event: PointerEvent): void => {
    const frame = frameOf(store);
    if (!frame || !event.isPrimary || (held !== null && held !== event.pointerId)) return;
    if (held === null && !drawing.busy) {
      hover(store, frame, svg, event);
      return;
    }
    drawing.regular = event.shiftKey;
    const together = drawing.pending?.tool === 'freehand' ? (event.getCoalescedEvents?.() ?? []) : [];
    drawing.moveTo(frame, [...together.map((one) => placeIn(svg, one)), placeIn(svg, event)]);
  };

  const up = (event: PointerEvent): void => {
    const frame = frameOf(store);
    if (held !== event.pointerId) return;
    held = null;
    if (!frame) return;
    drawing.regular = event.shiftKey;
    const at = placeIn(svg, event);
    if (drawing.pending) drawing.pressUp(frame, at);
    else if (drawing.edit) releaseEdit(store, drawing, frame, at);
    hover(store, frame, svg, event);
  };

  const stop = (event: PointerEvent): void => {
    if (held !== event.pointerId) return;
    held = null;
    drawing.abortPress();
  };

  const listening: [string, (event: PointerEvent) => void][] = [
    ['pointerdown', down],
    ['pointermove', move],
    ['pointerup', up],
    ['pointercancel', stop],
  ];
  for (const [kind, listener] of listening) svg.addEventListener(kind, listener as EventListener);
  return () => {
    for (const [kind, listener] of listening) svg.removeEventListener(kind, listener as EventListener);
  };
}

/** Return the position of an event on the layer, with fractions of a pixel. */
function placeIn(svg: SVGSVGElement, event: MouseEvent): Point {
  const rect = svg.getBoundingClientRect();
  return [event.clientX - rect.left, event.clientY - rect.top];
}

function pressDrawing(store: Store, drawing: Drawing, frame: Frame, svg: SVGSVGElement, event: PointerEvent): boolean {
  if (event.altKey || !canEdit(store)) return false; // Alt pans the image
  const at = placeIn(svg, event);
  drawing.regular = event.shiftKey;
  drawing.crosshair = null;
  const handle = drawing.busy ? null : underPointer(store, frame, at, event.pointerType, true);
  if (handle && store.ui.selected) drawing.take(store.ui.selected, handle.handle, frame, at);
  else drawing.pressDown(frame, at);
  return true;
}

function pressSelect(store: Store, drawing: Drawing, frame: Frame, svg: SVGSVGElement, event: PointerEvent): boolean {
  if (store.ui.tool !== 'select') return false;
  const at = placeIn(svg, event);
  if (drawing.edit?.sticky) {
    drawing.pressWhileFollowing(at);
    return true;
  }
  const { selected } = store.ui;
  const handle = underPointer(store, frame, at, event.pointerType, false);
  if (handle && selected) {
    if (!canEdit(store)) return false;
    if (event.altKey) removeVertex(store, selected, handle.handle);
    else drawing.take(selected, handle.handle, frame, at);
    return !event.altKey;
  }
  const mark = markAt(store, frame, at);
  if ((mark?.id ?? null) !== selected) select(store, mark?.id ?? null);
  if (!mark || !canEdit(store)) return false;
  drawing.take(mark.id, null, frame, at);
  return true;
}

function releaseEdit(store: Store, drawing: Drawing, frame: Frame, at: Point): void {
  const clicked = drawing.press?.first === true && !drawing.press.moved;
  const pressed = drawing.press?.at;
  if (!clicked || !pressed || !isDrawTool(store.ui.tool)) {
    drawing.release(frame, at);
    return;
  }
  // With a drawing tool handles can only be dragged: a click on one begins the next mark.
  drawing.cancel();
  drawing.pressDown(frame, pressed);
  drawing.pressUp(frame, at);
}

function underPointer(store: Store, frame: Frame, at: Point, kind: string, drawing: boolean): PlacedHandle | null {
  const mark = markOf(store, store.ui.selected);
  if (!mark || !store.ui.regionsShown || store.ui.hiddenRegions.has(mark.id)) return null;
  const reach = drawing ? REACH.drawing : kind === 'touch' ? REACH.touch : REACH.mouse;
  return handleAt(handlesOf(mark.shape, mark.points, frame.map), at, reach);
}

/** Show by the cursor what a press would do. */
function hover(store: Store, frame: Frame, svg: SVGSVGElement, event: PointerEvent): void {
  const at = placeIn(svg, event);
  const drawing = isDrawTool(store.ui.tool);
  const handle = underPointer(store, frame, at, event.pointerType, drawing);
  const over = handle ? cursorFor(handle.handle, frame.map) : !drawing && markAt(store, frame, at) ? 'move' : '';
  if (svg.style.cursor !== over) svg.style.cursor = over;
}

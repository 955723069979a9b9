/** Pointer and wheel on a viewport: contrast, pan, zoom. The drawing layer above passes these events on. */

import { isDrawTool } from '../../shared/drawing/marks';
import { panBy, windowBy, zoomBy } from '../../shared/state/viewport-commands';
import type { Store } from '../../shared/state/store';
import type { Point } from '../../shared/shapes/geometry';

/** A drag over this many CSS pixels changes the window by its full width. */
const WINDOW_DRAG = 500;

export function listenToGestures(element: HTMLElement, store: Store, index: number): () => void {
  let gesture: 'window' | 'pan' | null = null;
  let last: Point = [0, 0];
  const touches = new Map<number, Point>();

  const down = (event: PointerEvent): void => {
    if (event.target instanceof Element && event.target.closest('button')) return;
    element.focus({ preventScroll: true });
    if (event.pointerType === 'touch') touches.set(event.pointerId, [event.clientX, event.clientY]);
    gesture = gestureOf(event, store.ui.tool);
    const draws = gesture === null && event.button === 0 && isDrawTool(store.ui.tool);
    if (index > 0 && draws) store.set({ notice: 'Regions and measurements go on the first image.' });
    if (gesture === null) return;
    last = [event.clientX, event.clientY];
    element.setPointerCapture(event.pointerId);
    event.preventDefault();
  };

  const move = (event: PointerEvent): void => {
    const { clientX: x, clientY: y } = event;
    if (touches.has(event.pointerId)) {
      if (touches.size === 2) {
        pinch(element, store, index, touches, event);
        return;
      }
      touches.set(event.pointerId, [x, y]);
    }
    if (gesture === 'pan') panBy(store, x - last[0], y - last[1], index);
    else if (gesture === 'window') windowBy(store, (x - last[0]) / WINDOW_DRAG, (y - last[1]) / WINDOW_DRAG, index);
    last = [x, y];
  };

  const up = (event: PointerEvent): void => {
    touches.delete(event.pointerId);
    gesture = null;
  };

  const wheel = (event: WheelEvent): void => {
    event.preventDefault();
    const step = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 20 : 1;
    zoomBy(store, Math.exp((-event.deltaY * step) / 500), index, inside(element, event));
  };

  const menu = (event: Event): void => event.preventDefault();
  const listening: [string, (event: never) => void][] = [
    ['pointerdown', down],
    ['pointermove', move],
    ['pointerup', up],
    ['pointercancel', up],
    ['contextmenu', menu],
  ];
  for (const [kind, listener] of listening) element.addEventListener(kind, listener as EventListener);
  element.addEventListener('wheel', wheel, { passive: false });
  return () => {
    for (const [kind, listener] of listening) element.removeEventListener(kind, listener as EventListener);
    element.removeEventListener('wheel', wheel);
  };
}

/** Middle button or Alt: pan. Right button: contrast. Left button: by the active tool. */
function gestureOf(event: PointerEvent, tool: string): 'window' | 'pan' | null {
  if (event.button === 1 || (event.button === 0 && event.altKey && tool !== 'select')) return 'pan';
  if (event.button === 2) return 'window';
  return event.button === 0 && (tool === 'window' || tool === 'pan') ? tool : null;
}

function pinch(element: HTMLElement, store: Store, index: number, touches: Map<number, Point>, event: PointerEvent): void {
  const other = [...touches].find(([id]) => id !== event.pointerId)?.[1];
  const before = touches.get(event.pointerId);
  const now: Point = [event.clientX, event.clientY];
  touches.set(event.pointerId, now);
  if (!other || !before) return;
  const apart = (a: Point, b: Point): number => Math.hypot(a[0] - b[0], a[1] - b[1]);
  const rect = element.getBoundingClientRect();
  const middle: Point = [(now[0] + other[0]) / 2 - rect.left, (now[1] + other[1]) / 2 - rect.top];
  zoomBy(store, apart(now, other) / Math.max(1, apart(before, other)), index, middle);
  panBy(store, (now[0] - before[0]) / 2, (now[1] - before[1]) / 2, index);
}

export function inside(element: Element, event: MouseEvent): Point {
  const rect = element.getBoundingClientRect();
  return [event.clientX - rect.left, event.clientY - rect.top];
}

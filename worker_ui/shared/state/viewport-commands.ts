/** Commands on one viewport, for buttons, keys and the mouse wheel. */

import { bounds } from '../shapes/geometry';
import type { ViewportState, Store } from './store';
import type { RadiographImage, VoiWindow } from '../pixels/radiograph-image';
import type { Point } from '../shapes/geometry';
import type { Region } from './types';
import type { View } from './view';
import { fitted, flipped, panned, turned, zoomedAt, ZOOM_LIMITS } from './view';

export function fit(store: Store, index = 0): void {
  changeView(store, index, (state, image) => fitted(state.view, image, state.size));
}

/** Show one image row on one device pixel. */
export function oneToOne(store: Store, index = 0): void {
  changeView(store, index, (state) => ({ ...state.view, zoom: 1 / devicePixelRatio }));
}

export function zoomBy(store: Store, factor: number, index = 0, at?: Point): void {
  changeView(store, index, (state, image) => {
    const middle: Point = [state.size.width / 2, state.size.height / 2];
    return zoomedAt(state.view, factor, at ?? middle, state.size, image.pixelAspect);
  });
}

export function panBy(store: Store, dx: number, dy: number, index = 0): void {
  changeView(store, index, (state, image) => panned(state.view, dx, dy, image.pixelAspect));
}

export function rotate(store: Store, clockwise: boolean, index = 0): void {
  changeView(store, index, (state) => turned(state.view, clockwise));
}

export function flip(store: Store, direction: 'horizontal' | 'vertical', index = 0): void {
  changeView(store, index, (state) => flipped(state.view, direction));
}

/** Center a region and zoom so that it can be assessed. */
export function centerOn(store: Store, region: Region, index = 0): void {
  changeView(store, index, (state, image) => {
    const { left, right, top, bottom } = bounds(region.points);
    const wide = (right - left) * image.pixelAspect,
      high = bottom - top;
    const sideways = state.view.rotation_deg % 180 !== 0;
    const available = Math.min(
      state.size.width / Math.max(1, sideways ? high : wide),
      state.size.height / Math.max(1, sideways ? wide : high),
    );
    const fitting = Math.min(Math.max(state.view.zoom, available / 6), available / 1.2, ZOOM_LIMITS.most);
    const zoom = region.shape === 'point' ? state.view.zoom : fitting; // a point has no size
    return { ...state.view, zoom, center: [(left + right) / 2, (top + bottom) / 2] };
  });
}

export function invert(store: Store, index = 0): void {
  change(store, index, (state) => ({ inverted: !state.inverted }));
}

/** Change window width and center by fractions of the initial width; a higher center is darker, also when inverted. */
export function windowBy(store: Store, wider: number, higher: number, index = 0): void {
  change(store, index, (state, image) => {
    const unit = image.initial.width,
      sign = state.inverted ? -1 : 1;
    const width = Math.max(state.window.width + wider * unit, unit / 1000);
    return { window: { width, center: state.window.center + sign * higher * unit } };
  });
}

export function applyWindow(store: Store, window: VoiWindow, index = 0): void {
  change(store, index, () => ({ window }));
}

/** Reset window, position and orientation to their initial values. */
export function resetView(store: Store, index = 0): void {
  change(store, index, (state, image) => ({
    window: image.initial,
    inverted: image.inverted,
    view: fitted({ ...state.view, rotation_deg: 0, mirrored: false }, image, state.size),
  }));
}

/** Run a command on every viewport. */
export function everyViewport(store: Store, run: (store: Store, index: number) => void): void {
  store.ui.viewports.forEach((_, index) => run(store, index));
}

function changeView(store: Store, index: number, view: (state: ViewportState, image: RadiographImage) => View): void {
  change(store, index, (state, image) => ({ view: view(state, image) }));
}

function change(
  store: Store,
  index: number,
  by: (state: ViewportState, image: RadiographImage) => Partial<ViewportState>,
): void {
  const state = store.ui.viewports[index];
  if (state?.image) store.setViewport(index, by(state, state.image));
}

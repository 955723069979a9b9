/** What a reader can do to a film, by button, key or wheel; each works on one viewport. */

import { bounds } from '../shapes/geometry';
import type { FilmState, Store } from './store';
import type { Film, VoiWindow } from '../pixels/radiograph-image';
import type { Point } from '../shapes/geometry';
import type { Region } from './types';
import type { View } from './view';
import { fitted, flipped, panned, turned, zoomedAt, ZOOM_LIMITS } from './view';

export function fit(store: Store, index = 0): void {
  look(store, index, (state, film) => fitted(state.view, film, state.size));
}

/** One image row on one pixel of the screen. */
export function oneToOne(store: Store, index = 0): void {
  look(store, index, (state) => ({ ...state.view, zoom: 1 / devicePixelRatio }));
}

export function zoomBy(store: Store, factor: number, index = 0, at?: Point): void {
  look(store, index, (state, film) => {
    const middle: Point = [state.size.width / 2, state.size.height / 2];
    return zoomedAt(state.view, factor, at ?? middle, state.size, film.pixelAspect);
  });
}

export function panBy(store: Store, dx: number, dy: number, index = 0): void {
  look(store, index, (state, film) => panned(state.view, dx, dy, film.pixelAspect));
}

export function rotate(store: Store, clockwise: boolean, index = 0): void {
  look(store, index, (state) => turned(state.view, clockwise));
}

export function flip(store: Store, direction: 'horizontal' | 'vertical', index = 0): void {
  look(store, index, (state) => flipped(state.view, direction));
}

/** Bring a region into the middle, large enough to be judged. */
export function centerOn(store: Store, region: Region, index = 0): void {
  look(store, index, (state, film) => {
    const { left, right, top, bottom } = bounds(region.points);
    const wide = (right - left) * film.pixelAspect, high = bottom - top;
    const sideways = state.view.rotation_deg % 180 !== 0;
    const room = Math.min(state.size.width / Math.max(1, sideways ? high : wide), state.size.height / Math.max(1, sideways ? wide : high));
    const large = Math.min(Math.max(state.view.zoom, room / 6), room / 1.2, ZOOM_LIMITS.most);
    const zoom = region.shape === 'point' ? state.view.zoom : large; // a point is as large as any other
    return { ...state.view, zoom, center: [(left + right) / 2, (top + bottom) / 2] };
  });
}

export function invert(store: Store, index = 0): void {
  change(store, index, (state) => ({ inverted: !state.inverted }));
}

/** Change window width and center by fractions of the film's first window; higher is darker, inverted or not. */
export function windowBy(store: Store, wider: number, higher: number, index = 0): void {
  change(store, index, (state, film) => {
    const unit = film.initial.width, sign = state.inverted ? -1 : 1;
    const width = Math.max(state.window.width + wider * unit, unit / 1000);
    return { window: { width, center: state.window.center + sign * higher * unit } };
  });
}

export function applyWindow(store: Store, window: VoiWindow, index = 0): void {
  change(store, index, () => ({ window }));
}

/** Window, place and orientation as when the film came. */
export function resetView(store: Store, index = 0): void {
  change(store, index, (state, film) => ({
    window: film.initial,
    inverted: film.inverted,
    view: fitted({ ...state.view, rotation_deg: 0, mirrored: false }, film, state.size),
  }));
}

/** Do it to all films. */
export function everyFilm(store: Store, run: (store: Store, index: number) => void): void {
  store.ui.films.forEach((_, index) => run(store, index));
}

function look(store: Store, index: number, view: (state: FilmState, film: Film) => View): void {
  change(store, index, (state, film) => ({ view: view(state, film) }));
}

function change(store: Store, index: number, by: (state: FilmState, film: Film) => Partial<FilmState>): void {
  const state = store.ui.films[index];
  if (state?.film) store.setFilm(index, by(state, state.film));
}

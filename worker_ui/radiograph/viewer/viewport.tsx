/** One film: the picture, what is drawn on it, a few words in its corners, and a way on when it cannot be shown. */

import type { ComponentChildren } from 'preact';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';

import { useStore } from '../../shared/state/use-store';
import { loadFilm } from '../../shared/pixels/load';
import type { FilmState, Store } from '../../shared/state/store';
import { FilmError, type ImageSource } from '../../shared/pixels/radiograph-image';
import type { View } from '../../shared/state/view';
import { fitted } from '../../shared/state/view';
import { listenToGestures } from './gestures';
import { FilmRenderer } from './renderer';

interface Props {
  readonly store: Store;
  readonly index: number;
  readonly name: string;
  readonly source: ImageSource;
  readonly onShown?: () => void;
  readonly children?: ComponentChildren;
}

export function FilmViewport({ store, index, name, source, onShown, children }: Props) {
  useStore(store);
  const state = store.ui.films[index] as FilmState;
  const frame = useRef<HTMLDivElement>(null);
  const picture = useRef<HTMLDivElement>(null);
  const renderer = useRef<FilmRenderer | null>(null);

  useEffect(() => load(store, index, source), [store, index, source]);
  useEffect(() => listenToGestures(frame.current as HTMLDivElement, store, index), [store, index]);
  useEffect(() => watchSize(frame.current as HTMLDivElement, store, index), [store, index]);

  useLayoutEffect(() => {
    const { film, view, window, inverted, size } = state;
    if (!film || !picture.current || size.width === 0) return;
    try {
      renderer.current ??= new FilmRenderer(picture.current);
      renderer.current.draw({ film, view, window, inverted, size });
    } catch (error) {
      store.setFilm(index, { film: null, error: told(error) });
      return;
    }
    onShown?.();
  }, [state.film, state.view, state.window, state.inverted, state.size]);

  useEffect(() => () => renderer.current?.destroy(), []);

  return (
    <div
      class={`film${store.task.second && store.ui.film === index ? ' front' : ''}`} ref={frame} tabIndex={0} role="application"
      aria-label={name} data-tool={store.ui.tool} data-index={index} onFocus={() => store.set({ film: index })}
      aria-describedby={state.error ? `film-message-${index}` : undefined}
    >
      <div class="picture" ref={picture} aria-hidden="true" />
      {state.film && children}
      {state.film && <Corners state={state} name={name} second={index > 0} />}
      {!state.film && <Message store={store} index={index} state={state} />}
    </div>
  );
}

function Corners({ state, name, second }: { state: FilmState; name: string; second: boolean }) {
  const { film, window, view } = state;
  if (!film) return null;
  const percent = Math.round(view.zoom * devicePixelRatio * 100);
  return (
    <>
      {film.standIn && <p class="stand-in" role="status">{film.standIn}</p>}
      <div class="corner top">
        {second ? `${name} · ${film.caption}` : film.caption}
        {orientation(view) && <b class="turned">{orientation(view)}</b>}
      </div>
      <div class="corner bottom" aria-hidden="true">
        {`L ${shown(window.center)}  W ${shown(window.width)}${state.inverted !== film.inverted ? ' · inverted' : ''} · ${percent} %`}
      </div>
      <div class="corner right" aria-hidden="true">{`${film.columns} × ${film.rows} pixels`}</div>
    </>
  );
}

/** A film that does not lie as it was stored says so: a heart on the right may be only a flip. */
function orientation({ rotation_deg, mirrored }: View): string {
  const left = (rotation_deg === 270) !== mirrored; // a quarter is counted before the mirror
  const turn = rotation_deg === 0 ? '' : `rotated ${rotation_deg === 180 ? '180°' : left ? '90° left' : '90° right'}`;
  return [mirrored ? 'mirrored' : '', turn].filter(Boolean).join(', ');
}

function Message({ store, index, state }: { store: Store; index: number; state: FilmState }) {
  if (!state.error) {
    const known = state.progress !== null && state.progress > 0;
    return (
      <div class="message">
        <p role="status">Loading the image…</p>
        <progress aria-label="Loading" {...(known ? { value: state.progress as number } : {})} />
      </div>
    );
  }
  const main = index === 0;
  return (
    <div class="message">
      <p role="alert" id={`film-message-${index}`}>{state.error.message}</p>
      {main && store.reading.unusable !== 'not-displayed' && (
        <button type="button" onClick={() => store.dispatch({ kind: 'unusable', code: 'not-displayed' })}>Report as not displayed</button>
      )}
      {main && store.reading.unusable === 'not-displayed' && <p>Reported as not displayed. Submit to go on.</p>}
      <button type="button" onClick={() => location.reload()}>Load the page again</button>
    </div>
  );
}

/** Whatever went wrong, with what to do now. */
function told(error: unknown): FilmError {
  if (error instanceof FilmError) return error;
  return new FilmError('unsupported', `The image cannot be shown: ${String(error)}. Report it as not displayed.`);
}

/** Fetch and decode; return what stops it. */
function load(store: Store, index: number, source: ImageSource): () => void {
  const stop = new AbortController();
  const onProgress = (progress: number | null): void => {
    if (!stop.signal.aborted) store.setFilm(index, { progress });
  };
  loadFilm(source, { signal: stop.signal, onProgress }).then(
    (film) => {
      if (stop.signal.aborted) return;
      const state = store.ui.films[index] as FilmState;
      const view = fitted({ ...state.view, rotation_deg: 0, mirrored: false }, film, state.size);
      store.setFilm(index, { film, error: null, window: film.initial, inverted: film.inverted, view });
    },
    (error: unknown) => {
      if (stop.signal.aborted) return;
      store.setFilm(index, { film: null, error: told(error) });
    },
  );
  return () => stop.abort();
}

/** Keep the size in the store; a film that was fitted stays so. */
function watchSize(frame: HTMLElement, store: Store, index: number): () => void {
  const measure = (): void => {
    const { width, height } = frame.getBoundingClientRect();
    const state = store.ui.films[index] as FilmState;
    if (width === 0 || (width === state.size.width && height === state.size.height)) return;
    const size = { width, height };
    const wasFitted = state.film !== null && Math.abs(fitted(state.view, state.film, state.size).zoom / state.view.zoom - 1) < 1e-9;
    const first = state.size.width === 0;
    const view = state.film && (wasFitted || first) ? fitted(state.view, state.film, size) : state.view;
    store.setFilm(index, { size, view });
  };
  const observer = new ResizeObserver(measure);
  observer.observe(frame);
  addEventListener('resize', measure); // another device pixel ratio
  measure();
  return () => {
    observer.disconnect();
    removeEventListener('resize', measure);
  };
}

function shown(value: number): string {
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

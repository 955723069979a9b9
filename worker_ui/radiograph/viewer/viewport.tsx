/** A viewport: the image with drawing layer and corner texts, or what to do when it cannot be shown. */

import type { ComponentChildren } from 'preact';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';

import { useStore } from '../../shared/state/use-store';
import { CHEST_PRESETS } from '../chest';
import { loadImage } from '../../shared/pixels/load';
import type { ViewportState, Store } from '../../shared/state/store';
import { ImageError, type ImageSource } from '../../shared/pixels/radiograph-image';
import type { View } from '../../shared/state/view';
import { fitted } from '../../shared/state/view';
import { listenToGestures } from './gestures';
import { ImageRenderer } from './renderer';

interface Props {
  readonly store: Store;
  readonly index: number;
  readonly name: string;
  readonly source: ImageSource;
  readonly onShown?: () => void;
  readonly children?: ComponentChildren;
}

export function ImageViewport({ store, index, name, source, onShown, children }: Props) {
  useStore(store);
  const state = store.ui.viewports[index] as ViewportState;
  const frame = useRef<HTMLDivElement>(null);
  const picture = useRef<HTMLDivElement>(null);
  const renderer = useRef<ImageRenderer | null>(null);

  useEffect(() => load(store, index, source), [store, index, source]);
  useEffect(() => listenToGestures(frame.current as HTMLDivElement, store, index), [store, index]);
  useEffect(() => watchSize(frame.current as HTMLDivElement, store, index), [store, index]);

  useLayoutEffect(() => {
    const { image, view, window, inverted, size } = state;
    if (!image || !picture.current || size.width === 0) return;
    try {
      renderer.current ??= new ImageRenderer(picture.current);
      renderer.current.draw({ image, view, window, inverted, size });
    } catch (error) {
      store.setViewport(index, { image: null, error: asImageError(error) });
      return;
    }
    onShown?.();
  }, [state.image, state.view, state.window, state.inverted, state.size]);

  useEffect(() => () => renderer.current?.destroy(), []);

  return (
    <div
      class={`viewport${store.task.second && store.ui.activeViewport === index ? ' front' : ''}`}
      ref={frame}
      tabIndex={0}
      role="application"
      aria-label={name}
      data-tool={store.ui.tool}
      data-index={index}
      onFocus={() => store.set({ activeViewport: index })}
      aria-describedby={state.error ? `image-message-${index}` : undefined}
    >
      <div class="picture" ref={picture} aria-hidden="true" />
      {state.image && children}
      {state.image && <Corners state={state} name={name} second={index > 0} />}
      {!state.image && <Message store={store} index={index} state={state} />}
    </div>
  );
}

function Corners({ state, name, second }: { state: ViewportState; name: string; second: boolean }) {
  const { image, window, view } = state;
  if (!image) return null;
  const percent = Math.round(view.zoom * devicePixelRatio * 100);
  const inverted = state.inverted !== image.inverted ? ' · inverted' : '';
  return (
    <>
      {image.standIn && (
        <p class="stand-in" role="status">
          {image.standIn}
        </p>
      )}
      <div class="corner top">
        {second ? `${name} · ${image.caption}` : image.caption}
        {orientation(view) && <b class="turned">{orientation(view)}</b>}
      </div>
      <div class="corner bottom" aria-hidden="true">
        {`L ${shown(window.center)}  W ${shown(window.width)}${inverted} · ${percent} %`}
      </div>
      <div class="corner right" aria-hidden="true">{`${image.columns} × ${image.rows} pixels`}</div>
    </>
  );
}

/** Describe the orientation where it differs from the stored one: a heart on the right may be only a flip. */
function orientation({ rotation_deg, mirrored }: View): string {
  const left = (rotation_deg === 270) !== mirrored; // the rotation is applied before mirroring
  const turn = rotation_deg === 0 ? '' : `rotated ${rotation_deg === 180 ? '180°' : left ? '90° left' : '90° right'}`;
  return [mirrored ? 'mirrored' : '', turn].filter(Boolean).join(', ');
}

function Message({ store, index, state }: { store: Store; index: number; state: ViewportState }) {
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
      <p role="alert" id={`image-message-${index}`}>
        {state.error.message}
      </p>
      {main && store.reading.unusable !== 'not-displayed' && (
        <button type="button" onClick={() => store.dispatch({ kind: 'unusable', code: 'not-displayed' })}>
          Report as not displayed
        </button>
      )}
      {main && store.reading.unusable === 'not-displayed' && <p>Reported as not displayed. Submit to go on.</p>}
      <button type="button" onClick={() => location.reload()}>
        Load the page again
      </button>
    </div>
  );
}

/** Return any error as an ImageError, with what to do. */
function asImageError(error: unknown): ImageError {
  if (error instanceof ImageError) return error;
  return new ImageError('unsupported', `The image cannot be shown: ${String(error)}. Report it as not displayed.`);
}

/** Fetch and decode the image; returns a function that stops it. */
function load(store: Store, index: number, source: ImageSource): () => void {
  const stop = new AbortController();
  const onProgress = (progress: number | null): void => {
    if (!stop.signal.aborted) store.setViewport(index, { progress });
  };
  loadImage(source, { signal: stop.signal, onProgress, ranges: CHEST_PRESETS }).then(
    (image) => {
      if (stop.signal.aborted) return;
      const state = store.ui.viewports[index] as ViewportState;
      const view = fitted({ ...state.view, rotation_deg: 0, mirrored: false }, image, state.size);
      store.setViewport(index, { image, error: null, window: image.initial, inverted: image.inverted, view });
    },
    (error: unknown) => {
      if (stop.signal.aborted) return;
      store.setViewport(index, { image: null, error: asImageError(error) });
    },
  );
  return () => stop.abort();
}

/** Keep the viewport's size in the store; a fitted image stays fitted. */
function watchSize(frame: HTMLElement, store: Store, index: number): () => void {
  const measure = (): void => {
    const { width, height } = frame.getBoundingClientRect();
    const state = store.ui.viewports[index] as ViewportState;
    if (width === 0 || (width === state.size.width && height === state.size.height)) return;
    const size = { width, height };
    const wasFitted =
      state.image !== null && Math.abs(fitted(state.view, state.image, state.size).zoom / state.view.zoom - 1) < 1e-9;
    const first = state.size.width === 0;
    const view = state.image && (wasFitted || first) ? fitted(state.view, state.image, size) : state.view;
    store.setViewport(index, { size, view });
  };
  const observer = new ResizeObserver(measure);
  observer.observe(frame);
  addEventListener('resize', measure); // the device pixel ratio may have changed
  measure();
  return () => {
    observer.disconnect();
    removeEventListener('resize', measure);
  };
}

function shown(value: number): string {
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

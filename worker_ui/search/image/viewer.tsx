/** The large image: contrast by dragging or arrow keys, zoom, inversion, and the layer that explains a similarity. */

import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';

import type { HeatMap } from '../api/types';
import { isAbort } from '../transport/transport';
import { useHost } from '../parts/host';
import { colorOf, shares } from './heat';
import { DRAG_PIXELS, grayOf, paint, tableOf, WHOLE, windowBy, type GrayWindow } from './window';

interface Props {
  readonly id: string;
  readonly alt: string;
  /** A heat map to lay over the image, or null. */
  readonly overlay: HeatMap | null;
  readonly label?: string;
}

interface Decoded {
  readonly width: number;
  readonly height: number;
  readonly gray: Uint8ClampedArray;
}

const ZOOMS = [1, 1.5, 2, 3, 4] as const;

export function Viewer({ id, alt, overlay, label = 'Image' }: Props) {
  const { pictures } = useHost();
  const canvas = useRef<HTMLCanvasElement>(null);
  const [picture, setPicture] = useState<Decoded | null>(null);
  const [problem, setProblem] = useState('');
  const [window, setWindow] = useState<GrayWindow>(WHOLE);
  const [zoom, setZoom] = useState(1);

  useEffect(() => {
    let gone = false;
    setPicture(null);
    setProblem('');
    setWindow(WHOLE);
    setZoom(1);
    pictures
      .address(id, 'large')
      .then(decode)
      .then(
        (decoded) => !gone && setPicture(decoded),
        (error: unknown) =>
          !gone && !isAbort(error) && setProblem(error instanceof Error ? error.message : 'The picture failed.'),
      );
    return () => {
      gone = true;
    };
  }, [id, pictures]);

  useLayoutEffect(() => {
    if (canvas.current && picture) draw(canvas.current, picture, window);
  }, [picture, window]);

  const step = (by: number): void => {
    const at = ZOOMS.findIndex((one) => one === zoom) + by;
    setZoom(ZOOMS[Math.min(Math.max(at, 0), ZOOMS.length - 1)] ?? 1);
  };
  const reset = (): void => {
    setWindow(WHOLE);
    setZoom(1);
  };
  const onKey = (event: KeyboardEvent): void => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const far = event.shiftKey ? 0.1 : 0.02;
    const actions: Readonly<Record<string, () => void>> = {
      ArrowLeft: () => setWindow((now) => windowBy(now, -far, 0)),
      ArrowRight: () => setWindow((now) => windowBy(now, far, 0)),
      ArrowUp: () => setWindow((now) => windowBy(now, 0, -far)),
      ArrowDown: () => setWindow((now) => windowBy(now, 0, far)),
      i: () => setWindow((now) => ({ ...now, inverted: !now.inverted })),
      '+': () => step(1),
      '-': () => step(-1),
      Home: reset,
    };
    const action = Object.hasOwn(actions, event.key) ? actions[event.key] : undefined;
    if (!action) return;
    event.preventDefault();
    event.stopPropagation(); // keys of a notebook cell
    action();
  };

  return (
    <div class="viewer">
      <div
        class="viewport"
        role="application"
        tabIndex={0}
        aria-label={`${label}. Arrow keys change the contrast, plus and minus zoom, I inverts, Home resets.`}
        onKeyDown={onKey}
        {...drags((wider, higher) => setWindow((now) => windowBy(now, wider, higher)))}
        onDblClick={reset}
      >
        <div class="stage" style={{ width: `${100 * zoom}%` }}>
          <canvas ref={canvas} role="img" aria-label={alt} hidden={picture === null} />
          {picture && overlay && <Overlay map={overlay} />}
        </div>
        {picture === null && <p class="viewer-note">{problem || 'Loading the image…'}</p>}
      </div>
      <div class="viewer-bar">
        <output title="Window width and level, of gray values from 0 to 255">
          W {Math.round(window.width)} · L {Math.round(window.center)}
        </output>
        <span class="quiet viewer-hint">Drag to change the contrast</span>
        <button
          type="button"
          aria-pressed={window.inverted}
          onClick={() => setWindow({ ...window, inverted: !window.inverted })}
        >
          Invert
        </button>
        <button type="button" aria-label="Zoom out" disabled={zoom === ZOOMS[0]} onClick={() => step(-1)}>
          −
        </button>
        <button type="button" aria-label="Zoom in" disabled={zoom === ZOOMS.at(-1)} onClick={() => step(1)}>
          +
        </button>
        <button type="button" onClick={reset}>
          Reset
        </button>
      </div>
    </div>
  );
}

/** Pointer handlers that report a drag in shares of the full range. */
function drags(onDrag: (wider: number, higher: number) => void) {
  const down = (event: PointerEvent): void => {
    if (event.button !== 0 || !(event.currentTarget instanceof HTMLElement)) return;
    const element = event.currentTarget;
    let last = [event.clientX, event.clientY] as const;
    const move = ({ clientX, clientY }: PointerEvent): void => {
      onDrag((clientX - last[0]) / DRAG_PIXELS, (clientY - last[1]) / DRAG_PIXELS);
      last = [clientX, clientY];
    };
    const up = (): void => {
      element.removeEventListener('pointermove', move);
      element.removeEventListener('pointerup', up);
      element.removeEventListener('pointercancel', up);
    };
    element.setPointerCapture(event.pointerId);
    element.addEventListener('pointermove', move);
    element.addEventListener('pointerup', up);
    element.addEventListener('pointercancel', up);
  };
  return { onPointerDown: down };
}

function Overlay({ map }: { readonly map: HeatMap }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useLayoutEffect(() => {
    const context = canvas.current?.getContext('2d');
    if (!canvas.current || !context) return;
    canvas.current.width = map.columns;
    canvas.current.height = map.rows;
    const out = context.createImageData(map.columns, map.rows);
    shares(map.values).forEach((value, at) => {
      out.data.set(colorOf(value), 4 * at);
    });
    context.putImageData(out, 0, 0);
  }, [map]);
  return <canvas ref={canvas} class="overlay" aria-hidden="true" />;
}

async function decode(address: string): Promise<Decoded> {
  const image = new Image();
  image.src = address;
  await image.decode();
  const { naturalWidth: width, naturalHeight: height } = image;
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext('2d', { willReadFrequently: true });
  if (!context) throw new Error('This browser cannot draw the image.');
  context.drawImage(image, 0, 0);
  return { width, height, gray: grayOf(context.getImageData(0, 0, width, height).data) };
}

function draw(canvas: HTMLCanvasElement, { width, height, gray }: Decoded, window: GrayWindow): void {
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const context = canvas.getContext('2d');
  if (!context) return;
  const out = context.createImageData(width, height);
  paint(gray, tableOf(window), out.data);
  context.putImageData(out, 0, 0);
}

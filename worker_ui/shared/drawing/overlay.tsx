/** The drawing layer over the main image: all marks, and the shape in progress. */

import { useLayoutEffect, useReducer, useRef } from 'preact/hooks';

import { adjudicates } from '../state/disagreements';
import { useStore } from '../state/use-store';
import type { Store } from '../state/store';
import { shownSuggestions } from '../state/suggestions';
import type { Measurement, Region } from '../state/types';
import type { Point } from '../shapes/geometry';
import { apply } from '../state/view';
import { closes, CLOSING, isMeasure } from './pending-shape';
import { Crosshair, Ends, Figure, Handles, MarkLabel } from './figures';
import { frameOf, type Frame } from './frame';
import { handlesOf, type MarkShape } from './handles';
import { isDrawTool, markOf, shownMarks } from './marks';
import { measuredText } from '../shapes/measure';
import { listenToPointer } from './pointer';
import { MODEL_DASH, readerClass, readerDash } from '../shapes/mark-style';
import { drawingOf, type Drawing } from './drawing';
import { bounds, distance, type Box } from '../shapes/geometry';
import { placeLabels, shortened, type LabelRequest } from './mark-labels';

export function Overlay({ store }: { readonly store: Store }) {
  const layer = useRef<SVGSVGElement>(null);
  const drawing = drawingOf(store);
  const [, again] = useReducer((count: number) => count + 1, 0);
  useStore(store, watched);
  useLayoutEffect(() => drawing.subscribe(() => again(undefined)), [drawing]);
  // A layout effect, so that the first press after the first paint is handled.
  useLayoutEffect(() => listenToPointer(layer.current as SVGSVGElement, store), [store]);
  const frame = frameOf(store);
  const { tool } = store.ui;
  const active = isDrawTool(tool) ? 'draws' : tool === 'select' ? 'selects' : 'lets-through';
  return (
    <svg ref={layer} class={`drawing ${active}`} aria-hidden="true">
      <rect class="catcher" width="100%" height="100%" />
      {frame && store.ui.regionsShown && <Marks store={store} drawing={drawing} frame={frame} />}
      {frame && <InProgress drawing={drawing} frame={frame} />}
    </svg>
  );
}

/** Everything that the layer depends on. The window is left out: it changes many times a second during a drag. */
function watched({ reading, ui }: Store): readonly unknown[] {
  const viewport = ui.viewports[0];
  return [
    reading,
    viewport?.image,
    viewport?.view,
    viewport?.size,
    ui.tool,
    ui.selected,
    ui.hiddenRegions,
    ui.regionsShown,
    ui.first,
  ];
}

interface Drawn {
  readonly id: string;
  readonly shape: MarkShape;
  readonly points: readonly Point[];
  readonly kind: string;
  readonly dash: string | undefined;
  readonly text: string;
}

function Marks({ store, drawing, frame }: { store: Store; drawing: Drawing; frame: Frame }) {
  const others = [...earlierMarks(store, frame), ...modelMarks(store, frame)];
  const own = ownMarks(store, drawing, frame);
  const drawn = [...others, ...own];
  const selected = drawing.pending ? null : own.find(({ id }) => id === store.ui.selected);
  const pulledPoints = selected && drawing.pointsOf(selected.id, markOf(store, selected.id)?.points ?? [], frame);
  const handles = selected && pulledPoints ? handlesOf(selected.shape, pulledPoints, frame.map) : [];
  const taken = handles.map(({ at: [x, y] }): Box => ({ left: x - 8, top: y - 8, right: x + 8, bottom: y + 8 }));
  // The label of the selected mark is placed first.
  const first = (one: Drawn): number => (one === selected ? 0 : 1);
  const requests = [...own]
    .sort((a, b) => first(a) - first(b))
    .concat(others)
    .map(labelRequest);
  const kinds = new Map(drawn.map(({ id, kind }) => [id, kind]));
  const tool = store.ui.tool;
  return (
    <>
      {drawn.map((one) => (
        <Figure key={one.id} {...one} />
      ))}
      {own.map((one) => one.kind.includes('length') && <Ends key={`${one.id} ends`} points={one.points} kind={one.kind} />)}
      {placeLabels(requests, taken, frame.size).map((label) => (
        <MarkLabel key={label.id} label={label} kind={kinds.get(label.id) ?? ''} />
      ))}
      {(tool === 'select' || isDrawTool(tool)) && <Handles handles={handles} held={drawing.edit?.handle ?? null} />}
    </>
  );
}

function labelRequest({ id, text, points }: Drawn): LabelRequest {
  return { id, text, box: bounds(points) };
}

function onScreen(frame: Frame, points: readonly Point[]): Point[] {
  return points.map((point) => apply(frame.map, point));
}

function ownMarks(store: Store, drawing: Drawing, frame: Frame): Drawn[] {
  const shown = new Set(shownMarks(store).map(({ id }) => id));
  const regions = store.reading.regions.map(
    (region, index): Drawn => ({
      id: region.id,
      shape: region.shape,
      points: onScreen(frame, drawing.pointsOf(region.id, region.points, frame)),
      ...styleOf(store, region),
      text: `${index + 1} ${region.label === '' ? 'no finding yet' : shortened(region.label)}${stateSuffix(store, region)}`,
    }),
  );
  const lines = store.reading.measurements.map((line): Drawn => {
    const points = drawing.pointsOf(line.id, line.points, frame);
    const kind = `${line.kind} measure${selectedClass(store, line.id)}`;
    return {
      id: line.id,
      shape: 'line',
      points: onScreen(frame, points),
      kind,
      dash: undefined,
      text: measuredText({ ...line, points }, frame.image),
    };
  });
  return [...regions, ...lines].filter(({ id }) => shown.has(id));
}

/** Return a suffix where the finding of a region is no longer called present. */
function stateSuffix(store: Store, { label }: Region): string {
  const state = store.reading.labels[label];
  return state === 'uncertain'
    ? ' ?'
    : state === 'negative'
      ? ' (called absent)'
      : state === 'unknown'
        ? ' (not assessed)'
        : '';
}

function styleOf(store: Store, { id, label }: Region): { kind: string; dash: string | undefined } {
  const state = store.reading.labels[label];
  const open = label === '' || state === undefined || state === 'negative' || state === 'unknown';
  const kind = open ? 'open' : state === 'uncertain' ? 'doubtful' : 'certain';
  return { kind: `region ${kind}${selectedClass(store, id)}`, dash: open ? '2 5' : state === 'uncertain' ? '8 5' : undefined };
}

function selectedClass(store: Store, id: string): string {
  return store.ui.selected === id ? ' selected' : '';
}

/** Return the regions of earlier readers, each with a color, dash pattern and letter. */
function earlierMarks(store: Store, frame: Frame): Drawn[] {
  if (!adjudicates(store.task)) return []; // a single earlier reading would only bias the reader
  return store.task.earlier.flatMap(({ name, reading }, index) =>
    reading.regions.map(
      (region, at): Drawn => ({
        id: `reader:${name}:${at}`,
        shape: region.shape,
        points: onScreen(frame, region.points),
        kind: `other ${readerClass(index)}`,
        dash: readerDash(index),
        text: `${name} · ${shortened(region.label)}`,
      }),
    ),
  );
}

/** Return the regions of the model, once they may be shown. */
function modelMarks(store: Store, frame: Frame): Drawn[] {
  const regions = shownSuggestions(store)?.regions ?? [];
  return regions.map(
    (region, at): Drawn => ({
      id: `model:${at}`,
      shape: region.shape,
      points: onScreen(frame, region.points),
      kind: 'other mark-model',
      dash: MODEL_DASH,
      text: `model · ${shortened(region.label)}`,
    }),
  );
}

// ---- In progress --------------------------------------------------------------------------------------------------------

function InProgress({ drawing, frame }: { drawing: Drawing; frame: Frame }) {
  const { pending, crosshair } = drawing;
  const at = drawing.next(frame);
  const aiming = crosshair && !drawing.pointer ? crosshair : null;
  return (
    <>
      {pending && <PendingFigure drawing={drawing} frame={frame} points={preview(drawing, at)} />}
      {pending && pending.points.length >= 3 && <FirstVertex drawing={drawing} frame={frame} at={at} />}
      {aiming && <Crosshair at={apply(frame.map, aiming)} />}
    </>
  );
}

function preview(drawing: Drawing, at: Point): readonly Point[] {
  const placed = drawing.pending?.points ?? [];
  return drawing.pending?.tool === 'freehand' && drawing.press?.moved ? placed : [...placed, at];
}

function PendingFigure({ drawing, frame, points }: { drawing: Drawing; frame: Frame; points: readonly Point[] }) {
  const tool = drawing.pending?.tool ?? 'polygon';
  const shown = onScreen(frame, points);
  if (tool === 'rectangle' || tool === 'ellipse') return <Figure shape={tool} points={shown} kind="region draft" />;
  if (!drawing.pending || !isMeasure(drawing.pending))
    return <Figure shape="polygon" points={shown} kind="region draft" open />;
  const kind = tool as Measurement['kind'];
  const complete = points.length === (kind === 'angle' ? 3 : 2) && distance(points.at(-1)!, points.at(-2)!) > 0;
  const text = complete ? measuredText({ kind, points }, frame.image) : '';
  const labels = text === '' ? [] : placeLabels([{ id: 'draft', text, box: bounds(shown) }], [], frame.size);
  return (
    <>
      <Figure shape="line" points={shown} kind="measure draft" />
      {labels.map((label) => (
        <MarkLabel key={label.id} label={label} kind="measure" />
      ))}
    </>
  );
}

/** The first vertex, where a click closes the polygon. */
function FirstVertex({ drawing, frame, at }: { drawing: Drawing; frame: Frame; at: Point }) {
  const { pending } = drawing;
  if (!pending || isMeasure(pending) || (pending.tool === 'freehand' && drawing.press?.moved)) return null;
  const [x, y] = apply(frame.map, pending.points[0]!);
  const near = closes(pending, at, frame);
  return <circle class={`closing${near ? ' near' : ''}`} cx={x} cy={y} r={near ? CLOSING : 5} />;
}

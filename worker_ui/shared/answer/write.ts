/** A reading as the answer that is sent: dicom-workflow/answer/2, see answer.schema.json. */

import { adjudicates, agreed, disagreements } from '../state/disagreements';
import { measured } from '../shapes/measure';
import { stateOf } from '../state/reading';
import { pageVersion, type Session } from '../state/session';
import type { ViewportState, Store } from '../state/store';
import { takenId } from '../state/suggestions';
import type { RadiographImage } from '../pixels/radiograph-image';
import type { Measurement, Reading, Region, Suggestions, Task } from '../state/types';
import { ANSWER_SCHEMA } from './form';
import { whole } from '../json';

type Json = Record<string, unknown>;

/** Return the answer of what the store holds now. Numbers stay as they are: read back, it is the same reading. */
export function writeAnswer(store: Pick<Store, 'task' | 'reading' | 'ui'>, session: Session, now: Date = new Date()): Json {
  const { task, reading, ui } = store;
  const [shown] = ui.viewports;
  const image = shown?.image ?? null,
    page = pageVersion(document);
  return {
    schema: ANSWER_SCHEMA,
    pixel_origin: 'corner',
    ...said(reading),
    ...(reading.comment === '' ? {} : { comment: whole(reading.comment) }),
    ...(reading.unusable === '' ? {} : { unusable: reading.unusable }),
    ...(reading.unusable === '' && reading.measurements.length > 0
      ? { measurements: reading.measurements.map((one) => ofMeasurement(one, image)) }
      : {}),
    ...(image ? { image: ofImage(image) } : {}),
    ...(image && shown ? { viewport: ofViewport(shown) } : {}),
    timings: session.timings(now),
    actions: session.actions(),
    ...(task.suggestions ? { assistance: ofAssistance(task.suggestions, reading, ui.first) } : {}),
    ...(adjudicates(task) ? { adjudication: ofAdjudication(task, reading) } : {}),
    ...(page === '' ? {} : { page }),
  };
}

/** Labels and regions; none of them of an image that cannot be read. */
function said(reading: Reading): { labels: Json; regions: Json[] } {
  if (reading.unusable !== '') return { labels: {}, regions: [] };
  // With a prototype, as JSON.parse makes them; entries of any name, "__proto__" too, are its own.
  return { labels: Object.fromEntries(Object.entries(reading.labels)), regions: reading.regions.map(ofRegion) };
}

function ofRegion({ label, shape, points, comment }: Region): Json {
  return { label, shape, points_px: points.map(([x, y]) => [x, y]), ...(comment === '' ? {} : { comment: whole(comment) }) };
}

function ofMeasurement(measurement: Measurement, image: RadiographImage | null): Json {
  return {
    kind: measurement.kind,
    points_px: measurement.points.map(([x, y]) => [x, y]),
    ...(image ? measured(measurement, image) : {}),
  };
}

function ofImage(image: RadiographImage): Json {
  return {
    ...(image.sopInstanceUid === '' ? {} : { sop_instance_uid: image.sopInstanceUid.slice(0, 64) }),
    rows: image.rows,
    columns: image.columns,
    stand_in: image.standIn !== '',
  };
}

function ofViewport({ window, inverted, view }: ViewportState): Json {
  return {
    window_center: window.center,
    window_width: window.width,
    inverted,
    center_px: [view.center[0], view.center[1]],
    zoom: view.zoom,
    rotation_deg: view.rotation_deg,
    mirrored: view.mirrored,
  };
}

/** The first reading of an assistance that was never shown, because the image could not be read, is the final one. */
function ofAssistance(suggestions: Suggestions, final: Reading, locked: Reading | null): Json {
  const first = suggestions.mode === 'after-first-read' ? (locked ?? final) : null;
  const taken =
    final.unusable === ''
      ? final.regions.filter(({ id }) => suggestions.regions.some((one) => takenId('model', one) === id))
      : [];
  return {
    mode: suggestions.mode,
    model: suggestions.model,
    probabilities: Object.fromEntries(Object.entries(suggestions.probabilities)),
    ...(first ? { first: { ...said(first), ...(first.unusable === '' ? {} : { unusable: first.unusable }) } } : {}),
    taken_regions: taken.length,
  };
}

function ofAdjudication(task: Task, reading: Reading): Json {
  const decided = disagreements(task).flatMap(({ label, states }): [string, string[]][] => {
    const state = reading.unusable === '' ? stateOf(reading, label) : null;
    return state ? [[label, states.filter((one) => one.state === state).map((one) => one.reader)]] : [];
  });
  return { readers: task.earlier.length, agreed: Object.keys(agreed(task)), decided: Object.fromEntries(decided) };
}

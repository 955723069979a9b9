/** Writes a reading as the answer that is sent (dicom-workflow/answer/2, see answer.schema.json). */

import { adjudicates, agreed, disagreements } from '../state/disagreements';
import { measured } from '../shapes/measure';
import { stateOf } from '../state/reading';
import { pageVersion, type Session } from '../state/session';
import type { ViewportState, Store } from '../state/store';
import { takenId } from '../state/suggestions';
import type { RadiographImage } from '../pixels/radiograph-image';
import type { Measurement, Reading, Region, Suggestions, Task } from '../state/types';
import { ANSWER_SCHEMA } from './form';
import { wellFormed } from '../json';

type Json = Record<string, unknown>;

/** Return the answer for the current state of the store. Numbers are not rounded: read back, it is the same reading. */
export function writeAnswer(store: Pick<Store, 'task' | 'reading' | 'ui'>, session: Session, now: Date = new Date()): Json {
  const { task, reading, ui } = store;
  const [shown] = ui.viewports;
  const image = shown?.image ?? null,
    page = pageVersion(document);
  return {
    schema: ANSWER_SCHEMA,
    pixel_origin: 'corner',
    ...labelsAndRegions(reading),
    ...(reading.comment === '' ? {} : { comment: wellFormed(reading.comment) }),
    ...(reading.unusable === '' ? {} : { unusable: reading.unusable }),
    ...(reading.unusable === '' && reading.measurements.length > 0
      ? { measurements: reading.measurements.map((one) => measurementJson(one, image)) }
      : {}),
    ...(image ? { image: imageJson(image) } : {}),
    ...(image && shown ? { viewport: viewportJson(shown) } : {}),
    timings: session.timings(now),
    actions: session.actions(),
    ...(task.suggestions ? { assistance: assistanceJson(task.suggestions, reading, ui.first) } : {}),
    ...(adjudicates(task) ? { adjudication: adjudicationJson(task, reading) } : {}),
    ...(page === '' ? {} : { page }),
  };
}

/** Return labels and regions; both are empty for an image that cannot be read. */
function labelsAndRegions(reading: Reading): { labels: Json; regions: Json[] } {
  if (reading.unusable !== '') return { labels: {}, regions: [] };
  // Object.fromEntries makes every entry an own property, even "__proto__".
  return { labels: Object.fromEntries(Object.entries(reading.labels)), regions: reading.regions.map(regionJson) };
}

function regionJson({ label, shape, points, comment }: Region): Json {
  return {
    label,
    shape,
    points_px: points.map(([x, y]) => [x, y]),
    ...(comment === '' ? {} : { comment: wellFormed(comment) }),
  };
}

function measurementJson(measurement: Measurement, image: RadiographImage | null): Json {
  return {
    kind: measurement.kind,
    points_px: measurement.points.map(([x, y]) => [x, y]),
    ...(image ? measured(measurement, image) : {}),
  };
}

function imageJson(image: RadiographImage): Json {
  return {
    ...(image.sopInstanceUid === '' ? {} : { sop_instance_uid: image.sopInstanceUid.slice(0, 64) }),
    rows: image.rows,
    columns: image.columns,
    stand_in: image.standIn !== '',
  };
}

function viewportJson({ window, inverted, view }: ViewportState): Json {
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

/** If the suggestions were never shown because the image cannot be read, the first reading is the final one. */
function assistanceJson(suggestions: Suggestions, final: Reading, locked: Reading | null): Json {
  const first = suggestions.mode === 'after-first-read' ? (locked ?? final) : null;
  const taken =
    final.unusable === ''
      ? final.regions.filter(({ id }) => suggestions.regions.some((one) => takenId('model', one) === id))
      : [];
  return {
    mode: suggestions.mode,
    model: suggestions.model,
    probabilities: Object.fromEntries(Object.entries(suggestions.probabilities)),
    ...(first ? { first: { ...labelsAndRegions(first), ...(first.unusable === '' ? {} : { unusable: first.unusable }) } } : {}),
    taken_regions: taken.length,
  };
}

function adjudicationJson(task: Task, reading: Reading): Json {
  const decided = disagreements(task).flatMap(({ label, states }): [string, string[]][] => {
    const state = reading.unusable === '' ? stateOf(reading, label) : null;
    return state ? [[label, states.filter((one) => one.state === state).map((one) => one.reader)]] : [];
  });
  return { readers: task.earlier.length, agreed: Object.keys(agreed(task)), decided: Object.fromEntries(decided) };
}

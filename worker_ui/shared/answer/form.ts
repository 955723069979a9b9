/** Readings from JSON that anybody may have written: a task, a draft on the disk, an answer. Throws `FormError` only. */

import { LABEL_STATES, REASON_CODES, type LabelState, type Measurement, type Reading, type Region } from '../state/types';
import type { Point, Shape } from '../shapes/geometry';
import { isObject, own, shown, text } from '../json';

/** Of the answer this page writes; drafts of another form are not mixed with it. */
export const ANSWER_SCHEMA = 'dicom-workflow/answer/2';

/** What answer.schema.json takes at most. */
export const MOST = { marks: 500, points: 5000, comment: 4000, regionComment: 1000 } as const;

/** What was expected and what came, in words. */
export class FormError extends Error {}

export const SHAPES: readonly Shape[] = ['rectangle', 'ellipse', 'polygon', 'point'];
const FARTHEST = 1e6;

export function readLabels(value: unknown): Record<string, LabelState> {
  if (!isObject(value)) throw new FormError('The labels are not an object of label to state.');
  const labels: Record<string, LabelState> = Object.create(null);
  for (const label of Object.keys(value)) labels[label] = readState(value[label]);
  return labels;
}

/** Points are under `points_px` in an answer and under `points` in a reading. */
export function readRegion(value: unknown, id: string, key: 'points_px' | 'points' = 'points_px'): Region {
  const shape = own(value, 'shape');
  if (!SHAPES.includes(shape as Shape))
    throw new FormError(`A region has the shape ${shown(shape)}; it may be ${SHAPES.join(', ')}.`);
  const points = readPoints(own(value, key));
  const [least, most] = shape === 'polygon' ? [3, Infinity] : shape === 'point' ? [1, 1] : [2, 2];
  if (points.length < least || points.length > most) throw new FormError(`A ${shape} has ${points.length} points.`);
  return { id, label: text(own(value, 'label')), shape: shape as Shape, points, comment: text(own(value, 'comment')) };
}

export function readMeasurement(value: unknown, id: string, key: 'points_px' | 'points' = 'points_px'): Measurement {
  const kind = own(value, 'kind');
  if (kind !== 'length' && kind !== 'angle')
    throw new FormError(`A measurement has the kind ${shown(kind)}; it may be length or angle.`);
  const points = readPoints(own(value, key));
  if (points.length !== (kind === 'length' ? 2 : 3)) throw new FormError(`A measured ${kind} has ${points.length} points.`);
  return { id, kind, points };
}

export function readUnusable(value: unknown): string {
  const code = text(value);
  if (code !== '' && !REASON_CODES.some((known) => known === code)) throw new FormError(`${shown(code)} is no reason code.`);
  return code;
}

/** Return a list, or nothing for what is absent. */
export function list(value: unknown, what: string): unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new FormError(`The ${what} are not a list.`);
  return value;
}

/** Return the reading of what `JSON.stringify` made of one. */
export function readReading(value: unknown): Reading {
  if (!isObject(value)) throw new FormError('The reading is not an object.');
  const reading = {
    labels: readLabels(own(value, 'labels')),
    regions: list(own(value, 'regions'), 'regions').map((one) => readRegion(one, identifier(one), 'points')),
    measurements: list(own(value, 'measurements'), 'measurements').map((one) =>
      readMeasurement(one, identifier(one), 'points'),
    ),
    comment: text(own(value, 'comment')),
    unusable: readUnusable(own(value, 'unusable')),
  };
  const ids = [...reading.regions, ...reading.measurements].map((one) => one.id);
  if (new Set(ids).size !== ids.length) throw new FormError('Two marks have the same id.');
  return reading;
}

function readState(value: unknown): LabelState {
  if (!LABEL_STATES.includes(value as LabelState))
    throw new FormError(`A label has the state ${shown(value)}; it may be ${LABEL_STATES.join(', ')}.`);
  return value as LabelState;
}

function readPoints(value: unknown): Point[] {
  if (!Array.isArray(value)) throw new FormError('Points are not a list.');
  return value.map((point): Point => {
    const [x, y] = Array.isArray(point) && point.length === 2 ? point : [];
    if (!isCoordinate(x) || !isCoordinate(y)) throw new FormError('A point is not a pair of finite image coordinates.');
    return [x, y];
  });
}

function isCoordinate(value: unknown): value is number {
  return typeof value === 'number' && Math.abs(value) <= FARTHEST; // NaN fails as well
}

function identifier(value: unknown): string {
  const id = text(own(value, 'id'));
  if (id === '' || id.length > 100) throw new FormError('A mark has no id.');
  return id;
}

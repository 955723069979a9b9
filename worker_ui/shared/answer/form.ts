/** Reads the parts of a reading from untrusted JSON: a task, a stored draft, an answer. Throws `FormError` only. */

import { LABEL_STATES, REASON_CODES, type LabelState, type Measurement, type Reading, type Region } from '../state/types';
import type { Point, Shape } from '../shapes/geometry';
import { isObject, own, describe, text } from '../json';

/** Schema of the answers that this page writes; part of the draft key, so that drafts of another schema are not restored. */
export const ANSWER_SCHEMA = 'dicom-workflow/answer/2';

/** Limits of answer.schema.json. */
export const LIMITS = { marks: 500, points: 5000, comment: 4000, regionComment: 1000 } as const;

/** A value that does not have the expected form; the message says which. */
export class FormError extends Error {}

export const SHAPES: readonly Shape[] = ['rectangle', 'ellipse', 'polygon', 'point'];
const FARTHEST = 1e6;

export function readLabels(value: unknown): Record<string, LabelState> {
  if (!isObject(value)) throw new FormError('The labels are not an object of label to state.');
  const labels: Record<string, LabelState> = Object.create(null);
  for (const label of Object.keys(value)) labels[label] = readState(value[label]);
  return labels;
}

/** Read a region; its points are in `points_px` in an answer and in `points` in a draft. */
export function readRegion(value: unknown, id: string, key: 'points_px' | 'points' = 'points_px'): Region {
  const shape = own(value, 'shape');
  if (!SHAPES.includes(shape as Shape))
    throw new FormError(`A region has the shape ${describe(shape)}; it may be ${SHAPES.join(', ')}.`);
  const points = readPoints(own(value, key));
  const [least, most] = shape === 'polygon' ? [3, Infinity] : shape === 'point' ? [1, 1] : [2, 2];
  if (points.length < least || points.length > most) throw new FormError(`A ${shape} has ${points.length} points.`);
  return { id, label: text(own(value, 'label')), shape: shape as Shape, points, comment: text(own(value, 'comment')) };
}

export function readMeasurement(value: unknown, id: string, key: 'points_px' | 'points' = 'points_px'): Measurement {
  const kind = own(value, 'kind');
  if (kind !== 'length' && kind !== 'angle')
    throw new FormError(`A measurement has the kind ${describe(kind)}; it may be length or angle.`);
  const points = readPoints(own(value, key));
  if (points.length !== (kind === 'length' ? 2 : 3)) throw new FormError(`A measured ${kind} has ${points.length} points.`);
  return { id, kind, points };
}

export function readUnusable(value: unknown): string {
  const code = text(value);
  if (code !== '' && !REASON_CODES.some((known) => known === code))
    throw new FormError(`${describe(code)} is not a reason code.`);
  return code;
}

/** Return a list, or an empty one for an absent value. */
export function list(value: unknown, what: string): unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new FormError(`The ${what} are not a list.`);
  return value;
}

/** Return the reading in a draft. */
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
    throw new FormError(`A label has the state ${describe(value)}; it may be ${LABEL_STATES.join(', ')}.`);
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

/** Every form an answer has come in, as a reading: answer/2, answer/1, plain labels, and that of the published AWS sample. */

import { LABEL_STATES, type LabelState, type Reading, type Region } from '../state/types';
import type { Point } from '../shapes/geometry';
import { FormError, list, MOST, readLabels, readMeasurement, readRegion, readUnusable } from './form';
import { isObject, own, shown, text } from '../json';

export type ReadAnswer =
  | { readonly reading: Reading; readonly reason: '' }
  | { readonly reading: null; readonly reason: string };

/** Hidden inputs arrive encoded twice; nobody encodes more often than this. */
const MOST_DECODED = 5;
const SCHEMAS = ['dicom-workflow/answer/1', 'dicom-workflow/answer/2'];

/**
 * Return the reading of an answer, or the reason why there is none; never throws.
 *
 * Ids of regions and measurements are made here, with `prefix` in front: answers have none.
 */
export function readAnswer(value: unknown, prefix = 'read'): ReadAnswer {
  try {
    return { reading: read(value, prefix), reason: '' };
  } catch (error) {
    return { reading: null, reason: error instanceof FormError ? error.message : 'The answer cannot be read.' };
  }
}

function read(value: unknown, prefix: string): Reading {
  let data = decoded(value);
  if (isObject(data) && Object.hasOwn(data, 'annotation')) data = decoded(data['annotation']);
  if (!isObject(data)) throw new FormError(`The answer is ${shown(data)}, not a JSON object.`);
  if (Object.hasOwn(data, 'disease') || namesLabels(own(data, 'labels'))) return readSample(data, prefix);
  if (!Object.hasOwn(data, 'labels') && !Object.hasOwn(data, 'unusable'))
    throw new FormError('The answer has neither labels nor a reason why there are none.');
  const schema = own(data, 'schema');
  if (schema !== undefined && !SCHEMAS.includes(schema as string))
    throw new FormError(`The answer is of the form ${shown(schema)}, which this page does not know.`);
  const regions = list(own(data, 'regions'), 'regions'),
    measurements = list(own(data, 'measurements'), 'measurements');
  if (regions.length > MOST.marks || measurements.length > MOST.marks)
    throw new FormError(`The answer has more than ${MOST.marks} marks.`);
  return {
    labels: readLabels(own(data, 'labels') ?? {}),
    regions: regions.map((one, index) => ofSaneSize(readRegion(one, `${prefix}-${index + 1}`))),
    measurements: measurements.map((one, index) => readMeasurement(one, `${prefix}-m${index + 1}`)),
    comment: text(own(data, 'comment')),
    unusable: readUnusable(own(data, 'unusable')),
  };
}

/** Undo JSON text as often as it was encoded. */
function decoded(value: unknown): unknown {
  let left = value;
  for (let times = 0; times < MOST_DECODED && typeof left === 'string'; times += 1) {
    try {
      left = JSON.parse(left);
    } catch {
      throw new FormError(`The answer is ${shown(left)}, not JSON.`);
    }
  }
  return left;
}

/** Whether "labels" is the text of the AWS sample, {"label": [...], "ROI": {...}}, and not an object of label to state. */
function namesLabels(value: unknown): boolean {
  try {
    const label = own(decoded(value), 'label');
    return Array.isArray(label) || (typeof label === 'string' && !LABEL_STATES.includes(label as LabelState));
  } catch {
    return false;
  }
}

/** The sample ticks boxes: what is not ticked was shown and not called. Its one region belongs to no label. */
function readSample(data: Record<string, unknown>, prefix: string): Reading {
  const boxes = own(data, 'disease') ?? {};
  if (!isObject(boxes)) throw new FormError('The boxes under “disease” are not an object of label to true or false.');
  const said = decoded(own(data, 'labels') ?? {}),
    ticked = own(said, 'label') ?? [];
  const positive = typeof ticked === 'string' ? [ticked] : ticked;
  if (!Array.isArray(positive)) throw new FormError('What was called under “label” is not a list.');
  const labels: Record<string, LabelState> = Object.create(null);
  for (const label of Object.keys(boxes)) labels[label] = boxes[label] === true ? 'positive' : 'negative';
  for (const label of positive) labels[String(label)] = 'positive';
  const region = sampleRegion(own(said, 'ROI'), `${prefix}-1`);
  return { labels, regions: region ? [region] : [], measurements: [], comment: '', unusable: '' };
}

/** Coordinates of the sample have the centre of a pixel as origin, hence the half. A damaged region is left out. */
function sampleRegion(roi: unknown, id: string): Region | null {
  const half = (end: unknown): Point => [coordinate(own(end, 'x')) + 0.5, coordinate(own(end, 'y')) + 0.5];
  try {
    const handles = own(roi, 'vertices'),
      vertices = own(handles, 'points') ?? handles;
    if (vertices === undefined)
      return readRegion({ shape: 'rectangle', points_px: [half(own(roi, 'start')), half(own(roi, 'end'))] }, id);
    return ofSaneSize(readRegion({ shape: 'polygon', points_px: list(vertices, 'vertices').map(half) }, id));
  } catch (error) {
    if (error instanceof FormError) return null;
    throw error;
  }
}

function coordinate(value: unknown): number {
  return typeof value === 'number' || (typeof value === 'string' && value.trim() !== '') ? Number(value) : NaN;
}

function ofSaneSize(region: Region): Region {
  if (region.points.length > MOST.points) throw new FormError(`A region has more than ${MOST.points} points.`);
  return region;
}

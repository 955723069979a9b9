/** Reads answers of earlier readers and an answer to start from; the pre-annotation function writes them as answer/2. */

import { isObject, own, describe, text } from '../json';
import type { Reading, Region } from '../state/types';
import { ANSWER_SCHEMA, FormError, list, LIMITS, readLabels, readMeasurement, readRegion, readUnusable } from './form';

export type ReadAnswer =
  | { readonly reading: Reading; readonly reason: '' }
  | { readonly reading: null; readonly reason: string };

/**
 * Return the reading of an answer, or the reason why there is none; never throws.
 *
 * Answers have no ids of regions and measurements; ids are made here and begin with `prefix`.
 */
export function readAnswer(value: unknown, prefix = 'read'): ReadAnswer {
  try {
    return { reading: read(value, prefix), reason: '' };
  } catch (error) {
    return { reading: null, reason: error instanceof FormError ? error.message : 'The answer cannot be read.' };
  }
}

function read(value: unknown, prefix: string): Reading {
  if (!isObject(value)) throw new FormError(`The answer is ${describe(value)}, not a JSON object.`);
  if (!Object.hasOwn(value, 'labels') && !Object.hasOwn(value, 'unusable'))
    throw new FormError('The answer has neither labels nor a reason why there are none.');
  const schema = own(value, 'schema');
  if (schema !== undefined && schema !== ANSWER_SCHEMA)
    throw new FormError(`The answer has the schema ${describe(schema)}; this page reads ${ANSWER_SCHEMA}.`);
  const regions = list(own(value, 'regions'), 'regions'),
    measurements = list(own(value, 'measurements'), 'measurements');
  if (regions.length > LIMITS.marks || measurements.length > LIMITS.marks)
    throw new FormError(`The answer has more than ${LIMITS.marks} marks.`);
  return {
    labels: readLabels(own(value, 'labels') ?? {}),
    regions: regions.map((one, index) => checkedSize(readRegion(one, `${prefix}-${index + 1}`))),
    measurements: measurements.map((one, index) => readMeasurement(one, `${prefix}-m${index + 1}`)),
    comment: text(own(value, 'comment')),
    unusable: readUnusable(own(value, 'unusable')),
  };
}

function checkedSize(region: Region): Region {
  if (region.points.length > LIMITS.points) throw new FormError(`A region has more than ${LIMITS.points} points.`);
  return region;
}

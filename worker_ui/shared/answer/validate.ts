/** Validation of an answer against answer.schema.json. */

import type { Complaint } from '../state/store';
import type { Reading } from '../state/types';
import validate from './validator.generated.js';

export interface Fault {
  /** JSON pointer into the answer, e.g. "/regions/2/comment". */
  readonly path: string;
  readonly text: string;
}

/** Return the first thing that is wrong with an answer, or null. */
export function faultOf(answer: unknown): Fault | null {
  if (validate(answer)) return null;
  const [error] = validate.errors ?? [];
  return { path: error?.instancePath ?? '', text: error?.message ?? 'is not valid' };
}

/** Return the error as a message to the reader, with the place where it can be resolved. */
export function complaintOf(fault: Fault, reading: Reading): Complaint {
  const [, part, index] = fault.path.split('/');
  if (part === 'comment') return { text: `The comment ${fault.text}.`, at: 'comment' };
  if (part === 'regions') {
    const region = reading.regions[Number(index)];
    return region
      ? { text: `The region of “${region.label}” cannot be sent: it ${fault.text}.`, at: region.id }
      : { text: 'There are too many regions.', at: 'comment' };
  }
  if (part === 'measurements') {
    const measurement = reading.measurements[Number(index)];
    return measurement
      ? { text: `A measurement cannot be sent: it ${fault.text}.`, at: measurement.id }
      : { text: 'There are too many measurements.', at: 'comment' };
  }
  return {
    text: `The answer cannot be sent: ${fault.path || 'it'} ${fault.text}. Undo the last change, and tell the owner of the job.`,
    at: 'comment',
  };
}

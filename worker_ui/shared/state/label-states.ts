/** The four answers a finding can have: their names, letters and keys. */

import type { LabelState } from './types';

export interface StateNames {
  readonly name: string;
  /** Text of the narrow button. */
  readonly letter: string;
  readonly key: string;
  readonly meaning: string;
}

export const STATES: Readonly<Record<LabelState, StateNames>> = {
  positive: { name: 'Present', letter: 'P', key: 'P', meaning: 'it is there' },
  uncertain: { name: 'Uncertain', letter: 'U', key: 'U', meaning: 'it may be there; the image does not decide' },
  negative: { name: 'Absent', letter: 'A', key: 'A', meaning: 'looked for and not there' },
  unknown: { name: 'Not assessed', letter: '–', key: 'X', meaning: 'cannot or need not be judged on this image' },
};

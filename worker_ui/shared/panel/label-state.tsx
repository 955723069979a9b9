/** How the answer to a finding is drawn: a sign, or a sign with its name. */

import { STATES } from '../state/label-states';
import type { LabelState } from '../state/types';

/** Icons that differ in shape, not only in color. */
const SIGNS: Readonly<Record<LabelState, string>> = {
  positive: 'M8 1.500a6.500 6.500 0 1 0 0 13 6.500 6.500 0 1 0 0-13zM4.700 8h6.600M8 4.700v6.600',
  uncertain: 'M8 1l7 7-7 7-7-7zM6.300 6.600a1.800 1.800 0 1 1 2.400 1.700c-.5.2-.7.5-.7 1M8 11.200v.1',
  negative: 'M8 1.500a6.500 6.500 0 1 0 0 13 6.500 6.500 0 1 0 0-13M5 8h6',
  unknown: 'M3 8h.1M8 8h.1M13 8h.1',
};

export function Sign({ state }: { state: LabelState }) {
  return (
    <svg class={`sign ${state}`} viewBox="0 0 16 16" aria-hidden="true">
      <path d={SIGNS[state]} />
    </svg>
  );
}

export function StateName({ state }: { state: LabelState | null }) {
  if (state === null) return <span class="state none">No answer</span>;
  return (
    <span class={`state ${state}`}>
      <Sign state={state} />
      {STATES[state].name}
    </span>
  );
}

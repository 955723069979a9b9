/** Several readers of one image: where they agree, where they do not, and taking the answer of one of them. */

import { adjudicates } from './disagreements';
import { stateOf } from './reading';
import { due } from './completeness';
import type { Store } from './store';
import type { EarlierReading } from './types';
import { mayChange } from './marks';
import { isTaken, takeRegion } from './suggestions';

/**
 * Take a reader's answer for one finding: the state and the regions, as one step to undo.
 *
 * Regions of that finding taken from others before go, those the adjudicator drew stay.
 */
export function accept(store: Store, reader: EarlierReading, label: string): void {
  const state = stateOf(reader.reading, label);
  if (state === null || !mayChange(store)) return;
  const tag = `accept:${reader.name}:${label}:${store.counts.changes}`;
  for (const { id, label: of } of store.reading.regions) {
    if (of === label && id.startsWith('taken:') && !id.startsWith(`taken:${reader.name}:`))
      store.dispatch({ kind: 'remove-region', id }, tag);
  }
  for (const region of reader.reading.regions) {
    if (region.label === label && !isTaken(store, reader.name, region)) takeRegion(store, reader.name, region, tag);
  }
  store.dispatch({ kind: 'label', label, state }, tag);
  store.set({ activeLabel: label, selected: null });
}

/** Accept the answer of the n-th reader (from 0) for the active finding; false when there is no such reader. */
export function acceptActive(store: Store, index: number): boolean {
  const reader = store.task.earlier[index];
  const label = store.ui.activeLabel;
  if (!adjudicates(store.task) || !reader) return false;
  if (label === null)
    store.set({ notice: `No finding is active: J or a digit picks one, then Alt+${index + 1} accepts reader ${reader.name}.` });
  else if (stateOf(reader.reading, label) === null) store.set({ notice: `Reader ${reader.name} has no answer for ${label}.` });
  else {
    accept(store, reader, label);
    const next = due(store.task, store.reading).at(0);
    if (next !== undefined) store.set({ activeLabel: next }); // on to what is still disputed
  }
  return true;
}

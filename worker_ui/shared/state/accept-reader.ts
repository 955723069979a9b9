/** Accepting the answer of an earlier reader in adjudication. */

import { adjudicates } from './disagreements';
import { stateOf } from './reading';
import { missingAnswers } from './completeness';
import type { Store } from './store';
import type { EarlierReading } from './types';
import { canEdit } from './marks';
import { isTaken, takeRegion } from './suggestions';

/**
 * Accept a reader's answer to one finding, state and regions, as one undo step.
 *
 * Regions accepted from other readers before are removed; those that the adjudicator drew stay.
 */
export function accept(store: Store, reader: EarlierReading, label: string): void {
  const state = stateOf(reader.reading, label);
  if (state === null || !canEdit(store)) return;
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
    const next = missingAnswers(store.task, store.reading).at(0);
    if (next !== undefined) store.set({ activeLabel: next }); // continue with the next open disagreement
  }
  return true;
}

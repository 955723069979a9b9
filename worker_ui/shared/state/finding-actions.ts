/** Actions on the list of findings: filter, activate, answer. */

import { adjudicates, disagreements } from './disagreements';
import type { Store } from './store';
import type { Finding, LabelState, Task } from './types';
import { STATES } from './label-states';
import { canEdit } from './marks';

/** Return the findings, disagreements first; with a search those that match by name, then those that match by definition. */
export function visibleFindings(store: Store): readonly Finding[] {
  const words = store.ui.search.toLowerCase().split(/\s+/).filter(Boolean);
  const inOrder = disputedFirst(store.task);
  const matching = (text: string): boolean => words.every((word) => text.toLowerCase().includes(word));
  const byName = inOrder.filter(({ label }) => matching(label));
  return words.length === 0
    ? inOrder
    : [...byName, ...inOrder.filter((one) => !byName.includes(one) && matching(`${one.label} ${one.definition}`))];
}

/** In adjudication disagreements come first, because only they must be answered. */
function disputedFirst(task: Task): readonly Finding[] {
  if (!adjudicates(task)) return task.findings;
  const disputed = new Set(disagreements(task).map(({ label }) => label));
  return [
    ...task.findings.filter(({ label }) => disputed.has(label)),
    ...task.findings.filter(({ label }) => !disputed.has(label)),
  ];
}

export function activate(store: Store, label: string): void {
  if (store.ui.activeLabel !== label) store.set({ activeLabel: label });
}

/** Make a finding active, and assign it to the selected region if that has none. */
export function choose(store: Store, label: string): void {
  activate(store, label);
  if (store.reading.unusable === '' && !store.ui.sending && !store.ui.sent) bind(store, label);
}

/** Assign a finding to the selected region if it has none. */
function bind(store: Store, label: string, tag = ''): void {
  const region = store.reading.regions.find(({ id }) => id === store.ui.selected);
  const finding = store.task.findings.find((one) => one.label === label);
  if (region?.label !== '' || !finding || finding.region === 'none' || label === store.task.labelSet.noFinding) return;
  store.dispatch({ kind: 'relabel-region', id: region.id, label }, tag);
  store.set({ notice: '' });
}

/** Make the next or previous finding of those shown active; return its label, or null when none is shown. */
export function step(store: Store, by: number): string | null {
  const shown = visibleFindings(store);
  const at = shown.findIndex(({ label }) => label === store.ui.activeLabel);
  const to = at < 0 ? (by > 0 ? 0 : shown.length - 1) : Math.min(Math.max(at + by, 0), shown.length - 1);
  const label = shown[to]?.label;
  if (label === undefined) return null;
  activate(store, label);
  return label;
}

/** Set the state of a finding; setting its current state again clears it. */
export function answer(store: Store, label: string, state: LabelState): void {
  if (!canEdit(store)) return;
  const back = store.reading.labels[label] === state;
  const tag = `answer:${store.counts.changes}`; // the answer and the region's label are one undo step
  store.dispatch({ kind: 'label', label, state: back ? null : state }, tag);
  if (!back && (state === 'positive' || state === 'uncertain')) bind(store, label, tag);
}

/** Set the state of the active finding, or say that there is none. */
export function answerActive(store: Store, state: LabelState): void {
  const label = store.ui.activeLabel;
  if (label !== null) answer(store, label, state);
  else
    store.set({
      notice: `No finding is active: J or a digit picks one, then ${STATES[state].key} answers it.`,
    });
}

export function hasNoFinding(store: Store): boolean {
  return store.task.findings.some(({ label }) => label === store.task.labelSet.noFinding);
}

/** Set "No Finding" to present; a second time clears it and leaves the other answers. */
export function noFinding(store: Store): void {
  if (!hasNoFinding(store) || !canEdit(store)) return;
  const label = store.task.labelSet.noFinding;
  if (store.reading.labels[label] === 'positive') store.dispatch({ kind: 'label', label, state: null });
  else store.dispatch({ kind: 'no-finding' });
}

export function othersAbsent(store: Store): void {
  if (canEdit(store)) store.dispatch({ kind: 'others-absent' });
}

/** Moves the keyboard focus. Element ids are made of list positions, never of label texts. */

import type { Store } from '../state/store';
import { LABEL_STATES } from '../state/types';
import { activate, choose, step } from '../state/finding-actions';

export const PLACES = {
  comment: 'panel-comment',
  unusable: 'panel-unusable',
  search: 'panel-search',
  findings: 'panel-findings',
} as const;

export function radioId(store: Store, label: string, column: number): string {
  return `panel-finding-${store.task.findings.findIndex((finding) => finding.label === label)}-${column}`;
}

function regionId(store: Store, id: string): string {
  return `panel-region-${store.reading.regions.findIndex((region) => region.id === id)}`;
}

export function focusOn(id: string): boolean {
  const element = document.getElementById(id);
  element?.focus();
  element?.scrollIntoView?.({ block: 'nearest' });
  return element !== null && document.activeElement === element;
}

/** Focus the first image. */
export function focusViewport(): void {
  document.querySelector<HTMLElement>('[role="application"]')?.focus({ preventScroll: true });
}

/** Focus a finding: its chosen answer, or the answer in a given column. */
export function focusFinding(store: Store, label: string, column = checkedColumn(store, label)): boolean {
  activate(store, label);
  return focusOn(radioId(store, label, column));
}

export function checkedColumn(store: Store, label: string): number {
  const state = store.reading.labels[label];
  return state === undefined ? 0 : LABEL_STATES.indexOf(state);
}

/** Return the column of the focused answer, or null when the focus is not in the list of findings. */
function focusedColumn(): number | null {
  const id = document.activeElement?.id ?? '';
  const match = /^panel-finding-\d+-(\d)$/.exec(id);
  return match ? Number(match[1]) : null;
}

/** Make a finding active by its key; the focus follows if it is in the list already. */
export function goToFinding(store: Store, label: string): void {
  const column = focusedColumn();
  choose(store, label);
  if (column !== null) focusOn(radioId(store, label, column));
}

/** Go to the next or previous finding. */
export function stepFinding(store: Store, by: number): void {
  const column = focusedColumn();
  const label = step(store, by);
  if (label !== null && column !== null) focusOn(radioId(store, label, column));
}

/** Clear the search and focus one of the findings. */
export function leaveSearch(store: Store, label: string): void {
  store.set({ search: '' });
  setTimeout(() => focusFinding(store, label));
}

/** Focus the place where a complaint can be resolved; `at` is a label, the id of a mark, "comment" or "unusable". */
export function focusPlace(store: Store, at: string): void {
  if (store.task.findings.some(({ label }) => label === at)) {
    if (!focusFinding(store, at)) leaveSearch(store, at); // the search hides it
  } else if (store.reading.regions.some(({ id }) => id === at)) {
    store.set({ selected: at });
    focusOn(regionId(store, at));
  } else if (store.reading.measurements.some(({ id }) => id === at)) {
    store.set({ selected: at });
    focusViewport();
  } else if (at === 'comment' || at === 'unusable') focusOn(PLACES[at]);
}

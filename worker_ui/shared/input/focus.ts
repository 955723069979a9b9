/** Where the keyboard goes: elements are found by an id made of a place in a list, never of a label's text. */

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

/** Move the keyboard to the first image. */
export function focusViewport(): void {
  document.querySelector<HTMLElement>('[role="application"]')?.focus({ preventScroll: true });
}

/** Move the keyboard to a finding: to the answer it has, or to one of its columns. */
export function focusFinding(store: Store, label: string, column = checkedColumn(store, label)): boolean {
  activate(store, label);
  return focusOn(radioId(store, label, column));
}

export function checkedColumn(store: Store, label: string): number {
  const state = store.reading.labels[label];
  return state === undefined ? 0 : LABEL_STATES.indexOf(state);
}

/** The column of the finding the keyboard is on, or null when it is elsewhere. */
function focusedColumn(): number | null {
  const id = document.activeElement?.id ?? '';
  const match = /^panel-finding-\d+-(\d)$/.exec(id);
  return match ? Number(match[1]) : null;
}

/** Make a finding active by its key; the keyboard goes along when it is in the list already. */
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

/** Show all findings again, with the keyboard on one of them. */
export function leaveSearch(store: Store, label: string): void {
  store.set({ search: '' });
  setTimeout(() => focusFinding(store, label));
}

/** Move the keyboard to where a complaint can be mended; `at` is a label, the id of a mark, "comment" or "unusable". */
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

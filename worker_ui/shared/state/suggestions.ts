/** The model's suggestions, as far as the reader may see them. */

import type { Store } from './store';
import type { Region, Suggestions } from './types';

/** Return the suggestions, or null while they would anchor the first reading or when there are none. */
export function shownSuggestions(store: Store): Suggestions | null {
  const { suggestions } = store.task;
  if (!suggestions || suggestions.mode === 'off') return null;
  return suggestions.mode === 'shown' || store.ui.first !== null ? suggestions : null;
}

/** Whether the next submit locks the first reading rather than sends; nothing is suggested for an image that cannot be read. */
export function locksFirst(store: Store): boolean {
  return store.task.suggestions?.mode === 'after-first-read' && store.ui.first === null && store.reading.unusable === '';
}

export function probability(store: Store, label: string): number | null {
  const all = shownSuggestions(store)?.probabilities;
  const value = all && Object.hasOwn(all, label) ? all[label] : undefined;
  return value === undefined ? null : value;
}

/** Whether the reader's present or absent contradicts the model at a threshold of one half; uncertain never does. */
export function differs(store: Store, label: string): boolean {
  const value = probability(store, label);
  if (value === null) return false;
  const state = store.reading.labels[label];
  return (state === 'positive' && value < 0.5) || (state === 'negative' && value >= 0.5);
}

/** A region of a model or of an earlier reader in this reading; its id says where it is from, so it is taken once. */
export function takenId(from: string, region: Region): string {
  return `taken:${from}:${region.id}`;
}

export function isTaken(store: Store, from: string, region: Region): boolean {
  const id = takenId(from, region);
  return store.reading.regions.some((one) => one.id === id);
}

export function takeRegion(store: Store, from: string, region: Region, tag = ''): void {
  const id = takenId(from, region);
  store.dispatch({ kind: 'add-region', region: { ...region, id } }, tag);
  store.set({ selected: id });
}

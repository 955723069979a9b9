/** Selecting, removing and hiding regions and measurements, and whether they can be changed now. */

import type { Store } from './store';

/** Return whether answers can be changed now; if not, show why. */
export function canEdit(store: Store): boolean {
  if (store.closed) return false;
  if (store.reading.unusable === '') return true;
  store.set({ notice: 'The findings are set aside while the image is reported as not readable.' });
  return false;
}

/** Select a mark and make the finding of a region active, so that the answer keys apply to it. */
export function select(store: Store, id: string | null): void {
  const label = store.reading.regions.find((region) => region.id === id)?.label;
  const known = store.task.findings.some((finding) => finding.label === label);
  store.set({ selected: id, ...(label && known ? { activeLabel: label } : {}) });
}

/** Remove the selected mark; undo restores it. */
export function removeSelected(store: Store): boolean {
  const id = store.ui.selected;
  if (id === null || store.closed) return false;
  const { regions, measurements } = store.reading;
  if (regions.some((region) => region.id === id)) store.dispatch({ kind: 'remove-region', id });
  else if (measurements.some((one) => one.id === id)) store.dispatch({ kind: 'remove-measurement', id });
  else return false;
  store.set({ selected: null, notice: 'Removed. Ctrl+Z brings it back.' });
  return true;
}

export function toggleHidden(store: Store, id: string): void {
  const hidden = new Set(store.ui.hiddenRegions);
  if (!hidden.delete(id)) hidden.add(id);
  store.set({ hiddenRegions: hidden });
}

/** The model's suggestions: when they are shown, and its regions, which the reader can accept. */

import { centerOn } from '../state/viewport-commands';
import type { Store } from '../state/store';
import type { Region } from '../state/types';
import { isTaken, locksFirst, probability, shownSuggestions, takeRegion } from '../state/suggestions';
import { percent } from './finding-row';

export function Assistance({ store }: { store: Store }) {
  if (locksFirst(store)) {
    return (
      <p class="assistance note">
        First your own reading; then the model is shown and you may change your mind. Both are recorded.
      </p>
    );
  }
  const suggestions = shownSuggestions(store);
  if (!suggestions) return null;
  const { model, regions } = suggestions;
  return (
    <details class="assistance" open={regions.some((region) => !isTaken(store, 'model', region))}>
      <summary>
        Model
        {model && (
          <>
            {' '}
            <span class="model">{model}</span>
          </>
        )}
      </summary>
      {store.ui.first && (
        <p class="note">Your first reading is locked. Now change what the model convinces you of, nothing else.</p>
      )}
      {regions.length === 0 && <p class="note">Bars show how likely the model takes each finding to be present.</p>}
      <TakeList store={store} from="model" regions={regions} />
    </details>
  );
}

interface TakeProps {
  readonly store: Store;
  /** "model", or the name of a reader. */
  readonly from: string;
  readonly regions: readonly Region[];
}

/** Regions of the model or of a reader, each with a button that copies it into the reading. */
export function TakeList({ store, from, regions }: TakeProps) {
  if (regions.length === 0) return null;
  const by = from === 'model' ? 'the model' : `reader ${from}`;
  return (
    <ul class="take" aria-label={`Regions of ${by}`}>
      {regions.map((region, index) => {
        const taken = isTaken(store, from, region);
        const chance = from === 'model' ? probability(store, region.label) : null;
        return (
          <li key={region.id}>
            <button type="button" class="plain name" title="Show it on the image" onClick={() => centerOn(store, region)}>
              {region.label || 'No finding given'}
              {chance !== null && <span class="quiet"> {percent(chance)} %</span>}
            </button>
            <button
              type="button"
              class="small"
              disabled={taken || store.reading.unusable !== ''}
              aria-label={`Take this region: ${region.label}, ${index + 1} of ${by}`}
              onClick={() => takeRegion(store, from, region)}
            >
              {taken ? 'Taken' : 'Take this region'}
            </button>
          </li>
        );
      })}
    </ul>
  );
}

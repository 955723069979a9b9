/** What the list is narrowed to, each to be removed. */

import type { Chosen } from '../state/places';
import { StateIcon } from './states';
import { fieldOf } from '../api/fields';

interface Props {
  readonly chosen: readonly Chosen[];
  readonly nameOf: (one: Chosen) => string;
  readonly onRemove: (one: Chosen) => void;
  readonly onClear: () => void;
}

export function Chips({ chosen, nameOf, onRemove, onClear }: Props) {
  if (chosen.length === 0) return null;
  return (
    <ul class="chips" aria-label="Filters">
      {chosen.map((one) => {
        const { state, title } = fieldOf(one.field);
        return (
          <li key={`${one.field} ${one.value}`}>
            <button
              type="button"
              class={`chip ${state ?? ''}`}
              aria-label={`Remove the filter ${title}: ${nameOf(one)}`}
              onClick={() => onRemove(one)}
            >
              {state && <StateIcon state={state} />}
              {nameOf(one)}
              <span class="cross" aria-hidden="true">
                ×
              </span>
            </button>
          </li>
        );
      })}
      {chosen.length > 1 && (
        <li>
          <button type="button" class="plain" onClick={onClear}>
            Clear all filters
          </button>
        </li>
      )}
    </ul>
  );
}

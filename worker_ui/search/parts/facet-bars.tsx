/** A bar chart of the values of one facet; each bar is a button that filters by its value. */

import { useState } from 'preact/hooks';

import type { Bucket, Facet } from '../api/types';
import { isChosen, type Chosen } from '../state/places';
import { StateIcon, type State } from './states';

const FEW = 10;

interface Props {
  readonly title: string;
  readonly state: State | null;
  readonly facet: Facet;
  readonly chosen: readonly Chosen[];
  readonly onToggle: (one: Chosen) => void;
}

export function FacetBars({ title, state, facet, chosen, onToggle }: Props) {
  const [all, setAll] = useState(false);
  const { buckets } = facet;
  if (buckets.length === 0) return null;
  const shown = all ? buckets : buckets.slice(0, FEW);
  const most = Math.max(...buckets.map(({ count }) => count));
  return (
    <section class={`facet ${state ?? ''}`} aria-label={title}>
      <h3>
        {state && <StateIcon state={state} />}
        {title}
        {!facet.exact && <span class="quiet"> (estimated)</span>}
      </h3>
      <ul>
        {shown.map((bucket) => (
          <Bar
            key={bucket.value}
            bucket={bucket}
            share={bucket.count / most}
            pressed={isChosen(chosen, facet.field, bucket.value)}
            onToggle={() => onToggle({ field: facet.field, value: bucket.value })}
          />
        ))}
      </ul>
      {buckets.length > FEW && (
        <button type="button" class="plain" aria-expanded={all} onClick={() => setAll(!all)}>
          {all ? 'fewer' : `${buckets.length - FEW} more`}
        </button>
      )}
    </section>
  );
}

interface BarProps {
  readonly bucket: Bucket;
  readonly share: number;
  readonly pressed: boolean;
  readonly onToggle: () => void;
}

function Bar({ bucket: { value, name, count }, share, pressed, onToggle }: BarProps) {
  return (
    <li>
      <button
        type="button"
        class="bar"
        aria-pressed={pressed}
        title={name === value ? name : `${name} (${value})`}
        onClick={onToggle}
      >
        <span class="bar-name">{name}</span>
        <span class="bar-count">{count.toLocaleString('en-US')}</span>
        <span class="bar-area" aria-hidden="true">
          <span class="bar-part" style={{ width: `${Math.max(100 * share, 0.8)}%` }} />
        </span>
      </button>
    </li>
  );
}

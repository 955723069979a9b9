/** The charts beside a list of reports: what they state, positive, uncertain and negative. */

import type { Facet } from '../api/types';
import { fieldOf, isVocabulary, VOCABULARIES, type Vocabulary } from '../api/fields';
import { FacetBars } from '../parts/facet-bars';
import { Facets } from '../parts/facets';
import type { Chosen } from '../state/places';

interface Props {
  readonly facets: readonly Facet[];
  readonly vocabulary: Vocabulary;
  readonly chosen: readonly Chosen[];
  readonly onVocabulary: (vocabulary: Vocabulary) => void;
  readonly onToggle: (one: Chosen) => void;
}

export function FacetColumn({ facets, vocabulary, chosen, onVocabulary, onToggle }: Props) {
  const empty = facets.every(({ buckets }) => buckets.length === 0);
  return (
    <Facets label="What the reports state">
      <label class="vocabulary">
        Count by
        <select value={vocabulary} onChange={({ currentTarget: { value } }) => isVocabulary(value) && onVocabulary(value)}>
          {VOCABULARIES.map(({ name, title }) => (
            <option key={name} value={name}>
              {title}
            </option>
          ))}
        </select>
      </label>
      {!empty && <p class="facets-note">How many of the reports state it. Choose a bar to see only these.</p>}
      {facets.map((facet) => (
        <FacetBars key={facet.field} facet={facet} {...fieldOf(facet.field)} chosen={chosen} onToggle={onToggle} />
      ))}
      {empty && <p class="quiet">Nothing to count in these reports.</p>}
    </Facets>
  );
}

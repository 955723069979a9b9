/** What is similar to an image: toggles, charts over the neighbors, the neighbors with their scores. */

import { fieldOf } from '../api/fields';
import type { ImageDetails } from '../api/types';
import { Chips } from '../parts/chips';
import { FacetBars } from '../parts/facet-bars';
import { Facets } from '../parts/facets';
import { useHost } from '../parts/host';
import { Thumbnail } from '../parts/picture';
import { WordsBox } from '../parts/search-box';
import { Status } from '../parts/status';
import { toggle, type Chosen, type ImagePlace } from '../state/places';
import type { Asked } from '../state/use-query';
import { HitCard, ThumbIcon } from './hit-card';

interface Props {
  readonly place: ImagePlace;
  readonly asked: Asked<ImageDetails | null> & { readonly again: () => void };
  readonly explained: string;
  readonly onExplain: ((id: string) => void) | null;
}

export function SimilarList({ place, asked, explained, onExplain }: Props) {
  const { navigation, selection } = useHost();
  const { data, busy, error, again } = asked;
  const change = (changes: Partial<ImagePlace>): void => navigation.go({ ...place, ...changes });
  const onToggle = (one: Chosen): void => change({ chosen: toggle(place.chosen, one) });
  const steer = (id: string, more: boolean): void => {
    const [to, from] = more ? [place.like, place.unlike] : [place.unlike, place.like];
    const target = to.includes(id) ? to.filter((one) => one !== id) : [...to, id];
    const other = from.filter((one) => one !== id);
    change(more ? { like: target, unlike: other } : { like: other, unlike: target });
  };
  const hits = data?.similar.hits ?? [];
  const view = data?.image.viewPosition ?? '';
  const steered = place.like.length + place.unlike.length;
  const steers = place.text === ''; // words and an image together cannot be steered
  const found = `${hits.length} similar ${hits.length === 1 ? 'image' : 'images'}, best first, with their cosine similarity (1: the same)`;
  return (
    <section class="similar" aria-label="Similar images">
      <div class="similar-head">
        <h2>Similar images</h2>
        <label>
          <input
            type="checkbox"
            checked={place.sameView}
            disabled={view === ''}
            onChange={() => change({ sameView: !place.sameView })}
          />
          Same view only{view && ` (${view})`}
        </label>
        <label>
          <input type="checkbox" checked={place.samePatient} onChange={() => change({ samePatient: !place.samePatient })} />
          Include the same patient
        </label>
        <WordsBox
          text={place.text}
          onText={(text) => navigation.type({ ...place, text, like: [], unlike: [] })}
          onEnter={() => navigation.settle()}
        />
        {hits.length > 0 && (
          <button type="button" onClick={() => selection.toggleAll(hits.map(({ image }) => image.id))}>
            Select all
          </button>
        )}
      </div>
      {steered > 0 && (
        <div class="like">
          {`The search is steered by ${place.like.length} more like and ${place.unlike.length} less like.`}
          <Steering ids={place.like} more onRemove={(id) => steer(id, true)} />
          <Steering ids={place.unlike} more={false} onRemove={(id) => steer(id, false)} />
          <button type="button" onClick={() => change({ like: [], unlike: [] })}>
            Start over
          </button>
        </div>
      )}
      <Chips chosen={place.chosen} nameOf={({ value }) => value} onRemove={onToggle} onClear={() => change({ chosen: [] })} />
      <Status busy={busy} error={error} found={found} none={hits.length === 0} onAgain={again} />
      {data && hits.length > 0 && (
        <div class={`with-facets${busy ? ' stale' : ''}`} aria-busy={busy}>
          <Facets label={`Among these ${hits.length} images`}>
            <p class="facets-note">
              Among these {hits.length} {hits.length === 1 ? 'image' : 'images'}, not the whole index. Choose a bar to see only
              these.
            </p>
            {data.similar.facets.map((facet) => (
              <FacetBars key={facet.field} facet={facet} {...fieldOf(facet.field)} chosen={place.chosen} onToggle={onToggle} />
            ))}
          </Facets>
          <ol class="hits">
            {hits.map((hit) => (
              <HitCard
                key={hit.image.id}
                hit={hit}
                liked={place.like.includes(hit.image.id)}
                unliked={place.unlike.includes(hit.image.id)}
                onLike={steers ? () => steer(hit.image.id, true) : null}
                onUnlike={steers ? () => steer(hit.image.id, false) : null}
                onExplain={onExplain && (() => onExplain(hit.image.id))}
                explained={explained === hit.image.id}
              />
            ))}
          </ol>
        </div>
      )}
    </section>
  );
}

interface SteeringProps {
  readonly ids: readonly string[];
  readonly more: boolean;
  readonly onRemove: (id: string) => void;
}

/** The images that steer the search, which are not among its hits; clicking takes one back. */
function Steering({ ids, more, onRemove }: SteeringProps) {
  const words = more ? 'more like this' : 'less like this';
  return (
    <>
      {ids.map((id) => (
        <button type="button" key={id} class="steering" title={`Take back: ${words}`} onClick={() => onRemove(id)}>
          <Thumbnail id={id} alt={`Take back: ${words}`} />
          <ThumbIcon up={more} />
        </button>
      ))}
    </>
  );
}

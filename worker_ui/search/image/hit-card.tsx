/** One similar image: its score, what its report states, its patient's other studies, and what to do with it. */

import type { SimilarHit } from '../api/types';
import { dateOf, ImageLink } from '../parts/image-link';
import { StateIcon } from '../parts/states';

interface Props {
  readonly hit: SimilarHit;
  readonly liked: boolean;
  readonly unliked: boolean;
  /** Absent where the search cannot be steered. */
  readonly onLike: (() => void) | null;
  readonly onUnlike: (() => void) | null;
  /** Absent where the service cannot say why two images are similar. */
  readonly onExplain: (() => void) | null;
  readonly explained: boolean;
}

export function HitCard({ hit, liked, unliked, onLike, onUnlike, onExplain, explained }: Props) {
  const { image, score, impression, sentence, studies } = hit;
  return (
    <li class="hit">
      <ImageLink image={image}>
        <figcaption>
          <span class="score" title="Cosine similarity">
            {score.toFixed(3)}
          </span>
          <span class="quiet">{[image.viewPosition, dateOf(image.studyDate)].filter(Boolean).join(' · ')}</span>
        </figcaption>
      </ImageLink>
      <Stated positive={image.positive} uncertain={image.uncertain} />
      {(sentence || impression) && <p class="hit-impression">{sentence ? <mark>{sentence}</mark> : impression}</p>}
      <div class="hit-actions">
        {onLike && (
          <button
            type="button"
            aria-label="More like this"
            aria-pressed={liked}
            onClick={onLike}
            title="Search for more like this one"
          >
            <ThumbIcon up /> More
          </button>
        )}
        {onUnlike && (
          <button
            type="button"
            aria-label="Less like this"
            aria-pressed={unliked}
            onClick={onUnlike}
            title="Search for less like this one"
          >
            <ThumbIcon up={false} /> Less
          </button>
        )}
        {onExplain && (
          <button
            type="button"
            aria-label="Why similar?"
            aria-pressed={explained}
            onClick={onExplain}
            title="Show the regions that make the two images similar"
          >
            Why?
          </button>
        )}
      </div>
      {studies.length > 0 && <OtherStudies studies={studies} />}
    </li>
  );
}

function Stated({ positive, uncertain }: { readonly positive: readonly string[]; readonly uncertain: readonly string[] }) {
  if (positive.length + uncertain.length === 0) return null;
  return (
    <ul class="stated" aria-label="Reported">
      {positive.map((label) => (
        <li key={label} class="positive">
          <StateIcon state="positive" />
          {label}
        </li>
      ))}
      {uncertain.map((label) => (
        <li key={label} class="uncertain">
          <StateIcon state="uncertain" />
          {label}
          <span class="unseen">, stated as uncertain</span>
        </li>
      ))}
    </ul>
  );
}

function OtherStudies({ studies }: Pick<SimilarHit, 'studies'>) {
  const count = (when: 'earlier' | 'later'): number => studies.filter((one) => one.when === when).length;
  const words = (['earlier', 'later'] as const).filter((when) => count(when) > 0).map((when) => `${count(when)} ${when}`);
  return (
    <details class="studies">
      <summary>
        {words.join(' · ')} {studies.length === 1 ? 'study' : 'studies'}
      </summary>
      <ol>
        {studies.map((study) => (
          <li key={`${study.date} ${study.imageIds.join(' ')}`}>
            <strong>{dateOf(study.date)}</strong>{' '}
            <span class="quiet">
              {study.days === null ? study.when : `${study.days.toLocaleString('en-US')} days ${study.when}`}
            </span>
            <br />
            {study.impression || <span class="quiet">no report</span>}
          </li>
        ))}
      </ol>
    </details>
  );
}

export function ThumbIcon({ up }: { readonly up: boolean }) {
  return (
    <svg class={`thumb${up ? '' : ' down'}`} viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      <path d="M1.5 7h2.7v7H1.5z" />
      <path d="M5.6 7.2 8.4 1.5c1.4 0 1.9 1 1.7 2.2L9.7 6h3.6c.9 0 1.4.8 1.2 1.6l-1.2 5.2c-.2.7-.7 1.2-1.4 1.2H5.6z" />
    </svg>
  );
}

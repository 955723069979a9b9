/** A thumbnail that leads to the page of its image, with the box that selects it. */

import type { ComponentChildren } from 'preact';
import { useEffect, useReducer } from 'preact/hooks';

import type { ImageSummary } from '../api/types';
import { addressOf, imagePlace } from '../state/places';
import { useHost } from './host';
import { Thumbnail } from './picture';

interface Props {
  readonly image: ImageSummary;
  readonly children?: ComponentChildren;
}

export function ImageLink({ image, children }: Props) {
  const { navigation } = useHost();
  const place = imagePlace(image.id);
  return (
    <figure class="image-link">
      <a
        href={addressOf(place)}
        onClick={(event) => {
          if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
          event.preventDefault();
          navigation.go(place);
        }}
      >
        <Thumbnail id={image.id} alt={altOf(image)} />
      </a>
      <SelectBox id={image.id} />
      {children}
    </figure>
  );
}

function SelectBox({ id }: { readonly id: string }) {
  const { selection } = useHost();
  const [, again] = useReducer((count: number) => count + 1, 0);
  useEffect(() => selection.subscribe(() => again(undefined)), [selection]);
  return (
    <label class="select" title="Select this image">
      <input type="checkbox" checked={selection.has(id)} onChange={() => selection.toggle(id)} />
      <span class="unseen">Select this image</span>
    </label>
  );
}

/** What a person hears of an image: kind, view, date and what its report states. */
export function altOf({ modality, bodyPart, viewPosition, studyDate, positive }: ImageSummary): string {
  const what = [modality, bodyPart.toLowerCase(), viewPosition && `view ${viewPosition}`, dateOf(studyDate)]
    .filter(Boolean)
    .join(', ');
  return `Image${what && `: ${what}`}${positive.length ? `; reported: ${positive.join(', ')}` : ''}`;
}

/** Return YYYYMMDD as YYYY-MM-DD; anything else as it is. */
export function dateOf(date: string): string {
  return /^\d{8}$/.test(date) ? `${date.slice(0, 4)}-${date.slice(4, 6)}-${date.slice(6)}` : date;
}

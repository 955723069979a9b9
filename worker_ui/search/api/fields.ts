/** The facets that the page shows, and the words for them. */

import { isState, STATES, type State } from '../parts/states';

export interface FieldWords {
  readonly title: string;
  readonly state: State | null;
}

/** What findings may be counted by; the first is shown first. */
export const VOCABULARIES = [
  { name: 'labels', title: 'Labels' },
  { name: 'diagnoses', title: 'Diagnoses' },
  { name: 'signs', title: 'Signs' },
  { name: 'symptoms', title: 'Symptoms' },
  { name: 'codes', title: 'ICD-10-CM' },
] as const;

export type Vocabulary = (typeof VOCABULARIES)[number]['name'];

export function isVocabulary(value: string): value is Vocabulary {
  return VOCABULARIES.some(({ name }) => name === value);
}

/** Return the three fields of a report that hold one vocabulary. */
export function reportFields(vocabulary: Vocabulary): readonly string[] {
  return STATES.map((state) => `${state}_${vocabulary}`);
}

/** Fields of the images by which a list of similar images can be narrowed. */
export const IMAGE_FACETS = ['labels_positive', 'labels_uncertain', 'labels_negative', 'view_position', 'sex'] as const;

const OTHERS: Readonly<Record<string, string>> = {
  view_position: 'View',
  sex: 'Sex',
  modality: 'Modality',
  body_part: 'Body part',
};

/** Return the words for a field such as ``positive_signs`` of a report or ``labels_positive`` of an image. */
export function fieldOf(field: string): FieldWords {
  const [first = '', second = ''] = field.split('_');
  const state = isState(first) ? first : isState(second) ? second : null;
  const other = Object.hasOwn(OTHERS, field) ? OTHERS[field] : undefined;
  const title = state ? `${state.charAt(0).toUpperCase()}${state.slice(1)}` : (other ?? field.replaceAll('_', ' '));
  return { title, state };
}

/** Where a person is in the page. A web address holds ids only; what was typed and chosen stays in the browser's history. */

import { isObject, text } from '../../shared/json';

/** One chosen value of a facet, such as Effusion among the positive findings. */
export interface Chosen {
  readonly field: string;
  readonly value: string;
}

export interface ReportsPlace {
  readonly kind: 'reports';
  readonly text: string;
  readonly chosen: readonly Chosen[];
  /** Id of the report that the others should resemble, or empty. */
  readonly like: string;
  /** Cursors of the pages up to this one; empty on the first page. */
  readonly cursors: readonly string[];
}

export interface ImagePlace {
  readonly kind: 'image';
  /** Id of an image of the index, or of an upload, which the service keeps for a while. */
  readonly id: string;
  /** Words that the reports of the similar images should have, or empty. */
  readonly text: string;
  readonly sameView: boolean;
  readonly samePatient: boolean;
  readonly chosen: readonly Chosen[];
  readonly like: readonly string[];
  readonly unlike: readonly string[];
}

export type Place = ReportsPlace | ImagePlace;

export const START: ReportsPlace = { kind: 'reports', text: '', chosen: [], like: '', cursors: [] };

export function imagePlace(id: string): ImagePlace {
  return { kind: 'image', id, text: '', sameView: false, samePatient: false, chosen: [], like: [], unlike: [] };
}

/** Return the part of the address after "#", which no request carries. */
export function addressOf(place: Place): string {
  if (place.kind === 'image') return `#/image/${encodeURIComponent(place.id)}`;
  return place.like ? `#/like/${encodeURIComponent(place.like)}` : '#/';
}

/** Return the place that an address leads to; anything unknown is the start. */
export function placeAt(address: string): Place {
  const match = /^#\/(image|like)\/([^/?#]{1,600})$/.exec(address);
  if (!match?.[2]) return START;
  let id: string;
  try {
    id = decodeURIComponent(match[2]);
  } catch {
    return START; // a broken escape such as "%E0"
  }
  return match[1] === 'image' ? imagePlace(id) : { ...START, like: id };
}

/** Return the place kept in the history, or null when it is none: an entry may be of another program. */
export function readPlace(value: unknown): Place | null {
  if (!isObject(value)) return null;
  if (value['kind'] === 'reports') {
    const { like, cursors, chosen } = value;
    return { kind: 'reports', text: text(value['text']), like: text(like), cursors: texts(cursors), chosen: choices(chosen) };
  }
  if (value['kind'] !== 'image' || text(value['id']) === '') return null;
  return {
    kind: 'image',
    id: text(value['id']),
    text: text(value['text']),
    sameView: value['sameView'] === true,
    samePatient: value['samePatient'] === true,
    chosen: choices(value['chosen']),
    like: texts(value['like']),
    unlike: texts(value['unlike']),
  };
}

/** Choose a value of a facet, or take it back. */
export function toggle(chosen: readonly Chosen[], one: Chosen): readonly Chosen[] {
  const others = chosen.filter(({ field, value }) => field !== one.field || value !== one.value);
  return others.length < chosen.length ? others : [...chosen, one];
}

export function isChosen(chosen: readonly Chosen[], field: string, value: string): boolean {
  return chosen.some((one) => one.field === field && one.value === value);
}

/** Return the filter of the choices: every one of them has to match, also two of one field. */
export function whereOf(chosen: readonly Chosen[]): Record<string, unknown> | null {
  if (chosen.length === 0) return null;
  return { and: chosen.map(({ field, value }) => ({ [field]: [value] })) };
}

function texts(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((one): one is string => typeof one === 'string') : [];
}

function choices(value: unknown): Chosen[] {
  const given = Array.isArray(value) ? value.filter(isObject) : [];
  return given.map((one) => ({ field: text(one['field']), value: text(one['value']) })).filter(({ field }) => field !== '');
}

/**
 * What a task contains and what a reader says about its image.
 *
 * Points are [x, y] in image pixels with a corner origin: (0, 0) is the outer corner of the first pixel, x runs along the
 * columns, y along the rows. Everything here is immutable; a change creates a new object.
 */

import type { ImageSource } from '../pixels/radiograph-image';
import type { Point, Shape } from '../shapes/geometry';

export type LabelState = 'positive' | 'uncertain' | 'negative' | 'unknown';
export const LABEL_STATES: readonly LabelState[] = ['positive', 'uncertain', 'negative', 'unknown'];

/** A marked place, bound to one label. Rectangle and ellipse have two opposite corners of their bounding box. */
export interface Region {
  readonly id: string;
  readonly label: string;
  readonly shape: Shape;
  readonly points: readonly Point[];
  readonly comment: string;
}

/** A length has two points; an angle three, its vertex in the middle. */
export interface Measurement {
  readonly id: string;
  readonly kind: 'length' | 'angle';
  readonly points: readonly Point[];
}

/**
 * What a reader says of one image: the part that is undone and redone, kept as a draft and sent.
 *
 * A label that is missing from `labels` has not been answered; "unknown" is the explicit "not assessed".
 */
export interface Reading {
  readonly labels: Readonly<Record<string, LabelState>>;
  readonly regions: readonly Region[];
  readonly measurements: readonly Measurement[];
  readonly comment: string;
  /** Reason code, or empty for an image that can be read. */
  readonly unusable: string;
}

/** Label objects have no prototype: a label may have any name, even "constructor". */
export const EMPTY_READING: Reading = {
  labels: Object.freeze(Object.create(null)),
  regions: [],
  measurements: [],
  comment: '',
  unusable: '',
};

// ---- What a task brings -------------------------------------------------------------------------------------------------

export interface Finding {
  readonly label: string;
  readonly definition: string;
  /** Whether a present finding needs a region, may have one, or cannot have one. */
  readonly region: 'required' | 'optional' | 'none';
}

export type AssistanceMode = 'off' | 'after-first-read' | 'shown';

/** What a model says of the image. */
export interface Suggestions {
  readonly mode: AssistanceMode;
  readonly model: string;
  /** Probability in [0, 1] by label. */
  readonly probabilities: Readonly<Record<string, number>>;
  readonly regions: readonly Region[];
}

/** One earlier reader of a task in adjudication; `name` is A, B, C …, never a worker id. */
export interface EarlierReading {
  readonly name: string;
  readonly reading: Reading;
}

export interface SecondImage extends ImageSource {
  readonly role: 'lateral' | 'prior' | 'other';
  readonly caption: string;
}

export interface Task {
  readonly labelSet: LabelSet;
  /** Identifies job, object and worker; drafts are stored under it. */
  readonly key: string;
  readonly image: ImageSource;
  readonly second: SecondImage | null;
  readonly findings: readonly Finding[];
  readonly instructions: string;
  /** Whether every finding must be answered before the reading can be sent. */
  readonly answerAll: boolean;
  readonly suggestions: Suggestions | null;
  /** With two or more, the page is in adjudication. */
  readonly earlier: readonly EarlierReading[];
  /** A reading to start from. */
  readonly start: Reading | null;
  /** Invalid parts of the task input, which were ignored; shown for the owner of the job. */
  readonly problems: readonly string[];
}

/** Codes of the answer's schema for why an image cannot be read. */
export const REASON_CODES = [
  'not-displayed',
  'poor-quality',
  'motion',
  'rotation',
  'wrong-view',
  'wrong-body-part',
  'incomplete',
  'foreign-object',
  'identity-visible',
  'other',
] as const;
export type ReasonCode = (typeof REASON_CODES)[number];

/** What a page defines for its kind of image, independent of the task. */
export interface LabelSet {
  /** Names the kind of image, as a heading. */
  readonly title: string;
  /** Meaning of labels, for tasks that define none. */
  readonly definitions: ReadonlyMap<string, string>;
  /** The label that says that the others are absent. */
  readonly noFinding: string;
  /** Labels that may be present beside it. */
  readonly besideNoFinding: readonly string[];
  /** Why an image cannot be read, in the words shown to the reader. */
  readonly unusableReasons: Readonly<Record<ReasonCode, string>>;
}

/** What the page shows, read from the service's answers by `read.ts`. */

import type { Span } from '../parts/offsets';

export interface Bucket {
  readonly value: string;
  /** What to show for the value: of an ICD-10-CM code its description. */
  readonly name: string;
  readonly count: number;
}

export interface Facet {
  readonly field: string;
  readonly buckets: readonly Bucket[];
  readonly exact: boolean;
}

export interface Finding {
  readonly concept: string;
  /** positive, negative, uncertain; or history, family, hypothetical. */
  readonly state: string;
  readonly kind: string;
  readonly code: string;
  readonly codeText: string;
  readonly section: string;
  readonly laterality: string;
  /** The sentence that states it. */
  readonly sentence: string;
}

export interface ImageSummary {
  readonly id: string;
  /** It is a query and not in the index. */
  readonly uploaded: boolean;
  readonly reportId: string;
  readonly studyDate: string;
  readonly modality: string;
  readonly viewPosition: string;
  readonly bodyPart: string;
  readonly laterality: string;
  readonly sex: string;
  readonly rows: number;
  readonly columns: number;
  readonly positive: readonly string[];
  readonly uncertain: readonly string[];
}

export interface Section {
  readonly name: string;
  readonly text: string;
  readonly marks: readonly Span[];
}

export interface Report {
  readonly id: string;
  readonly studyDate: string;
  /** Section by section; the text that matched is marked. */
  readonly sections: readonly Section[];
  readonly findings: readonly Finding[];
  readonly images: readonly ImageSummary[];
  readonly score: number;
}

export interface ReportsPage {
  readonly total: number;
  /** Continues after this page; empty at the end. */
  readonly cursor: string;
  readonly reports: readonly Report[];
  readonly facets: readonly Facet[];
}

export interface SimilarHit {
  readonly image: ImageSummary;
  /** Cosine similarity, from -1 to 1. */
  readonly score: number;
  readonly impression: string;
  /** Of its report, where words were searched as well. */
  readonly sentence: string;
  readonly studies: readonly PatientStudy[];
}

/** Another study of the patient of a hit: what was reported before or after. */
export interface PatientStudy {
  readonly when: 'earlier' | 'later';
  readonly date: string;
  /** Between this study and that of the image; null where a date is missing. */
  readonly days: number | null;
  readonly impression: string;
  readonly imageIds: readonly string[];
}

export interface Similar {
  readonly hits: readonly SimilarHit[];
  readonly exact: boolean;
  readonly facets: readonly Facet[];
}

export interface ImageDetails {
  readonly image: ImageSummary;
  readonly report: Report | null;
  readonly similar: Similar;
}

export interface IndexSummary {
  readonly reports: number;
  readonly acceptsUploads: boolean;
  /** Whether the service says why two images are similar. */
  readonly explains: boolean;
}

/** How much each region of an image adds to a similarity. */
export interface HeatMap {
  readonly rows: number;
  readonly columns: number;
  /** Row by row, from 0 to 1. */
  readonly values: readonly number[];
}

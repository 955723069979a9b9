/** Reads the service's answers. What is missing or of another type becomes empty: a page with a gap is better than none. */

import { isObject, own, text } from '../../shared/json';
import type { Span } from '../parts/offsets';
import type {
  Facet,
  Finding,
  HeatMap,
  ImageDetails,
  ImageSummary,
  IndexSummary,
  PatientStudy,
  Report,
  ReportsPage,
  Section,
  Similar,
  SimilarHit,
} from './types';

export function readReports(data: unknown): ReportsPage {
  const reports = own(data, 'reports');
  const page = own(reports, 'pageInfo');
  return {
    total: number(own(reports, 'totalCount')),
    cursor: own(page, 'hasNextPage') === true ? text(own(page, 'endCursor')) : '',
    reports: list(own(reports, 'edges')).map((edge) =>
      readReport(own(edge, 'node'), number(own(edge, 'score')), list(own(edge, 'highlights')).map(readSentence)),
    ),
    facets: list(own(reports, 'facets')).map(readFacet),
  };
}

export function readImage(data: unknown): ImageDetails | null {
  const image = own(data, 'image');
  if (!isObject(image)) return null;
  const report = own(image, 'report');
  return {
    image: readSummary(image),
    report: isObject(report) ? readReport(report, 0, []) : null,
    similar: readSimilar(own(image, 'similar')),
  };
}

/** The cases of an image and words together, each shown by its image that is most similar; those without one are left out. */
export function readCases(data: unknown): ImageDetails | null {
  const details = readImage(data);
  const cases = own(data, 'cases');
  const hits = list(own(cases, 'hits')).flatMap((one) => {
    const best = list(own(one, 'images'))[0];
    const sentence = list(own(one, 'highlights')).map((found) => text(own(found, 'sentence')))[0];
    return best ? [{ ...readHit(best), impression: impressionOf(own(one, 'report')), sentence: sentence ?? '' }] : [];
  });
  // The filters of this list are those of images: positive_labels of a report are labels_positive of its images.
  const facets = list(own(cases, 'facets'))
    .map(readFacet)
    .map((facet) => ({ ...facet, field: facet.field.split('_').reverse().join('_') }));
  return details && { ...details, similar: { exact: own(cases, 'exact') === true, hits, facets } };
}

export function readIndex(data: unknown): IndexSummary {
  return {
    reports: number(own(own(data, 'reports'), 'totalCount')),
    acceptsUploads: own(own(data, 'index'), 'acceptsUploads') === true,
    explains: own(own(data, 'index'), 'explains') === true,
  };
}

export function readMap(data: unknown): HeatMap | null {
  const map = own(own(data, 'image'), 'similarityMap');
  const [rows, columns] = [number(own(map, 'rows')), number(own(map, 'columns'))];
  const given = own(map, 'values');
  const values = (Array.isArray(given) ? given : []).map(number);
  return rows > 0 && values.length === rows * columns ? { rows, columns, values } : null;
}

function readSimilar(value: unknown): Similar {
  return {
    exact: own(value, 'exact') === true,
    hits: list(own(value, 'hits')).map(readHit),
    facets: list(own(value, 'imageFacets')).map(readFacet),
  };
}

function readHit(value: Record<string, unknown>): SimilarHit {
  const image = own(value, 'image');
  const studies = (name: 'earlier' | 'later'): PatientStudy[] => list(own(image, name)).map((one) => readStudy(one, name));
  return {
    image: readSummary(image),
    score: number(own(value, 'score')),
    impression: impressionOf(own(image, 'report')),
    sentence: '',
    studies: [...studies('earlier').reverse(), ...studies('later')],
  };
}

function readStudy(value: Record<string, unknown>, when: 'earlier' | 'later'): PatientStudy {
  const days = own(value, 'days');
  return {
    when,
    date: text(own(value, 'studyDate')),
    days: typeof days === 'number' ? Math.abs(days) : null,
    impression: impressionOf(own(value, 'report')),
    imageIds: list(own(value, 'images')).map((one) => text(own(one, 'id'))),
  };
}

function impressionOf(report: unknown): string {
  return list(own(report, 'sections')).map((one) => text(own(one, 'text')))[0] ?? '';
}

/** `matched` are sentences in offsets of the whole text; a section's own begin there. */
function readReport(value: unknown, score: number, matched: readonly Span[]): Report {
  return {
    id: text(own(value, 'id')),
    studyDate: text(own(value, 'studyDate')),
    sections: list(own(value, 'sections')).map((one) => readSection(one, matched)),
    findings: list(own(value, 'findings')).map(readFinding),
    images: list(own(value, 'images')).map(readSummary),
    score,
  };
}

function readSection(value: Record<string, unknown>, matched: readonly Span[]): Section {
  const begin = own(value, 'begin');
  const content = text(own(value, 'text'));
  const shift = typeof begin === 'number' ? begin : null;
  const marks = shift === null ? [] : matched.map((one) => ({ begin: one.begin - shift, end: one.end - shift }));
  const length = Array.from(content).length;
  return { name: text(own(value, 'name')), text: content, marks: marks.filter((one) => one.end > 0 && one.begin < length) };
}

function readSentence(value: Record<string, unknown>): Span {
  return { begin: number(own(value, 'sentenceBegin')), end: number(own(value, 'sentenceEnd')) };
}

function readFinding(value: Record<string, unknown>): Finding {
  const of = (name: string): string => text(own(value, name));
  return {
    concept: of('concept'),
    state: of('state'),
    kind: of('kind'),
    code: of('code'),
    codeText: of('codeText'),
    section: of('section'),
    laterality: of('laterality'),
    sentence: of('sentence'),
  };
}

function readSummary(value: unknown): ImageSummary {
  const of = (name: string): string => text(own(value, name));
  return {
    id: of('id'),
    uploaded: own(value, 'uploaded') === true,
    reportId: of('reportId'),
    studyDate: of('studyDate'),
    modality: of('modality'),
    viewPosition: of('viewPosition'),
    bodyPart: of('bodyPart'),
    laterality: of('laterality'),
    sex: of('sex'),
    rows: number(own(value, 'rows')),
    columns: number(own(value, 'columns')),
    positive: texts(own(value, 'labelsPositive')),
    uncertain: texts(own(value, 'labelsUncertain')),
  };
}

function readFacet(value: Record<string, unknown>): Facet {
  const buckets = list(own(value, 'values')).map((one) => {
    const name = text(own(one, 'text'));
    const code = text(own(one, 'value'));
    return { value: code, name: name || code, count: number(own(one, 'count')) };
  });
  return { field: text(own(value, 'field')), buckets, exact: own(value, 'exact') !== false };
}

function list(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

function texts(value: unknown): string[] {
  return Array.isArray(value) ? value.map(text).filter((one) => one !== '') : [];
}

function number(value: unknown): number {
  return typeof value === 'number' && Number.isFinite(value) ? value : 0;
}

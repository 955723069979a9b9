/** The questions that the page asks the service. */

import { whereOf, type ImagePlace, type ReportsPlace } from '../state/places';
import type { Transport } from '../transport/transport';
import { IMAGE_FACETS, reportFields, type Vocabulary } from './fields';
import { readCases, readImage, readIndex, readMap, readReports } from './read';
import type { HeatMap, ImageDetails, IndexSummary, ReportsPage } from './types';

export const FEW_REPORTS = 20;
const MOST_VALUES = 50;
export const NEIGHBORS = 30;

const IMAGE = `id uploaded reportId studyDate modality viewPosition bodyPart laterality sex rows columns
  labelsPositive labelsUncertain labelsNegative`;
const REPORT = `id studyDate sections { name text begin }
  findings { concept state kind code codeText section laterality sentence }`;
const STUDIES = `studyDate days images { id } report { sections(name: "impression") { text } }`;

const REPORTS = `query Reports($text: String!, $where: Where, $like: ID, $first: Int!, $after: String, $fields: [String!]!,
    $values: Int!) {
  reports(text: $text, where: $where, like: $like, first: $first, after: $after) {
    totalCount
    pageInfo { endCursor hasNextPage }
    edges { score highlights { begin end sentenceBegin sentenceEnd } node { ${REPORT} images { ${IMAGE} } } }
    facets(fields: $fields, size: $values) { field exact values { value text count } }
  }
}`;

const IMAGE_PAGE = `query Image($id: ID!, $k: Int!, $where: Where, $excludePatient: Boolean!, $like: [ID!], $unlike: [ID!],
    $fields: [String!]!, $values: Int!) {
  image(id: $id) {
    ${IMAGE}
    report { ${REPORT} images { ${IMAGE} } }
    similar(k: $k, where: $where, excludePatient: $excludePatient, like: $like, unlike: $unlike) {
      exact
      hits {
        score
        image { ${IMAGE} report { sections(name: "impression") { text } } earlier { ${STUDIES} } later { ${STUDIES} } }
      }
      imageFacets(fields: $fields, size: $values) { field exact values { value text count } }
    }
  }
}`;

const CASES = `query Cases($id: ID!, $text: String!, $k: Int!, $where: Where, $excludePatient: Boolean!, $fields: [String!]!,
    $values: Int!) {
  image(id: $id) { ${IMAGE} report { ${REPORT} images { ${IMAGE} } } }
  cases(text: $text, imageId: $id, first: $k, where: $where, excludePatient: $excludePatient) {
    exact
    hits {
      report { sections(name: "impression") { text } }
      highlights { sentence }
      images { score image { ${IMAGE} earlier { ${STUDIES} } later { ${STUDIES} } } }
    }
    facets(fields: $fields, size: $values) { field exact values { value text count } }
  }
}`;

const INDEX = `{ reports(first: 1) { totalCount } index { acceptsUploads explains } }`;

const MAP = `query Map($id: ID!, $to: ID!) { image(id: $id) { similarityMap(to: $to) { rows columns values } } }`;

/** Return one page of reports with the facets over all of them. */
export async function searchReports(
  transport: Transport,
  { text, chosen, like, cursors }: ReportsPlace,
  vocabulary: Vocabulary,
  signal: AbortSignal,
): Promise<ReportsPage> {
  const variables = {
    text,
    where: whereOf(chosen),
    like: like || null,
    first: FEW_REPORTS,
    after: cursors.at(-1) ?? null,
    fields: reportFields(vocabulary),
    values: MOST_VALUES,
  };
  return readReports(await transport.graphql(REPORTS, variables, signal));
}

/** Return an image, its report and what is similar: to the image, or to it and some words together; null for no such image. */
export async function openImage(
  transport: Transport,
  place: ImagePlace,
  viewPosition: string,
  signal: AbortSignal,
): Promise<ImageDetails | null> {
  const chosen =
    place.sameView && viewPosition ? [...place.chosen, { field: 'view_position', value: viewPosition }] : place.chosen;
  const common = {
    id: place.id,
    k: NEIGHBORS,
    where: whereOf(chosen),
    excludePatient: !place.samePatient,
    values: MOST_VALUES,
  };
  if (place.text !== '') {
    const variables = { ...common, text: place.text, fields: reportFields('labels') };
    return readCases(await transport.graphql(CASES, variables, signal));
  }
  const variables = { ...common, like: place.like, unlike: place.unlike, fields: IMAGE_FACETS };
  return readImage(await transport.graphql(IMAGE_PAGE, variables, signal));
}

/** Return what the service can do. */
export async function openIndex(transport: Transport, signal: AbortSignal): Promise<IndexSummary> {
  return readIndex(await transport.graphql(INDEX, {}, signal));
}

/** Return how much each region of an image adds to its similarity to another one. */
export async function similarityMap(
  transport: Transport,
  id: string,
  to: string,
  signal: AbortSignal,
): Promise<HeatMap | null> {
  return readMap(await transport.graphql(MAP, { id, to }, signal));
}

/** Reads the task that the host put into the page. Invalid parts are left out and reported in `problems`. */

import { truncate, isObject, own, describe } from '../json';
import { FormError, list, readRegion } from '../answer/form';
import { readAnswer } from '../answer/read';
import { agreedReading } from '../state/disagreements';
import { fittedTo } from '../state/reading';
import { draftKey } from '../drafts/key';
import type {
  AssistanceMode,
  EarlierReading,
  Finding,
  Reading,
  Region,
  SecondImage,
  Suggestions,
  Task,
  LabelSet,
} from '../state/types';
import type { ImageSource } from '../pixels/radiograph-image';

const LIMITS = {
  labels: 200,
  label: 200,
  instructions: 20_000,
  definition: 2_000,
  shortText: 200,
  readers: 26,
  regions: 500,
  problems: 20,
} as const;
const MODES: readonly AssistanceMode[] = ['off', 'after-first-read', 'shown'];

type Report = (problem: string) => void;

/** Return the task of the page's element; never throws. */
export function readTask(element: HTMLElement, labelSet: LabelSet): Task {
  const problems: string[] = [];
  const report: Report = (problem) => {
    if (problems.length < LIMITS.problems && !problems.includes(problem)) problems.push(problem);
  };
  const given = element.dataset;
  const input = parsed(given['task'], report);
  const findings = readOr(report, [], () => readFindings(input, given['labels'], labelSet, report));
  const labels = findings.map((finding) => finding.label);
  const image = {
    url: readImageUrl(given['image'], report),
    renderedUrl: readImageUrl(given['rendered'] || own(input, 'renderedImage'), report),
  };
  if (image.url === '') report('The task names no image.');
  const second = readOr(report, null, () => readSecond(input, given['second'], report));
  const suggestions = readOr(report, null, () => readSuggestions(own(input, 'suggestions'), labels, report));
  const earlier = readOr(report, [], () => readEarlier(own(input, 'earlier_answers'), report));
  return {
    labelSet,
    key: draftKey(input, [image.url, second?.url ?? ''], labels, earlier.length > 1),
    image,
    second,
    findings,
    instructions: readText(own(input, 'instructions'), 'instructions', LIMITS.instructions, report),
    answerAll: readAnswerAll(own(input, 'rules'), report),
    suggestions,
    earlier,
    start: readOr(report, null, () => readStart(own(input, 'start_answer'), findings, earlier, report)),
    problems,
  };
}

/** Return a part of the task, or the fallback when it is invalid. */
function readOr<T>(report: Report, otherwise: T, make: () => T): T {
  try {
    return make();
  } catch (error) {
    report(error instanceof FormError ? error.message : 'Part of the task cannot be read.');
    return otherwise;
  }
}

function parsed(json: string | undefined, report: Report): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(json || '{}');
    if (isObject(value)) return value;
  } catch {
    // reported below
  }
  report('The task is not a JSON object.');
  return {};
}

function readFindings(
  input: Record<string, unknown>,
  otherwise: string | undefined,
  labelSet: LabelSet,
  report: Report,
): Finding[] {
  const definitions = own(input, 'definitions'),
    regions = own(own(input, 'rules'), 'regions');
  if (definitions !== undefined && !isObject(definitions)) report('The definitions are not an object of label to text.');
  if (regions !== undefined && !isObject(regions)) report('The rules for regions are not an object of label to rule.');
  const labels = readLabelList(own(input, 'labels') ?? otherwise, report);
  if (labels.length === 0) report('The task names no findings.');
  return labels.map((label) => ({
    label,
    definition:
      readText(own(definitions, label), `definition of “${label}”`, LIMITS.definition, report) ||
      (labelSet.definitions.get(label) ?? ''),
    region: regionRule(label, regions, labelSet, report),
  }));
}

function readLabelList(value: unknown, report: Report): string[] {
  const given = Array.isArray(value) ? value : typeof value === 'string' ? splitLabels(value) : [];
  if (value !== undefined && value !== null && !Array.isArray(value) && typeof value !== 'string')
    report('The labels are not a list of texts.');
  const labels = new Set<string>();
  for (const one of given) {
    const label = typeof one === 'string' ? truncate(one.trim(), LIMITS.label + 1) : '';
    if (label === '') report('A label that is empty or not text was left out.');
    else if (label.length > LIMITS.label)
      report(`A label of more than ${LIMITS.label} characters was left out: ${describe(label)}.`);
    else if (labels.has(label)) report(`The label ${describe(label)} is listed more than once.`);
    else if (labels.size === LIMITS.labels) {
      report(`Only the first ${LIMITS.labels} labels are used.`);
      break;
    } else labels.add(label);
  }
  return [...labels];
}

/** Split labels given as one text: JSON, as in a template's attribute, or separated by commas. */
function splitLabels(text: string): unknown[] {
  if (text.trimStart().startsWith('[')) {
    try {
      const value: unknown = JSON.parse(text);
      if (Array.isArray(value)) return value;
    } catch {
      // a label that starts with a bracket
    }
  }
  return text.trim() === '' ? [] : text.split(',', LIMITS.labels + 1);
}

function regionRule(label: string, rules: unknown, { noFinding }: LabelSet, report: Report): Finding['region'] {
  const usual: Finding['region'] = label === noFinding ? 'none' : 'optional';
  const rule = own(rules, label) ?? (label === noFinding ? undefined : own(rules, '*'));
  if (rule === undefined || rule === null) return usual;
  if (rule === 'required' || rule === 'optional' || rule === 'none') return rule;
  report(`The region rule of “${label}” is ${describe(rule)}; it may be required, optional or none.`);
  return usual;
}

function readAnswerAll(rules: unknown, report: Report): boolean {
  if (rules !== undefined && !isObject(rules)) report('The rules are not an object.');
  const value = own(rules, 'answer_all');
  if (value !== undefined && value !== null && typeof value !== 'boolean')
    report(`“answer_all” is ${describe(value)}; it may be true or false.`);
  return value !== false;
}

function readSecond(input: Record<string, unknown>, granted: string | undefined, report: Report): SecondImage | null {
  const given = own(input, 'second_image'),
    url = readImageUrl(granted, report);
  if (url === '') {
    if (given !== undefined && given !== null) report('The second image has no address.');
    return null;
  }
  const role = own(given, 'role');
  if (role !== undefined && role !== null && role !== 'lateral' && role !== 'prior' && role !== 'other')
    report(`The role of the second image is ${describe(role)}.`);
  return {
    url,
    renderedUrl: readImageUrl(own(input, 'renderedSecond'), report),
    role: role === 'lateral' || role === 'prior' ? role : 'other',
    caption: readText(own(given, 'caption'), 'caption', LIMITS.shortText, report),
  };
}

function readSuggestions(value: unknown, labels: readonly string[], report: Report): Suggestions | null {
  if (value === undefined || value === null) return null;
  if (!isObject(value)) throw new FormError('The suggestions are not an object.');
  const mode = own(value, 'mode') ?? 'after-first-read';
  // An unknown mode is read as "after-first-read", which keeps the first reading independent of the model.
  if (!MODES.includes(mode as AssistanceMode))
    report(`The mode of the suggestions is ${describe(mode)}; it may be ${MODES.join(', ')}.`);
  return {
    mode: MODES.includes(mode as AssistanceMode) ? (mode as AssistanceMode) : 'after-first-read',
    model: readText(own(value, 'model'), 'name of the model', LIMITS.shortText, report),
    probabilities: readProbabilities(own(value, 'probabilities'), labels, report),
    regions: readSuggestedRegions(own(value, 'regions'), labels, report),
  };
}

function readProbabilities(value: unknown, labels: readonly string[], report: Report): Record<string, number> {
  const probabilities: Record<string, number> = Object.create(null);
  if (value !== undefined && !isObject(value)) report('The probabilities are not an object of label to number.');
  for (const label of labels) {
    const one = own(value, label);
    if (typeof one === 'number' && one >= 0 && one <= 1) probabilities[label] = one;
    else if (one !== undefined && one !== null) report(`The probability of “${label}” is not a number from 0 to 1.`);
  }
  return probabilities;
}

function readSuggestedRegions(value: unknown, labels: readonly string[], report: Report): Region[] {
  const given = readOr(report, [], () => list(value, 'suggested regions'));
  if (given.length > LIMITS.regions) report(`Only the first ${LIMITS.regions} suggested regions are shown.`);
  const regions = given
    .slice(0, LIMITS.regions)
    .map((one, index) => readOr(report, null, () => readRegion(one, `model-${index + 1}`)));
  return regions.filter((region): region is Region => region !== null && labels.includes(region.label));
}

function readEarlier(value: unknown, report: Report): EarlierReading[] {
  const given = list(value, 'earlier answers');
  if (given.length > LIMITS.readers) report(`Only the first ${LIMITS.readers} earlier answers are shown.`);
  const readings = given.slice(0, LIMITS.readers).map((one, index): EarlierReading | null => {
    const name = readerLetter(own(one, 'reader'), index);
    const { reading, reason } = readAnswer(own(one, 'answer') ?? null, `earlier-${name}`);
    if (reading === null) report(`Earlier answer ${name} was left out. ${reason}`);
    return reading && { name, reading };
  });
  const kept = readings.filter((one): one is EarlierReading => one !== null);
  // Duplicate names would share one column of the table: then all readers are named by position.
  return new Set(kept.map((one) => one.name)).size === kept.length
    ? kept
    : kept.map((one, index) => ({ ...one, name: readerLetter('', index) }));
}

/** Return the reader's letter: any other name could be a worker id, which must not be shown. */
function readerLetter(name: unknown, index: number): string {
  return typeof name === 'string' && /^[A-Z]$/.test(name) ? name : String.fromCharCode(65 + index);
}

function readStart(
  value: unknown,
  findings: readonly Finding[],
  earlier: readonly EarlierReading[],
  report: Report,
): Reading | null {
  if (value === undefined || value === null || value === '')
    return earlier.length > 1 ? agreedReading(findings, earlier) : null;
  const { reading, reason } = readAnswer(value, 'start');
  if (reading === null) report(`The answer to start from was left out. ${reason}`);
  return reading && fittedTo(findings, reading);
}

function readText(value: unknown, what: string, most: number, report: Report): string {
  if (value === undefined || value === null) return '';
  if (typeof value !== 'string') {
    report(`The ${what} is not text.`);
    return '';
  }
  if (value.length > most) report(`The ${what} was cut after ${most} characters.`);
  return truncate(value, most);
}

/** Return an address from which an image can be fetched; javascript: and the like are refused. */
function readImageUrl(value: unknown, report: Report): ImageSource['url'] {
  if (value === undefined || value === null || value === '') return '';
  try {
    const url = new URL(String(value), document.baseURI);
    if (['https:', 'http:', 'blob:', 'data:'].includes(url.protocol)) return url.href;
  } catch {
    // reported below
  }
  report(`An image's address cannot be used: ${describe(value)}.`);
  return '';
}

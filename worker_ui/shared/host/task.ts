/** What the host put into the page, as a task. Whatever cannot be used is left out with a sentence; the page goes on. */

import { cut, isObject, own, shown } from '../json';
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

const MOST = {
  labels: 200,
  label: 200,
  instructions: 20_000,
  definition: 2_000,
  words: 200,
  readers: 26,
  regions: 500,
  problems: 20,
} as const;
const MODES: readonly AssistanceMode[] = ['off', 'after-first-read', 'shown'];

type Tell = (problem: string) => void;

/** Return the task of the page's element; never throws. */
export function readTask(element: HTMLElement, labelSet: LabelSet): Task {
  const problems: string[] = [];
  const tell: Tell = (problem) => {
    if (problems.length < MOST.problems && !problems.includes(problem)) problems.push(problem);
  };
  const given = element.dataset;
  const input = parsed(given['task'], tell);
  const findings = part(tell, [], () => readFindings(input, given['labels'], labelSet, tell));
  const labels = findings.map((finding) => finding.label);
  const image = {
    url: address(given['image'], tell),
    renderedUrl: address(given['rendered'] || own(input, 'renderedImage'), tell),
  };
  if (image.url === '') tell('The task names no image.');
  const second = part(tell, null, () => readSecond(input, given['second'], tell));
  const suggestions = part(tell, null, () => readSuggestions(own(input, 'suggestions'), labels, tell));
  const earlier = part(tell, [], () => readEarlier(own(input, 'earlier_answers'), tell));
  return {
    labelSet,
    key: draftKey(input, [image.url, second?.url ?? ''], labels, earlier.length > 1),
    image,
    second,
    findings,
    instructions: words(own(input, 'instructions'), 'instructions', MOST.instructions, tell),
    answerAll: readAnswerAll(own(input, 'rules'), tell),
    suggestions,
    earlier,
    start: part(tell, null, () => readStart(own(input, 'start_answer'), findings, earlier, tell)),
    problems,
  };
}

/** Return a part of the task, or what stands in for it when it cannot be used. */
function part<T>(tell: Tell, otherwise: T, make: () => T): T {
  try {
    return make();
  } catch (error) {
    tell(error instanceof FormError ? error.message : 'Part of the task cannot be read.');
    return otherwise;
  }
}

function parsed(json: string | undefined, tell: Tell): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(json || '{}');
    if (isObject(value)) return value;
  } catch {
    // told below
  }
  tell('The task is not a JSON object.');
  return {};
}

function readFindings(
  input: Record<string, unknown>, otherwise: string | undefined, labelSet: LabelSet, tell: Tell,
): Finding[] {
  const definitions = own(input, 'definitions'),
    regions = own(own(input, 'rules'), 'regions');
  if (definitions !== undefined && !isObject(definitions)) tell('The definitions are not an object of label to text.');
  if (regions !== undefined && !isObject(regions)) tell('The rules for regions are not an object of label to rule.');
  const labels = readLabelList(own(input, 'labels') ?? otherwise, tell);
  if (labels.length === 0) tell('The task names no findings.');
  return labels.map((label) => ({
    label,
    definition:
      words(own(definitions, label), `definition of “${label}”`, MOST.definition, tell) || (labelSet.definitions.get(label) ?? ''),
    region: regionRule(label, regions, labelSet, tell),
  }));
}

function readLabelList(value: unknown, tell: Tell): string[] {
  const given = Array.isArray(value) ? value : typeof value === 'string' ? split(value) : [];
  if (value !== undefined && value !== null && !Array.isArray(value) && typeof value !== 'string')
    tell('The labels are not a list of texts.');
  const labels = new Set<string>();
  for (const one of given) {
    const label = typeof one === 'string' ? cut(one.trim(), MOST.label + 1) : '';
    if (label === '') tell('A label that is empty or no text was left out.');
    else if (label.length > MOST.label) tell(`A label of more than ${MOST.label} characters was left out: ${shown(label)}.`);
    else if (labels.has(label)) tell(`The label ${shown(label)} is there more than once.`);
    else if (labels.size === MOST.labels) {
      tell(`Only the first ${MOST.labels} labels are asked.`);
      break;
    } else labels.add(label);
  }
  return [...labels];
}

/** Labels as one text: JSON, as a template's attribute has it, or with commas between them. */
function split(text: string): unknown[] {
  if (text.trimStart().startsWith('[')) {
    try {
      const value: unknown = JSON.parse(text);
      if (Array.isArray(value)) return value;
    } catch {
      // then it is a label that starts with a bracket
    }
  }
  return text.trim() === '' ? [] : text.split(',', MOST.labels + 1);
}

function regionRule(label: string, rules: unknown, { noFinding }: LabelSet, tell: Tell): Finding['region'] {
  const usual: Finding['region'] = label === noFinding ? 'none' : 'optional';
  const rule = own(rules, label) ?? (label === noFinding ? undefined : own(rules, '*'));
  if (rule === undefined || rule === null) return usual;
  if (rule === 'required' || rule === 'optional' || rule === 'none') return rule;
  tell(`The region rule of “${label}” is ${shown(rule)}; it may be required, optional or none.`);
  return usual;
}

function readAnswerAll(rules: unknown, tell: Tell): boolean {
  if (rules !== undefined && !isObject(rules)) tell('The rules are not an object.');
  const value = own(rules, 'answer_all');
  if (value !== undefined && value !== null && typeof value !== 'boolean')
    tell(`“answer_all” is ${shown(value)}; it may be true or false.`);
  return value !== false;
}

function readSecond(input: Record<string, unknown>, granted: string | undefined, tell: Tell): SecondImage | null {
  const given = own(input, 'second_image'),
    url = address(granted, tell);
  if (url === '') {
    if (given !== undefined && given !== null) tell('The second image has no address.');
    return null;
  }
  const role = own(given, 'role');
  if (role !== undefined && role !== null && role !== 'lateral' && role !== 'prior' && role !== 'other')
    tell(`The role of the second image is ${shown(role)}.`);
  return {
    url,
    renderedUrl: address(own(input, 'renderedSecond'), tell),
    role: role === 'lateral' || role === 'prior' ? role : 'other',
    caption: words(own(given, 'caption'), 'caption', MOST.words, tell),
  };
}

function readSuggestions(value: unknown, labels: readonly string[], tell: Tell): Suggestions | null {
  if (value === undefined || value === null) return null;
  if (!isObject(value)) throw new FormError('The suggestions are not an object.');
  const mode = own(value, 'mode') ?? 'after-first-read';
  // The safe one of the modes stands in for one that is misspelt: the first reading stays the reader's own.
  if (!MODES.includes(mode as AssistanceMode))
    tell(`The mode of the suggestions is ${shown(mode)}; it may be ${MODES.join(', ')}.`);
  return {
    mode: MODES.includes(mode as AssistanceMode) ? (mode as AssistanceMode) : 'after-first-read',
    model: words(own(value, 'model'), 'name of the model', MOST.words, tell),
    probabilities: readProbabilities(own(value, 'probabilities'), labels, tell),
    regions: readSuggestedRegions(own(value, 'regions'), labels, tell),
  };
}

function readProbabilities(value: unknown, labels: readonly string[], tell: Tell): Record<string, number> {
  const probabilities: Record<string, number> = Object.create(null);
  if (value !== undefined && !isObject(value)) tell('The probabilities are not an object of label to number.');
  for (const label of labels) {
    const one = own(value, label);
    if (typeof one === 'number' && one >= 0 && one <= 1) probabilities[label] = one;
    else if (one !== undefined && one !== null) tell(`The probability of “${label}” is not a number from 0 to 1.`);
  }
  return probabilities;
}

function readSuggestedRegions(value: unknown, labels: readonly string[], tell: Tell): Region[] {
  const given = part(tell, [], () => list(value, 'suggested regions'));
  if (given.length > MOST.regions) tell(`Only the first ${MOST.regions} suggested regions are shown.`);
  const regions = given
    .slice(0, MOST.regions)
    .map((one, index) => part(tell, null, () => readRegion(one, `model-${index + 1}`)));
  return regions.filter((region): region is Region => region !== null && labels.includes(region.label));
}

function readEarlier(value: unknown, tell: Tell): EarlierReading[] {
  const given = list(value, 'earlier answers');
  if (given.length > MOST.readers) tell(`Only the first ${MOST.readers} earlier answers are shown.`);
  const readings = given.slice(0, MOST.readers).map((one, index): EarlierReading | null => {
    const name = letter(own(one, 'reader'), index);
    const { reading, reason } = readAnswer(own(one, 'answer') ?? null, `earlier-${name}`);
    if (reading === null) tell(`Earlier answer ${name} was left out. ${reason}`);
    return reading && { name, reading };
  });
  const kept = readings.filter((one): one is EarlierReading => one !== null);
  // Names are all the readers' own or all by position: two of the same would be one column of the table.
  return new Set(kept.map((one) => one.name)).size === kept.length
    ? kept
    : kept.map((one, index) => ({ ...one, name: letter('', index) }));
}

/** A, B, C …: whatever else a host may have put there could be somebody's id. */
function letter(name: unknown, index: number): string {
  return typeof name === 'string' && /^[A-Z]$/.test(name) ? name : String.fromCharCode(65 + index);
}

function readStart(
  value: unknown,
  findings: readonly Finding[],
  earlier: readonly EarlierReading[],
  tell: Tell,
): Reading | null {
  if (value === undefined || value === null || value === '')
    return earlier.length > 1 ? agreedReading(findings, earlier) : null;
  const { reading, reason } = readAnswer(value, 'start');
  if (reading === null) tell(`The answer to start from was left out. ${reason}`);
  return reading && fittedTo(findings, reading);
}

function words(value: unknown, what: string, most: number, tell: Tell): string {
  if (value === undefined || value === null) return '';
  if (typeof value !== 'string') {
    tell(`The ${what} is no text.`);
    return '';
  }
  if (value.length > most) tell(`The ${what} was cut after ${most} characters.`);
  return cut(value, most);
}

/** An address from which an image can be fetched; nothing that would run. */
function address(value: unknown, tell: Tell): ImageSource['url'] {
  if (value === undefined || value === null || value === '') return '';
  try {
    const url = new URL(String(value), document.baseURI);
    if (['https:', 'http:', 'blob:', 'data:'].includes(url.protocol)) return url.href;
  } catch {
    // told below
  }
  tell(`An image's address cannot be used: ${shown(value)}.`);
  return '';
}

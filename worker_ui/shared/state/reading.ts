/** Reducer of the reading: every change is an action that returns a new reading. */

import type { Finding, LabelState, Measurement, Reading, Region, LabelSet, Task } from './types';
import type { Point } from '../shapes/geometry';

type LabeledTask = Pick<Task, 'findings' | 'labelSet'>;

export type Action =
  | { readonly kind: 'label'; readonly label: string; readonly state: LabelState | null }
  /** Set "No Finding" to present and unanswered findings to absent; present findings stay, as conflicts. */
  | { readonly kind: 'no-finding' }
  /** Set unanswered findings to absent, and derive "No Finding" from the answers. */
  | { readonly kind: 'others-absent' }
  /** Add a region, which sets its finding to present unless it is uncertain. */
  | { readonly kind: 'add-region'; readonly region: Region }
  | { readonly kind: 'move-region'; readonly id: string; readonly points: readonly Point[] }
  | { readonly kind: 'relabel-region'; readonly id: string; readonly label: string }
  | { readonly kind: 'comment-region'; readonly id: string; readonly comment: string }
  | { readonly kind: 'remove-region'; readonly id: string }
  | { readonly kind: 'add-measurement'; readonly measurement: Measurement }
  | { readonly kind: 'move-measurement'; readonly id: string; readonly points: readonly Point[] }
  | { readonly kind: 'remove-measurement'; readonly id: string }
  | { readonly kind: 'comment'; readonly comment: string }
  | { readonly kind: 'unusable'; readonly code: string }
  /** Replace the reading by that of a draft or another tab. */
  | { readonly kind: 'replace'; readonly reading: Reading };

/** Return the reading after an action; the same object when nothing changed. */
export function reduce(reading: Reading, action: Action, task: LabeledTask): Reading {
  switch (action.kind) {
    case 'label':
      return withLabel(reading, action.label, action.state);
    case 'no-finding':
      return withLabel(withLabels(reading, othersAbsent(reading, task)), task.labelSet.noFinding, 'positive');
    case 'others-absent':
      return withLabels(reading, withNoFinding(othersAbsent(reading, task), task));
    case 'add-region': {
      if (reading.regions.some((region) => region.id === action.region.id)) return reading;
      const called = reading.labels[action.region.label];
      const marked = { ...reading, regions: [...reading.regions, action.region] };
      return action.region.label === '' || called === 'uncertain' ? marked : withLabel(marked, action.region.label, 'positive');
    }
    case 'move-region':
      return withRegion(reading, action.id, (region) => ({ ...region, points: action.points }));
    case 'relabel-region': {
      const { label } = action;
      const relabeled = withRegion(reading, action.id, (region) => (region.label === label ? region : { ...region, label }));
      if (relabeled === reading || label === '' || reading.labels[label] === 'uncertain') return relabeled;
      return withLabel(relabeled, label, 'positive');
    }
    case 'comment-region': {
      const { comment } = action;
      return withRegion(reading, action.id, (region) => (region.comment === comment ? region : { ...region, comment }));
    }
    case 'remove-region':
      return without(reading, 'regions', action.id);
    case 'add-measurement':
      if (reading.measurements.some((measurement) => measurement.id === action.measurement.id)) return reading;
      return { ...reading, measurements: [...reading.measurements, action.measurement] };
    case 'move-measurement':
      if (!reading.measurements.some((one) => one.id === action.id)) return reading;
      return {
        ...reading,
        measurements: reading.measurements.map((one) => (one.id === action.id ? { ...one, points: action.points } : one)),
      };
    case 'remove-measurement':
      return without(reading, 'measurements', action.id);
    case 'comment':
      return action.comment === reading.comment ? reading : { ...reading, comment: action.comment };
    case 'unusable':
      return action.code === reading.unusable ? reading : { ...reading, unusable: action.code };
    case 'replace':
      return action.reading;
  }
}

/** Findings that cannot be present beside a present "No Finding". */
export function conflicts(reading: Reading, { noFinding, besideNoFinding }: LabelSet): string[] {
  if (reading.labels[noFinding] !== 'positive') return [];
  return Object.keys(reading.labels).filter(
    (label) => label !== noFinding && !besideNoFinding.includes(label) && reading.labels[label] === 'positive',
  );
}

/** Return the state of a finding, or null where it is not answered. */
export function stateOf(reading: Reading, label: string): LabelState | null {
  return Object.hasOwn(reading.labels, label) ? reading.labels[label]! : null;
}

/** Findings without an answer, in the task's order. */
export function unanswered(reading: Reading, findings: readonly Finding[]): string[] {
  return findings.map((finding) => finding.label).filter((label) => !Object.hasOwn(reading.labels, label));
}

function withLabel(reading: Reading, label: string, state: LabelState | null): Reading {
  if ((reading.labels[label] ?? null) === state) return reading;
  const labels: Record<string, LabelState> = { __proto__: null as never, ...reading.labels };
  if (state === null) delete labels[label];
  else labels[label] = state;
  return { ...reading, labels };
}

/** Callers only add labels: an equal number means that nothing changed. */
function withLabels(reading: Reading, labels: Record<string, LabelState>): Reading {
  return Object.keys(labels).length === Object.keys(reading.labels).length ? reading : { ...reading, labels };
}

function othersAbsent(reading: Reading, { findings, labelSet }: LabeledTask): Record<string, LabelState> {
  const labels: Record<string, LabelState> = { __proto__: null as never, ...reading.labels };
  for (const { label } of findings)
    if (label !== labelSet.noFinding && !Object.hasOwn(labels, label)) labels[label] = 'negative';
  return labels;
}

function withNoFinding(labels: Record<string, LabelState>, { findings, labelSet }: LabeledTask): Record<string, LabelState> {
  const { noFinding, besideNoFinding } = labelSet;
  if (!findings.some((finding) => finding.label === noFinding) || Object.hasOwn(labels, noFinding)) return labels;
  const states = Object.keys(labels)
    .filter((label) => !besideNoFinding.includes(label))
    .map((label) => labels[label]);
  const allAbsent = states.every((state) => state === 'negative');
  labels[noFinding] = states.includes('positive') ? 'negative' : allAbsent ? 'positive' : 'uncertain';
  return labels;
}

function withRegion(reading: Reading, id: string, change: (region: Region) => Region): Reading {
  const before = reading.regions.find((region) => region.id === id),
    after = before && change(before);
  if (before === undefined || after === undefined || after === before) return reading;
  return { ...reading, regions: reading.regions.map((region) => (region === before ? after : region)) };
}

function without(reading: Reading, what: 'regions' | 'measurements', id: string): Reading {
  const left = (reading[what] as readonly { readonly id: string }[]).filter((one) => one.id !== id);
  return left.length === reading[what].length ? reading : { ...reading, [what]: left };
}

/** Return a reading with this task's findings only; regions of other findings lose their label. */
export function fittedTo(findings: readonly Finding[], reading: Reading): Reading {
  const asked = new Set(findings.map((finding) => finding.label));
  if (
    Object.keys(reading.labels).every((label) => asked.has(label)) &&
    reading.regions.every(({ label }) => label === '' || asked.has(label))
  )
    return reading;
  const labels: Record<string, Reading['labels'][string]> = Object.create(null);
  for (const [label, state] of Object.entries(reading.labels)) if (asked.has(label)) labels[label] = state;
  return {
    ...reading,
    labels,
    regions: reading.regions.map((region) => (asked.has(region.label) ? region : { ...region, label: '' })),
  };
}

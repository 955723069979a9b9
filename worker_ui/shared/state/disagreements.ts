/** What earlier readers of an image agree on, and what they do not. */

import { stateOf } from './reading';
import { EMPTY_READING, type EarlierReading, type Finding, type LabelState, type Reading, type Task } from './types';

/** One finding with the state that each reader gave, null for none. `states` has the order of `task.earlier`. */
export interface Disagreement {
  readonly label: string;
  readonly states: readonly { readonly reader: string; readonly state: LabelState | null }[];
}

type Told = Pick<Task, 'findings' | 'earlier'>;

export function adjudicates(task: Pick<Task, 'earlier'>): boolean {
  return task.earlier.length > 1;
}

/** Findings on which the readers differ, in the task's order; none where the task does not adjudicate. */
export function disagreements(task: Told): Disagreement[] {
  if (!adjudicates(task)) return [];
  return task.findings
    .map(({ label }) => ({
      label,
      states: task.earlier.map(({ name, reading }) => ({ reader: name, state: stateOf(reading, label) })),
    }))
    .filter(({ states }) => states.some(({ state }) => state !== states[0]?.state));
}

/** Return the findings on which all readers agree, with their state. */
export function agreed(task: Told): Record<string, LabelState> {
  const labels: Record<string, LabelState> = Object.create(null);
  if (!adjudicates(task)) return labels;
  for (const { label } of task.findings) {
    const first = stateOf(task.earlier[0]!.reading, label);
    if (first !== null && task.earlier.every(({ reading }) => stateOf(reading, label) === first)) labels[label] = first;
  }
  return labels;
}

/** Return the reading that an adjudicator starts from: what all readers agree on. */
export function agreedReading(findings: readonly Finding[], earlier: readonly EarlierReading[]): Reading {
  const codes = new Set(earlier.map(({ reading }) => reading.unusable));
  const [code = ''] = codes.size === 1 ? codes : [];
  return { ...EMPTY_READING, labels: agreed({ findings, earlier }), unusable: code };
}

/** Checks before a reading is sent, each with the place where it can be resolved. */

import { adjudicates, agreed, disagreements } from './disagreements';
import { conflicts, stateOf, unanswered } from './reading';
import type { Complaint, Store } from './store';
import type { Finding, LabelState, Reading, Region, Task } from './types';

/** Number of findings that a message names. */
const MAX_LISTED = 3;

const STATE_NAMES: Readonly<Record<LabelState, string>> = {
  positive: 'present',
  uncertain: 'uncertain',
  negative: 'absent',
  unknown: 'not assessed',
};

/** Return what is missing or contradictory, in the order in which a reader would resolve it; empty when it can be sent. */
export function complaints(store: Pick<Store, 'task' | 'reading' | 'ui'>): Complaint[] {
  const { task, reading } = store;
  if (reading.unusable !== '') return checkReason(reading);
  return [
    ...checkImage(store.ui.viewports[0]?.image != null, store.ui.viewports[0]?.error != null),
    ...checkAnswers(task, reading),
    ...checkConflict(task, reading),
    ...checkRequiredRegions(task, reading),
    ...reading.regions.flatMap((region) => checkRegion(region, task, reading)),
  ];
}

function checkReason(reading: Reading): Complaint[] {
  const unexplained = reading.unusable === 'other' && reading.comment.trim() === '';
  return unexplained ? [{ text: 'Say in the comment why the image cannot be read.', at: 'comment' }] : [];
}

function checkImage(shown: boolean, failed: boolean): Complaint[] {
  if (shown) return [];
  const text = failed ? 'The image is not displayed. Report it as not displayed.' : 'The image has not been displayed yet.';
  return [{ text, at: 'unusable' }];
}

function checkAnswers(task: Task, reading: Reading): Complaint[] {
  if (task.findings.length === 0)
    return [{ text: 'The task names no findings. Report the image with another reason and a comment.', at: 'unusable' }];
  const open = missingAnswers(task, reading);
  if (open.length > 0) return [{ text: `Still to answer: ${listed(open)}.`, at: open[0]! }];
  return Object.keys(reading.labels).length > 0
    ? []
    : [{ text: 'Nothing has been answered yet.', at: task.findings[0]!.label }];
}

/** Return the findings that must still be answered, in the task's order; none for an image that cannot be read. */
export function missingAnswers(task: Task, reading: Reading): string[] {
  return reading.unusable === '' ? unanswered(reading, requiredFindings(task)) : [];
}

/** Return the findings that must be answered: all, or in adjudication the disagreements. */
function requiredFindings(task: Task): Finding[] {
  if (adjudicates(task)) {
    const open = new Set(disagreements(task).map(({ label }) => label));
    return task.findings.filter(({ label }) => open.has(label));
  }
  return task.answerAll ? [...task.findings] : [];
}

function checkConflict({ labelSet }: Task, reading: Reading): Complaint[] {
  const called = conflicts(reading, labelSet);
  return called.length > 0
    ? [{ text: `“${labelSet.noFinding}” is present together with ${listed(called)}.`, at: labelSet.noFinding }]
    : [];
}

/** Findings that the earlier readers agree on need no region: their answers have them. */
function checkRequiredRegions(task: Task, reading: Reading): Complaint[] {
  const settled = agreed(task);
  return task.findings
    .filter(
      ({ label, region }) => region === 'required' && reading.labels[label] === 'positive' && settled[label] !== 'positive',
    )
    .filter(({ label }) => !reading.regions.some((region) => region.label === label))
    .map(({ label }) => ({ text: `Mark where “${label}” is.`, at: label }));
}

function checkRegion(region: Region, task: Task, reading: Reading): Complaint[] {
  const complaint = (text: string): Complaint[] => [{ text, at: region.id }];
  if (region.label === '') return complaint('A region has no finding yet.');
  const finding = task.findings.find(({ label }) => label === region.label);
  if (!finding) return complaint(`A region belongs to “${region.label}”, which is not a finding of this task.`);
  if (finding.region === 'none')
    return complaint(`“${region.label}” has no place on the image. Give its region another finding, or remove it.`);
  const state = stateOf(reading, region.label);
  if (state === 'positive' || state === 'uncertain') return [];
  return complaint(
    `“${region.label}” has a region, but ${state ? `is called ${STATE_NAMES[state]}` : 'has not been answered'}.`,
  );
}

function listed(labels: readonly string[]): string {
  const left = labels.length - MAX_LISTED;
  return left > 0 ? `${labels.slice(0, MAX_LISTED).join(', ')} and ${left} more` : labels.join(', ');
}

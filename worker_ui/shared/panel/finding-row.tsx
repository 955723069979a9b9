/** One finding: its name, its marks and its four answers. */

import { agreed } from '../state/disagreements';
import type { Store } from '../state/store';
import { LABEL_STATES, type Finding, type LabelState } from '../state/types';
import { focusFinding, radioId } from '../input/focus';
import { answer, choose } from '../state/finding-actions';
import { differs, probability } from '../state/suggestions';
import { STATES } from '../state/label-states';

interface Props {
  readonly store: Store;
  readonly finding: Finding;
  /** Position in the task's list, from 0; determines its key. */
  readonly index: number;
  /** Column of this row that is the tab stop, or null when another row has it. */
  readonly tabColumn: number | null;
  readonly conflicting: boolean;
  readonly onFocus: (label: string, column: number) => void;
  readonly onHover: (label: string | null) => void;
}

export function FindingRow({ store, finding, index, tabColumn, conflicting, onFocus, onHover }: Props) {
  const { label, definition } = finding;
  const state = store.reading.labels[label];
  const active = store.ui.activeLabel === label;
  const normal = label === store.task.labelSet.noFinding && state === 'positive';
  const marks = marksOf(store, finding, conflicting);
  const wrong = conflicting || store.ui.complaints.some(({ at }) => at === label);
  const about = `panel-about-${index}`;
  return (
    <div
      class={['finding', state ?? 'none', normal && 'normal', active && 'active', wrong && 'missing'].filter(Boolean).join(' ')}
      onPointerEnter={() => onHover(label)}
      onPointerLeave={() => onHover(null)}
    >
      <span class="hint" aria-hidden="true">
        {digitOf(index)}
      </span>
      <span
        class="name"
        title={definition ? `${label}: ${definition}` : label}
        onClick={() => {
          choose(store, label);
          focusFinding(store, label);
        }}
        aria-hidden="true"
      >
        {label}
      </span>
      <span class="marks" aria-hidden="true">
        {marks.map(({ sign, text, kind }) => (
          <span key={kind} class={`mark ${kind}`} title={text}>
            {sign}
          </span>
        ))}
      </span>
      <Probability store={store} label={label} />
      <span
        class="answers"
        role="radiogroup"
        aria-label={label}
        aria-describedby={about}
        aria-current={active ? 'true' : undefined}
      >
        {LABEL_STATES.map((one, column) => (
          <button
            type="button"
            role="radio"
            key={one}
            id={radioId(store, label, column)}
            class={`answer ${one}`}
            aria-checked={state === one}
            aria-label={STATES[one].name}
            title={titleOf(one)}
            disabled={store.reading.unusable !== ''}
            tabIndex={tabColumn === column ? 0 : -1}
            onFocus={() => onFocus(label, column)}
            onClick={(event) => {
              onFocus(label, column);
              if (event.detail < 2) answer(store, label, one); // a double click must not clear the answer again
            }}
          >
            <span class="letter">{STATES[one].letter}</span>
            <span class="word">{STATES[one].name}</span>
          </button>
        ))}
      </span>
      <span id={about} hidden>
        {[definition, ...marks.map(({ text }) => text), probabilityText(store, label)].filter(Boolean).join('. ')}
      </span>
    </div>
  );
}

/** Return the key that makes the n-th finding active: 1 to 9 and 0, then with Shift. */
export function digitOf(index: number): string {
  if (index >= 20) return '';
  return `${index >= 10 ? '⇧' : ''}${(index + 1) % 10}`;
}

function titleOf(state: LabelState): string {
  return `${STATES[state].name} (${STATES[state].key}): ${STATES[state].meaning}`;
}

interface Mark {
  readonly kind: string;
  readonly sign: string;
  readonly text: string;
}

function marksOf(store: Store, { label, region }: Finding, conflicting: boolean): readonly Mark[] {
  const common = agreed(store.task)[label];
  const count = store.reading.regions.filter((one) => one.label === label).length;
  const marks: Mark[] = [];
  if (conflicting) marks.push({ kind: 'conflict', sign: '!', text: `In conflict with ${store.task.labelSet.noFinding}` });
  if (differs(store, label)) marks.push({ kind: 'differs', sign: '≠', text: 'Differs from the model' });
  if (count > 0)
    marks.push({ kind: 'count', sign: `▢${count > 1 ? count : ''}`, text: count === 1 ? '1 region' : `${count} regions` });
  else if (region === 'required' && store.reading.labels[label] === 'positive' && common !== 'positive') {
    marks.push({ kind: 'needed', sign: 'region?', text: 'A region is needed' });
  }
  if (common !== undefined && common === store.reading.labels[label])
    marks.push({ kind: 'agreed', sign: '=', text: 'As all readers' });
  return marks;
}

function Probability({ store, label }: { store: Store; label: string }) {
  const value = probability(store, label);
  if (value === null) return null;
  return (
    <span class="probability" title={probabilityText(store, label)} aria-hidden="true">
      <svg viewBox="0 0 100 4" preserveAspectRatio="none">
        <rect class="whole" width="100" height="4" />
        <rect class="part" width={100 * value} height="4" />
      </svg>
      <span>{percent(value)}</span>
    </span>
  );
}

function probabilityText(store: Store, label: string): string {
  const value = probability(store, label);
  return value === null ? '' : `Model: ${percent(value)} % present`;
}

/** Return a percentage, "0" and "100" only for exactly 0 and 1. */
export function percent(value: number): string {
  if (value > 0 && value < 0.005) return '<1';
  if (value < 1 && value > 0.995) return '>99';
  return String(Math.round(100 * value));
}

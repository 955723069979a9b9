/** Header of the panel: title, instructions, state of the draft, undo and redo. */

import { adjudicates } from '../state/disagreements';
import type { Store } from '../state/store';
import { Icon } from './controls';
import { locksFirst, shownSuggestions } from '../state/suggestions';

/** Longer instructions are collapsed, because they take the height of four findings. */
const SHORT_INSTRUCTIONS = 110;

export function Header({ store }: { store: Store }) {
  return (
    <header class="head">
      <div class="title">
        <h1>{store.task.labelSet.title}</h1>
        <Stage store={store} />
        <div class="tools">
          <button
            type="button"
            aria-label="Undo"
            title="Undo (Ctrl+Z)"
            aria-keyshortcuts="Control+Z"
            disabled={store.history.past.length === 0}
            onClick={() => store.undo()}
          >
            <Icon path="M7 4L3 8l4 4M3.500 8H12a4.500 4.500 0 0 1 0 9H8" />
          </button>
          <button
            type="button"
            aria-label="Redo"
            title="Redo (Ctrl+Shift+Z)"
            aria-keyshortcuts="Control+Shift+Z"
            disabled={store.history.future.length === 0}
            onClick={() => store.redo()}
          >
            <Icon path="M13 4l4 4-4 4M16.500 8H8a4.500 4.500 0 0 0 0 9h4" />
          </button>
          <button
            type="button"
            aria-label="Help"
            title="Keys and mouse (?)"
            aria-keyshortcuts="?"
            aria-haspopup="dialog"
            onClick={() => store.set({ help: true })}
          >
            ?
          </button>
        </div>
      </div>
      <NotSaved store={store} />
      <Instructions text={store.task.instructions} />
      <Problems problems={store.task.problems} />
    </header>
  );
}

function Stage({ store }: { store: Store }) {
  const { earlier, suggestions } = store.task;
  if (adjudicates(store.task)) return <span class="stage">Adjudication, {earlier.length} readers</span>;
  if (locksFirst(store)) return <span class="stage">First read</span>;
  if (shownSuggestions(store))
    return <span class="stage">{suggestions?.mode === 'shown' ? 'With the model' : 'Final read'}</span>;
  return null;
}

const NOT_SAVED = {
  tab: {
    text: 'Not saved on this device: kept in this tab only',
    title: 'This browser denies storage here. Closing the tab loses the answer; reloading does not.',
  },
  nowhere: {
    text: 'Not saved: reloading or closing the tab loses the answer',
    title: 'This browser denies every kind of storage here.',
  },
} as const;

function NotSaved({ store }: { store: Store }) {
  const { draftPlace } = store.ui;
  return draftPlace === 'device' ? null : (
    <p class={`kept ${draftPlace}`} role="status" title={NOT_SAVED[draftPlace].title}>
      {NOT_SAVED[draftPlace].text}
    </p>
  );
}

function Instructions({ text }: { text: string }) {
  const trimmed = text.trim();
  if (trimmed === '') return null;
  if (trimmed.length <= SHORT_INSTRUCTIONS && !trimmed.includes('\n')) return <p class="instructions">{trimmed}</p>;
  return (
    <details class="instructions">
      <summary>Instructions</summary>
      <p>{trimmed}</p>
    </details>
  );
}

function Problems({ problems }: { problems: readonly string[] }) {
  if (problems.length === 0) return null;
  return (
    <details class="problems">
      <summary>
        {problems.length === 1 ? 'A problem' : `${problems.length} problems`} in this task, for the owner of the job
      </summary>
      <ul>
        {problems.map((problem) => (
          <li key={problem}>{problem}</li>
        ))}
      </ul>
    </details>
  );
}

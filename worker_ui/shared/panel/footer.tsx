/** Footer of the panel: what is missing, and the submit button. */

import { useEffect, useRef } from 'preact/hooks';

import { conflicts, unanswered } from '../state/reading';
import { missingAnswers } from '../state/completeness';
import type { Store } from '../state/store';
import { focusPlace } from '../input/focus';
import { answer, visibleFindings } from '../state/finding-actions';
import { locksFirst } from '../state/suggestions';

export function Footer({ store, onSubmit }: { store: Store; onSubmit: () => void }) {
  const { sending, sent } = store.ui;
  const lock = locksFirst(store);
  const button = useRef<HTMLButtonElement>(null);
  const wasSending = useRef(false);
  useEffect(() => {
    // Disabling the page while sending takes the focus away: return it to the button after a failure.
    if (wasSending.current && !sending && document.activeElement === document.body) button.current?.focus();
    wasSending.current = sending;
  }, [sending]);
  return (
    <footer class="foot">
      <Conflicts store={store} />
      <Complaints store={store} />
      <div class="send">
        <div>
          <span class="remaining" role="status">
            {sent ? 'Sent. Thank you.' : <Remaining store={store} />}
          </span>
          <span class="kept device" title="Every change is kept on this device until the answer is sent.">
            {isDraftSaved(store) && 'Draft saved'}
          </span>
        </div>
        <button
          ref={button}
          type="button"
          class={`submit${lock ? ' lock' : ''}`}
          disabled={sending || sent}
          aria-busy={sending}
          aria-keyshortcuts="Control+Enter"
          title="Ctrl+Enter"
          onClick={onSubmit}
        >
          {sent ? 'Sent' : sending ? 'Sending …' : lock ? 'Lock first read and show the model' : 'Submit'}
        </button>
      </div>
    </footer>
  );
}

function isDraftSaved({ ui, counts, history }: Store): boolean {
  return ui.draftPlace === 'device' && !ui.sent && (counts.changes > 0 || history.past.length > 0);
}

/** Number of findings to answer; a click goes to the next one. */
function Remaining({ store }: { store: Store }) {
  const open = missingAnswers(store.task, store.reading);
  if (store.reading.unusable !== '') return <>Will be sent as not readable</>;
  if (open.length === 0) return <>{unanswered(store.reading, store.task.findings).length === 0 && 'All answered'}</>;
  return (
    <button type="button" class="link" title="Go to the next one" onClick={() => focusPlace(store, next(store, open))}>
      {open.length} to answer
    </button>
  );
}

/** Return the next of the given findings after the active one, or the first of all. */
function next(store: Store, open: readonly string[]): string {
  const order = visibleFindings(store).map(({ label }) => label);
  const after = order.slice(order.indexOf(store.ui.activeLabel ?? '') + 1).find((label) => open.includes(label));
  return after ?? order.find((label) => open.includes(label)) ?? (open[0] as string);
}

/** Conflicts are shown at once, not only when the reader submits. */
function Conflicts({ store }: { store: Store }) {
  const { noFinding } = store.task.labelSet;
  const isShown = store.ui.complaints.length > 0; // the complaints repeat it
  const clashing = store.reading.unusable !== '' || isShown ? [] : conflicts(store.reading, store.task.labelSet);
  return (
    <div role="status" class="conflicts">
      {clashing.length > 0 && (
        <p>
          <b>{noFinding}</b> is present, and so {clashing.length === 1 ? 'is' : 'are'} <b>{clashing.join(', ')}</b>. Change one
          of them.{' '}
          <button type="button" class="link" onClick={() => answer(store, noFinding, 'negative')}>
            Call {noFinding} absent
          </button>
        </p>
      )}
    </div>
  );
}

function Complaints({ store }: { store: Store }) {
  const { complaints } = store.ui;
  const list = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (complaints.length > 0) list.current?.querySelector('button')?.focus();
  }, [complaints]);
  return (
    <div role="alert" class="complaints" ref={list}>
      {complaints.length > 0 && (
        <>
          <p>Before it can be sent:</p>
          <ul>
            {complaints.map(({ text, at }, index) => (
              <li key={index}>
                <button type="button" class="link" onClick={() => focusPlace(store, at)}>
                  {text}
                </button>
              </li>
            ))}
          </ul>
        </>
      )}
    </div>
  );
}

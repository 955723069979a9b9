/** Between the page and its drafts: what was kept comes back, every change is kept, tabs stay the same. */

import { openDrafts, type Draft, type Foreign, type Found } from './drafts';
import { openJournal } from './indexeddb';
import type { Session } from '../state/session';
import type { Kept } from './storage';
import type { Store } from '../state/store';
import { fittedTo } from '../state/reading';
import type { Reading } from '../state/types';

/** How the submission goes, for the draft: it is given up only when the host has said that the answer arrived. */
export interface Keeper {
  sending(): void;
  failed(): void;
  accepted(): void;
  close(): void;
}

/** A tab that follows another says so, but not with every letter typed there. */
const TOLD_AGAIN_MS = 60_000;

/** Bring back the draft of the store's task, and keep what becomes of it; call once, before the page is shown. */
export function keepDrafts(store: Store, session: Session, host: Window = window, journal = openJournal(host)): Keeper {
  const start = store.reading;
  let saved: Pick<Draft, 'reading' | 'first'> = { reading: start, first: store.ui.first };
  let phase: 'open' | 'sending' | 'sent' | 'sent elsewhere' = 'open';
  let toldAt = -Infinity;
  /** What was found had been sent, and nothing has become of it since. */
  let underway = false;
  /** This page has put a draft away: it lies where one that comes to light late would be looked for. */
  let written = false;
  const drafts = openDrafts(store.task.key, { onForeign, host, journal });

  function save(): void {
    saved = { reading: store.reading, first: store.ui.first };
    underway = false;
    written = true;
    const kept = lasting(drafts.save({ ...saved, session: session.record() }, phase === 'sending'), host);
    if (kept !== store.ui.kept) store.set({ kept });
  }

  function show(draft: Draft): void {
    const reading = fittedTo(store.task.findings, draft.reading);
    const first = store.task.suggestions?.mode === 'after-first-read' ? (draft.first ?? store.ui.first) : null;
    saved = { reading, first };
    if (!same(reading, store.reading)) store.dispatch({ kind: 'replace', reading });
    else saved = { reading: store.reading, first };
    store.set({ first, selected: null });
  }

  function onForeign(event: Foreign): void {
    if (phase === 'sent') return;
    if (event.kind === 'recovered') {
      if (phase !== 'open') return; // an answer is on its way already
      bringBack(event.found);
      if (written) save();
      store.set({ notice: noticeOf(event.found, drafts.unreadable) });
    } else if (event.kind === 'sent' || (event.kind === 'removed' && underway)) {
      phase = 'sent elsewhere';
      store.set({ sent: true, notice: 'Sent from another tab. Nothing more can be sent from here.' });
    } else if (event.kind === 'changed') {
      if (phase === 'sent elsewhere') store.set({ sent: false });
      phase = 'open';
      if (event.draft.session) session.atLeast(event.draft.session);
      show(event.draft);
      if (Date.now() - toldAt > TOLD_AGAIN_MS) store.set({ notice: 'Also open in another tab: both show the same.' });
      toldAt = Date.now();
    } else if (phase !== 'sent elsewhere' && touched()) save();
  }

  const touched = () => drafts.found !== null || store.reading !== start;

  function bringBack(found: Found): void {
    if (found.draft.session) session.goOnFrom(found.draft.session);
    underway = found.sent;
    show(found.draft);
  }

  if (drafts.found) bringBack(drafts.found);
  store.set({ kept: lasting(drafts.kept, host), notice: noticeOf(drafts.found, drafts.unreadable) || store.ui.notice });
  const unsubscribe = store.subscribe(() => {
    if (phase !== 'sent elsewhere' && (store.reading !== saved.reading || store.ui.first !== saved.first)) save();
  });

  const listening = new AbortController();
  const on = (target: EventTarget, name: string, listener: (event: Event) => void) =>
    target.addEventListener(name, listener, { signal: listening.signal });
  on(host.document, 'visibilitychange', () => {
    drafts.check();
    if (host.document.hidden && (phase === 'open' || phase === 'sending') && touched()) save(); // for the time spent
  });
  on(host, 'pageshow', () => drafts.check());
  on(host, 'focus', () => drafts.check());
  on(host, 'beforeunload', (event) => {
    if (phase === 'open' && store.reading !== start && store.ui.kept === 'nowhere') event.preventDefault();
  });

  return {
    sending() {
      phase = 'sending';
      save();
    },
    failed() {
      if (phase !== 'sending') return;
      phase = 'open';
      save();
    },
    accepted() {
      phase = 'sent';
      drafts.clear();
    },
    close() {
      listening.abort();
      unsubscribe();
      drafts.close();
    },
  };
}

/** What to promise: a frame's name outlives a reload of the frame, but not of the page around it. */
function lasting(kept: Kept, host: Window): Kept {
  return kept === 'tab' && host.parent !== host ? 'nowhere' : kept;
}

function noticeOf(found: Found | null, unreadable: boolean): string {
  const other = unreadable ? 'A draft of another version of this page is kept, but cannot be shown here.' : '';
  if (found === null) return other;
  const when = moment(found.savedAt);
  const text = found.sent
    ? `Sent ${when}, but nothing said that it arrived: your marks are back. Submit again, or Undo to start afresh.`
    : `Your marks of ${when} are back. Undo starts afresh.`;
  return other ? `${text} ${other}` : text;
}

function moment(date: Date): string {
  const today = date.toDateString() === new Date().toDateString();
  return date.toLocaleString([], today ? { hour: '2-digit', minute: '2-digit' } : { dateStyle: 'medium', timeStyle: 'short' });
}

function same(one: Reading, other: Reading): boolean {
  return one === other || canonical(one) === canonical(other);
}

/** The order in which findings were answered makes no difference. */
function canonical(reading: Reading): string {
  return JSON.stringify([
    Object.entries(reading.labels).sort(([one], [other]) => (one < other ? -1 : 1)),
    reading.regions,
    reading.measurements,
    reading.comment,
    reading.unusable,
  ]);
}

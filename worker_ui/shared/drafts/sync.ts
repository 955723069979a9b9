/** Restores the draft when the page opens, saves it after every change, and follows other tabs with the same task. */

import { openDrafts, type Draft, type ExternalChange, type Found } from './drafts';
import { openDatabase } from './indexeddb';
import type { Session } from '../state/session';
import type { DraftPlace } from './storage';
import type { Store } from '../state/store';
import { fittedTo } from '../state/reading';
import type { Reading } from '../state/types';

/** What a submission reports: the draft is deleted only after the host has confirmed the answer. */
export interface DraftSync {
  sending(): void;
  failed(): void;
  accepted(): void;
  close(): void;
}

/** A tab that follows another shows a notice at most this often. */
const NOTICE_INTERVAL_MS = 60_000;

/** Restore the draft of the store's task and save every later change; call once, before the page is rendered. */
export function syncDrafts(store: Store, session: Session, host: Window = window, database = openDatabase(host)): DraftSync {
  const start = store.reading;
  let saved: Pick<Draft, 'reading' | 'first'> = { reading: start, first: store.ui.first };
  let phase: 'open' | 'sending' | 'sent' | 'sent elsewhere' = 'open';
  let lastNoticeAt = -Infinity;
  /** The restored draft had been sent, and has not been changed since. */
  let underway = false;
  /** This page has saved a draft, so that a copy found later in IndexedDB is not the newest. */
  let written = false;
  const drafts = openDrafts(store.task.key, { onExternalChange, host, database });

  function save(): void {
    saved = { reading: store.reading, first: store.ui.first };
    underway = false;
    written = true;
    const draftPlace = lastingPlace(drafts.save({ ...saved, session: session.record() }, phase === 'sending'), host);
    if (draftPlace !== store.ui.draftPlace) store.set({ draftPlace });
  }

  function show(draft: Draft): void {
    const reading = fittedTo(store.task.findings, draft.reading);
    const first = store.task.suggestions?.mode === 'after-first-read' ? (draft.first ?? store.ui.first) : null;
    saved = { reading, first };
    if (!same(reading, store.reading)) store.dispatch({ kind: 'replace', reading });
    else saved = { reading: store.reading, first };
    store.set({ first, selected: null });
  }

  function onExternalChange(event: ExternalChange): void {
    if (phase === 'sent') return;
    if (event.kind === 'recovered') {
      if (phase !== 'open') return; // an answer is being sent already
      bringBack(event.found);
      if (written) save();
      store.set({ notice: noticeOf(event.found, drafts.unreadable) });
    } else if (event.kind === 'sent' || (event.kind === 'removed' && underway)) {
      phase = 'sent elsewhere';
      store.set({ sent: true, notice: 'Sent from another tab. Nothing more can be sent from here.' });
    } else if (event.kind === 'changed') {
      if (phase === 'sent elsewhere') store.set({ sent: false });
      phase = 'open';
      if (event.draft.session) session.raiseTo(event.draft.session);
      show(event.draft);
      if (Date.now() - lastNoticeAt > NOTICE_INTERVAL_MS) store.set({ notice: 'Also open in another tab: both show the same.' });
      lastNoticeAt = Date.now();
    } else if (phase !== 'sent elsewhere' && isChanged()) save();
  }

  const isChanged = () => drafts.found !== null || store.reading !== start;

  function bringBack(found: Found): void {
    if (found.draft.session) session.continueFrom(found.draft.session);
    underway = found.sent;
    show(found.draft);
  }

  if (drafts.found) bringBack(drafts.found);
  store.set({
    draftPlace: lastingPlace(drafts.draftPlace, host),
    notice: noticeOf(drafts.found, drafts.unreadable) || store.ui.notice,
  });
  const unsubscribe = store.subscribe(() => {
    if (phase !== 'sent elsewhere' && (store.reading !== saved.reading || store.ui.first !== saved.first)) save();
  });

  const listening = new AbortController();
  const on = (target: EventTarget, name: string, listener: (event: Event) => void) =>
    target.addEventListener(name, listener, { signal: listening.signal });
  on(host.document, 'visibilitychange', () => {
    drafts.check();
    if (host.document.hidden && (phase === 'open' || phase === 'sending') && isChanged()) save(); // saves the active time
  });
  on(host, 'pageshow', () => drafts.check());
  on(host, 'focus', () => drafts.check());
  on(host, 'beforeunload', (event) => {
    if (phase === 'open' && store.reading !== start && store.ui.draftPlace === 'nowhere') event.preventDefault();
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

/** Return where the draft survives: a frame's name survives a reload of the frame, but not of the page around it. */
function lastingPlace(draftPlace: DraftPlace, host: Window): DraftPlace {
  return draftPlace === 'tab' && host.parent !== host ? 'nowhere' : draftPlace;
}

function noticeOf(found: Found | null, unreadable: boolean): string {
  const other = unreadable ? 'A draft of another version of this page is kept, but cannot be shown here.' : '';
  if (found === null) return other;
  const when = timeText(found.savedAt);
  const text = found.sent
    ? `Sent ${when}, but not confirmed: your marks are back. Submit again, or undo to start over.`
    : `Your marks of ${when} are back. Undo starts over.`;
  return other ? `${text} ${other}` : text;
}

function timeText(date: Date): string {
  const today = date.toDateString() === new Date().toDateString();
  return date.toLocaleString([], today ? { hour: '2-digit', minute: '2-digit' } : { dateStyle: 'medium', timeStyle: 'short' });
}

function same(one: Reading, other: Reading): boolean {
  return one === other || canonical(one) === canonical(other);
}

/** Return a text that does not depend on the order in which findings were answered. */
function canonical(reading: Reading): string {
  return JSON.stringify([
    Object.entries(reading.labels).sort(([one], [other]) => (one < other ? -1 : 1)),
    reading.regions,
    reading.measurements,
    reading.comment,
    reading.unusable,
  ]);
}

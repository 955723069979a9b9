/** Drafts of one task: put away after every change, found again after a reload, shared between tabs. */

import { isObject, own } from '../json';
import { readReading } from '../answer/form';
import { openJournal, type Journal } from './indexeddb';
import { readSessionRecord, type SessionRecord } from '../state/session';
import { DraftStorage, type Kept } from './storage';
import type { Reading } from '../state/types';

export interface Draft {
  readonly reading: Reading;
  /** The first reading, once it is locked. */
  readonly first: Reading | null;
  readonly session: SessionRecord | null;
}

/** What was there when the page was opened. */
export interface Found {
  readonly draft: Draft;
  readonly savedAt: Date;
  /** The draft was on its way when it was put away, and nobody has said that it arrived. */
  readonly sent: boolean;
}

export type Foreign =
  | { readonly kind: 'changed'; readonly draft: Draft }
  /** A newer draft than the one that was found; the browser had no time to put it where it is found at once. */
  | { readonly kind: 'recovered'; readonly found: Found }
  /** Another tab has sent this reading. */
  | { readonly kind: 'sent' }
  /** The draft is gone: as one that had been sent, because the answer has arrived. */
  | { readonly kind: 'removed' }
  /** Somebody has emptied the storage. */
  | { readonly kind: 'erased' };

export interface Drafts {
  readonly found: Found | null;
  /** A draft of another version of this page, or a damaged one, is there; it stays, and is not shown. */
  readonly unreadable: boolean;
  /** Where drafts are kept at the moment. */
  readonly kept: Kept;
  /** Put a draft away, at once. `sent` says that it is on its way to the host. */
  save(draft: Draft, sent?: boolean): Kept;
  /** Look whether another tab was at it while this one could not hear: a page that comes back from the browser's cache. */
  check(): void;
  /** The host has the answer: the draft goes, and none comes after it. */
  clear(): void;
  close(): void;
}

const VERSION = 1;
const DAY_MS = 86_400_000;
/** Untouched drafts go after a month. A draft that was sent and did not come back within a day has arrived. */
const KEPT_MS = { open: 30 * DAY_MS, sent: DAY_MS } as const;

interface Envelope {
  readonly version: number;
  readonly savedAt: number;
  readonly state: 'open' | 'sent';
  /** The page that saved it: a tab must know its own. */
  readonly page: string;
}

interface Options {
  /** Hears what other tabs with the same task do, and what comes to light late. */
  readonly onForeign: (event: Foreign) => void;
  readonly host?: Window;
  readonly journal?: Journal;
}

/** Return the drafts of one task. */
export function openDrafts(key: string, { onForeign, host = window, journal = openJournal(host) }: Options): Drafts {
  const storage = new DraftStorage(host);
  const page = crypto.getRandomValues(new Uint32Array(2)).join('-');
  const name = `${VERSION}/${key}`;
  prune(storage, name);
  const { found, damaged } = find(storage, name);
  setAside(storage, name, key, damaged, found === null);
  /** The newest moment of a draft of ours, and of one that came from elsewhere: found, or heard of. */
  let latest = found?.savedAt.getTime() ?? 0,
    heardOf = latest;
  let kept = storage.place,
    open = true;

  // Nothing is written to the journal before it has been read.
  const journalRead = journal.all().then((texts) => {
    pruneJournal(journal, texts, name);
    const late = foundOf(texts.get(name) ?? '');
    if (!open || !late || late.savedAt.getTime() <= heardOf) return;
    latest = Math.max(latest, late.savedAt.getTime());
    onForeign({ kind: 'recovered', found: late });
  });

  const heard = (text: string) => {
    const envelope = envelopeOf(text),
      draft = draftOf(text);
    if (envelope === null || envelope.page === page || envelope.savedAt <= latest) return;
    latest = heardOf = envelope.savedAt;
    if (envelope.state === 'sent') onForeign({ kind: 'sent' });
    else if (draft) onForeign({ kind: 'changed', draft });
  };
  const unwatch = storage.watch(name, (text, all) =>
    text === null ? onForeign({ kind: all ? 'erased' : 'removed' }) : heard(text),
  );

  return {
    found,
    unreadable: damaged.length > 0 || otherVersions(storage, key),
    get kept() {
      return kept;
    },
    save(draft, sent = false) {
      if (!open) return kept;
      latest = Math.max(Date.now(), latest + 1); // newer than what it replaces, whatever the clock did
      const envelope: Envelope = { version: VERSION, savedAt: latest, state: sent ? 'sent' : 'open', page };
      const text = JSON.stringify({ ...envelope, draft });
      kept = storage.write(name, text);
      if (kept !== 'device' && prune(storage, name, true)) kept = storage.write(name, text);
      void journalRead.then(() => open && journal.write(name, text));
      return kept;
    },
    check() {
      if (open) storage.read(name).forEach(heard);
    },
    clear() {
      open = false;
      storage.remove(name);
      void journalRead.then(() => journal.remove(name));
    },
    close() {
      open = false;
      unwatch();
    },
  };
}

/** The newest draft that can be read, and the texts that cannot. */
function find(storage: DraftStorage, name: string): { found: Found | null; damaged: string[] } {
  const texts = storage.read(name);
  const readable = texts.map(foundOf).filter((one): one is Found => one !== null);
  readable.sort((one, other) => other.savedAt.getTime() - one.savedAt.getTime());
  return { found: readable[0] ?? null, damaged: texts.filter((text) => draftOf(text) === null) };
}

function foundOf(text: string): Found | null {
  const envelope = envelopeOf(text),
    draft = draftOf(text);
  return envelope && draft && { draft, savedAt: new Date(envelope.savedAt), sent: envelope.state === 'sent' };
}

/** Return the draft of a text from the storage; null for another version, or when any part of it is not what it should be. */
function draftOf(text: string): Draft | null {
  try {
    const value: unknown = JSON.parse(text);
    if (own(value, 'version') !== VERSION || envelopeOf(text) === null) return null;
    const draft = own(value, 'draft'),
      first = own(draft, 'first');
    return {
      reading: readReading(own(draft, 'reading')),
      first: first === null || first === undefined ? null : readReading(first),
      session: readSessionRecord(own(draft, 'session')),
    };
  } catch {
    return null;
  }
}

/** Return the envelope of a text, of any version, or null. */
function envelopeOf(text: string): Envelope | null {
  try {
    const value: unknown = JSON.parse(text);
    if (!isObject(value)) return null;
    const { version, savedAt, state, page } = value;
    if (typeof version !== 'number' || typeof savedAt !== 'number' || Number.isNaN(new Date(savedAt).getTime())) return null;
    return { version, savedAt, state: state === 'sent' ? 'sent' : 'open', page: typeof page === 'string' ? page : '' };
  } catch {
    return null;
  }
}

/** The next draft would replace what cannot be read: it gets a place of its own. */
function setAside(storage: DraftStorage, name: string, key: string, damaged: readonly string[], alone: boolean): void {
  if (damaged.length === 0) return;
  const places = damaged.map((text, index) => storage.write(`kept-${VERSION}/${key}/${Date.now() + index}`, text));
  if (alone && !places.includes('nowhere')) storage.remove(name);
}

function otherVersions(storage: DraftStorage, key: string): boolean {
  return storage.names().some((name) => /^\d+\//.test(name) && name.endsWith(`/${key}`) && name !== `${VERSION}/${key}`);
}

/** Remove what is too old, or with `hard` all that was sent, but never this task's; say whether anything went. */
function prune(storage: DraftStorage, except: string, hard = false): boolean {
  const old = storage.names().filter((name) => {
    if (name === except) return false;
    return storage.read(name).every((text) => {
      const envelope = envelopeOf(text);
      if (envelope === null) return setAsideLongAgo(name);
      return (hard && envelope.state === 'sent') || isOld(envelope);
    });
  });
  for (const name of old) storage.remove(name);
  return old.length > 0;
}

function pruneJournal(journal: Journal, texts: ReadonlyMap<string, string>, except: string): void {
  for (const [name, text] of texts) {
    const envelope = envelopeOf(text);
    if (name !== except && (envelope === null || isOld(envelope))) journal.remove(name);
  }
}

function isOld({ savedAt, state }: Envelope): boolean {
  return Date.now() - savedAt > KEPT_MS[state];
}

/** A damaged text says nothing of its age; the name it was set aside under does. */
function setAsideLongAgo(name: string): boolean {
  const at = /^kept-\d+\/.*\/(\d+)$/.exec(name)?.[1];
  return at !== undefined && Date.now() - Number(at) > KEPT_MS.open;
}

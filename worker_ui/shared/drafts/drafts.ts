/** Drafts of one task: saved after every change, restored after a reload, shared between tabs. */

import { isObject, own } from '../json';
import { readReading } from '../answer/form';
import { openDatabase, type DraftDatabase } from './indexeddb';
import { readSessionRecord, type SessionRecord } from '../state/session';
import { DraftStorage, type DraftPlace } from './storage';
import type { Reading } from '../state/types';

export interface Draft {
  readonly reading: Reading;
  /** The first reading, once it is locked. */
  readonly first: Reading | null;
  readonly session: SessionRecord | null;
}

/** The draft that was stored when the page was opened. */
export interface Found {
  readonly draft: Draft;
  readonly savedAt: Date;
  /** The draft was being sent when it was saved, and the host has not confirmed it. */
  readonly sent: boolean;
}

export type ExternalChange =
  | { readonly kind: 'changed'; readonly draft: Draft }
  /** IndexedDB holds a newer draft than local storage: the browser was killed before it wrote local storage. */
  | { readonly kind: 'recovered'; readonly found: Found }
  /** Another tab has sent this reading. */
  | { readonly kind: 'sent' }
  /** Another tab removed the draft, which it does when the host has confirmed the answer. */
  | { readonly kind: 'removed' }
  /** The site's storage was cleared. */
  | { readonly kind: 'erased' };

export interface Drafts {
  readonly found: Found | null;
  /** A draft of another version of this page, or a damaged one, is stored; it is kept, but not shown. */
  readonly unreadable: boolean;
  /** Where drafts are stored now. */
  readonly draftPlace: DraftPlace;
  /** Save a draft at once. `sent` says that it is being sent to the host. */
  save(draft: Draft, sent?: boolean): DraftPlace;
  /** Check for changes by other tabs that this page missed, for example while it was in the back/forward cache. */
  check(): void;
  /** Delete the draft after the host has confirmed the answer, and save none after it. */
  clear(): void;
  close(): void;
}

const VERSION = 1;
const DAY_MS = 86_400_000;
/** Unchanged drafts are deleted after a month, those that were sent after a day: by then the answer has arrived. */
const KEPT_MS = { open: 30 * DAY_MS, sent: DAY_MS } as const;

interface Envelope {
  readonly version: number;
  readonly savedAt: number;
  readonly state: 'open' | 'sent';
  /** Id of the page that saved it, by which a tab recognizes its own drafts. */
  readonly page: string;
}

interface Options {
  /** Called when another tab changes the draft, or when a newer copy is found in IndexedDB. */
  readonly onExternalChange: (event: ExternalChange) => void;
  readonly host?: Window;
  readonly database?: DraftDatabase;
}

/** Return the drafts of one task. */
export function openDrafts(key: string, { onExternalChange, host = window, database = openDatabase(host) }: Options): Drafts {
  const storage = new DraftStorage(host);
  const page = crypto.getRandomValues(new Uint32Array(2)).join('-');
  const name = `${VERSION}/${key}`;
  prune(storage, name);
  const { found, damaged } = find(storage, name);
  setAside(storage, name, key, damaged, found === null);
  /** Time of the newest draft, and of the newest one that this page did not write itself. */
  let latest = found?.savedAt.getTime() ?? 0,
    latestExternal = latest;
  let draftPlace = storage.place,
    open = true;

  // Nothing is written to IndexedDB before it has been read.
  const databaseRead = database.all().then((texts) => {
    pruneDatabase(database, texts, name);
    const late = foundOf(texts.get(name) ?? '');
    if (!open || !late || late.savedAt.getTime() <= latestExternal) return;
    latest = Math.max(latest, late.savedAt.getTime());
    onExternalChange({ kind: 'recovered', found: late });
  });

  const received = (text: string) => {
    const envelope = envelopeOf(text),
      draft = draftOf(text);
    if (envelope === null || envelope.page === page || envelope.savedAt <= latest) return;
    latest = latestExternal = envelope.savedAt;
    if (envelope.state === 'sent') onExternalChange({ kind: 'sent' });
    else if (draft) onExternalChange({ kind: 'changed', draft });
  };
  const unwatch = storage.watch(name, (text, all) =>
    text === null ? onExternalChange({ kind: all ? 'erased' : 'removed' }) : received(text),
  );

  return {
    found,
    unreadable: damaged.length > 0 || otherVersions(storage, key),
    get draftPlace() {
      return draftPlace;
    },
    save(draft, sent = false) {
      if (!open) return draftPlace;
      latest = Math.max(Date.now(), latest + 1); // newer than what it replaces, even if the clock was set back
      const envelope: Envelope = { version: VERSION, savedAt: latest, state: sent ? 'sent' : 'open', page };
      const text = JSON.stringify({ ...envelope, draft });
      draftPlace = storage.write(name, text);
      if (draftPlace !== 'device' && prune(storage, name, true)) draftPlace = storage.write(name, text);
      void databaseRead.then(() => open && database.write(name, text));
      return draftPlace;
    },
    check() {
      if (open) storage.read(name).forEach(received);
    },
    clear() {
      open = false;
      storage.remove(name);
      void databaseRead.then(() => database.remove(name));
    },
    close() {
      open = false;
      unwatch();
    },
  };
}

/** Return the newest readable draft, and the texts that cannot be read. */
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

/** Return the draft in a stored text, or null for another version or an invalid draft. */
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

/** Move unreadable drafts to names of their own, so that the next draft does not replace them. */
function setAside(storage: DraftStorage, name: string, key: string, damaged: readonly string[], alone: boolean): void {
  if (damaged.length === 0) return;
  const places = damaged.map((text, index) => storage.write(`kept-${VERSION}/${key}/${Date.now() + index}`, text));
  if (alone && !places.includes('nowhere')) storage.remove(name);
}

function otherVersions(storage: DraftStorage, key: string): boolean {
  return storage.names().some((name) => /^\d+\//.test(name) && name.endsWith(`/${key}`) && name !== `${VERSION}/${key}`);
}

/** Remove old drafts of other tasks, with `hard` every sent one; return whether any was removed. */
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

function pruneDatabase(database: DraftDatabase, texts: ReadonlyMap<string, string>, except: string): void {
  for (const [name, text] of texts) {
    const envelope = envelopeOf(text);
    if (name !== except && (envelope === null || isOld(envelope))) database.remove(name);
  }
}

function isOld({ savedAt, state }: Envelope): boolean {
  return Date.now() - savedAt > KEPT_MS[state];
}

/** A damaged draft has no date; the name it was moved to has one. */
function setAsideLongAgo(name: string): boolean {
  const at = /^kept-\d+\/.*\/(\d+)$/.exec(name)?.[1];
  return at !== undefined && Date.now() - Number(at) > KEPT_MS.open;
}

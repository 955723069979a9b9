/** Active time, clicks and keys of a reading: counted while the page is open, saved with the draft. */

import { isObject, own } from '../json';
import type { Store } from './store';

/** The part of a session that is saved with the draft; later sessions on the same draft add to it. */
export interface SessionRecord {
  readonly openedAt: string;
  readonly activeMs: number;
  readonly firstReadMs: number | null;
  readonly clicks: number;
  readonly keys: number;
  readonly changes: number;
  readonly undone: number;
  readonly byKind: Readonly<Record<string, number>>;
}

/** Without input for this long, the reader counts as absent. */
const IDLE_MS = 30_000;
/** Minimum interval between two updates by pointer movements. */
const INTERVAL_MS = 200;
const MODIFIERS = new Set(['Shift', 'Control', 'Alt', 'AltGraph', 'Meta', 'CapsLock']);

export class Session {
  private own = { activeMs: 0, clicks: 0, keys: 0 };
  private before: SessionRecord;
  /** Time of the last input, or null while the page is hidden. */
  private lastInput: number | null;
  /** The part of the time since `seen` that is counted already. */
  private credited = 0;
  private firstImageMs: number | null = null;
  private firstReadMs: number | null = null;
  private readonly listening = new AbortController();

  constructor(
    private readonly store: Pick<Store, 'counts'>,
    private readonly host: Window = window,
  ) {
    const openedAt = new Date(Date.now() - host.performance.now()).toISOString();
    this.before = {
      openedAt,
      activeMs: 0,
      firstReadMs: null,
      clicks: 0,
      keys: 0,
      changes: 0,
      undone: 0,
      byKind: Object.create(null),
    };
    this.lastInput = host.document.hidden ? null : 0; // since the start of the navigation
    this.listen();
  }

  /** Record that the first image is displayed; later calls change nothing. */
  imageShown(): void {
    this.firstImageMs ??= Math.round(this.host.performance.now());
  }

  /** Record that the first reading is locked; later calls change nothing. */
  firstRead(): void {
    this.firstReadMs ??= this.before.firstReadMs ?? this.record().activeMs;
  }

  /** Return the totals, earlier sessions included. */
  record(): SessionRecord {
    this.updateActive();
    const { counts } = this.store;
    return {
      openedAt: this.before.openedAt,
      activeMs: Math.round(this.before.activeMs + this.own.activeMs),
      firstReadMs: this.firstReadMs ?? this.before.firstReadMs,
      clicks: this.before.clicks + this.own.clicks,
      keys: this.before.keys + this.own.keys,
      changes: this.before.changes + counts.changes,
      undone: this.before.undone + counts.undone,
      byKind: summed(this.before.byKind, counts.byKind),
    };
  }

  /** Continue from the record of an earlier session. */
  continueFrom(record: SessionRecord): void {
    this.before = record;
  }

  /** Take over the higher counts of another tab with the same reading. */
  raiseTo(other: SessionRecord): void {
    const all = this.record();
    const more = (key: 'activeMs' | 'clicks' | 'keys' | 'changes' | 'undone') =>
      this.before[key] + Math.max(0, other[key] - all[key]);
    this.before = {
      openedAt: other.openedAt < all.openedAt ? other.openedAt : all.openedAt,
      firstReadMs: all.firstReadMs ?? other.firstReadMs,
      activeMs: more('activeMs'),
      clicks: more('clicks'),
      keys: more('keys'),
      changes: more('changes'),
      undone: more('undone'),
      byKind: raised(this.before.byKind, all.byKind, other.byKind),
    };
  }

  /** The `timings` of an answer sent at that moment. */
  timings(now: Date = new Date()): Record<string, string | number> {
    const { openedAt, activeMs, firstReadMs } = this.record();
    return {
      opened_at: openedAt,
      sent_at: now.toISOString(),
      ...(this.firstImageMs === null ? {} : { first_image_ms: this.firstImageMs }),
      active_seconds: activeMs / 1000,
      ...(firstReadMs === null ? {} : { first_read_seconds: firstReadMs / 1000 }),
    };
  }

  /** The `actions` of an answer. */
  actions(): Record<string, unknown> {
    const { clicks, keys, changes, undone, byKind } = this.record();
    return { clicks, keys, changes, undone, by_kind: { ...byKind } };
  }

  close(): void {
    this.listening.abort();
  }

  private listen(): void {
    const options = { capture: true, passive: true, signal: this.listening.signal };
    const on = (name: string, listener: (event: Event) => void) => this.host.document.addEventListener(name, listener, options);
    on('pointerdown', () => this.countInput('clicks'));
    on('keydown', (event) => {
      const { key, repeat } = event as KeyboardEvent;
      if (!repeat && !MODIFIERS.has(key)) this.countInput('keys');
      else this.updateActive(true);
    });
    for (const name of ['pointermove', 'wheel', 'scroll', 'input']) on(name, () => this.updateActive(true));
    on('visibilitychange', () => {
      this.updateActive();
      this.lastInput = this.host.document.hidden ? null : this.host.performance.now();
      this.credited = 0;
    });
  }

  private countInput(what: 'clicks' | 'keys'): void {
    this.own[what] += 1;
    this.updateActive(true);
  }

  /** Count the time since the last input; `present` says that there is input now. */
  private updateActive(present = false): void {
    const now = this.host.performance.now();
    if (this.lastInput === null) {
      if (present && !this.host.document.hidden) this.lastInput = now;
      return;
    }
    if (present ? now - this.lastInput < INTERVAL_MS : now <= this.lastInput) return;
    const active = Math.min(now - this.lastInput, IDLE_MS);
    if (present) {
      this.own.activeMs += Math.max(0, active - this.credited);
      this.lastInput = now;
      this.credited = 0;
    } else {
      // No input: count the time once; the idle limit still runs from the last input.
      this.own.activeMs += Math.max(0, active - this.credited);
      this.credited = Math.max(this.credited, active);
    }
  }
}

/** Return the record of a session from a draft, or null when it is none. */
export function readSessionRecord(value: unknown): SessionRecord | null {
  if (!isObject(value)) return null;
  const count = (key: string) => wholeNumber(own(value, key)) ?? 0;
  const openedAt = own(value, 'openedAt');
  const byKind: Record<string, number> = Object.create(null);
  const kinds = own(value, 'byKind');
  for (const kind of isObject(kinds) ? Object.keys(kinds).slice(0, 50) : []) {
    if (/^[a-z-]{1,40}$/.test(kind)) byKind[kind] = wholeNumber(own(kinds, kind)) ?? 0;
  }
  return {
    openedAt:
      typeof openedAt === 'string' && !Number.isNaN(Date.parse(openedAt)) ? openedAt.slice(0, 40) : new Date().toISOString(),
    activeMs: count('activeMs'),
    firstReadMs: wholeNumber(own(value, 'firstReadMs')),
    clicks: count('clicks'),
    keys: count('keys'),
    changes: count('changes'),
    undone: count('undone'),
    byKind,
  };
}

/** Return the page's version, which is in the name of its script: 1f2e3d in "radiograph.1f2e3d.js". */
export function pageVersion(document: Document): string {
  for (const { src } of document.querySelectorAll('script')) {
    const found = /(?:^|\/)radiograph[.-]([\w-]{1,40})\.js(?:[?#]|$)/.exec(src ?? '');
    if (found?.[1]) return found[1];
  }
  return '';
}

function wholeNumber(value: unknown): number | null {
  return typeof value === 'number' && value >= 0 && value < 1e12 ? Math.round(value) : null;
}

function summed(one: Readonly<Record<string, number>>, other: Readonly<Record<string, number>>): Record<string, number> {
  const sum: Record<string, number> = Object.create(null);
  for (const key of [...Object.keys(one), ...Object.keys(other)]) sum[key] = (one[key] ?? 0) + (other[key] ?? 0);
  return sum;
}

function raised(
  base: Readonly<Record<string, number>>,
  all: Readonly<Record<string, number>>,
  to: Readonly<Record<string, number>>,
): Record<string, number> {
  const more: Record<string, number> = Object.create(null);
  for (const key of [...Object.keys(base), ...Object.keys(to)])
    more[key] = (base[key] ?? 0) + Math.max(0, (to[key] ?? 0) - (all[key] ?? 0));
  return more;
}

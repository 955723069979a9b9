import { beforeEach, describe, expect, it } from 'vitest';

import { pageVersion, readSessionRecord, Session } from '../../shared/state/session';
import { store } from '../samples';

let now = 0;
const host = { document, performance: { now: () => now } } as unknown as Window;
const given = store();
const session = (): Session => new Session(given, host);
const active = (one: Session): number => one.record().activeMs;
const happens = (name: string, properties: object = {}): boolean =>
  document.dispatchEvent(Object.assign(new Event(name), properties));
function hide(hidden: boolean): void {
  Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
  happens('visibilitychange');
}

beforeEach(() => {
  now = 0;
  hide(false);
});

describe('active time', () => {
  it('runs while somebody does something at least every thirty seconds', () => {
    const one = session();
    for (now = 10_000; now <= 60_000; now += 10_000) happens('pointermove');
    now = 70_000;
    expect(active(one)).toBe(70_000);
    now = 300_000; // away since the last movement at 60 s
    expect(active(one)).toBe(90_000);
    happens('keydown', { key: 'p' });
    now = 301_000;
    expect(active(one)).toBe(91_000);
    one.close();
  });

  it('is the same however often it is looked at', () => {
    const one = session();
    for (now = 0; now <= 50_000; now += 700) {
      active(one);
      if (now % 7000 === 0) happens('wheel');
    }
    now = 50_000;
    expect(active(one)).toBe(50_000);
    now = 100_000;
    active(one);
    expect(active(one)).toBe(79_000); // thirty seconds after the last turn of the wheel, at 49 s
    one.close();
  });

  it('stands still while the page is hidden', () => {
    const one = session();
    now = 5_000;
    hide(true);
    now = 20_000;
    happens('pointermove');
    expect(active(one)).toBe(5_000);
    hide(false);
    now = 22_000;
    expect(active(one)).toBe(7_000);
    one.close();
  });

  it('starts with the first look at a page that was opened in the background', () => {
    hide(true);
    const one = session();
    now = 60_000;
    hide(false);
    now = 61_000;
    expect(active(one)).toBe(1_000);
    one.close();
  });
});

describe('work', () => {
  it('counts clicks and keys, not held ones and not modifiers', () => {
    const one = session();
    happens('pointerdown');
    happens('keydown', { key: 'Shift' });
    happens('keydown', { key: 'N' });
    happens('keydown', { key: 'N', repeat: true });
    expect(one.record()).toMatchObject({ clicks: 1, keys: 1 });
    one.close();
    happens('pointerdown');
    expect(one.record().clicks).toBe(1);
  });

  it('goes on from a draft, and takes the higher of two tabs', () => {
    const one = session();
    one.continueFrom(
      readSessionRecord({
        openedAt: '2026-11-20T10:00:00.000Z',
        activeMs: 60_000,
        clicks: 5,
        keys: 1,
        changes: 3,
        undone: 1,
        byKind: { label: 2 },
        firstReadMs: 40_000,
      })!,
    );
    now = 1_000;
    happens('pointerdown');
    expect(one.record()).toMatchObject({
      openedAt: '2026-11-20T10:00:00.000Z',
      activeMs: 61_000,
      clicks: 6,
      keys: 1,
      undone: 1,
      firstReadMs: 40_000,
    });
    one.raiseTo({
      ...one.record(),
      openedAt: '2026-11-19T10:00:00.000Z',
      clicks: 9,
      keys: 0,
      byKind: { label: 7, comment: 1 },
    });
    expect(one.record()).toMatchObject({
      openedAt: '2026-11-19T10:00:00.000Z',
      activeMs: 61_000,
      clicks: 9,
      keys: 1,
      byKind: { label: 7, comment: 1 },
    });
    one.close();
  });

  it('has times in the units their names say', () => {
    const one = session();
    now = 412.4;
    one.imageShown();
    now = 20_000;
    one.imageShown();
    one.firstRead();
    now = 30_000;
    expect(one.timings(new Date('2026-11-21T10:00:00Z'))).toMatchObject({
      sent_at: '2026-11-21T10:00:00.000Z',
      first_image_ms: 412,
      active_seconds: 30,
      first_read_seconds: 20,
    });
    one.close();
  });
});

describe('a record from the disk', () => {
  it('is taken as far as it makes sense', () => {
    expect(readSessionRecord('x')).toBeNull();
    expect(
      readSessionRecord({
        openedAt: 'x',
        activeMs: -1,
        clicks: '9',
        keys: NaN,
        byKind: JSON.parse('{"__proto__": 5, "label": 2.4, "<b>": 1}'),
      }),
    ).toMatchObject({
      activeMs: 0,
      clicks: 0,
      keys: 0,
      firstReadMs: null,
      byKind: { label: 2 },
    });
  });
});

describe('the version of the page', () => {
  it('is in the name of its script', () => {
    expect(pageVersion(document)).toBe('');
    for (const src of ['https://assets.test/crowd-html-elements.js', 'https://b.test/ui/radiograph.1f2e3d4c.js?x=1']) {
      const script = document.createElement('script');
      script.type = 'text/plain'; // not to be fetched here
      script.src = src;
      document.head.append(script);
    }
    expect(pageVersion(document)).toBe('1f2e3d4c');
    document.head.replaceChildren();
  });
});

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { openDrafts, type Draft, type ExternalChange } from '../../shared/drafts/drafts';
import { box, labels, reading } from '../samples';
import { Device, type Tab } from './tabs';

const KEY = 'job/object/worker',
  AT = `dicom-workflow/draft/1/${KEY}`,
  DAY = 86_400_000;
const draft = (comment: string): Draft => ({
  reading: reading({
    labels: labels({ Edema: 'positive', ['__proto__' as string]: 'negative' }),
    regions: [box('a', 'Edema')],
    comment,
  }),
  first: null,
  session: null,
});
const heard: ExternalChange[] = [];
const open = (tab: Tab, key = KEY) => openDrafts(key, { onExternalChange: (event) => heard.push(event), host: tab.window });

let device: Device;
beforeEach(() => {
  device = new Device();
  heard.length = 0;
  vi.useFakeTimers({ now: new Date('2026-11-21T12:00:00Z') });
});
afterEach(() => vi.useRealTimers());

describe('a draft', () => {
  it('is there again after a reload, to the last bit', () => {
    const tab = device.tab();
    expect(open(tab).save({ ...draft('x'), first: reading({ comment: 'first' }) })).toBe('device');
    const { found, unreadable, draftPlace } = open(tab.reload());
    expect(found?.draft).toMatchObject({
      reading: { comment: 'x', regions: [box('a', 'Edema')] },
      first: { comment: 'first' },
    });
    expect(Object.entries(found?.draft.reading.labels ?? {})).toEqual(Object.entries(draft('x').reading.labels));
    expect([found?.sent, unreadable, draftPlace]).toEqual([false, false, 'device']);
  });

  it('is the newest of what is found, and replaces the one before', () => {
    const tab = device.tab();
    open(tab).save(draft('old'));
    device.quota = 0;
    expect(open(tab).save(draft('new'))).toBe('tab'); // the storage has become full
    const again = open(tab.reload());
    expect(again.found?.draft.reading.comment).toBe('new');
    device.quota = Infinity;
    expect(again.save(draft('newest'))).toBe('device');
    expect(device.tabs.at(-1)?.name).toBe('');
  });

  it('is newer than the one before, whatever the clock did', () => {
    const tab = device.tab();
    open(tab).save(draft('before'));
    vi.setSystemTime(new Date('2020-01-01'));
    device.quota = 0;
    open(tab).save(draft('after'));
    expect(open(tab.reload()).found?.draft.reading.comment).toBe('after');
  });

  it('is of one task only', () => {
    open(device.tab()).save(draft('x'));
    expect(open(device.tab(), 'other').found).toBeNull();
  });

  it('goes when the answer has arrived, and none comes after it', () => {
    const drafts = open(device.tab());
    drafts.save(draft('x'), true);
    drafts.clear();
    drafts.save(draft('late'));
    expect(device.texts.size).toBe(0);
  });

  it('that was on its way comes back as such', () => {
    open(device.tab()).save(draft('x'), true);
    expect(open(device.tab()).found).toMatchObject({ sent: true, draft: { reading: { comment: 'x' } } });
  });
});

describe('where nothing may be stored', () => {
  it('the tab keeps drafts over a reload', () => {
    device.denied = true;
    const tab = device.tab(),
      drafts = open(tab);
    expect(drafts.draftPlace).toBe('tab');
    drafts.save(draft('x'));
    open(tab, 'other').save(draft('y'));
    expect(open(tab.reload()).found?.draft.reading.comment).toBe('x');
    open(device.tabs[0]!, 'other').clear();
    open(device.tabs[0]!).clear();
    expect(device.tabs[0]!.name).toBe('');
  });

  it('a name that somebody else gave the tab is left alone', () => {
    device.denied = true;
    const tab = device.tab('viewer'),
      drafts = open(tab);
    expect([drafts.draftPlace, drafts.save(draft('x')), tab.name]).toEqual(['nowhere', 'nowhere', 'viewer']);
  });

  it('a damaged name of our own is replaced', () => {
    device.denied = true;
    for (const rest of ['{', '7', '[["a"]]', '']) {
      const tab = device.tab(`dicom-workflow/drafts:${rest}`);
      open(tab).save(draft('x'));
      expect(open(tab.reload()).found?.draft.reading.comment).toBe('x');
    }
  });

  it('twenty tasks fit into a tab', () => {
    device.denied = true;
    const tab = device.tab();
    for (let at = 0; at < 25; at += 1) open(tab, `task ${at}`).save(draft(String(at)));
    expect(open(tab, 'task 24').found?.draft.reading.comment).toBe('24');
    expect([open(tab, 'task 5').found !== null, open(tab, 'task 4').found]).toEqual([true, null]);
  });
});

describe('what is on the disk', () => {
  const envelope = (part: object) =>
    JSON.stringify({
      version: 1,
      savedAt: Date.now(),
      state: 'open',
      page: 'p',
      draft: JSON.parse(JSON.stringify(draft('x'))),
      ...part,
    });

  it.each([
    '',
    '{',
    '5',
    '[]',
    '{}',
    envelope({ draft: null }),
    envelope({ draft: { reading: { labels: 'x' } } }),
    envelope({ savedAt: 'now' }),
    envelope({ savedAt: 1e300 }),
    envelope({ draft: { reading: { labels: { A: 'maybe' } } } }),
    envelope({ draft: { reading: { labels: {}, regions: [{ id: 'a', shape: 'star', points: [] }] } } }),
    envelope({
      draft: {
        reading: {
          labels: {},
          regions: [
            { id: 'a', shape: 'point', points: [[1, 1]] },
            { id: 'a', shape: 'point', points: [[1, 1]] },
          ],
        },
      },
    }),
    envelope({ draft: { reading: { labels: {}, unusable: 'x' } } }),
    envelope({ version: 2 }),
  ])('%# is no draft: it is set aside, not lost, and not shown', (text) => {
    device.texts.set(AT, text);
    const drafts = open(device.tab());
    expect([drafts.found, drafts.unreadable]).toEqual([null, true]);
    drafts.save(draft('mine'));
    expect([...device.texts.values()]).toContain(text);
    expect(open(device.tab()).found?.draft.reading.comment).toBe('mine');
  });

  it('a draft of another version of the page is left where it is', () => {
    const other = AT.replace('/1/', '/2/');
    device.texts.set(other, 'anything');
    const drafts = open(device.tab());
    expect([drafts.found, drafts.unreadable, device.texts.get(other)]).toEqual([null, true, 'anything']);
  });

  it("goes after 30 days, after one day when it was sent, and never when it is another page's", () => {
    device.texts.set('settings', '{"savedAt": 0, "version": 1}');
    open(device.tab(), 'open').save(draft('x'));
    open(device.tab(), 'sent').save(draft('x'), true);
    const there = () => [...device.texts.keys()].map((key) => key.replace('dicom-workflow/draft/1/', ''));
    vi.advanceTimersByTime(DAY + 1);
    open(device.tab());
    expect(there()).toEqual(['settings', 'open']);
    vi.advanceTimersByTime(29 * DAY);
    open(device.tab());
    expect(there()).toEqual(['settings']);
  });

  it('its own draft is not too old, however old it is', () => {
    open(device.tab()).save(draft('x'), true);
    vi.advanceTimersByTime(400 * DAY);
    expect(open(device.tab()).found?.draft.reading.comment).toBe('x');
  });

  it('frees space by removing sent drafts, not open ones', () => {
    open(device.tab(), 'open').save(draft('x'));
    open(device.tab(), 'sent').save(draft('x'), true);
    device.quota = [...device.texts].join().length + 50;
    expect(open(device.tab()).save(draft('y'))).toBe('device');
    expect([...device.texts.keys()].map((key) => key.split('/').at(-1))).toEqual(['open', 'worker']);
  });
});

describe('two tabs', () => {
  it('hear of each other, not of themselves, nor of other tasks', () => {
    const one = open(device.tab());
    open(device.tab());
    open(device.tab(), 'other').save(draft('z'));
    expect(heard).toEqual([]);
    one.save(draft('x'));
    expect(heard).toMatchObject([{ kind: 'changed', draft: { reading: { comment: 'x' } } }]);
    one.save(draft('x'), true);
    one.clear();
    expect(heard.map(({ kind }) => kind)).toEqual(['changed', 'sent', 'removed']);
  });

  it('pay no heed to nonsense', () => {
    open(device.tab());
    device.tell(device.tab(), AT, 'nonsense');
    expect(heard).toEqual([]);
  });

  it('catch up on what they missed while asleep', () => {
    const one = open(device.tab()),
      tab = device.tab(),
      two = open(tab);
    tab.frozen = true;
    one.save(draft('x'));
    expect(heard).toEqual([]);
    two.check();
    two.check();
    expect(heard).toMatchObject([{ kind: 'changed', draft: { reading: { comment: 'x' } } }]);
  });

  it('hear nothing once they are closed', () => {
    const one = open(device.tab()),
      two = open(device.tab());
    two.close();
    one.save(draft('x'));
    expect(heard).toEqual([]);
  });
});

import { beforeEach, describe, expect, it, vi } from 'vitest';

import { syncDrafts, type DraftSync } from '../../shared/drafts/sync';
import { Session } from '../../shared/state/session';
import { Store } from '../../shared/state/store';
import type { Task } from '../../shared/state/types';
import { box, labels, NORMAL, reading, task } from '../samples';
import { Copies, Device, type Tab } from './tabs';

interface Page {
  readonly tab: Tab;
  readonly store: Store;
  readonly session: Session;
  readonly drafts: DraftSync;
}

let device: Device, copies: Copies;
beforeEach(() => {
  device = new Device();
  copies = new Copies();
});

function page(tab: Tab = device.tab(), part: Partial<Task> = {}): Page {
  const store = new Store(task(part)),
    session = new Session(store, tab.window);
  return { tab, store, session, drafts: syncDrafts(store, session, tab.window, copies) };
}
const present = (store: Store, label = 'Edema') => store.dispatch({ kind: 'label', label, state: 'positive' });

describe('a page', () => {
  it('brings back every mark after a reload, as one step that can be undone', () => {
    const { tab, store } = page();
    store.dispatch({ kind: 'add-region', region: box('a', 'Edema') });
    store.dispatch({ kind: 'comment', comment: 'left' });
    const again = page(tab.reload()).store;
    expect(again.reading).toEqual(store.reading);
    expect(again.ui).toMatchObject({ draftPlace: 'device', notice: expect.stringMatching(/^Your marks of .* are back/) });
    again.undo();
    expect(again.reading.regions).toEqual([]);
    again.redo();
    expect(again.reading).toEqual(store.reading);
  });

  it('brings back what was undone as undone', () => {
    const { tab, store } = page();
    present(store);
    store.undo();
    expect(Object.keys(page(tab.reload()).store.reading.labels)).toEqual([]);
  });

  it('stores nothing of a task that was only looked at', () => {
    const { tab } = page();
    tab.hide();
    expect(device.texts.size).toBe(0);
    expect(page(tab.reload()).store.ui.notice).toBe('');
  });

  it('brings back the locked first reading', () => {
    const suggestions = { mode: 'after-first-read' as const, model: '', probabilities: {}, regions: [] };
    const { tab, store } = page(device.tab(), { suggestions });
    present(store);
    store.set({ first: store.reading });
    store.dispatch({ kind: 'label', label: 'Edema', state: 'negative' });
    const again = page(tab.reload(), { suggestions }).store;
    expect([again.ui.first?.labels['Edema'], again.reading.labels['Edema']]).toEqual(['positive', 'negative']);
  });

  it('leaves out what is not asked any more, and keeps the region', () => {
    const { tab, store } = page();
    store.dispatch({ kind: 'add-region', region: box('a', 'Edema') });
    const { findings } = task();
    const again = page(tab.reload(), { findings: findings.slice(1) }).store;
    expect([Object.keys(again.reading.labels), again.reading.regions[0]?.label]).toEqual([[], '']);
  });

  it('adds up time and work', () => {
    const { tab, store, session } = page();
    present(store);
    const before = session.record();
    expect(page(tab.reload()).session.record()).toMatchObject({
      openedAt: before.openedAt,
      changes: 2,
      byKind: { label: 1, replace: 1 },
    });
  });

  it('loses nothing over fifty reloads at any moment', () => {
    let { tab, store } = page();
    for (let at = 0; at < 50; at += 1) {
      if (at % 3 === 0) store.dispatch({ kind: 'add-region', region: box(`r${at}`, 'Edema') });
      else if (at % 3 === 1) store.dispatch({ kind: 'comment', comment: `word ${at}` }, 'comment');
      else store.undo();
      const before = store.reading;
      ({ tab, store } = page(tab.reload()));
      expect(store.reading).toEqual(before);
    }
  });
});

describe('where nothing may be stored', () => {
  it('says so, and asks before it leaves', () => {
    device.denied = true;
    const { tab, store } = page(device.tab('frame'));
    expect([store.ui.draftPlace, tab.asks()]).toEqual(['nowhere', false]);
    present(store);
    expect(tab.asks()).toBe(true);
  });

  it('a tab keeps drafts; of a frame, which is made anew with the page around it, nothing is promised', () => {
    device.denied = true;
    const alone = page();
    present(alone.store);
    expect([alone.store.ui.draftPlace, alone.tab.asks()]).toEqual(['tab', false]);
    expect(page(alone.tab.reload()).store.reading).toEqual(alone.store.reading);
    const framed = device.tab();
    framed.parent = {};
    const { store } = page(framed);
    present(store);
    expect([store.ui.draftPlace, framed.asks()]).toEqual(['nowhere', true]);
    expect(page(framed.reload()).store.reading).toEqual(store.reading);
  });

  it('changes the badge when the storage becomes full', () => {
    const { tab, store } = page();
    present(store);
    device.quota = 0;
    store.dispatch({ kind: 'comment', comment: 'more' });
    expect(store.ui.draftPlace).toBe('tab');
    expect(tab.asks()).toBe(false);
    expect(page(tab.reload()).store.reading.comment).toBe('more');
  });
});

describe('a browser that was killed before it had written everything to the disk', () => {
  const settled = () => new Promise((resolve) => setTimeout(resolve));

  it.each([
    ['and has an older draft', 1],
    ['and has none', 0],
  ])('%s: the newer one comes to light, as a step that can be undone', async (_, older) => {
    const one = page();
    if (older) present(one.store, 'Fracture');
    const disk = new Map(device.texts);
    present(one.store);
    await settled();
    device.texts.clear();
    for (const [key, text] of disk) device.texts.set(key, text);
    const { store } = page(one.tab.reload());
    const first = store.reading;
    await settled();
    expect(store.reading).toEqual(one.store.reading);
    expect(store.ui.notice).toMatch(/^Your marks/);
    store.undo();
    expect(store.reading).toBe(first);
  });

  it('loses nothing that was marked in the meantime either', async () => {
    const one = page();
    present(one.store);
    await settled();
    device.texts.clear();
    const { store } = page(one.tab.reload());
    present(store, 'Fracture');
    await settled();
    expect(Object.keys(store.reading.labels)).toEqual(['Edema']);
    expect(device.texts.get('dicom-workflow/draft/1/job/object/worker')).toMatch(/Edema/);
    store.undo();
    expect(Object.keys(store.reading.labels)).toEqual(['Fracture']);
  });

  it('says nothing where both copies are the same, or another tab has told already', async () => {
    const one = page();
    present(one.store);
    await settled();
    const two = page(); // reads its copy after the next change
    two.store.set({ notice: '' });
    present(one.store, 'Fracture');
    await settled();
    expect(two.store.reading).toEqual(one.store.reading);
    expect(two.store.ui.notice).toMatch(/another tab/);
  });

  it('has no copy of what has arrived, nor of what is too old', async () => {
    copies.write('1/older', JSON.stringify({ version: 1, savedAt: 0, state: 'open' }));
    const one = page();
    present(one.store);
    one.drafts.sending();
    await settled();
    expect([...copies.texts.keys()]).toEqual(['1/job/object/worker']);
    one.drafts.accepted();
    await settled();
    expect(copies.texts.size).toBe(0);
  });
});

describe('sending', () => {
  it('gives the draft up only when the answer has arrived', () => {
    const one = page();
    present(one.store);
    one.drafts.sending();
    expect(one.tab.asks()).toBe(false);
    const late = page(device.tab()).store; // opened while the answer is on its way
    expect(late.reading).toEqual(one.store.reading);
    one.drafts.accepted();
    expect([device.texts.size, late.ui.sent]).toEqual([0, true]);
    one.tab.hide();
    present(one.store, 'Fracture');
    expect(device.texts.size).toBe(0);
  });

  it('brings marks back that went out and did not arrive, and says so', () => {
    const one = page();
    present(one.store);
    one.drafts.sending();
    const again = page(one.tab.reload());
    expect(again.store.reading).toEqual(one.store.reading);
    expect(again.store.ui.notice).toMatch(/^Sent .* but not confirmed/);
  });

  it('that failed leaves a draft like any other', () => {
    const one = page();
    present(one.store);
    one.drafts.sending();
    one.drafts.failed();
    expect(page(one.tab.reload()).store.ui.notice).toMatch(/^Your marks/);
  });
});

describe('two tabs', () => {
  it('show the same, and say so once', () => {
    const one = page(),
      two = page();
    present(one.store);
    expect(two.store.reading).toEqual(one.store.reading);
    expect(two.store.ui.notice).toMatch(/another tab/);
    two.store.set({ notice: '' });
    one.store.dispatch({ kind: 'comment', comment: 'a' });
    expect([two.store.reading.comment, two.store.ui.notice]).toEqual(['a', '']);
    two.store.dispatch({ kind: 'comment', comment: 'b' });
    expect(one.store.reading.comment).toBe('b');
    two.store.undo();
    expect(one.store.reading.comment).toBe('a');
  });

  it('do not answer each other for ever', () => {
    const one = page(),
      two = page();
    const writes = vi.spyOn(device, 'tell');
    present(one.store);
    present(two.store, 'Fracture');
    expect(writes.mock.calls.filter(([, key]) => !key?.endsWith('probe'))).toHaveLength(2);
  });

  it('know when the other has sent, and when that failed', () => {
    const one = page(),
      two = page();
    present(one.store);
    one.drafts.sending();
    expect(two.store.ui).toMatchObject({ sent: true, notice: expect.stringMatching(/Sent from another tab/) });
    two.store.dispatch({ kind: 'comment', comment: 'too late' });
    two.tab.hide();
    expect([...device.texts.values()].join()).not.toMatch(/too late/);
    one.drafts.failed();
    expect(two.store.ui.sent).toBe(false);
    one.drafts.sending();
    one.drafts.accepted();
    expect([two.store.ui.sent, device.texts.size]).toEqual([true, 0]);
  });

  it.each<[string, (storage: Storage) => void]>([
    ['empties the storage', (storage) => storage.clear()],
    ['removes the draft', (storage) => [...device.texts.keys()].forEach((key) => storage.removeItem(key))],
  ])('put the draft back when somebody %s', (_, remove) => {
    const one = page();
    present(one.store);
    remove(device.tab().localStorage);
    expect(page(one.tab.reload()).store.reading).toEqual(one.store.reading);
  });

  it('catch up when one wakes', () => {
    const one = page(),
      two = page();
    two.tab.frozen = true;
    present(one.store);
    two.tab.dispatchEvent(new Event('pageshow'));
    expect(two.store.reading).toEqual(one.store.reading);
  });

  it('count the work of both as the higher', () => {
    const one = page(),
      two = page();
    present(one.store);
    one.store.undo();
    expect(two.session.record()).toMatchObject({ undone: 1, byKind: { label: 1 } });
  });
});

describe('a start the task brings', () => {
  it('is no draft; a draft goes before it', () => {
    const start = reading({ labels: labels(NORMAL.labels) });
    const { tab, store } = page(device.tab(), { start });
    expect([store.reading, device.texts.size]).toEqual([start, 0]);
    store.dispatch({ kind: 'comment', comment: 'mine' });
    expect(page(tab.reload(), { start }).store.reading.comment).toBe('mine');
  });
});

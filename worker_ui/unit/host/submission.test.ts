import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { readAnswer } from '../../shared/answer/read';
import { faultOf } from '../../shared/answer/validate';
import type { DraftSync } from '../../shared/drafts/sync';
import type { Session } from '../../shared/state/session';
import type { Store } from '../../shared/state/store';
import { Submission } from '../../shared/host/submission';
import type { Task } from '../../shared/state/types';
import { box, IMAGE, NORMAL, opened, reading, task } from '../samples';

/** A form as the shim has it: an event that may stop it, then busy until an answer comes. */
class Form extends HTMLElement {
  sent: string[] = [];
  answers = true;

  submit(): void {
    if (this.getAttribute('aria-busy') === 'true') return;
    if (!this.dispatchEvent(new Event('submit', { bubbles: true, cancelable: true })) || !this.answers) return;
    this.setAttribute('aria-busy', 'true');
    this.sent.push(this.querySelector<HTMLInputElement>('input[name=annotation]')!.value);
  }

  async fail(): Promise<void> {
    this.setAttribute('aria-busy', 'false');
    await Promise.resolve();
    await vi.advanceTimersByTimeAsync(0);
  }

  accept(): void {
    this.dispatchEvent(new CustomEvent('crowd-answer-accepted', { bubbles: true }));
  }
}
customElements.define('crowd-form', Form);

const drafts = { sending: vi.fn(), failed: vi.fn(), accepted: vi.fn(), close: vi.fn() } satisfies DraftSync;
let form: Form, store: Store, session: Session, submission: Submission;

function open(part: Partial<Task> = {}, image: typeof IMAGE | null = IMAGE): void {
  close();
  vi.clearAllMocks();
  document.body.innerHTML = `<crowd-form><input type="hidden" name="annotation"><input type="search"><textarea></textarea>
    <select></select><button type="button">x</button></crowd-form>`;
  form = document.querySelector<Form>('crowd-form')!;
  ({ store, session } = opened(task({ start: NORMAL, ...part }), image));
  submission = new Submission(store, session, drafts);
}

function close(): void {
  submission?.close();
  session?.close();
}

beforeEach(() => {
  vi.useFakeTimers();
  open();
});
afterEach(() => {
  close();
  vi.useRealTimers();
});

describe('submitting', () => {
  it('sends one valid answer, however often it is asked', () => {
    for (let times = 0; times < 3; times += 1) submission.submit();
    form.submit();
    expect(form.sent).toHaveLength(1);
    expect(faultOf(JSON.parse(form.sent[0]!))).toBeNull();
    expect({ ...readAnswer(JSON.parse(form.sent[0]!)).reading?.labels }).toEqual({ ...NORMAL.labels });
    expect(store.ui).toMatchObject({ sending: true, sent: false });
    expect(drafts.sending).toHaveBeenCalledTimes(1);
  });

  it('is done when the host says so, and nothing goes after it', () => {
    submission.submit();
    form.accept();
    expect(store.ui).toMatchObject({ sending: false, sent: true });
    expect(drafts.accepted).toHaveBeenCalledTimes(1);
    form.setAttribute('aria-busy', 'false');
    submission.submit();
    form.submit();
    expect(form.sent).toHaveLength(1);
  });

  it('lets nothing change that would not arrive', async () => {
    store.dispatch({ kind: 'comment', comment: 'as sent' });
    submission.submit();
    const sent = store.reading;
    store.dispatch({ kind: 'comment', comment: 'too late' });
    store.undo();
    expect([store.closed, store.reading]).toEqual([true, sent]);
    await form.fail();
    store.undo();
    expect([store.closed, store.reading.comment]).toEqual([false, '']);
  });

  it('can be done again after it failed', async () => {
    submission.submit();
    await form.fail();
    expect([store.ui.sending, drafts.failed.mock.calls.length]).toEqual([false, 1]);
    store.dispatch({ kind: 'comment', comment: 'second try' });
    submission.submit();
    expect(form.sent).toHaveLength(2);
    expect(form.sent[1]).toMatch(/second try/);
  });

  it('can be done again where the host gives no sign', () => {
    form.answers = false;
    submission.submit();
    vi.advanceTimersByTime(14_000);
    expect(store.ui.sending).toBe(true);
    vi.advanceTimersByTime(2_000);
    expect(store.ui).toMatchObject({ sending: false, notice: expect.stringMatching(/submit again/) });
  });

  it('waits as long as the host is busy', () => {
    submission.submit();
    vi.advanceTimersByTime(59_000);
    expect(store.ui.sending).toBe(true);
  });

  it('says where a page stands that has no host', () => {
    Object.defineProperty(form, 'submit', { value: undefined });
    submission.submit();
    expect(store.ui).toMatchObject({ sending: false, notice: expect.stringMatching(/not shown by a labeling service/) });
  });

  it('makes the hidden input where the shell has none', () => {
    form.querySelector('input')!.remove();
    submission.submit();
    expect(form.sent).toHaveLength(1);
  });

  it("goes on when the page comes back from the browser's cache", () => {
    submission.submit();
    window.dispatchEvent(Object.assign(new Event('pageshow'), { persisted: true }));
    expect(store.ui.sending).toBe(false);
  });
});

describe('the gate', () => {
  it('lets nothing incomplete pass, from here or elsewhere', () => {
    open({ start: null });
    submission.submit();
    form.submit();
    expect(form.sent).toEqual([]);
    expect(store.ui.complaints).toEqual([{ text: 'Still to answer: Edema, Fracture, No Finding.', at: 'Edema' }]);
    expect(form.querySelector<HTMLInputElement>('input')!.value).toBe('');
    store.dispatch({ kind: 'no-finding' });
    expect(store.ui.complaints).toEqual([]);
    form.submit();
    expect(form.sent).toHaveLength(1);
    expect(store.ui.sending).toBe(true);
  });

  it('lets nothing pass that is not in the form of an answer, and says where', () => {
    open({ start: { ...NORMAL, comment: 'x'.repeat(4001) } });
    submission.submit();
    expect(form.sent).toEqual([]);
    expect(store.ui.complaints).toEqual([{ text: 'The comment must NOT have more than 4000 characters.', at: 'comment' }]);
    open({
      start: {
        ...NORMAL,
        labels: { ...NORMAL.labels, 'Edema': 'positive', 'No Finding': 'negative' },
        regions: [
          box('a', 'Edema', {
            points: [
              [NaN, 0],
              [1, 1],
            ],
          }),
        ],
      },
    });
    submission.submit();
    expect([form.sent.length, store.ui.complaints[0]?.at]).toEqual([0, 'a']);
  });

  it('lets an image pass that could not be displayed', () => {
    open({ start: reading({ unusable: 'not-displayed' }) }, null);
    submission.submit();
    expect(JSON.parse(form.sent[0]!)).toMatchObject({ labels: {}, regions: [], unusable: 'not-displayed' });
  });

  it('keeps Enter in a field from submitting, not on a button or in a text of several lines', () => {
    const enters = (selector: string) =>
      document
        .querySelector(selector)!
        .dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', bubbles: true, cancelable: true }));
    expect(['input[type=search]', 'select', 'textarea', 'button'].map(enters)).toEqual([false, false, true, true]);
  });
});

describe('assistance after the first read', () => {
  const suggestions = { mode: 'after-first-read' as const, model: 'm', probabilities: {}, regions: [] };

  it('locks a complete first reading, then sends both', () => {
    open({ suggestions, start: null });
    submission.submit();
    expect([store.ui.first, store.ui.complaints.length]).toEqual([null, 1]);
    store.dispatch({ kind: 'no-finding' });
    form.submit();
    expect([store.ui.first === store.reading, form.sent.length]).toEqual([true, 0]);
    submission.submit(); // the second click of a double click
    expect(form.sent).toEqual([]);
    vi.advanceTimersByTime(1_100);
    store.dispatch({ kind: 'label', label: 'No Finding', state: 'negative' });
    store.dispatch({ kind: 'label', label: 'Edema', state: 'positive' });
    submission.submit();
    expect(JSON.parse(form.sent[0]!)).toMatchObject({
      labels: { Edema: 'positive' },
      assistance: { first: { labels: { 'No Finding': 'positive' } } },
    });
  });

  it('has no second stage for an image that cannot be read', () => {
    open({ suggestions, start: reading({ unusable: 'motion' }) });
    submission.submit();
    expect(JSON.parse(form.sent[0]!)).toMatchObject({ assistance: { first: { labels: {}, unusable: 'motion' } } });
  });
});

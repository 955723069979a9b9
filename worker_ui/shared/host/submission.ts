/** Submitting a reading: checks it, sends it once, and allows another attempt after a failure. */

import { writeAnswer } from '../answer/write';
import { complaintOf, faultOf } from '../answer/validate';
import type { DraftSync } from '../drafts/sync';
import { complaints } from '../state/completeness';
import type { Session } from '../state/session';
import type { Store } from '../state/store';
import { locksFirst } from '../state/suggestions';

interface CrowdForm extends HTMLElement {
  submit?(): void;
}

/** If the host does not start sending within this time, it refused the form or its own validation stopped it. */
const NO_SIGN_MS = 15_000;
/** Ignore a submit this soon after the first reading was locked: it is the second click of a double click. */
const LOCK_HOLDS_MS = 1000;
const OPEN_POLYGON = 'A polygon was still open and has been closed: check it, then submit again.';
const FIRST_LOCKED =
  'Your first reading is recorded. The model’s suggestions are shown now: change what you want to change, then submit.';

/** Sends one reading; a page has one. */
export class Submission {
  private released = false;
  private lockedAt = -Infinity;
  private watching: ReturnType<typeof setTimeout> | undefined;
  private readonly listening = new AbortController();
  private readonly busy: MutationObserver;

  constructor(
    private readonly store: Store,
    private readonly session: Session,
    private readonly drafts: DraftSync,
    private readonly form: CrowdForm | null = document.querySelector<CrowdForm>('crowd-form'),
  ) {
    const on = { signal: this.listening.signal };
    // A button of the host or the Enter key may submit the form too: the same checks apply.
    form?.addEventListener('submit', (event) => this.onFormSubmit(event), { ...on, capture: true });
    form?.addEventListener('keydown', preventEnter, on);
    form?.addEventListener('crowd-answer-accepted', () => this.accepted(), on);
    window.addEventListener(
      'pageshow',
      (event) => event.persisted && this.failed('The page was restored with your marks.'),
      on,
    );
    this.busy = new MutationObserver(() => form?.getAttribute('aria-busy') === 'false' && this.failed(''));
    if (form) this.busy.observe(form, { attributes: true, attributeFilter: ['aria-busy'] });
  }

  /** Send the reading if it is complete. */
  submit(): void {
    if (!this.prepare()) return;
    this.send();
    if (typeof this.form?.submit === 'function') this.form.submit();
    else this.failed('This page is not shown by a labeling service: the answer cannot be sent.');
  }

  close(): void {
    this.listening.abort();
    this.busy.disconnect();
    clearTimeout(this.watching);
  }

  private onFormSubmit(event: Event): void {
    if (this.released) return; // this is our own submission
    if (this.prepare()) this.send();
    else event.preventDefault();
  }

  /** Return whether the answer may be sent, and write it into the form; if not, show the reader why. */
  private prepare(): boolean {
    const { store } = this;
    if (store.ui.sending || store.ui.sent) return false;
    if (store.unfinished?.settle()) {
      store.set({ complaints: [{ text: OPEN_POLYGON, at: store.ui.selected ?? '' }] });
      return false;
    }
    const missing = complaints(store);
    if (missing.length > 0) {
      store.set({ complaints: missing });
      return false;
    }
    if (this.locksFirstReading()) return false;
    const answer = writeAnswer(store, this.session),
      fault = faultOf(answer);
    if (fault) {
      store.set({ complaints: [complaintOf(fault, store.reading)] });
      return false;
    }
    this.writeInput(JSON.stringify(answer));
    return true;
  }

  /** With assistance after the first read, the first submit locks the reading and shows the suggestions. */
  private locksFirstReading(): boolean {
    const { store } = this;
    if (!locksFirst(store)) return performance.now() - this.lockedAt < LOCK_HOLDS_MS;
    this.lockedAt = performance.now();
    this.session.firstRead();
    store.set({ first: store.reading, complaints: [], notice: FIRST_LOCKED });
    return true;
  }

  private writeInput(json: string): void {
    if (!this.form) return;
    let input = this.form.querySelector<HTMLInputElement>('input[name="annotation"]');
    if (!input) {
      input = document.createElement('input');
      input.type = 'hidden';
      input.name = 'annotation';
      this.form.append(input);
    }
    input.value = json;
  }

  private send(): void {
    this.released = true;
    this.drafts.sending(); // before sending: the host may unload the page at once
    this.store.set({ sending: true, complaints: [] });
    clearTimeout(this.watching);
    this.watching = setTimeout(() => {
      if (this.form?.getAttribute('aria-busy') !== 'true')
        this.failed('The host did not take the answer. Your marks are still here: submit again.');
    }, NO_SIGN_MS);
  }

  private failed(notice: string): void {
    if (!this.released) return;
    clearTimeout(this.watching);
    this.released = false;
    this.drafts.failed();
    this.store.set({ sending: false, ...(notice === '' ? {} : { notice }) });
  }

  private accepted(): void {
    clearTimeout(this.watching);
    this.released = false;
    this.drafts.accepted();
    this.store.set({ sending: false, sent: true });
  }
}

/** Keep Enter in a field from submitting the form. Enter on a button still works. */
function preventEnter(event: KeyboardEvent): void {
  const { target } = event;
  const submits =
    target instanceof HTMLSelectElement ||
    (target instanceof HTMLInputElement && !/^(button|submit|reset|image|file)$/.test(target.type));
  if (event.key === 'Enter' && submits) event.preventDefault();
}

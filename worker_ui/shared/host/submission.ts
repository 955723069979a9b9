/** From "Submit" to the host: what is missing is said, what is complete goes out once, what fails can go out again. */

import { writeAnswer } from '../answer/write';
import { complaintOf, faultOf } from '../answer/validate';
import type { Keeper } from '../drafts/sync';
import { complaints } from '../state/completeness';
import type { Session } from '../state/session';
import type { Store } from '../state/store';
import { locksFirst } from '../state/suggestions';

interface CrowdForm extends HTMLElement {
  submit?(): void;
}

/** A host that shows no sign of sending for so long has refused, or its own check holds the form. */
const NO_SIGN_MS = 15_000;
/** The second click of a double click that locked the first reading is not meant to send it. */
const LOCK_HOLDS_MS = 1000;
const OPEN_POLYGON = 'A polygon was still open and has been closed: look at it, then submit again.';
const FIRST_LOCKED =
  'Your first reading is recorded. The model’s suggestions are shown now: change what you want to change, then submit.';

/** Sending one reading; made once for a page. */
export class Submission {
  private released = false;
  private lockedAt = -Infinity;
  private watching: ReturnType<typeof setTimeout> | undefined;
  private readonly listening = new AbortController();
  private readonly busy: MutationObserver;

  constructor(
    private readonly store: Store,
    private readonly session: Session,
    private readonly drafts: Keeper,
    private readonly form: CrowdForm | null = document.querySelector<CrowdForm>('crowd-form'),
  ) {
    const on = { signal: this.listening.signal };
    // Whoever else submits the form, a button of the host or the Enter key, passes the same gate.
    form?.addEventListener('submit', (event) => this.gate(event), { ...on, capture: true });
    form?.addEventListener('keydown', keepEnter, on);
    form?.addEventListener('crowd-answer-accepted', () => this.accepted(), on);
    window.addEventListener(
      'pageshow',
      (event) => event.persisted && this.failed('The page is back, and so are your marks.'),
      on,
    );
    this.busy = new MutationObserver(() => form?.getAttribute('aria-busy') === 'false' && this.failed(''));
    if (form) this.busy.observe(form, { attributes: true, attributeFilter: ['aria-busy'] });
  }

  /** The reader wants to send. */
  submit(): void {
    if (!this.ready()) return;
    this.release();
    if (typeof this.form?.submit === 'function') this.form.submit();
    else this.failed('This page stands outside a labeling service: there is nowhere to send the answer.');
  }

  close(): void {
    this.listening.abort();
    this.busy.disconnect();
    clearTimeout(this.watching);
  }

  private gate(event: Event): void {
    if (this.released) return; // our own submission comes by
    if (this.ready()) this.release();
    else event.preventDefault();
  }

  /** Whether the answer may go out now; if not, the reader has been told why. On success it stands in the form. */
  private ready(): boolean {
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
    if (this.holdsBack()) return false;
    const answer = writeAnswer(store, this.session),
      fault = faultOf(answer);
    if (fault) {
      store.set({ complaints: [complaintOf(fault, store.reading)] });
      return false;
    }
    this.fill(JSON.stringify(answer));
    return true;
  }

  /** With assistance after the first read, the first time locks the reading and shows the suggestions. */
  private holdsBack(): boolean {
    const { store } = this;
    if (!locksFirst(store)) return performance.now() - this.lockedAt < LOCK_HOLDS_MS;
    this.lockedAt = performance.now();
    this.session.firstRead();
    store.set({ first: store.reading, complaints: [], notice: FIRST_LOCKED });
    return true;
  }

  private fill(json: string): void {
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

  private release(): void {
    this.released = true;
    this.drafts.sending(); // before anything leaves: the page may be gone at once
    this.store.set({ sending: true, complaints: [] });
    clearTimeout(this.watching);
    this.watching = setTimeout(() => {
      if (this.form?.getAttribute('aria-busy') !== 'true')
        this.failed('The page did not go on. Your marks are still here: submit again.');
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

/** Enter in a field submits a form by itself; here it never does. Buttons keep it, and whoever listens has heard it before. */
function keepEnter(event: KeyboardEvent): void {
  const { target } = event;
  const submits =
    target instanceof HTMLSelectElement ||
    (target instanceof HTMLInputElement && !/^(button|submit|reset|image|file)$/.test(target.type));
  if (event.key === 'Enter' && submits) event.preventDefault();
}

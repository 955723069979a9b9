/** A small task, a store and the panel in a document, for the tests of the panel. */

import { h, render } from 'preact';
import { act } from 'preact/test-utils';

import { Panel } from '../../shared/panel/panel';
import { listenKeys } from '../../shared/input/shortcuts';
import { Store } from '../../shared/state/store';
import { EMPTY_READING, type Finding, type LabelState, type Region, type Task } from '../../shared/state/types';
import { task as taskOf } from '../samples';

export const LABELS = ['Atelectasis', 'Edema', 'Pneumothorax', '<b>"Odd" & label</b>', 'constructor', 'No Finding'];

export function task(changes: Partial<Task> = {}): Task {
  const findings = LABELS.map(
    (label): Finding => ({
      label,
      definition: `What ${label} is`,
      region: label === 'No Finding' ? 'none' : label === 'Pneumothorax' ? 'required' : 'optional',
    }),
  );
  return taskOf({ findings, ...changes });
}

export function labels(of: Record<string, LabelState>): Readonly<Record<string, LabelState>> {
  return Object.assign(Object.create(null), of);
}

export function box(id: string, label: string): Region {
  return {
    id,
    label,
    shape: 'rectangle',
    points: [
      [10, 20],
      [40, 60],
    ],
    comment: '',
  };
}

export interface Shown {
  readonly store: Store;
  readonly submits: () => number;
  readonly press: (key: string, more?: KeyboardEventInit & { on?: Element }) => KeyboardEvent;
  readonly find: <T extends HTMLElement = HTMLElement>(selector: string) => T;
  readonly answer: (label: string, state: string) => HTMLElement;
  readonly state: (label: string) => string | null;
  readonly close: () => void;
}

export function show(of: Task = task()): Shown {
  const store = new Store(of, { ...EMPTY_READING });
  let submits = 0;
  const root = document.createElement('div');
  document.body.append(root);
  const onSubmit = (): void => void (submits += 1);
  const stop = listenKeys(store, onSubmit);
  act(() => render(h(Panel, { store, onSubmit }), root));
  const group = (label: string): Element =>
    [...root.querySelectorAll('[role="radiogroup"]')].find((one) => one.getAttribute('aria-label') === label)!;
  return {
    store,
    submits: () => submits,
    press: (key, { on = document.activeElement ?? document.body, ...more } = {}) => {
      const code = /^[a-z]$/i.test(key) ? `Key${key.toUpperCase()}` : /^\d$/.test(key) ? `Digit${key}` : key;
      const event = new KeyboardEvent('keydown', { key, code, bubbles: true, cancelable: true, ...more });
      act(() => void on.dispatchEvent(event));
      return event;
    },
    find: (selector) => root.querySelector(selector)!,
    answer: (label, state) => group(label).querySelector<HTMLElement>(`[aria-label="${state}"]`)!,
    state: (label) => group(label).querySelector('[aria-checked="true"]')?.getAttribute('aria-label') ?? null,
    close: () => {
      stop();
      act(() => render(null, root));
      root.remove();
    },
  };
}

export function click(element: Element): void {
  act(() => (element as HTMLElement).click());
}

export function type(field: HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement, value: string, event = 'input'): void {
  act(() => {
    field.value = value;
    field.dispatchEvent(new Event(event, { bubbles: true }));
  });
}

export function change(act_: () => void): void {
  act(act_);
}

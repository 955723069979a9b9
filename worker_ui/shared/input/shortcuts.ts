/**
 * All keyboard shortcuts of the page in one table, which the key listener and the help dialog both use.
 *
 * Letters and symbols are matched by the printed character, digits by key position: a French keyboard needs Shift for digits, a
 * German one has "/" on Shift+7 and "[" on AltGr+8, and no key of a Greek one prints "P".
 */

import {
  everyViewport,
  fit,
  flip,
  invert,
  oneToOne,
  panBy,
  resetView,
  rotate,
  windowBy,
  zoomBy,
} from '../state/viewport-commands';
import { DRAWING_KEYS, drawingKey } from '../drawing/keyboard';
import { focusViewport, focusOn, goToFinding, PLACES, stepFinding } from './focus';
import { answerActive, noFinding, othersAbsent } from '../state/finding-actions';
import { removeSelected } from '../state/marks';
import { acceptActive } from '../state/accept-reader';
import type { Store, Tool } from '../state/store';

export interface Shortcut {
  /** As shown in the help; alternatives are separated by " / ". */
  readonly keys: string;
  readonly text: string;
  readonly group: 'Findings' | 'Answer' | 'Tools' | 'Image' | 'Image, when it has the focus' | 'Page';
  /** Key combinations that trigger it; empty where another part of the page handles them. */
  readonly chords: readonly string[];
  /** Whether holding the key down repeats the action. */
  readonly repeats?: boolean;
  /** Returns false when the combination does nothing now. `viewport` is the index of the viewport focused last. */
  readonly run: (store: Store, chord: string, viewport: number) => void | boolean;
}

type Row = readonly [keys: string, text: string, run: Shortcut['run'], repeats?: 'repeats'];

const DIGITS = ['1', '2', '3', '4', '5', '6', '7', '8', '9', '0'];

export const SHORTCUTS: readonly Shortcut[] = [
  ...group('Findings', [
    ['J / K', 'next, previous finding', (store, chord) => stepFinding(store, chord === 'J' ? 1 : -1), 'repeats'],
    ['/', 'search findings', () => void focusOn(PLACES.search)],
  ]),
  {
    keys: '1 … 9, 0',
    text: 'finding 1 to 10',
    group: 'Findings',
    chords: DIGITS,
    run: (store, chord) => pick(store, chord, 0),
  },
  {
    keys: 'Shift+1 … 0',
    text: 'finding 11 to 20',
    group: 'Findings',
    chords: DIGITS.map((digit) => `Shift+${digit}`),
    run: (store, chord) => pick(store, chord.slice(-1), 10),
  },
  ...group('Answer', [
    ['P', 'present', (store) => answerActive(store, 'positive')],
    ['U', 'uncertain', (store) => answerActive(store, 'uncertain')],
    ['A', 'absent', (store) => answerActive(store, 'negative')],
    ['X', 'not assessed; the same key again clears an answer', (store) => answerActive(store, 'unknown')],
    ['N', 'no finding', noFinding],
    ['O', 'all others absent', othersAbsent],
    ['C', 'comment on the image', () => void focusOn(PLACES.comment)],
  ]),
  {
    keys: 'Alt+1 … 9',
    text: 'accept reader 1 to 9 for the active finding',
    group: 'Answer',
    chords: DIGITS.slice(0, 9).map((digit) => `Alt+${digit}`),
    run: (store, chord) => acceptActive(store, Number(chord.slice(-1)) - 1),
  },
  ...group('Tools', [
    ['W', 'contrast', tool('window')],
    ['M', 'move', tool('pan')],
    ['S', 'select', tool('select')],
    ['R', 'rectangle', tool('rectangle')],
    ['E', 'ellipse', tool('ellipse')],
    ['G', 'polygon', tool('polygon')],
    ['F', 'freehand', tool('freehand')],
    ['L', 'length', tool('length')],
    ['D', 'angle', tool('angle')],
  ]),
  ...group('Image', [
    ['I', 'invert', (store, _, viewport) => invert(store, viewport)],
    ['T', 'fit', (store) => everyViewport(store, fit)],
    ['B', '1:1', (store, _, viewport) => oneToOne(store, viewport)],
    ['+ / -', 'zoom in, out', (store, chord, viewport) => zoomBy(store, chord === '+' ? 1.25 : 1 / 1.25, viewport), 'repeats'],
    ['[ / ]', 'rotate left, right', (store, chord, viewport) => rotate(store, chord === ']', viewport)],
    [
      'H / V',
      'flip horizontally, vertically',
      (store, chord, viewport) => flip(store, chord === 'H' ? 'horizontal' : 'vertical', viewport),
    ],
    ['Home', 'reset view', (store) => everyViewport(store, resetView)],
    ['Y', 'hide or show regions', (store) => store.set({ regionsShown: !store.ui.regionsShown })],
    ['Delete / Backspace', 'remove what is selected', removeSelected],
  ]),
  ...shown('Image, when it has the focus', [
    ['Arrows', 'Contrast tool: width and level; else move the image (Shift: far)'],
    ...DRAWING_KEYS.map(({ keys, text }) => [keys.replaceAll(' + ', '+').replaceAll(', ', ' / '), text] as const),
  ]),
  ...group('Page', [
    ['Ctrl+Z', 'undo', (store) => store.undo(), 'repeats'],
    ['Ctrl+Shift+Z / Ctrl+Y', 'redo', (store) => store.redo(), 'repeats'],
    ['Escape', 'cancel, deselect, leave a field', escape],
    ['?', 'this help', (store) => store.set({ help: true })],
  ]),
  ...shown('Page', [['Ctrl+Enter', 'submit']]),
];

const BY_CHORD: ReadonlyMap<string, Shortcut> = new Map(SHORTCUTS.flatMap((one) => one.chords.map((chord) => [chord, one])));

/** Listen for keys on the whole document; returns a function that stops listening. */
export function listenKeys(store: Store, onSubmit: () => void): () => void {
  if (remembered() === 'off') store.set({ shortcuts: false });
  const onKey = (event: KeyboardEvent): void => {
    if (event.defaultPrevented || event.isComposing || store.ui.help) return;
    const handled = isSubmit(event) ? submitOnce(event, onSubmit) : handle(store, event);
    if (handled) event.preventDefault();
  };
  document.addEventListener('keydown', onKey);
  return () => document.removeEventListener('keydown', onKey);
}

/** Return the key combinations that an event may stand for, the most likely first. */
export function chordsOf(event: KeyboardEvent): string[] {
  // Windows reports AltGr as Ctrl and Alt. Alt alone is Alt, even where a browser reports the Option key of a Mac as AltGr.
  const printed = event.getModifierState('AltGraph') && event.ctrlKey === event.altKey;
  const ctrl = (event.ctrlKey || event.metaKey) && !printed,
    alt = event.altKey && !printed,
    shift = event.shiftKey;
  const digit = digitOf(event),
    letter = letterOf(event);
  const before = `${ctrl ? 'Ctrl+' : ''}${alt ? 'Alt+' : ''}`;
  if (letter !== null) return [`${before}${shift ? 'Shift+' : ''}${letter}`];
  const sign = event.key.length === 1 ? `${before}${event.key}` : `${before}${shift ? 'Shift+' : ''}${event.key}`;
  if (digit === null || printed) return [sign];
  if (alt && !ctrl) return [`${before}${digit}`, event.key]; // a German Mac prints "[" by Option+5
  return shift ? [sign, `${before}Shift+${digit}`] : [`${before}${digit}`, sign];
}

const REMEMBERED = 'radiograph-single-keys';

/** Remember the choice for the browser session, or only for this page where a sandbox denies storage. */
export function rememberShortcuts(on: boolean): void {
  try {
    sessionStorage.setItem(REMEMBERED, on ? 'on' : 'off');
  } catch {
    // Storage is denied: the choice lasts until the page is closed.
  }
}

function remembered(): string | null {
  try {
    return sessionStorage.getItem(REMEMBERED);
  } catch {
    return null;
  }
}

function handle(store: Store, event: KeyboardEvent): boolean {
  if (isTextField(event.target)) return event.key === 'Escape' && leave(event.target as HTMLElement);
  const viewport = viewportOf(event.target);
  if (viewport === 0 && drawingKey(store, event)) return true;
  if (viewport !== null && arrows(store, event, viewport)) return true;
  for (const chord of chordsOf(event)) {
    const shortcut = BY_CHORD.get(chord);
    if (!shortcut || (!store.ui.shortcuts && chord.replace('Shift+', '').length === 1)) continue;
    if (event.repeat && !shortcut.repeats) return true;
    if (shortcut.run(store, chord, viewport ?? store.ui.activeViewport) !== false) return true;
  }
  return false;
}

/** With the contrast tool arrow keys change window width and level, as a drag does; with others they pan. */
function arrows(store: Store, event: KeyboardEvent, viewport: number): boolean {
  if (event.ctrlKey || event.altKey || event.metaKey) return false;
  const way = (
    { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] } as Record<string, [number, number]>
  )[event.key];
  if (!way) return false;
  const far = event.shiftKey ? 10 : 1;
  if (store.ui.tool === 'window') windowBy(store, 0.02 * far * way[0], 0.02 * far * way[1], viewport);
  else panBy(store, -20 * far * way[0], -20 * far * way[1], viewport);
  return true;
}

function isSubmit(event: KeyboardEvent): boolean {
  return event.key === 'Enter' && (event.ctrlKey || event.metaKey);
}

function submitOnce(event: KeyboardEvent, onSubmit: () => void): true {
  if (!event.repeat) onSubmit();
  return true;
}

function isTextField(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLInputElement) return !['checkbox', 'radio', 'button', 'submit', 'range'].includes(target.type);
  return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement || target.isContentEditable;
}

/** Leave a text field and focus the image, which the next shortcut is most often for. */
function leave(element: HTMLElement): true {
  element.blur();
  focusViewport();
  return true;
}

function viewportOf(target: EventTarget | null): number | null {
  const viewport = target instanceof Element ? target.closest<HTMLElement>('[role="application"]') : null;
  return viewport ? Number(viewport.dataset['index'] ?? 0) : null;
}

function digitOf(event: KeyboardEvent): string | null {
  const pad = /^Numpad(\d)$/.exec(event.code);
  if (pad) return event.key === pad[1] ? event.key : null; // without NumLock these are arrows
  return /^Digit(\d)$/.exec(event.code)?.[1] ?? null;
}

function letterOf(event: KeyboardEvent): string | null {
  if (/^[a-z]$/i.test(event.key)) return event.key.toUpperCase();
  const place = /^Key([A-Z])$/.exec(event.code)?.[1];
  const foreign = event.key.length === 1 && /\p{L}/u.test(event.key) && !/\p{Script=Latin}/u.test(event.key);
  return place && foreign ? place : null;
}

function pick(store: Store, digit: string, from: number): boolean {
  const finding = store.task.findings[from + DIGITS.indexOf(digit)];
  if (finding) goToFinding(store, finding.label);
  return finding !== undefined;
}

/** Choosing a tool by key focuses the image, so that keys can use it; drawing tools work on the first image only. */
function tool(name: Tool): Shortcut['run'] {
  return (store) => {
    store.set({ tool: name });
    const index = name === 'window' || name === 'pan' ? store.ui.activeViewport : 0;
    document.querySelectorAll<HTMLElement>('[role="application"]')[index]?.focus({ preventScroll: true });
  };
}

function escape(store: Store): boolean {
  const { selected, notice, complaints } = store.ui;
  if (selected !== null) store.set({ selected: null });
  else if (notice !== '') store.set({ notice: '' });
  else if (complaints.length > 0) store.set({ complaints: [] });
  else return false;
  return true;
}

function group(name: Shortcut['group'], rows: readonly Row[]): Shortcut[] {
  return rows.map(([keys, text, run, repeats]) => ({
    keys,
    text,
    group: name,
    chords: chords(keys),
    run,
    repeats: repeats === 'repeats',
  }));
}

function shown(name: Shortcut['group'], rows: readonly (readonly [keys: string, text: string])[]): Shortcut[] {
  return rows.map(([keys, text]) => ({ keys, text, group: name, chords: [], run: () => false }));
}

function chords(keys: string): string[] {
  return keys === '/' ? ['/'] : keys.split(' / ');
}

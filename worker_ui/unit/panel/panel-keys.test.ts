import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { chordsOf, SHORTCUTS } from '../../shared/input/shortcuts';
import { box, change, click, labels, show, task, type, type Shown } from './panel-setup';

let page: Shown;
beforeEach(() => {
  sessionStorage.clear();
  page = show();
});
afterEach(() => page.close());

describe('keys', () => {
  test('a digit makes a finding active and a letter answers it', () => {
    page.press('2');
    page.press('p');
    expect(page.store.ui.activeLabel).toBe('Edema');
    expect(page.state('Edema')).toBe('Present');
  });

  test('the same letter again takes the answer back, a held one does not', () => {
    page.press('1');
    page.press('u');
    page.press('u', { repeat: true });
    expect(page.state('Atelectasis')).toBe('Uncertain');
    page.press('u');
    expect(page.state('Atelectasis')).toBeNull();
  });

  test('J and K walk through the findings and stop at the ends', () => {
    for (const key of ['j', 'j', 'j']) page.press(key);
    expect(page.store.ui.activeLabel).toBe('Pneumothorax');
    for (const key of ['k', 'k', 'k', 'k']) page.press(key);
    expect(page.store.ui.activeLabel).toBe('Atelectasis');
  });

  test('a letter without an active finding says what to do and changes nothing', () => {
    page.press('p');
    expect(page.store.counts.changes).toBe(0);
    expect(page.store.ui.notice).toContain('No finding is active');
  });

  test('a label named like a part of every object is answered like any other', () => {
    page.press('5');
    page.press('x');
    expect(page.state('constructor')).toBe('Not assessed');
    expect(page.store.reading.labels['constructor']).toBe('unknown');
  });

  test('N is no finding and O makes the others absent', () => {
    page.press('n');
    expect(page.state('No Finding')).toBe('Present');
    expect(page.state('Edema')).toBe('Absent');
    page.press('z', { ctrlKey: true });
    expect(page.store.reading.labels).toEqual(labels({}));
    page.press('o');
    expect(page.state('Edema')).toBe('Absent');
  });

  test('undo and redo go by Ctrl or the command key', () => {
    page.press('n');
    page.press('z', { metaKey: true });
    expect(page.state('No Finding')).toBeNull();
    page.press('Z', { ctrlKey: true, shiftKey: true });
    expect(page.state('No Finding')).toBe('Present');
    page.press('z', { ctrlKey: true });
    page.press('y', { ctrlKey: true });
    expect(page.state('No Finding')).toBe('Present');
  });

  test('in a text field letters are text, Enter sends nothing, Ctrl+Enter submits and Escape leaves', () => {
    const field = page.find<HTMLTextAreaElement>('[aria-label="Comment on the image"]');
    page.press('1');
    page.press('c');
    expect(document.activeElement).toBe(field);
    expect(page.press('p').defaultPrevented).toBe(false);
    page.press('n');
    expect(page.store.counts.changes).toBe(0);
    page.press('Enter');
    expect(page.submits()).toBe(0);
    page.press('Enter', { ctrlKey: true });
    expect(page.submits()).toBe(1);
    page.press('Escape');
    expect(document.activeElement).not.toBe(field);
  });

  test('Enter in a comment on a region is kept from the form around it', () => {
    change(() => {
      page.store.dispatch({ kind: 'add-region', region: box('r', 'Edema') });
      page.store.set({ selected: 'r' });
    });
    const field = page.find<HTMLInputElement>('[aria-label="Comment on region 1"]');
    field.focus();
    expect(page.press('Enter').defaultPrevented).toBe(true);
    expect(page.submits()).toBe(0);
  });

  test('Ctrl+Enter held down submits once', () => {
    page.press('Enter', { ctrlKey: true });
    page.press('Enter', { ctrlKey: true, repeat: true });
    expect(page.submits()).toBe(1);
  });

  test('Delete removes the selected region, undo brings it back', () => {
    change(() => {
      page.store.dispatch({ kind: 'add-region', region: box('r', 'Edema') });
      page.store.set({ selected: 'r' });
    });
    page.press('Delete');
    expect(page.store.reading.regions).toEqual([]);
    page.press('z', { ctrlKey: true });
    expect(page.store.reading.regions).toHaveLength(1);
  });

  test('single keys can be turned off for the session; keys with Ctrl stay', () => {
    page.press('?', { shiftKey: true });
    expect(page.store.ui.help).toBe(true);
    click(page.find('.switch input'));
    change(() => page.store.set({ help: false }));
    page.press('n');
    page.press('1');
    expect(page.store.counts.changes).toBe(0);
    page.press('Enter', { ctrlKey: true });
    expect(page.submits()).toBe(1);
    page.close();
    page = show();
    expect(page.store.ui.shortcuts).toBe(false);
  });

  test('keys do nothing to findings that are set aside', () => {
    change(() => page.store.dispatch({ kind: 'unusable', code: 'motion' }));
    page.press('n');
    page.press('2');
    page.press('p');
    expect(page.store.reading.labels).toEqual(labels({}));
    expect(page.store.ui.notice).toContain('set aside');
  });

  test('Alt and a digit accept a reader for the active finding, state and regions in one step', () => {
    page.close();
    const reader = (name: string, state: 'positive' | 'negative', id: string) => ({
      name,
      reading: {
        labels: labels({ Edema: state }),
        regions: state === 'positive' ? [box(id, 'Edema')] : [],
        measurements: [],
        comment: '',
        unusable: '',
      },
    });
    page = show(task({ earlier: [reader('A', 'negative', 'a'), reader('B', 'positive', 'b')] }));
    page.press('2');
    page.press('2', { altKey: true });
    expect(page.state('Edema')).toBe('Present');
    expect(page.store.reading.regions.map(({ id }) => id)).toEqual(['taken:B:b']);
    page.press('1', { altKey: true });
    expect(page.state('Edema')).toBe('Absent');
    expect(page.store.reading.regions).toEqual([]);
    page.press('z', { ctrlKey: true });
    expect(page.state('Edema')).toBe('Present');
    expect(page.store.reading.regions).toHaveLength(1);
  });

  test('the search narrows the list; Enter goes to the first match and Escape clears', () => {
    page.press('/');
    const field = page.find<HTMLInputElement>('[role="searchbox"], input[type="search"]');
    expect(document.activeElement).toBe(field);
    type(field, 'PNEUMO');
    expect(document.querySelectorAll('[role="radiogroup"]')).toHaveLength(1);
    page.press('Enter');
    expect(page.store.ui.activeLabel).toBe('Pneumothorax');
    expect(document.activeElement).toBe(page.answer('Pneumothorax', 'Present'));
    expect(page.submits()).toBe(0);
    field.focus();
    page.press('Escape');
    expect(document.querySelectorAll('[role="radiogroup"]')).toHaveLength(6);
  });
});

describe('keyboards', () => {
  const press = (key: string, code: string, more: KeyboardEventInit & { modifierAltGraph?: boolean } = {}) =>
    chordsOf(new KeyboardEvent('keydown', { key, code, ...more }));

  test('a digit goes by its place, so that a French keyboard needs no Shift for it', () => {
    expect(press('&', 'Digit1')[0]).toBe('1');
    expect(press('1', 'Digit1', { shiftKey: true })).toContain('Shift+1');
    expect(press('-', 'Digit6')).toEqual(['6', '-']);
  });

  test('a sign goes by what it prints, whatever Shift it takes', () => {
    expect(press('/', 'Digit7', { shiftKey: true })[0]).toBe('/');
    expect(press('?', 'Minus', { shiftKey: true })[0]).toBe('?');
  });

  test('a letter goes by what it prints, and by its place where that is not Latin', () => {
    expect(press('z', 'KeyY')).toEqual(['Z']);
    expect(press('a', 'KeyQ')).toEqual(['A']);
    expect(press('з', 'KeyP')).toEqual(['P']);
    expect(press('ö', 'Semicolon')).toEqual(['ö']);
  });

  test('AltGr is no Ctrl+Alt', () => {
    const event = new KeyboardEvent('keydown', { key: '[', code: 'Digit8', ctrlKey: true, altKey: true });
    Object.defineProperty(event, 'getModifierState', { value: (name: string) => name === 'AltGraph' });
    expect(chordsOf(event)).toEqual(['[']);
  });

  test('no chord is listened to twice', () => {
    const chords = SHORTCUTS.flatMap((one) => one.chords);
    expect(new Set(chords).size).toBe(chords.length);
  });
});

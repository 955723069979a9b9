import { options } from 'preact';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';

import { edited } from '../../shared/panel/region-size';
import { complaints } from '../../shared/state/completeness';
import type { RadiographImage } from '../../shared/pixels/radiograph-image';
import { box, change, click, labels, LABELS, show, task, type, type Shown } from './panel-setup';

let page: Shown;
beforeEach(() => {
  page = show();
});
afterEach(() => page.close());

describe('findings', () => {
  test('each is a radio group of four; a click answers, a second takes back', () => {
    click(page.answer('Edema', 'Absent'));
    expect(page.store.reading.labels['Edema']).toBe('negative');
    click(page.answer('Edema', 'Present'));
    expect(page.state('Edema')).toBe('Present');
    click(page.answer('Edema', 'Present'));
    expect(page.state('Edema')).toBeNull();
  });

  test('a double click is one answer', () => {
    for (const detail of [1, 2])
      change(() => void page.answer('Edema', 'Present').dispatchEvent(new MouseEvent('click', { detail, bubbles: true })));
    expect(page.state('Edema')).toBe('Present');
    for (const detail of [1, 2])
      change(() => void page.find('.no-finding').dispatchEvent(new MouseEvent('click', { detail, bubbles: true })));
    expect(page.state('No Finding')).toBe('Present');
  });

  test('Tab reaches one answer of the list; arrows move the focus and answer nothing', () => {
    const stops = () => [...document.querySelectorAll<HTMLElement>('[role="radio"]')].filter(({ tabIndex }) => tabIndex === 0);
    expect(stops()).toEqual([page.answer('Atelectasis', 'Present')]);
    change(() => stops()[0]!.focus());
    page.press('ArrowDown');
    page.press('ArrowRight');
    expect(document.activeElement).toBe(page.answer('Edema', 'Uncertain'));
    expect(stops()).toEqual([page.answer('Edema', 'Uncertain')]);
    expect(page.store.ui.activeLabel).toBe('Edema');
    expect(page.store.counts.changes).toBe(0);
    page.press('End');
    expect(document.activeElement).toBe(page.answer('No Finding', 'Uncertain'));
  });

  test('J takes the focus along when it is in the list', () => {
    change(() => page.answer('Atelectasis', 'Absent').focus());
    page.press('j');
    expect(document.activeElement).toBe(page.answer('Edema', 'Absent'));
  });

  test('labels are text, never markup', () => {
    expect(page.answer(LABELS[3]!, 'Present')).toBeTruthy();
    expect(page.find('.list b')).toBeNull();
    expect(page.find('.list').textContent).toContain(LABELS[3]);
  });

  test('a conflict is said at once, in the rows and in words', () => {
    click(page.answer('Edema', 'Present'));
    click(page.find('.no-finding'));
    expect(page.state('Edema')).toBe('Present');
    expect(page.find('.conflicts').textContent).toBe(
      'No Finding is present, and so is Edema. Change one of them. Call No Finding absent',
    );
    click(page.answer('Edema', 'Absent'));
    expect(page.find('.conflicts').textContent).toBe('');
  });

  test('a normal image is two clicks', () => {
    click(page.find('.no-finding'));
    expect(complaints(page.store).filter(({ at }) => at !== 'unusable')).toEqual([]);
    click(page.find('.submit'));
    expect(page.submits()).toBe(1);
  });

  test('what cannot be read is set aside, and is back when it can', () => {
    click(page.answer('Edema', 'Present'));
    type(page.find<HTMLSelectElement>('[aria-label="Why can it not be read?"]'), 'motion', 'change');
    expect((page.answer('Edema', 'Present') as HTMLButtonElement).disabled).toBe(true);
    expect(page.find('.set-aside').textContent).toContain('Motion');
    click(page.find('.set-aside button'));
    expect(page.state('Edema')).toBe('Present');
    expect((page.answer('Edema', 'Present') as HTMLButtonElement).disabled).toBe(false);
  });

  test('a complaint leads to its place', () => {
    change(() => page.store.dispatch({ kind: 'add-region', region: box('r', '') }));
    change(() =>
      page.store.set({
        complaints: [
          { text: 'Answer it', at: 'Pneumothorax' },
          { text: 'Which?', at: 'r' },
          { text: 'Say why', at: 'comment' },
        ],
      }),
    );
    const [first, second, third] = [...page.find('.complaints').querySelectorAll('button')];
    expect(document.activeElement).toBe(first);
    click(first!);
    expect(document.activeElement).toBe(page.answer('Pneumothorax', 'Present'));
    click(second!);
    expect(document.activeElement).toBe(page.find('[aria-label="Finding of region 1"]'));
    expect(page.store.ui.selected).toBe('r');
    click(third!);
    expect(document.activeElement).toBe(page.find('[aria-label="Comment on the image"]'));
  });

  test('what is left to answer is counted', () => {
    expect(page.find('.remaining').textContent).toBe('6 to answer');
    click(page.answer('Edema', 'Present'));
    expect(page.find('.remaining').textContent).toBe('5 to answer');
    click(page.find('.remaining button'));
    expect(document.activeElement).toBe(page.answer('Pneumothorax', 'Present'));
  });
});

test('a drag on the image does not render the panel again, a change of the reading does', () => {
  const rendered = vi.spyOn(options as { diffed: () => void }, 'diffed');
  change(() => page.store.setViewport(0, { window: { center: 0.1, width: 0.2 } }));
  expect(rendered).not.toHaveBeenCalled();
  change(() => page.store.dispatch({ kind: 'comment', comment: 'x' }));
  expect(rendered).toHaveBeenCalled();
  rendered.mockRestore();
});

describe('the model', () => {
  const suggestions = {
    mode: 'after-first-read',
    model: 'net',
    probabilities: labels({}) as never,
    regions: [box('m', 'Edema')],
  } as const;

  test('is not shown before the first reading is locked', () => {
    page.close();
    page = show(task({ suggestions: { ...suggestions, probabilities: { Edema: 0.9 } } }));
    expect(page.find('.probability')).toBeNull();
    expect(page.find('.submit').textContent).toBe('Lock first read and show the model');
    change(() => page.store.set({ first: page.store.reading }));
    expect(page.find('.probability').textContent).toBe('90');
    expect(page.find('.submit').textContent).toBe('Submit');
    click(page.answer('Edema', 'Absent'));
    expect(page.find('.mark.differs')).not.toBeNull();
    click(page.find('.take .small'));
    expect(page.store.reading.regions.map(({ label }) => label)).toEqual(['Edema']);
    expect((page.find('.take .small') as HTMLButtonElement).disabled).toBe(true);
  });
});

describe('regions', () => {
  beforeEach(() =>
    change(() => {
      page.store.dispatch({ kind: 'add-region', region: box('r', 'Edema') });
      page.store.set({ selected: 'r' });
    }),
  );

  test('a number typed moves or resizes one without a drag, as one step to undo', () => {
    const field = page.find<HTMLInputElement>('[aria-label="Width of region 1, px"]');
    expect(field.value).toBe('30');
    type(field, '5');
    type(field, '55.25');
    expect(page.store.reading.regions[0]!.points).toEqual([
      [10, 20],
      [65.25, 60],
    ]);
    change(() => page.store.undo());
    expect(page.store.reading.regions[0]!.points).toEqual([
      [10, 20],
      [40, 60],
    ]);
  });

  test('a half-typed number changes nothing', () => {
    type(page.find<HTMLInputElement>('[aria-label="Width of region 1, px"]'), '');
    expect(page.store.reading.regions[0]!.points).toEqual([
      [10, 20],
      [40, 60],
    ]);
  });

  test('numbers stay inside the image', () => {
    const image = { rows: 100, columns: 50 } as RadiographImage;
    expect(edited(box('r', ''), 'x', 45, image)).toEqual([
      [20, 20],
      [50, 60],
    ]);
    expect(edited(box('r', ''), 'height', 1000, image)).toEqual([
      [10, 20],
      [40, 100],
    ]);
    expect(edited(box('r', ''), 'width', 0, image)).toBeNull();
  });

  test('the finding it belongs to can be changed, but not to one without a place', () => {
    const choice = page.find<HTMLSelectElement>('[aria-label="Finding of region 1"]');
    expect([...choice.options].map(({ value }) => value)).not.toContain('No Finding');
    type(choice, 'Pneumothorax', 'change');
    expect(page.store.reading.regions[0]!.label).toBe('Pneumothorax');
    expect(page.state('Pneumothorax')).toBe('Present');
  });

  test('it can be hidden and removed', () => {
    click(page.find('[aria-label="Hide region 1"]'));
    expect(page.store.ui.hiddenRegions.has('r')).toBe(true);
    click(page.find('[aria-label="Delete region 1"]'));
    expect(page.store.reading.regions).toEqual([]);
    expect(document.activeElement?.getAttribute('role')).toBe('radio');
  });
});

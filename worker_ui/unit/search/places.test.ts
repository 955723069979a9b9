import { afterEach, describe, expect, it, vi } from 'vitest';

import { Navigation } from '../../search/state/navigation';
import { addressOf, imagePlace, placeAt, readPlace, START, toggle, whereOf } from '../../search/state/places';

const EFFUSION = { field: 'positive_labels', value: 'Pleural Effusion' };

describe('addresses', () => {
  it('hold ids only, never words or findings that were searched', () => {
    const place = { ...START, text: 'Mrs Example effusion', chosen: [EFFUSION], cursors: ['secret'] };
    expect(addressOf(place)).toBe('#/');
    expect(addressOf({ ...imagePlace('1.2.3'), text: 'effusion', chosen: [EFFUSION], like: ['4.5'] })).toBe('#/image/1.2.3');
    expect(addressOf({ ...START, like: 'report 7/8' })).toBe('#/like/report%207%2F8');
  });

  it.each(['1.2.840.3', 'report 7/8', '"><b>', 'Ünïcödé 🤒', '%', '../../etc', '#?&'])('lead back to %s', (id) => {
    expect(placeAt(addressOf(imagePlace(id)))).toEqual(imagePlace(id));
    expect(placeAt(addressOf({ ...START, like: id }))).toEqual({ ...START, like: id });
  });

  it.each([
    '',
    '#',
    '#/',
    '#/image/',
    '#/image/%E0%A4%A',
    '#/other/1',
    '#/image/1/2',
    'javascript:alert(1)',
    `#/image/${'x'.repeat(601)}`,
  ])('that are none lead to the start: %s', (address) => expect(placeAt(address)).toEqual(START));
});

describe('places out of the history', () => {
  it('are read as they were written', () => {
    const place = { ...imagePlace('1.2'), sameView: true, like: ['3'], chosen: [EFFUSION], text: 'edema' };
    expect(readPlace(structuredClone(place))).toEqual(place);
    expect(readPlace(structuredClone({ ...START, text: 'edema', cursors: ['a'] }))).toEqual({
      ...START,
      text: 'edema',
      cursors: ['a'],
    });
  });

  it.each([null, 7, 'reports', {}, { kind: 'image' }, { kind: 'image', id: 3 }, { kind: 'other' }])('%o is none', (value) => {
    expect(readPlace(value)).toBeNull();
  });

  it('lose what has another type', () => {
    expect(
      readPlace({ kind: 'reports', text: 5, chosen: [1, { field: '' }, { field: 'a', value: 'b' }], cursors: [2, 'c'] }),
    ).toEqual({
      ...START,
      chosen: [{ field: 'a', value: 'b' }],
      cursors: ['c'],
    });
  });
});

it('choices all have to match, and are taken back by choosing again', () => {
  const two = toggle(toggle([], EFFUSION), { field: 'positive_labels', value: 'Edema' });
  expect(whereOf(two)).toEqual({ and: [{ positive_labels: ['Pleural Effusion'] }, { positive_labels: ['Edema'] }] });
  expect(whereOf(toggle(toggle(two, EFFUSION), { field: 'positive_labels', value: 'Edema' }))).toBeNull();
});

describe('navigation', () => {
  afterEach(() => history.replaceState(null, '', '#/'));

  it('keeps words in the history and ids in the address', () => {
    const navigation = new Navigation(window);
    navigation.go({ ...START, text: 'effusion' });
    expect(location.href).not.toContain('effusion');
    navigation.go(imagePlace('1.2'));
    expect(location.hash).toBe('#/image/1.2');
    expect(new Navigation(window).place).toEqual(imagePlace('1.2')); // after reloading
    navigation.close();
  });

  it('keeps each letter at once, as one entry of the history', () => {
    const navigation = new Navigation(window);
    const depth = navigation.depth;
    navigation.type({ ...START, text: 'e' });
    navigation.type({ ...START, text: 'ed' });
    expect([navigation.typing, navigation.depth]).toEqual([true, depth + 1]);
    expect(new Navigation(window).place).toEqual({ ...START, text: 'ed' });
    navigation.settle();
    expect([navigation.typing, navigation.place]).toEqual([false, { ...START, text: 'ed' }]);
    navigation.go(imagePlace('1.2'));
    expect(navigation.typing).toBe(false);
    navigation.close();
  });

  it('goes on where the browser refuses to write its history', () => {
    const navigation = new Navigation(window);
    navigation.type({ ...START, text: 'e' });
    const write = vi.spyOn(history, 'replaceState').mockImplementation(() => {
      throw new DOMException('too often', 'SecurityError');
    });
    navigation.type({ ...START, text: 'ed' });
    expect(navigation.place).toEqual({ ...START, text: 'ed' });
    write.mockRestore();
    navigation.close();
  });

  it('takes a pasted address before what the history says', () => {
    history.replaceState({ place: imagePlace('1.2'), depth: 3 }, '', '#/image/9.9');
    expect(new Navigation(window).place).toEqual(imagePlace('9.9'));
  });

  it('in a notebook goes back by itself and leaves the address alone', () => {
    const before = location.href;
    const navigation = new Navigation(null);
    let told = 0;
    navigation.subscribe(() => (told += 1));
    navigation.go({ ...START, text: 'edema' });
    navigation.go(imagePlace('1.2'));
    navigation.replace({ ...imagePlace('1.2'), sameView: true });
    navigation.back();
    expect(navigation.place).toEqual({ ...START, text: 'edema' });
    navigation.back();
    expect(navigation.place).toEqual(START);
    expect([told, location.href]).toEqual([5, before]);
  });
});

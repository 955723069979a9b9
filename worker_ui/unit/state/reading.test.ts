import { describe, expect, it } from 'vitest';

import { CHEST_RADIOGRAPH } from '../../radiograph/chest';
import { conflicts, reduce, unanswered, type Action } from '../../shared/state/reading';
import { EMPTY_READING, type Finding, type Reading, type Region } from '../../shared/state/types';

const FINDINGS: Finding[] = ['Edema', 'Fracture', 'Support Devices', 'No Finding'].map((label) => ({
  label,
  definition: '',
  region: 'optional',
}));
const TASK = { findings: FINDINGS, labelSet: CHEST_RADIOGRAPH };
const box = (id: string, label: string): Region => ({
  id,
  label,
  shape: 'rectangle',
  points: [
    [1, 2],
    [3, 4],
  ],
  comment: '',
});
const after = (...actions: Action[]): Reading =>
  actions.reduce((reading, action) => reduce(reading, action, TASK), EMPTY_READING);

describe('actions', () => {
  it('"No finding" answers what is open and leaves what was called, so that the conflict shows', () => {
    const reading = after({ kind: 'label', label: 'Edema', state: 'positive' }, { kind: 'no-finding' });
    expect({ ...reading.labels }).toEqual({
      'Edema': 'positive',
      'Fracture': 'negative',
      'Support Devices': 'negative',
      'No Finding': 'positive',
    });
    expect(conflicts(reading, CHEST_RADIOGRAPH)).toEqual(['Edema']);
  });

  it('"All others absent" derives "No Finding" from what was called', () => {
    expect(after({ kind: 'others-absent' }).labels['No Finding']).toBe('positive');
    expect(after({ kind: 'label', label: 'Edema', state: 'positive' }, { kind: 'others-absent' }).labels['No Finding']).toBe(
      'negative',
    );
    expect(after({ kind: 'label', label: 'Edema', state: 'uncertain' }, { kind: 'others-absent' }).labels['No Finding']).toBe(
      'uncertain',
    );
    expect(
      after({ kind: 'label', label: 'Support Devices', state: 'positive' }, { kind: 'others-absent' }).labels['No Finding'],
    ).toBe('positive');
  });

  it('a region makes its finding present, and leaves uncertain alone', () => {
    expect(after({ kind: 'add-region', region: box('a', 'Edema') }).labels['Edema']).toBe('positive');
    expect(
      after({ kind: 'label', label: 'Edema', state: 'uncertain' }, { kind: 'add-region', region: box('a', 'Edema') }).labels[
        'Edema'
      ],
    ).toBe('uncertain');
  });

  it('a region without a finding answers nothing, when drawn and when its finding is taken away', () => {
    expect(Object.keys(after({ kind: 'add-region', region: box('a', '') }).labels)).toEqual([]);
    const reading = after({ kind: 'add-region', region: box('a', 'Edema') }, { kind: 'relabel-region', id: 'a', label: '' });
    expect(Object.keys(reading.labels)).toEqual(['Edema']);
    expect(reading.regions[0]?.label).toBe('');
  });

  it.each<Action>([
    { kind: 'label', label: 'Edema', state: 'positive' },
    { kind: 'others-absent' },
    { kind: 'no-finding' },
    { kind: 'add-region', region: box('a', 'Edema') },
    { kind: 'relabel-region', id: 'a', label: 'Edema' },
    { kind: 'comment-region', id: 'a', comment: '' },
    { kind: 'move-region', id: 'x', points: [] },
    { kind: 'move-measurement', id: 'x', points: [] },
    { kind: 'remove-region', id: 'x' },
    { kind: 'comment', comment: '' },
    { kind: 'unusable', code: '' },
  ])('$kind that changes nothing is no step to undo', (action) => {
    const reading = after({ kind: 'add-region', region: box('a', 'Edema') }, { kind: 'no-finding' });
    expect(reduce(reading, action, TASK)).toBe(reading);
  });

  it('keeps labels of any name apart from what objects have by themselves', () => {
    const reading = after(
      { kind: 'label', label: '__proto__', state: 'positive' },
      { kind: 'label', label: 'constructor', state: 'negative' },
    );
    expect(Object.entries(reading.labels)).toEqual([
      ['__proto__', 'positive'],
      ['constructor', 'negative'],
    ]);
    expect(unanswered(after(), [{ label: 'constructor', definition: '', region: 'optional' }])).toEqual(['constructor']);
  });
});

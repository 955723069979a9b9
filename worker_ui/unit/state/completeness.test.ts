import { describe, expect, it } from 'vitest';

import { agreed, disagreements } from '../../shared/state/disagreements';
import { complaints } from '../../shared/state/completeness';
import type { LabelState, Reading, Task } from '../../shared/state/types';
import { ImageError } from '../../shared/pixels/radiograph-image';
import { box, finding, labels, NORMAL, reading, store, task } from '../samples';

const said = (given: Task, one: Reading, image?: null) => {
  const made = image === null ? store(given, null) : store(given);
  made.dispatch({ kind: 'replace', reading: one });
  return complaints(made);
};
const earlier = (...all: Record<string, LabelState>[]) =>
  all.map((one, index) => ({ name: 'ABC'[index]!, reading: reading({ labels: labels(one) }) }));

describe('what keeps a reading from being sent', () => {
  it('is nothing for a normal image', () => {
    expect(said(task(), NORMAL)).toEqual([]);
  });

  it('findings without an answer, three of them by name', () => {
    expect(said(task(), reading())).toEqual([{ text: 'Still to answer: Edema, Fracture, No Finding.', at: 'Edema' }]);
    const many = task({ findings: ['A', 'B', 'C', 'D', 'E', 'F'].map((label) => finding(label)) });
    expect(said(many, reading({ labels: labels({ A: 'unknown' }) }))).toEqual([
      { text: 'Still to answer: B, C, D and 2 more.', at: 'B' },
    ]);
  });

  it('no answer at all, where not all is asked', () => {
    const loose = task({ answerAll: false });
    expect(said(loose, reading({ comment: 'Fine.' }))).toEqual([{ text: 'Nothing has been answered yet.', at: 'Edema' }]);
    expect(said(loose, reading({ labels: labels({ Edema: 'unknown' }) }))).toEqual([]);
    expect(said(task({ findings: [] }), reading())[0]).toMatchObject({ at: 'unusable' });
  });

  it('a finding beside a present "No Finding", except devices', () => {
    const conflict = reading({ labels: labels({ ...NORMAL.labels, Edema: 'positive' }) });
    expect(said(task(), conflict)).toEqual([{ text: '“No Finding” is present together with Edema.', at: 'No Finding' }]);
    const devices = task({ findings: [finding('Support Devices'), finding('No Finding')] });
    expect(said(devices, reading({ labels: labels({ 'Support Devices': 'positive', 'No Finding': 'positive' }) }))).toEqual([]);
  });

  it('a present finding without the region it needs; an uncertain one needs none', () => {
    const strict = task({ findings: [finding('Edema', 'required')] });
    expect(said(strict, reading({ labels: labels({ Edema: 'positive' }) }))).toEqual([
      { text: 'Mark where “Edema” is.', at: 'Edema' },
    ]);
    expect(said(strict, reading({ labels: labels({ Edema: 'uncertain' }) }))).toEqual([]);
    expect(said(strict, reading({ labels: labels({ Edema: 'positive' }), regions: [box('a', 'Edema')] }))).toEqual([]);
  });

  it.each<[string, LabelState | null, RegExp | null]>([
    ['', null, /no finding yet/],
    ['Gout', null, /not a finding of this task/],
    ['No Finding', 'positive', /has no place on the image/],
    ['Edema', 'negative', /is called absent/],
    ['Edema', 'unknown', /is called not assessed/],
    ['Edema', null, /has not been answered/],
    ['Edema', 'uncertain', null],
    ['Edema', 'positive', null],
  ])('a region of “%s” called %s', (label, state, sentence) => {
    const one = reading({
      labels: labels({ Fracture: 'negative', ...(state && { [label]: state }) }),
      regions: [box('a', label)],
    });
    const found = said(task({ answerAll: false }), one);
    if (sentence === null) expect(found).toEqual([]);
    else expect(found).toEqual([{ text: expect.stringMatching(sentence), at: 'a' }]);
  });

  it('an image that is not there, unless that is what is reported', () => {
    expect(said(task(), NORMAL, null)).toEqual([{ text: 'The image has not been displayed yet.', at: 'unusable' }]);
    const failed = store(task({ start: NORMAL }), null);
    failed.setViewport(0, { error: new ImageError('missing', 'Not found.') });
    expect(complaints(failed)).toEqual([{ text: 'The image is not displayed. Report it as not displayed.', at: 'unusable' }]);
    expect(said(task(), reading({ unusable: 'not-displayed' }), null)).toEqual([]);
  });

  it('nothing else of an image that cannot be read, but "other" needs words', () => {
    expect(said(task(), reading({ unusable: 'motion', regions: [box('a', '')] }))).toEqual([]);
    expect(said(task(), reading({ unusable: 'other', comment: ' \n' }))).toEqual([
      { text: expect.stringContaining('comment'), at: 'comment' },
    ]);
    expect(said(task(), reading({ unusable: 'other', comment: 'A photograph.' }))).toEqual([]);
  });
});

describe('adjudication', () => {
  const given = task({
    findings: [finding('Edema', 'required'), finding('Fracture', 'required'), finding('No Finding')],
    earlier: earlier({ Edema: 'positive', Fracture: 'positive' }, { Edema: 'positive', Fracture: 'negative' }),
  });

  it('knows what readers agree on', () => {
    expect({ ...agreed(given) }).toEqual({ Edema: 'positive' });
    expect(disagreements(given)).toEqual([
      {
        label: 'Fracture',
        states: [
          { reader: 'A', state: 'positive' },
          { reader: 'B', state: 'negative' },
        ],
      },
    ]);
    expect(
      disagreements(task({ findings: [finding('toString')], earlier: earlier({}, { toString: 'negative' } as never) })),
    ).toEqual([
      {
        label: 'toString',
        states: [
          { reader: 'A', state: null },
          { reader: 'B', state: 'negative' },
        ],
      },
    ]);
  });

  it('asks what they disagree on, and regions for that', () => {
    expect(said(given, reading({ labels: agreed(given) }))).toEqual([{ text: 'Still to answer: Fracture.', at: 'Fracture' }]);
    expect(said(given, reading({ labels: labels({ Edema: 'positive', Fracture: 'negative' }) }))).toEqual([]);
    expect(said(given, reading({ labels: labels({ Edema: 'positive', Fracture: 'positive' }) }))).toEqual([
      { text: 'Mark where “Fracture” is.', at: 'Fracture' },
    ]);
  });

  it('needs two readers', () => {
    const one = task({ earlier: earlier({ Edema: 'positive' }) });
    expect([disagreements(one), Object.keys(agreed(one))]).toEqual([[], []]);
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { readAnswer } from '../../shared/answer/read';
import { faultOf } from '../../shared/answer/validate';
import { writeAnswer } from '../../shared/answer/write';
import { measured } from '../../shared/shapes/measure';
import { LABEL_STATES, REASON_CODES, type Measurement, type Reading, type Region } from '../../shared/state/types';
import type { Point, Shape } from '../../shared/shapes/geometry';
import { box, IMAGE, labels, NORMAL, opened, reading, task } from '../samples';

type Json = Record<string, any>;
const sent = (given: Reading, part: Parameters<typeof task>[0] = {}, image: Parameters<typeof opened>[1] = IMAGE): Json => {
  const { store, session } = opened(task({ ...part, start: given }), image);
  const answer = writeAnswer(store, session);
  session.close();
  expect(faultOf(answer)).toBeNull();
  return JSON.parse(JSON.stringify(answer)) as Json;
};
const back = (value: unknown): Reading => {
  const { reading: one, reason } = readAnswer(value);
  expect(reason).toBe('');
  return one!;
};
const plain = (one: Reading) => ({
  ...one,
  labels: { ...one.labels },
  regions: one.regions.map(({ id: _, ...rest }) => rest),
  measurements: one.measurements.map(({ id: _, ...rest }) => rest),
});

describe('an answer', () => {
  const coordinate = fc.double({ min: -1e6, max: 1e6, noNaN: true }).map((value) => value + 0); // JSON has no negative zero
  const point = fc.tuple(coordinate, coordinate) as fc.Arbitrary<Point>;
  const name = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }),
    note = fc.string({ unit: 'grapheme', maxLength: 60 });
  const points = (shape: Shape) =>
    fc.array(
      point,
      shape === 'polygon'
        ? { minLength: 3, maxLength: 9 }
        : { minLength: shape === 'point' ? 1 : 2, maxLength: shape === 'point' ? 1 : 2 },
    );
  const shape = fc.constantFrom<Shape>('rectangle', 'ellipse', 'polygon', 'point');
  const region = shape.chain(
    (one): fc.Arbitrary<Region> =>
      fc.record({ id: fc.uuid(), label: name, shape: fc.constant(one), points: points(one), comment: note }),
  );
  const measurement = fc.constantFrom('length' as const, 'angle' as const).chain(
    (kind): fc.Arbitrary<Measurement> =>
      fc.record({
        id: fc.uuid(),
        kind: fc.constant(kind),
        points: fc.array(point, kind === 'length' ? { minLength: 2, maxLength: 2 } : { minLength: 3, maxLength: 3 }),
      }),
  );
  const said = fc.array(fc.tuple(name, fc.constantFrom(...LABEL_STATES)), { maxLength: 8 }).map((pairs) => {
    const made = labels({});
    for (const [label, state] of pairs) made[label] = state;
    return made;
  });
  const any = fc.record({
    labels: said,
    regions: fc.array(region, { maxLength: 4 }),
    measurements: fc.array(measurement, { maxLength: 3 }),
    comment: note,
    unusable: fc.constant(''),
  });

  it('is valid, and read back it is the reading that was sent, to the last bit', () => {
    fc.assert(
      fc.property(any, (one) => {
        expect(plain(back(sent(one)))).toEqual(plain(one));
      }),
      { numRuns: 300, seed: 20261121 },
    );
  });

  it('keeps "not assessed" apart from what was not answered', () => {
    expect(sent(reading({ labels: labels({ Edema: 'unknown' }) }))['labels']).toEqual({ Edema: 'unknown' });
  });

  it('says nothing of an image that cannot be read, but why', () => {
    const answer = sent({
      ...NORMAL,
      regions: [box('a', 'Edema')],
      measurements: [
        {
          id: 'm',
          kind: 'length',
          points: [
            [0, 0],
            [1, 1],
          ],
        },
      ],
      comment: 'Blurred.',
      unusable: 'motion',
    });
    expect(answer).toMatchObject({ labels: {}, regions: [], unusable: 'motion', comment: 'Blurred.' });
    expect(answer).not.toHaveProperty('measurements');
  });

  it('has the image and how it was shown; nothing of one that was not', () => {
    expect(sent(NORMAL)).toMatchObject({
      image: { sop_instance_uid: '1.2.3', rows: 80, columns: 60, stand_in: false },
      viewport: {
        window_center: 128,
        window_width: 256,
        inverted: false,
        center_px: [30, 40],
        zoom: 2,
        rotation_deg: 0,
        mirrored: false,
      },
    });
    const blind = sent(reading({ unusable: 'not-displayed' }), {}, null);
    expect(blind).not.toHaveProperty('image');
    expect(blind).not.toHaveProperty('viewport');
  });

  it('knows every reason of the page', () => {
    for (const code of REASON_CODES) expect(sent(reading({ unusable: code }))['unusable']).toBe(code);
  });

  it('has no half characters', () => {
    expect(sent({ ...NORMAL, comment: 'a\ud800b' })['comment']).toBe('a\ufffdb');
  });

  it('has the first and the final reading of an assisted read', () => {
    const suggestions = {
      mode: 'after-first-read' as const,
      model: 'm',
      probabilities: labels({}) as never,
      regions: [box('model-1', 'Edema')],
    };
    const { store, session } = opened(task({ suggestions, start: NORMAL }));
    session.firstRead();
    store.set({ first: store.reading });
    store.dispatch({ kind: 'add-region', region: box('taken:model:model-1', 'Edema') });
    const answer = writeAnswer(store, session) as Json;
    session.close();
    expect(faultOf(answer)).toBeNull();
    expect(answer['assistance']).toEqual({
      mode: 'after-first-read',
      model: 'm',
      probabilities: {},
      first: { labels: { ...NORMAL.labels }, regions: [] },
      taken_regions: 1,
    });
    expect(answer['labels']['Edema']).toBe('positive');
    expect(answer['timings']).toHaveProperty('first_read_seconds');
    expect(sent(NORMAL, { suggestions: { ...suggestions, mode: 'shown' } })['assistance']).not.toHaveProperty('first');
  });

  it('has whose answers the adjudicator took', () => {
    const earlier = [
      { name: 'A', reading: reading({ labels: labels({ Edema: 'positive', Fracture: 'negative' }) }) },
      { name: 'B', reading: NORMAL },
    ];
    expect(sent(NORMAL, { earlier })['adjudication']).toEqual({
      readers: 2,
      agreed: ['Fracture'],
      decided: { 'Edema': ['B'], 'No Finding': ['B'] },
    });
  });
});

describe('an answer from elsewhere', () => {
  it('may have a reason only, and no schema', () => {
    expect(back({ unusable: 'incomplete' })).toMatchObject({ unusable: 'incomplete', regions: [] });
    expect({ ...back({ labels: { label: 'positive' } }).labels }).toEqual({ label: 'positive' });
  });

  it.each<[unknown, RegExp]>([
    [undefined, /nothing/],
    [null, /null/],
    [5, /number/],
    ['<b>', /“<b>”/],
    [[], /a list/],
    [{}, /neither labels/],
    [{ labels: [] }, /not an object/],
    [{ labels: {}, schema: 'dicom-workflow/answer/9' }, /reads dicom-workflow/],
    [{ labels: { A: 'maybe' } }, /“maybe”/],
    [{ labels: {}, regions: {} }, /not a list/],
    [{ labels: {}, regions: [{ shape: 'point', points_px: [['a', 1]] }] }, /pair of finite/],
    [{ labels: {}, regions: [{ shape: 'rectangle', points_px: [[1, 1]] }] }, /has 1 points/],
    [{ labels: {}, unusable: 'bored' }, /not a reason code/],
    [{ labels: {}, measurements: [{ kind: 'area' }] }, /“area”/],
    ['{"labels": {}}', /not a JSON object/],
    [{ labels: { A: true } }, /boolean/],
    [{ labels: {}, schema: 'dicom-workflow/answer/1' }, /reads dicom-workflow.answer.2/],
    [{ labels: {}, regions: Array.from({ length: 501 }, () => 0) }, /more than 500/],
  ])('%# has a reason, and no reading', (value, sentence) => {
    const { reading: one, reason } = readAnswer(value);
    expect(one).toBeNull();
    expect(reason).toMatch(sentence);
    expect(reason.length).toBeLessThan(150);
  });

  it('never throws', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.anything(),
          fc.jsonValue().map((value) => JSON.stringify(value)),
          fc.record({ labels: fc.anything(), regions: fc.anything() }, { requiredKeys: [] }),
        ),
        (value) => {
          const { reading: one, reason } = readAnswer(value);
          expect(one === null).toBe(reason !== '');
        },
      ),
      { numRuns: 500, seed: 20261121 },
    );
  });
});

describe('measurements', () => {
  const across: Pick<Measurement, 'kind' | 'points'> = {
    kind: 'length',
    points: [
      [10, 10],
      [20, 10],
    ],
  };
  const corner: Pick<Measurement, 'kind' | 'points'> = {
    kind: 'angle',
    points: [
      [10, 0],
      [0, 0],
      [10, 10],
    ],
  };

  it('are in millimetres along both axes, where the spacing is known', () => {
    expect(measured(across, IMAGE)).toEqual({ value: 4, unit: 'mm' });
    expect(
      measured(
        {
          kind: 'length',
          points: [
            [0, 0],
            [10, 15],
          ],
        },
        IMAGE,
      ),
    ).toEqual({ value: 5, unit: 'mm' });
    expect(measured(across, { ...IMAGE, spacingAt: 'detector' })?.unit).toBe('mm on detector');
    expect(measured(across, { ...IMAGE, spacing_mm: null, spacingAt: null })).toEqual({ value: 10, unit: 'px' });
  });

  it('are angles in the plane, not on the grid', () => {
    expect(measured(corner, IMAGE)?.value).toBeCloseTo((Math.atan2(0.2, 0.4) * 180) / Math.PI, 12);
    expect(measured(corner, { ...IMAGE, spacing_mm: null })?.value).toBeCloseTo(45, 12);
    expect(measured(corner, { ...IMAGE, spacing_mm: null, pixelAspect: 2 })?.value).toBeCloseTo(
      (Math.atan2(1, 2) * 180) / Math.PI,
      12,
    );
    expect(
      measured(
        {
          kind: 'angle',
          points: [
            [1, 0],
            [0, 0],
            [-1, 0],
          ],
        },
        IMAGE,
      ),
    ).toEqual({ value: 180, unit: 'deg' });
  });

  it('stand in the answer with their values', () => {
    expect(
      sent({
        ...NORMAL,
        measurements: [
          { id: 'm', ...across },
          { id: 'n', ...corner },
        ],
      })['measurements'],
    ).toMatchObject([{ value: 4, unit: 'mm' }, { unit: 'deg' }]);
  });
});

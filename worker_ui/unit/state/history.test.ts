import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';

import { CHEST_RADIOGRAPH } from '../../radiograph/chest';
import { begin, record, redo, undo } from '../../shared/state/history';
import { reduce, type Action } from '../../shared/state/reading';
import {
  EMPTY_READING,
  LABEL_STATES,
  REASON_CODES,
  type Finding,
  type Measurement,
  type Reading,
  type Region,
} from '../../shared/state/types';
import type { Point } from '../../shared/shapes/geometry';

const LABELS = ['Edema', 'Pneumothorax', 'Support Devices', 'No Finding', '__proto__', 'constructor', 'toString'];
const FINDINGS: Finding[] = LABELS.map((label) => ({ label, definition: '', region: 'optional' }));
const TASK = { findings: FINDINGS, labelSet: CHEST_RADIOGRAPH };
const RUNS = 1000;

const label = fc.constantFrom(...LABELS),
  id = fc.constantFrom('a', 'b', 'c', 'd');
const point = fc.tuple(
  fc.double({ min: -1e6, max: 1e6, noNaN: true }),
  fc.double({ min: -1e6, max: 1e6, noNaN: true }),
) as fc.Arbitrary<Point>;
const points = fc.array(point, { minLength: 3, maxLength: 6 });
const comment = fc.string({ maxLength: 12, unit: 'binary' });
const region: fc.Arbitrary<Region> = fc.record({
  id,
  label: fc.oneof(label, fc.constant('')),
  shape: fc.constant('polygon' as const),
  points,
  comment,
});
const measurement: fc.Arbitrary<Measurement> = fc.record({ id, kind: fc.constant('angle' as const), points });
const labels = fc
  .uniqueArray(fc.tuple(label, fc.constantFrom(...LABEL_STATES)), { selector: ([name]) => name })
  .map((pairs) => {
    const made: Record<string, (typeof LABEL_STATES)[number]> = Object.create(null);
    for (const [name, state] of pairs) made[name] = state;
    return made;
  });
const reading: fc.Arbitrary<Reading> = fc.record({
  labels,
  regions: fc.uniqueArray(region, { maxLength: 3, selector: (one) => one.id }),
  measurements: fc.uniqueArray(measurement, { maxLength: 2, selector: (one) => one.id }),
  comment,
  unusable: fc.constantFrom('', 'motion'),
});
const kind = <K extends Action['kind']>(name: K) => fc.constant(name);
const action: fc.Arbitrary<Action> = fc.oneof(
  fc.record({ kind: kind('label'), label, state: fc.constantFrom(...LABEL_STATES, null) }),
  fc.record({ kind: kind('no-finding') }),
  fc.record({ kind: kind('others-absent') }),
  fc.record({ kind: kind('add-region'), region }),
  fc.record({ kind: kind('move-region'), id, points }),
  fc.record({ kind: kind('relabel-region'), id, label: fc.oneof(label, fc.constant('')) }),
  fc.record({ kind: kind('comment-region'), id, comment }),
  fc.record({ kind: kind('remove-region'), id }),
  fc.record({ kind: kind('add-measurement'), measurement }),
  fc.record({ kind: kind('move-measurement'), id, points }),
  fc.record({ kind: kind('remove-measurement'), id }),
  fc.record({ kind: kind('comment'), comment }),
  fc.record({ kind: kind('unusable'), code: fc.constantFrom('', ...REASON_CODES) }),
  fc.record({ kind: kind('replace'), reading }),
);
type Step = { readonly do: Action; readonly tag: string } | { readonly travel: number };
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: action, tag: fc.constantFrom('', '', 'drag', 'typing') }) },
  { weight: 1, arbitrary: fc.record({ travel: fc.integer({ min: -4, max: 4 }) }) },
);

/** Frozen through and through: whoever writes to it throws. */
function frozen<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    Object.values(value).forEach(frozen);
  }
  return value;
}

/** Text by which two readings are the same: order of labels, numbers to the last bit, prototypes. */
function exact(one: Reading): string {
  const plain = Object.getPrototypeOf(one.labels) === null;
  return JSON.stringify(
    [plain, Object.entries(one.labels), one.regions, one.measurements, one.comment, one.unusable],
    (_, value) => (Object.is(value, -0) ? '-0' : value),
  );
}

/** What the history should be, told plainly: all readings so far, the place in them, and whether a change may join the last. */
interface Told {
  readings: string[];
  at: number;
  tag: string;
}

function follow(told: Told, one: Step, before: Reading, after: Reading): void {
  if ('travel' in one) {
    const to = Math.min(Math.max(told.at + one.travel, 0), told.readings.length - 1);
    if (to !== told.at) told.tag = '';
    told.at = to;
  } else if (after !== before) {
    const joins = one.tag !== '' && one.tag === told.tag;
    told.readings.splice(joins ? told.at : told.at + 1, Infinity, exact(after));
    told.at = told.readings.length - 1;
    told.tag = one.tag;
  }
}

describe('one history for labels, regions, measurements and comments', () => {
  let held = 0;
  afterAll(() => console.log(`undo_inverse ${held}/${RUNS}`));

  it('undoes and redoes any sequence of actions exactly, and changes no reading in place', () => {
    fc.assert(
      fc.property(reading, fc.array(step, { minLength: 1, maxLength: 40 }), (start, steps) => {
        let history = begin(frozen(start));
        const told: Told = { readings: [exact(start)], at: 0, tag: '' };
        for (const one of steps) {
          const before = history.present;
          if ('travel' in one)
            for (let left = Math.abs(one.travel); left > 0; left -= 1) history = one.travel < 0 ? undo(history) : redo(history);
          else history = record(history, frozen(reduce(before, frozen(one.do), TASK)), one.tag);
          follow(told, one, before, history.present);
          expect(exact(history.present)).toBe(told.readings[told.at]);
        }
        const end = history;
        while (history.past.length > 0) history = undo(history);
        expect(history.present).toBe(start);
        expect(exact(history.present)).toBe(told.readings[0]);
        for (let at = 1; at < told.readings.length; at += 1)
          expect(exact((history = redo(history)).present)).toBe(told.readings[at]);
        expect(history.future).toHaveLength(0);
        for (let at = told.readings.length - 1; at > told.at; at -= 1) history = undo(history);
        expect(history.present).toBe(end.present);
        held += 1;
      }),
      { numRuns: RUNS, seed: 20261121 },
    );
  }, 60_000); // a busy machine takes its time for a thousand sequences

  it('keeps the last thousand steps', () => {
    let history = begin(EMPTY_READING);
    for (let at = 1; at <= 1500; at += 1) history = record(history, { ...EMPTY_READING, comment: String(at) });
    let steps = 0;
    for (let back = undo(history); back !== history; back = undo(history)) [history, steps] = [back, steps + 1];
    expect(steps).toBe(1000);
    expect(history.present.comment).toBe('500');
  });

  it('starts a new step after an undo, whatever the tag', () => {
    let history = record(
      record(begin(EMPTY_READING), { ...EMPTY_READING, comment: 'a' }, 't'),
      { ...EMPTY_READING, comment: 'ab' },
      't',
    );
    expect(history.past).toHaveLength(1);
    history = record(redo(undo(history)), { ...EMPTY_READING, comment: 'abc' }, 't');
    expect(history.past).toHaveLength(2);
  });
});

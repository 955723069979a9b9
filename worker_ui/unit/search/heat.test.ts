import { expect, it } from 'vitest';

import { colorOf, shares, tells } from '../../search/image/heat';

it('what all places have in common is clear, and what adds most is opaque and yellow', () => {
  expect(shares([0.8, 1, 0.9])).toEqual([0, 1, expect.closeTo(0.5)]);
  expect(shares([0.7, 0.7])).toEqual([0, 0]);
  expect(shares([])).toEqual([]);
  expect([tells([0.8, 1]), tells([0.7, 0.7]), tells([])]).toEqual([true, false, false]);
  expect(colorOf(0)[3]).toBe(0);
  expect(colorOf(1)).toEqual([255, 220, 0, 190]);
});

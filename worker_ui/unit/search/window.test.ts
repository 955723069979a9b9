import { expect, it } from 'vitest';

import { grayOf, paint, tableOf, WHOLE, windowBy } from '../../search/image/window';

it('the whole range shows the picture as it came', () => {
  expect([...tableOf(WHOLE)]).toEqual(Array.from({ length: 256 }, (_, gray) => gray));
  expect([...tableOf({ ...WHOLE, inverted: true })]).toEqual(Array.from({ length: 256 }, (_, gray) => 255 - gray));
});

it('a narrow window is black below, white above and linear between', () => {
  const table = tableOf({ center: 100, width: 50, inverted: false });
  expect([table[75], table[100], table[125], table[0], table[255]]).toEqual([0, 128, 255, 0, 255]);
});

it('dragging changes width and level within limits; on an inverted image up is still darker', () => {
  expect(windowBy(WHOLE, 1, 0).width).toBe(510);
  expect(windowBy(WHOLE, -9, 9)).toEqual({ center: 255, width: 1, inverted: false });
  expect(windowBy(WHOLE, 0, 0.1).center).toBeCloseTo(153);
  expect(windowBy({ ...WHOLE, inverted: true }, 0, 0.1).center).toBeCloseTo(102);
});

it('paints each pixel opaque and gray', () => {
  const gray = grayOf(Uint8ClampedArray.from([10, 10, 10, 255, 200, 200, 200, 255]));
  const out = new Uint8ClampedArray(8);
  paint(gray, tableOf({ ...WHOLE, inverted: true }), out);
  expect([...out]).toEqual([245, 245, 245, 255, 55, 55, 55, 255]);
});

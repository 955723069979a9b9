import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import type { Point } from '../../shared/shapes/geometry';
import type { View } from '../../shared/state/view';
import {
  apply,
  fitted,
  flipped,
  inverse,
  panned,
  toScreen,
  turned,
  zoomedAt,
  ZOOM_LIMITS,
  type Size,
} from '../../shared/state/view';

const number = (min: number, max: number) => fc.double({ min, max, noNaN: true });
const views: fc.Arbitrary<View> = fc.record({
  center: fc.tuple(number(0, 4000), number(0, 4000)),
  zoom: number(0.05, 40),
  rotation_deg: fc.constantFrom(0 as const, 90 as const, 180 as const, 270 as const),
  mirrored: fc.boolean(),
});
const sizes: fc.Arbitrary<Size> = fc.record({ width: number(100, 3000), height: number(100, 3000) });
const points: fc.Arbitrary<Point> = fc.tuple(number(0, 4000), number(0, 4000));
const aspects = number(0.3, 3);

const near = (a: Point, b: Point, within = 1e-6) => {
  expect(Math.abs(a[0] - b[0])).toBeLessThan(within);
  expect(Math.abs(a[1] - b[1])).toBeLessThan(within);
};

describe('the map from image pixels to the screen', () => {
  it('has an inverse', () => {
    fc.assert(
      fc.property(views, sizes, aspects, points, (view, size, aspect, point) => {
        const map = toScreen(view, size, aspect);
        near(apply(inverse(map), apply(map, point)), point);
      }),
    );
  });

  it('puts the center of the view into the middle of the viewport', () => {
    fc.assert(
      fc.property(views, sizes, aspects, (view, size, aspect) => {
        near(apply(toScreen(view, size, aspect), view.center), [size.width / 2, size.height / 2]);
      }),
    );
  });

  it('keeps the point under the pointer when zooming', () => {
    fc.assert(
      fc.property(views, sizes, aspects, number(0.5, 2), points, (view, size, aspect, factor, at) => {
        const before = apply(inverse(toScreen(view, size, aspect)), at);
        const after = zoomedAt(view, factor, at, size, aspect);
        near(apply(inverse(toScreen(after, size, aspect)), at), before, 1e-4);
      }),
    );
  });

  it('moves by the pixels of the screen that it is dragged', () => {
    fc.assert(
      fc.property(views, sizes, aspects, points, number(-500, 500), number(-500, 500), (view, size, aspect, point, dx, dy) => {
        const [x, y] = apply(toScreen(view, size, aspect), point);
        near(apply(toScreen(panned(view, dx, dy, aspect), size, aspect), point), [x + dx, y + dy], 1e-5);
      }),
    );
  });

  it('turns and mirrors on the screen, whatever was done before', () => {
    const size = { width: 600, height: 400 };
    fc.assert(
      fc.property(views, points, (view, point) => {
        const [x, y] = apply(toScreen(view, size, 1), point);
        const [dx, dy] = [x - 300, y - 200];
        const shown = (changed: View) => apply(toScreen(changed, size, 1), point);
        near(shown(turned(view, true)), [300 - dy, 200 + dx], 1e-5);
        near(shown(turned(view, false)), [300 + dy, 200 - dx], 1e-5);
        near(shown(flipped(view, 'horizontal')), [300 - dx, 200 + dy], 1e-5);
        near(shown(flipped(view, 'vertical')), [300 + dx, 200 - dy], 1e-5);
      }),
    );
  });

  it('fits the whole image, as large as it can be', () => {
    fc.assert(
      fc.property(
        views,
        sizes,
        aspects,
        fc.integer({ min: 200, max: 4000 }),
        fc.integer({ min: 200, max: 4000 }),
        (view, size, pixelAspect, rows, columns) => {
          const fit = fitted(view, { rows, columns, pixelAspect }, size);
          fc.pre(fit.zoom > ZOOM_LIMITS.least); // smaller it does not get
          const corners = [
            [0, 0],
            [columns, 0],
            [0, rows],
            [columns, rows],
          ].map((one) => apply(toScreen(fit, size, pixelAspect), one as unknown as Point));
          const [left, right] = [Math.min(...corners.map(([x]) => x)), Math.max(...corners.map(([x]) => x))];
          const [top, bottom] = [Math.min(...corners.map(([, y]) => y)), Math.max(...corners.map(([, y]) => y))];
          expect(left).toBeGreaterThan(-1e-6);
          expect(top).toBeGreaterThan(-1e-6);
          expect(right).toBeLessThan(size.width + 1e-6);
          expect(bottom).toBeLessThan(size.height + 1e-6);
          expect(Math.min(left + size.width - right, top + size.height - bottom)).toBeLessThan(1e-6);
        },
      ),
    );
  });
});

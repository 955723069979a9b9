import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { handleAt, handlesOf, lowerRight, dragged } from '../../shared/drawing/handles';
import { measured, measuredText } from '../../shared/shapes/measure';
import {
  area,
  bounds,
  distanceToSegment,
  inside,
  resized,
  simplified,
  snapped,
  squareCorner,
  stretchedPolygon,
  translated,
  under,
  withoutVertex,
  withVertexAfter,
  type Side,
} from '../../shared/shapes/geometry';
import { overlap, placeLabels } from '../../shared/drawing/mark-labels';
import type { Point } from '../../shared/shapes/geometry';
import type { View } from '../../shared/state/view';
import { apply, toScreen } from '../../shared/state/view';

const EXTENT = { columns: 2000, rows: 1500 };
const number = (min: number, max: number) => fc.double({ min, max, noNaN: true });
const point = fc.tuple(number(0, EXTENT.columns), number(0, EXTENT.rows)) as fc.Arbitrary<Point>;
const anywhere = fc.tuple(number(-9000, 9000), number(-9000, 9000)) as fc.Arbitrary<Point>;
const polygon = fc.array(point, { minLength: 3, maxLength: 30 });
const side = fc.constantFrom<Side>(-1, 0, 1);
const views: fc.Arbitrary<View> = fc.record({
  center: point,
  zoom: number(0.05, 20),
  rotation_deg: fc.constantFrom(0, 90, 180, 270),
  mirrored: fc.boolean(),
});

describe('moving', () => {
  test('a mark stays in the image and keeps its form', () => {
    fc.assert(
      fc.property(polygon, anywhere, (points, by) => {
        const moved = translated(points, by, EXTENT);
        const [dx, dy] = [moved[0]![0] - points[0]![0], moved[0]![1] - points[0]![1]];
        moved.forEach(([x, y], index) => {
          expect([x, y]).toEqual(inside([x, y], EXTENT));
          expect(x - points[index]![0]).toBeCloseTo(dx, 8);
          expect(y - points[index]![1]).toBeCloseTo(dy, 8);
        });
      }),
    );
  });

  test('by nothing, it is the same object', () => {
    fc.assert(
      fc.property(polygon, (points) => {
        expect(translated(points, [0, 0], EXTENT)).toBe(points);
        expect(dragged(points, { kind: 'vertex', index: 0 }, [0, 0], EXTENT)).toBe(points);
      }),
    );
  });

  test('a mark larger than the image keeps its points', () => {
    const points: Point[] = [
      [-10, 5],
      [3000, 20],
    ];
    expect(translated(points, [5, 0], EXTENT)).toBe(points);
  });
});

describe('resizing', () => {
  test('there and back is where it was', () => {
    const small = fc.tuple(number(-100, 100), number(-100, 100)) as fc.Arbitrary<Point>;
    const corner = fc.tuple(number(200, 700), number(200, 600)) as fc.Arbitrary<Point>;
    fc.assert(
      fc.property(corner, corner, side, side, small, ([x, y], [w, h], sx, sy, [dx, dy]) => {
        const points: Point[] = [
          [x, y],
          [x + w, y + h],
        ];
        const there = resized(points, sx, sy, [dx, dy], EXTENT);
        const back = bounds(resized(there, sx, sy, [-dx, -dy], EXTENT));
        expect(back.left).toBeCloseTo(x, 9);
        expect(back.top).toBeCloseTo(y, 9);
        expect(back.right).toBeCloseTo(x + w, 9);
        expect(back.bottom).toBeCloseTo(y + h, 9);
      }),
    );
  });

  test('never leaves the image and never becomes nothing; sides that were not pulled are exact', () => {
    fc.assert(
      fc.property(point, point, side, side, anywhere, (a, b, sx, sy, by) => {
        fc.pre(Math.abs(a[0] - b[0]) >= 1 && Math.abs(a[1] - b[1]) >= 1);
        const before = bounds([a, b]),
          after = bounds(resized([a, b], sx, sy, by, EXTENT));
        expect(after.left).toBeGreaterThanOrEqual(0);
        expect(after.top).toBeGreaterThanOrEqual(0);
        expect(after.right).toBeLessThanOrEqual(EXTENT.columns);
        expect(after.bottom).toBeLessThanOrEqual(EXTENT.rows);
        expect(after.right - after.left).toBeGreaterThan(1 - 1e-9);
        expect(after.bottom - after.top).toBeGreaterThan(1 - 1e-9);
        if (sx === 0) expect([after.left, after.right]).toEqual([before.left, before.right]);
        if (sy === 0) expect([after.top, after.bottom]).toEqual([before.top, before.bottom]);
      }),
    );
  });

  test('a polygon is stretched with its box', () => {
    const points: Point[] = [
      [100, 100],
      [200, 100],
      [150, 200],
    ];
    expect(stretchedPolygon(points, 1, 1, [100, 50], EXTENT)).toEqual([
      [100, 100],
      [300, 100],
      [200, 250],
    ]);
    expect(stretchedPolygon(points, 1, 1, [0, 0], EXTENT)).toBe(points);
  });

  test('the lower right of the screen is found however the image lies', () => {
    fc.assert(
      fc.property(views, (view) => {
        const map = toScreen(view, { width: 800, height: 600 }, 1);
        const { x, y } = lowerRight(map);
        const [fromX, fromY] = apply(map, [0, 0]),
          [toX, toY] = apply(map, [x, y]);
        expect(toX).toBeGreaterThan(fromX);
        expect(toY).toBeGreaterThan(fromY);
      }),
    );
  });
});

describe('handles', () => {
  test('of a box: eight, each its own nearest, 24 pixels apart however small the box is', () => {
    fc.assert(
      fc.property(point, number(1, 600), number(1, 600), views, ([x, y], w, h, view) => {
        const map = toScreen(view, { width: 800, height: 600 }, 1);
        const handles = handlesOf(
          'rectangle',
          [
            [x, y],
            [x + w, y + h],
          ],
          map,
        );
        expect(handles.length).toBeGreaterThanOrEqual(4);
        for (const one of handles) {
          expect(handleAt(handles, one.at, 12)).toBe(one);
          for (const other of handles) {
            if (other !== one) expect(Math.hypot(one.at[0] - other.at[0], one.at[1] - other.at[1])).toBeGreaterThanOrEqual(24);
          }
        }
      }),
    );
  });

  test('of a polygon: its vertices, and the middles of edges that are long enough', () => {
    const map = toScreen({ center: [0, 0], zoom: 1, rotation_deg: 0, mirrored: false }, { width: 0, height: 0 }, 1);
    const kinds = handlesOf(
      'polygon',
      [
        [0, 0],
        [100, 0],
        [100, 10],
      ],
      map,
    ).map(({ handle }) => handle.kind);
    expect(kinds).toEqual(['edge', 'edge', 'vertex', 'vertex', 'vertex']);
  });

  test('pulling the middle of an edge makes a vertex there', () => {
    const points: Point[] = [
      [0, 0],
      [100, 0],
      [100, 100],
    ];
    expect(dragged(points, { kind: 'edge', index: 2 }, [-3, 4], EXTENT)).toEqual([...points, [47, 54]]);
    expect(dragged(points, { kind: 'edge', index: 0 }, [0, 7], EXTENT)).toEqual([
      [0, 0],
      [50, 7],
      [100, 0],
      [100, 100],
    ]);
  });
});

describe('vertices', () => {
  test('one in, the same one out', () => {
    fc.assert(
      fc.property(polygon, fc.nat(), point, (points, any, at) => {
        const index = any % points.length;
        expect(withoutVertex(withVertexAfter(points, index, at), index + 1)).toEqual(points);
      }),
    );
  });

  test('a triangle keeps its three', () => {
    const points: Point[] = [
      [0, 0],
      [9, 0],
      [9, 9],
    ];
    expect(withoutVertex(points, 1)).toBe(points);
  });
});

describe('simplifying', () => {
  test('keeps the ends, and leaves no point farther away than the tolerance', () => {
    fc.assert(
      fc.property(fc.array(point, { minLength: 2, maxLength: 60 }), number(0.1, 200), (points, tolerance) => {
        const thin = simplified(points, tolerance);
        expect(thin[0]).toBe(points[0]);
        expect(thin.at(-1)).toBe(points.at(-1));
        let at = 0;
        for (const one of points) {
          if (one === thin[at + 1] && at + 2 < thin.length) at += 1;
          const near = [at - 1, at]
            .filter((index) => index >= 0)
            .map((index) => distanceToSegment(one, thin[index]!, thin[index + 1]!));
          expect(Math.min(...near)).toBeLessThanOrEqual(tolerance + 1e-9);
        }
      }),
    );
  });

  test('a straight line has two points', () => {
    expect(
      simplified(
        [
          [0, 0],
          [1, 0.1],
          [2, -0.1],
          [3, 0],
        ],
        0.5,
      ),
    ).toEqual([
      [0, 0],
      [3, 0],
    ]);
  });

  test('ten thousand points are no trouble', () => {
    const spiral = Array.from({ length: 10_000 }, (_, at): Point => [Math.cos(at / 50) * at, Math.sin(at / 50) * at]);
    expect(simplified(spiral, 0.5).length).toBeLessThan(10_000);
  });
});

describe('regular forms', () => {
  test('squares are square and stay within', () => {
    fc.assert(
      fc.property(point, anywhere, (from, to) => {
        const [x, y] = squareCorner(from, to, { left: 0, top: 0, right: EXTENT.columns, bottom: EXTENT.rows });
        expect(Math.abs(x - from[0])).toBeCloseTo(Math.abs(y - from[1]), 8);
        expect(x).toBeGreaterThan(-1e-9);
        expect(x).toBeLessThan(EXTENT.columns + 1e-9);
      }),
    );
  });

  test('directions snap to eighths of a turn', () => {
    expect(snapped([10, 10], [50, 13])).toEqual([50, 10]);
    expect(snapped([10, 10], [12, -40])).toEqual([10, -40]);
    expect(snapped([0, 0], [10, 12])).toEqual([11, 11]);
    expect(snapped([0, 0], [-10, 12])).toEqual([-11, 11]);
  });
});

describe('finding what is under the pointer', () => {
  test('inside, on the outline, and beside it', () => {
    const box: Point[] = [
      [10, 10],
      [110, 60],
    ];
    expect(under('rectangle', box, [60, 30], 6)).toBe(true);
    expect(under('rectangle', box, [5, 30], 6)).toBe(true);
    expect(under('rectangle', box, [1, 30], 6)).toBe(false);
    expect(under('ellipse', box, [60, 30], 0)).toBe(true);
    expect(under('ellipse', box, [12, 12], 0)).toBe(false);
    const u: Point[] = [
      [0, 0],
      [30, 0],
      [30, 100],
      [20, 100],
      [20, 20],
      [10, 20],
      [10, 100],
      [0, 100],
    ];
    expect(under('polygon', u, [15, 60], 2)).toBe(false);
    expect(under('polygon', u, [15, 60], 6)).toBe(true);
    expect(under('polygon', u, [5, 60], 0)).toBe(true);
    expect(
      under(
        'line',
        [
          [0, 0],
          [100, 0],
        ],
        [50, 5],
        6,
      ),
    ).toBe(true);
    expect(under('point', [[5, 5]], [9, 5], 6)).toBe(true);
  });

  test('areas', () => {
    expect(
      area('rectangle', [
        [0, 0],
        [10, 20],
      ]),
    ).toBe(200);
    expect(
      area('ellipse', [
        [0, 0],
        [10, 20],
      ]),
    ).toBeCloseTo(50 * Math.PI);
    expect(
      area('polygon', [
        [0, 0],
        [10, 0],
        [10, 20],
      ]),
    ).toBe(100);
  });
});

describe('measurements', () => {
  const image = { spacing_mm: { row: 0.4, column: 0.2 }, spacingAt: 'patient', pixelAspect: 0.5 } as const;
  test('lengths in millimetres of either direction', () => {
    expect(
      measured(
        {
          kind: 'length',
          points: [
            [0, 0],
            [15, 10],
          ],
        },
        image,
      ),
    ).toEqual({ value: 5, unit: 'mm' });
    expect(
      measured(
        {
          kind: 'length',
          points: [
            [0, 0],
            [15, 10],
          ],
        },
        { ...image, spacingAt: 'detector' },
      ).unit,
    ).toBe('mm on detector');
    expect(
      measured(
        {
          kind: 'length',
          points: [
            [0, 0],
            [3, 4],
          ],
        },
        { ...image, spacing_mm: null },
      ),
    ).toEqual({ value: 5, unit: 'px' });
  });

  test('angles in the body, not in the matrix', () => {
    const points: Point[] = [
      [20, 0],
      [0, 0],
      [20, 10],
    ];
    expect(measured({ kind: 'angle', points }, image).value).toBeCloseTo(45);
    expect(measured({ kind: 'angle', points }, { ...image, spacing_mm: null }).value).toBeCloseTo(45);
    expect(
      measuredText(
        {
          kind: 'angle',
          points: [
            [9, 0],
            [0, 0],
            [-9, 0],
          ],
        },
        image,
      ),
    ).toBe('180.0°');
  });
});

describe('name tags', () => {
  const size = { width: 800, height: 600 };
  const width = (text: string) => text.length * 7;
  test('stay in the picture and clear of each other and of handles', () => {
    const box = { left: 100, top: 100, right: 160, bottom: 150 };
    const taken = [{ left: 92, top: 92, right: 108, bottom: 108 }];
    const wishes = ['a', 'b', 'c'].map((id) => ({ id, text: 'Pleural Effusion', box }));
    const tags = placeLabels(wishes, taken, size, width);
    tags.forEach((one, index) => {
      for (const other of [...taken, ...tags.slice(0, index).map((tag) => tag.box)])
        expect(overlap(one.box, other)).toBe(false);
    });
  });

  test('of marks out of sight are not shown; at the upper edge they go below', () => {
    const wishes = [
      { id: 'a', text: 'x', box: { left: -90, top: 0, right: -20, bottom: 9 } },
      { id: 'b', text: 'y', box: { left: 90, top: 0, right: 120, bottom: 9 } },
    ];
    const tags = placeLabels(wishes, [], size, width);
    expect(tags.map(({ id }) => id)).toEqual(['b']);
    expect(tags[0]!.box.top).toBeGreaterThan(9);
  });
});

import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';

import { CHEST_RADIOGRAPH } from '../../radiograph/chest';
import { frameOf, type Frame } from '../../shared/drawing/frame';
import { drawingKey, selectNext } from '../../shared/drawing/keyboard';
import { drawingOf } from '../../shared/drawing/drawing';
import { select } from '../../shared/state/marks';
import { answer, choose } from '../../shared/state/finding-actions';
import { Store, type Tool } from '../../shared/state/store';
import type { RadiographImage } from '../../shared/pixels/radiograph-image';
import type { Point } from '../../shared/shapes/geometry';
import type { Task } from '../../shared/state/types';
import type { View } from '../../shared/state/view';
import { apply } from '../../shared/state/view';

const IMAGE: RadiographImage = {
  rows: 1000,
  columns: 800,
  values: new Uint8Array(1),
  lowest: 0,
  highest: 1,
  spacing_mm: null,
  spacingAt: null,
  pixelAspect: 1,
  inverted: false,
  initial: { center: 0, width: 1 },
  presets: [],
  sopInstanceUid: '',
  caption: '',
  standIn: '',
};
const TASK: Task = {
  labelSet: CHEST_RADIOGRAPH,
  key: 'k',
  image: { url: '', renderedUrl: '' },
  second: null,
  instructions: '',
  answerAll: false,
  suggestions: null,
  earlier: [],
  start: null,
  problems: [],
  findings: [
    { label: 'No Finding', definition: '', region: 'none' },
    { label: 'Pneumonia', definition: '', region: 'optional' },
  ],
};
const VIEW: View = { center: [400, 500], zoom: 0.5, rotation_deg: 0, mirrored: false };

function page(tool: Tool, view: View = VIEW): Store {
  const store = new Store(TASK);
  store.setViewport(0, { image: IMAGE, view, size: { width: 701.5, height: 603.25 } });
  store.set({ tool, activeLabel: 'Pneumonia' });
  return store;
}

const frame = (store: Store): Frame => frameOf(store)!;
const screen = (store: Store, at: Point): Point => apply(frame(store).map, at);

function drag(store: Store, from: Point, to: Point): void {
  const drawing = drawingOf(store);
  drawing.pressDown(frame(store), screen(store, from));
  drawing.moveTo(frame(store), [screen(store, to)]);
  drawing.pressUp(frame(store), screen(store, to));
}

const click = (store: Store, at: Point): void => drag(store, at, at);
const move = (store: Store, at: Point): void => drawingOf(store).moveTo(frame(store), [screen(store, at)]);
const pointsOf = (store: Store, index = 0): readonly Point[] => store.reading.regions[index]!.points;

function expectNear(points: readonly Point[], wanted: readonly Point[]): void {
  expect(points.length).toBe(wanted.length);
  points.forEach(([x, y], index) => expect(Math.hypot(x - wanted[index]![0], y - wanted[index]![1])).toBeLessThan(1e-6));
}

function key(store: Store, name: string, held: Partial<Record<'shiftKey' | 'altKey' | 'ctrlKey', boolean>> = {}): boolean {
  return drawingKey(store, {
    key: name,
    shiftKey: false,
    altKey: false,
    ctrlKey: false,
    metaKey: false,
    preventDefault: () => undefined,
    ...held,
  });
}

describe('drawing by pointer', () => {
  test('a drag and two clicks draw the same box, however the image lies', () => {
    const at = fc.tuple(
      fc.double({ min: 0, max: 800, noNaN: true }),
      fc.double({ min: 0, max: 1000, noNaN: true }),
    ) as fc.Arbitrary<Point>;
    const views = fc.record({
      center: at,
      zoom: fc.double({ min: 0.1, max: 20, noNaN: true }),
      rotation_deg: fc.constantFrom<View['rotation_deg']>(0, 90, 180, 270),
      mirrored: fc.boolean(),
    });
    fc.assert(
      fc.property(at, at, views, fc.constantFrom<Tool>('rectangle', 'ellipse'), (a, b, view, tool) => {
        fc.pre(
          Math.abs(a[0] - b[0]) > 1.01 && Math.abs(a[1] - b[1]) > 1.01 && Math.hypot(a[0] - b[0], a[1] - b[1]) * view.zoom > 4,
        );
        const store = page(tool, view);
        drag(store, a, b);
        click(store, a);
        move(store, b);
        click(store, b);
        const wanted: Point[] = [
          [Math.min(a[0], b[0]), Math.min(a[1], b[1])],
          [Math.max(a[0], b[0]), Math.max(a[1], b[1])],
        ];
        expectNear(pointsOf(store, 0), wanted);
        expectNear(pointsOf(store, 1), wanted);
      }),
      { numRuns: 200 },
    );
  });

  test('a region belongs to the active finding and is one step with it', () => {
    const store = page('rectangle');
    drag(store, [100, 100], [200, 300]);
    expect(store.reading.regions[0]).toMatchObject({ label: 'Pneumonia', shape: 'rectangle', comment: '' });
    expect(store.reading.labels['Pneumonia']).toBe('positive');
    expect(store.ui.selected).toBe(store.reading.regions[0]!.id);
    expect(store.ui.spoken).toBe('Rectangle for Pneumonia placed: 100 by 200 pixels at 100, 100');
    expect(store.ui.tool).toBe('rectangle');
    store.undo();
    expect(store.reading.regions).toEqual([]);
    expect(store.reading.labels['Pneumonia']).toBeUndefined();
  });

  test('a place does not make "No Finding" present', () => {
    const store = page('rectangle');
    store.set({ activeLabel: 'No Finding' });
    drag(store, [100, 100], [200, 300]);
    expect(store.reading.regions[0]!.label).toBe('');
    expect(Object.keys(store.reading.labels)).toEqual([]);
  });

  test('points are clamped to the image, and a drag may begin outside of it', () => {
    const store = page('rectangle');
    drag(store, [-300, -20], [200, 300]);
    drag(store, [700, 900], [4000, 4000]);
    expectNear(pointsOf(store, 0), [
      [0, 0],
      [200, 300],
    ]);
    expectNear(pointsOf(store, 1), [
      [700, 900],
      [800, 1000],
    ]);
  });

  test('what has no size is not drawn', () => {
    const store = page('rectangle');
    drag(store, [100, 100], [300, 100.4]);
    drag(store, [-300, 100], [-200, 300]);
    expect(store.reading.regions).toEqual([]);
    expect(drawingOf(store).busy).toBe(false);
  });

  test('zooming while a box is drawn changes nothing in the image', () => {
    const store = page('rectangle');
    const drawing = drawingOf(store);
    drawing.pressDown(frame(store), screen(store, [123.25, 77.5]));
    store.setViewport(0, { view: { ...VIEW, zoom: 3, center: [200, 200], rotation_deg: 90 } });
    drawing.moveTo(frame(store), [screen(store, [250, 300])]);
    drawing.pressUp(frame(store), screen(store, [250, 300]));
    expectNear(pointsOf(store), [
      [123.25, 77.5],
      [250, 300],
    ]);
  });

  test('a polygon is closed by its first vertex, by a double click and by Enter, without doubles', () => {
    const corners: Point[] = [
      [100, 100],
      [300, 120],
      [250, 400],
    ];
    const ways: ((store: Store) => unknown)[] = [
      (store) => click(store, [102, 101]),
      (store) => click(store, [250, 400]),
      (store) => key(store, 'Enter'),
      (store) => store.set({ tool: 'select' }),
      (store) => store.unfinished?.settle(),
    ];
    for (const close of ways) {
      const store = page('polygon');
      for (const corner of corners) click(store, corner);
      expect(store.reading.regions.length).toBe(0);
      close(store);
      expectNear(pointsOf(store), corners);
      expect(drawingOf(store).pending).toBe(null);
    }
  });

  test('undo takes the last vertex first, and Escape all of them', () => {
    const store = page('polygon');
    store.dispatch({ kind: 'comment', comment: 'before' });
    for (const corner of [
      [100, 100],
      [300, 120],
      [250, 400],
    ] as Point[])
      click(store, corner);
    store.undo();
    expect(drawingOf(store).pending!.points.length).toBe(2);
    expect(key(store, 'Backspace')).toBe(true);
    expect(drawingOf(store).pending!.points.length).toBe(1);
    expect(key(store, 'Escape')).toBe(true);
    expect(store.reading.comment).toBe('before');
    store.undo();
    expect(store.reading.comment).toBe('');
  });

  test('undo brings back what Escape gave up, until something else is done', () => {
    const store = page('polygon');
    const corners: Point[] = [
      [100, 100],
      [300, 120],
      [250, 400],
    ];
    for (const corner of corners) click(store, corner);
    key(store, 'Escape');
    store.undo();
    expectNear(drawingOf(store).pending!.points, corners);
    key(store, 'Escape');
    store.dispatch({ kind: 'comment', comment: 'later' });
    store.undo();
    expect([drawingOf(store).pending, store.reading.comment]).toEqual([null, '']);
  });

  test('a region drawn before its finding gets the one named next, as one step', () => {
    const store = page('rectangle');
    store.set({ activeLabel: null });
    drag(store, [100, 100], [200, 300]);
    choose(store, 'No Finding');
    expect(store.reading.regions[0]!.label).toBe('');
    answer(store, 'Pneumonia', 'uncertain');
    expect(store.reading.regions[0]!.label).toBe('Pneumonia');
    expect(store.reading.labels['Pneumonia']).toBe('uncertain');
    store.undo();
    expect(store.reading.regions[0]!.label).toBe('');
    expect(store.reading.labels['Pneumonia']).toBeUndefined();
  });

  test('a region that is selected makes its finding the active one', () => {
    const store = page('rectangle');
    drag(store, [100, 100], [200, 300]);
    store.set({ activeLabel: null });
    select(store, store.reading.regions[0]!.id);
    expect(store.ui.activeLabel).toBe('Pneumonia');
  });

  test('a polygon in progress outlives a look with another contrast', () => {
    const store = page('polygon');
    for (const corner of [
      [100, 100],
      [300, 120],
    ] as Point[])
      click(store, corner);
    store.set({ tool: 'window' });
    store.set({ tool: 'polygon' });
    click(store, [250, 400]);
    key(store, 'Enter');
    expect(pointsOf(store).length).toBe(3);
  });

  test('a second finger ends a box but not the polygon before it', () => {
    const store = page('polygon');
    click(store, [100, 100]);
    drawingOf(store).pressDown(frame(store), screen(store, [300, 300]));
    drawingOf(store).abortPress();
    expect(drawingOf(store).pending!.points.length).toBe(1);
    store.set({ tool: 'rectangle' });
    drawingOf(store).pressDown(frame(store), screen(store, [300, 300]));
    drawingOf(store).abortPress();
    expect(drawingOf(store).pending).toBe(null);
  });

  test('freehand follows the pointer to half a pixel of the screen', () => {
    const store = page('freehand');
    const drawing = drawingOf(store);
    const circle = Array.from(
      { length: 200 },
      (_, at): Point => [400 + 150 * Math.cos(at / 31.8), 500 + 150 * Math.sin(at / 31.8)],
    );
    drawing.pressDown(frame(store), screen(store, circle[0]!));
    for (const at of circle) drawing.moveTo(frame(store), [screen(store, at)]);
    drawing.pressUp(frame(store), screen(store, circle.at(-1)!));
    const points = pointsOf(store);
    expect(store.reading.regions[0]!.shape).toBe('polygon');
    expect(points.length).toBeGreaterThan(10);
    expect(points.length).toBeLessThan(60);
    for (const [x, y] of points) expect(Math.hypot(x - 400, y - 500)).toBeCloseTo(150, 6);
  });

  test('a length has two points, an angle three', () => {
    const store = page('length');
    drag(store, [100, 100], [400, 100]);
    store.set({ tool: 'angle' });
    for (const at of [
      [100, 200],
      [200, 300],
      [300, 200],
    ] as Point[])
      click(store, at);
    expect(store.reading.measurements.map(({ kind, points }) => [kind, points.length])).toEqual([
      ['length', 2],
      ['angle', 3],
    ]);
    expect(store.ui.selected).toBe(store.reading.measurements[1]!.id);
  });
});

describe('pulling', () => {
  let store: Store;
  beforeEach(() => {
    store = page('rectangle');
    drag(store, [100, 100], [200, 300]);
    store.set({ tool: 'select' });
  });

  function pull(handle: Parameters<ReturnType<typeof drawingOf>['take']>[1], from: Point, ...path: Point[]): void {
    const drawing = drawingOf(store);
    drawing.take(store.ui.selected!, handle, frame(store), screen(store, from));
    for (const at of path) drawing.moveTo(frame(store), [screen(store, at)]);
    drawing.release(frame(store), screen(store, path.at(-1) ?? from));
  }

  test('a drag is one step, and a click is none', () => {
    const steps = store.history.past.length,
      before = pointsOf(store);
    pull(null, [150, 150]);
    expect(store.history.past.length).toBe(steps);
    expect(pointsOf(store)).toBe(before);
    pull(null, [150, 150], [160, 160], [190, 130]);
    expect(store.history.past.length).toBe(steps + 1);
    expectNear(pointsOf(store), [
      [140, 80],
      [240, 280],
    ]);
    store.undo();
    expect(pointsOf(store)).toBe(before);
  });

  test('there and back leaves the very same points', () => {
    const before = pointsOf(store),
      steps = store.history.past.length;
    pull({ kind: 'box', x: 1, y: 1 }, [200, 300], [300, 400], [200, 300]);
    expectNear(pointsOf(store), before);
    expect(store.history.past.length).toBeLessThanOrEqual(steps + 1);
  });

  test('a handle clicked on follows until the next click', () => {
    const drawing = drawingOf(store);
    pull({ kind: 'box', x: 1, y: 1 }, [200, 300]);
    expect(drawing.edit?.sticky).toBe(true);
    move(store, [310, 420]);
    drawing.pressWhileFollowing(screen(store, [320, 430]));
    drawing.release(frame(store), screen(store, [320, 430]));
    expectNear(pointsOf(store), [
      [100, 100],
      [320, 430],
    ]);
  });

  test('Escape puts it back', () => {
    const before = pointsOf(store);
    pull({ kind: 'box', x: 1, y: 1 }, [200, 300]);
    move(store, [310, 420]);
    expect(key(store, 'Escape')).toBe(true);
    expect(pointsOf(store)).toBe(before);
  });
});

describe('drawing by keys', () => {
  test('a rectangle from the middle of what can be seen', () => {
    const store = page('rectangle');
    expect(key(store, 'Enter')).toBe(true);
    for (let times = 0; times < 3; times += 1) key(store, 'ArrowRight', { shiftKey: true });
    for (let times = 0; times < 5; times += 1) key(store, 'ArrowDown');
    key(store, 'ArrowDown', { altKey: true });
    key(store, ' ');
    expectNear(pointsOf(store), [
      [400, 500],
      [640, 542],
    ]);
  });

  test('arrows go by the screen on a turned and mirrored image', () => {
    const store = page('rectangle', { ...VIEW, rotation_deg: 90, mirrored: true });
    key(store, 'Enter');
    const from = screen(store, drawingOf(store).crosshair!);
    key(store, 'ArrowRight', { shiftKey: true });
    const to = screen(store, drawingOf(store).crosshair!);
    expect(to[0] - from[0]).toBeCloseTo(40, 9);
    expect(to[1] - from[1]).toBeCloseTo(0, 9);
  });

  test('a polygon is closed with Shift+Enter and with a second Enter', () => {
    for (const shiftKey of [true, false]) {
      const store = page('polygon');
      key(store, 'Enter');
      key(store, 'ArrowRight', { shiftKey: true });
      key(store, 'Enter');
      key(store, 'ArrowDown', { shiftKey: true });
      key(store, 'Enter');
      key(store, 'Enter', { shiftKey });
      expectNear(pointsOf(store), [
        [400, 500],
        [480, 500],
        [480, 580],
      ]);
    }
  });

  test('the image follows the cross out of the picture', () => {
    const store = page('rectangle', { ...VIEW, zoom: 4 });
    for (let times = 0; times < 12; times += 1) key(store, 'ArrowRight', { shiftKey: true });
    const [x] = screen(store, drawingOf(store).crosshair!);
    expect(x).toBeLessThanOrEqual(701.5);
    expect(drawingOf(store).crosshair![0]).toBeCloseTo(400 + 120, 6);
  });

  test('arrows move what was just drawn, Ctrl resizes it, and a run of them is one step', () => {
    const store = page('rectangle');
    drag(store, [100, 100], [200, 300]);
    const steps = store.history.past.length;
    key(store, 'ArrowLeft');
    key(store, 'ArrowUp', { shiftKey: true });
    key(store, 'ArrowRight', { ctrlKey: true });
    key(store, 'ArrowDown', { ctrlKey: true, shiftKey: true });
    expectNear(pointsOf(store), [
      [98, 80],
      [200, 300],
    ]);
    expect(store.history.past.length).toBe(steps + 1);
    key(store, 'Escape');
    expect(store.ui.selected).toBe(null);
    key(store, 'ArrowLeft');
    expect(drawingOf(store).crosshair).not.toBe(null);
    expectNear(pointsOf(store), [
      [98, 80],
      [200, 300],
    ]);
  });

  test('regions are selected in turn, handles of the selected one too', () => {
    const store = page('rectangle');
    drag(store, [100, 100], [200, 300]);
    drag(store, [400, 400], [600, 800]);
    store.set({ tool: 'select', selected: null });
    key(store, '.');
    expect(store.ui.selected).toBe(store.reading.regions[0]!.id);
    selectNext(store);
    expect(store.ui.selected).toBe(store.reading.regions[1]!.id);
    key(store, ',');
    key(store, 'Enter');
    key(store, 'ArrowLeft', { shiftKey: true });
    key(store, '.');
    key(store, 'ArrowUp');
    key(store, 'Enter');
    expectNear(pointsOf(store), [
      [80, 98],
      [200, 300],
    ]);
  });

  test('Delete removes the corner that was taken', () => {
    const store = page('polygon');
    for (const corner of [
      [100, 100],
      [500, 120],
      [450, 600],
      [90, 500],
    ] as Point[])
      click(store, corner);
    key(store, 'Enter');
    store.set({ tool: 'select' });
    key(store, 'Enter');
    key(store, ','); // from the first edge back to the last corner
    expect(key(store, 'Delete')).toBe(true);
    expectNear(pointsOf(store), [
      [100, 100],
      [500, 120],
      [450, 600],
    ]);
  });

  test('keys that mean nothing to drawing are left alone', () => {
    const store = page('window');
    for (const name of ['ArrowLeft', 'Enter', ' ', 'Escape', 'Tab', 'x', 'Delete', '.']) expect(key(store, name)).toBe(false);
  });
});

import { describe, expect, it } from 'vitest';

import { centerOn } from '../../shared/state/viewport-commands';
import type { View } from '../../shared/state/view';
import { apply, toScreen } from '../../shared/state/view';
import { box, store } from '../samples';

const SIZE = { width: 800, height: 200 };

describe('a region brought into the middle', () => {
  it.each([0, 90, 180, 270] as const)('can be seen whole on an image turned by %i degrees', (rotation_deg) => {
    const page = store();
    const view: View = { center: [0, 0], zoom: 20, rotation_deg, mirrored: false };
    page.setViewport(0, { size: SIZE, view });
    const region = box('a', 'Edema', {
      points: [
        [0, 10],
        [40, 14],
      ],
    });
    centerOn(page, region);
    const map = toScreen(page.ui.viewports[0]!.view, SIZE, page.ui.viewports[0]!.image!.pixelAspect);
    for (const [x, y] of region.points.map((point) => apply(map, point))) {
      expect(x > 0 && x < SIZE.width).toBe(true);
      expect(y > 0 && y < SIZE.height).toBe(true);
    }
  });

  it('is not made larger when it is a point', () => {
    const page = store();
    page.setViewport(0, { size: SIZE });
    centerOn(page, box('a', 'Edema', { shape: 'point', points: [[3, 4]] }));
    expect(page.ui.viewports[0]!.view).toMatchObject({ zoom: 2, center: [3, 4] });
  });
});

/** The current mapping between the main image and the screen. */

import type { Store } from '../state/store';
import type { RadiographImage } from '../pixels/radiograph-image';
import type { Point } from '../shapes/geometry';
import { apply, inverse, toScreen, type Affine, type Size } from '../state/view';
import { bounds, clamp, inside, type Box } from '../shapes/geometry';

export interface Frame {
  readonly image: RadiographImage;
  readonly size: Size;
  /** From image pixels to CSS pixels of the viewport. */
  readonly map: Affine;
  readonly back: Affine;
}

/** Return the mapping of the main image, or null while there is no image. */
export function frameOf(store: Store): Frame | null {
  const state = store.ui.viewports[0];
  if (!state?.image || state.size.width === 0 || state.size.height === 0) return null;
  const map = toScreen(state.view, state.size, state.image.pixelAspect);
  return { image: state.image, size: state.size, map, back: inverse(map) };
}

/** Return a screen vector as an image vector. */
export function stepInImage(frame: Frame, [dx, dy]: Point): Point {
  const { a, b, c, d } = frame.back;
  return [a * dx + c * dy, b * dx + d * dy];
}

/** Return the image's bounding box on the screen. */
export function imageOnScreen({ image, map }: Frame): Box {
  return bounds([apply(map, [0, 0]), apply(map, [image.columns, image.rows])]);
}

/** Return the image point in the center of the visible part. */
export function visibleMiddle(frame: Frame): Point {
  const { left, top, right, bottom } = imageOnScreen(frame);
  const { width, height } = frame.size;
  const x = (clamp(left, 0, width) + clamp(right, 0, width)) / 2,
    y = (clamp(top, 0, height) + clamp(bottom, 0, height)) / 2;
  return inside(apply(frame.back, [x, y]), frame.image);
}

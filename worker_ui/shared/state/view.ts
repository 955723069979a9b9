/** From image pixels to the screen and back: one affine map, exact, the same for the picture and for what is drawn on it. */

import type { RadiographImage } from '../pixels/radiograph-image';
import type { Point } from '../shapes/geometry';

/** Position, zoom and orientation of an image in its viewport. */
export interface View {
  /** Image point in the middle of the viewport. */
  readonly center: Point;
  /** CSS pixels for each image row, i.e. along y. */
  readonly zoom: number;
  /** Clockwise, degrees; a multiple of 90. */
  readonly rotation_deg: 0 | 90 | 180 | 270;
  /** Mirrored left to right on the screen, after the rotation. */
  readonly mirrored: boolean;
}

/** x' = a x + c y + e, y' = b x + d y + f, as in CSS and SVG. */
export interface Affine {
  readonly a: number;
  readonly b: number;
  readonly c: number;
  readonly d: number;
  readonly e: number;
  readonly f: number;
}

export interface Size {
  readonly width: number;
  readonly height: number;
}

export const ZOOM_LIMITS = { least: 0.02, most: 64 } as const;

/** Return the map from image pixels (corner origin) to CSS pixels of a viewport of that size. */
export function toScreen(view: View, size: Size, pixelAspect: number): Affine {
  const turn = (view.rotation_deg * Math.PI) / 180;
  const cos = Math.round(Math.cos(turn)),
    sin = Math.round(Math.sin(turn)); // multiples of 90 degrees: exact
  const along = view.zoom * pixelAspect,
    down = view.zoom,
    mirror = view.mirrored ? -1 : 1;
  const a = mirror * cos * along,
    b = sin * along,
    c = -mirror * sin * down,
    d = cos * down;
  const [x, y] = view.center;
  return { a, b, c, d, e: size.width / 2 - (a * x + c * y), f: size.height / 2 - (b * x + d * y) };
}

export function apply(map: Affine, [x, y]: Point): Point {
  return [map.a * x + map.c * y + map.e, map.b * x + map.d * y + map.f];
}

export function inverse(map: Affine): Affine {
  const det = map.a * map.d - map.b * map.c;
  const a = map.d / det,
    b = -map.b / det,
    c = -map.c / det,
    d = map.a / det;
  return { a, b, c, d, e: -(a * map.e + c * map.f), f: -(b * map.e + d * map.f) };
}

/** Return the view that shows the whole image, with its rotation and mirroring kept. */
export function fitted(view: View, image: Pick<RadiographImage, 'rows' | 'columns' | 'pixelAspect'>, size: Size): View {
  const width = image.columns * image.pixelAspect,
    height = image.rows;
  const sideways = view.rotation_deg % 180 !== 0;
  const zoom = Math.min(size.width / (sideways ? height : width), size.height / (sideways ? width : height));
  return { ...view, center: [image.columns / 2, image.rows / 2], zoom: bounded(zoom) };
}

/** Return the view zoomed by a factor with one point of the screen staying where it is. */
export function zoomedAt(view: View, factor: number, at: Point, size: Size, pixelAspect: number): View {
  const zoom = bounded(view.zoom * factor);
  const [x, y] = apply(inverse(toScreen(view, size, pixelAspect)), at);
  const keep = view.zoom / zoom; // the center moves towards the point in proportion to the zoom
  return { ...view, zoom, center: [x + (view.center[0] - x) * keep, y + (view.center[1] - y) * keep] };
}

/** Return the view moved by some CSS pixels. */
export function panned(view: View, dx: number, dy: number, pixelAspect: number): View {
  const { a, b, c, d } = inverse(toScreen(view, { width: 0, height: 0 }, pixelAspect));
  return { ...view, center: [view.center[0] - (a * dx + c * dy), view.center[1] - (b * dx + d * dy)] };
}

/** Return the view rotated by 90 degrees on the screen, mirrored or not. */
export function turned(view: View, clockwise: boolean): View {
  const by = clockwise !== view.mirrored ? 90 : 270;
  return { ...view, rotation_deg: ((view.rotation_deg + by) % 360) as View['rotation_deg'] };
}

/** Return the view mirrored left to right, or top to bottom, on the screen. */
export function flipped(view: View, direction: 'horizontal' | 'vertical'): View {
  const rotation = direction === 'horizontal' ? view.rotation_deg : (view.rotation_deg + 180) % 360;
  return { ...view, mirrored: !view.mirrored, rotation_deg: rotation as View['rotation_deg'] };
}

function bounded(zoom: number): number {
  return Math.min(Math.max(zoom, ZOOM_LIMITS.least), ZOOM_LIMITS.most);
}

/** What a measurement amounts to. */

import type { Film, Measurement, Point } from '../types';

export interface Measured {
  readonly value: number;
  readonly unit: 'mm' | 'mm on detector' | 'px' | 'deg';
}

type Scale = Pick<Film, 'spacing_mm' | 'spacingAt' | 'pixelAspect'>;

/**
 * Return length or angle, as it is in the plane of the image and not on its grid: pixels need not be square.
 *
 * Without a spacing a length is in pixels, along the grid; an angle still knows the shape of the pixels.
 */
export function measured({ kind, points }: Pick<Measurement, 'kind' | 'points'>, film: Scale | null): Measured | null {
  const spacing = film?.spacing_mm ?? null;
  const [a, b, c] = points;
  if (!a || !b) return null;
  if (kind === 'length') {
    const [x, y] = spacing ? difference(a, b, spacing.column, spacing.row) : difference(a, b, 1, 1);
    return { value: Math.hypot(x, y), unit: !spacing ? 'px' : film?.spacingAt === 'detector' ? 'mm on detector' : 'mm' };
  }
  if (!c) return null;
  const [along, down] = spacing ? [spacing.column, spacing.row] : [film?.pixelAspect ?? 1, 1];
  const one = difference(b, a, along, down), other = difference(b, c, along, down);
  const cross = one[0] * other[1] - one[1] * other[0], dot = one[0] * other[0] + one[1] * other[1];
  return { value: (Math.atan2(Math.abs(cross), dot) * 180) / Math.PI, unit: 'deg' };
}

function difference(from: Point, to: Point, along: number, down: number): Point {
  return [(to[0] - from[0]) * along, (to[1] - from[1]) * down];
}

/** What a length or an angle amounts to, in the body where the header knows the size of a pixel. */

import type { Film } from '../pixels/radiograph-image';
import type { Measurement } from '../state/types';
import type { Point } from './geometry';

export interface Measured {
  readonly value: number;
  readonly unit: 'mm' | 'mm on detector' | 'px' | 'deg';
}

type Scale = Pick<Film, 'spacing_mm' | 'spacingAt' | 'pixelAspect'>;

/** Return the value of a measurement; lengths in image pixels where there is no spacing. */
export function measured(measurement: Pick<Measurement, 'kind' | 'points'>, film: Scale): Measured {
  const [first, second, third] = measurement.points;
  if (first === undefined || second === undefined) return { value: 0, unit: measurement.kind === 'angle' ? 'deg' : unitOf(film) };
  if (measurement.kind === 'length') {
    const [x, y] = film.spacing_mm ? physical(second, first, film) : [second[0] - first[0], second[1] - first[1]];
    return { value: Math.hypot(x, y), unit: unitOf(film) };
  }
  if (third === undefined) return { value: 0, unit: 'deg' };
  const [ax, ay] = physical(first, second, film), [bx, by] = physical(third, second, film);
  // atan2 keeps its precision near 0 and 180 degrees, where the arc cosine of a scalar product has none.
  return { value: (Math.abs(Math.atan2(ax * by - ay * bx, ax * bx + ay * by)) * 180) / Math.PI, unit: 'deg' };
}

export function measuredText(measurement: Pick<Measurement, 'kind' | 'points'>, film: Scale): string {
  const { value, unit } = measured(measurement, film);
  return unit === 'deg' ? `${value.toFixed(1)}°` : `${value.toFixed(1)} ${unit}`;
}

/** Return the unit of lengths on a film. */
export function unitOf(film: Scale): Measured['unit'] {
  if (film.spacing_mm === null) return 'px';
  return film.spacingAt === 'detector' ? 'mm on detector' : 'mm';
}

/** Way from one point to another in millimetres, or in rows' heights where there is no spacing. */
function physical(to: Point, from: Point, film: Scale): Point {
  const spacing = film.spacing_mm ?? { column: film.pixelAspect, row: 1 };
  return [(to[0] - from[0]) * spacing.column, (to[1] - from[1]) * spacing.row];
}

/** Values of length and angle measurements, in millimeters where the header gives the pixel spacing. */

import type { RadiographImage } from '../pixels/radiograph-image';
import type { Measurement } from '../state/types';
import type { Point } from './geometry';

export interface Measured {
  readonly value: number;
  readonly unit: 'mm' | 'mm on detector' | 'px' | 'deg';
}

type Scale = Pick<RadiographImage, 'spacing_mm' | 'spacingAt' | 'pixelAspect'>;

/** Return the value of a measurement; lengths in image pixels where there is no spacing. */
export function measured(measurement: Pick<Measurement, 'kind' | 'points'>, image: Scale): Measured {
  const [first, second, third] = measurement.points;
  if (first === undefined || second === undefined)
    return { value: 0, unit: measurement.kind === 'angle' ? 'deg' : unitOf(image) };
  if (measurement.kind === 'length') {
    const [x, y] = image.spacing_mm ? physical(second, first, image) : [second[0] - first[0], second[1] - first[1]];
    return { value: Math.hypot(x, y), unit: unitOf(image) };
  }
  if (third === undefined) return { value: 0, unit: 'deg' };
  const [ax, ay] = physical(first, second, image),
    [bx, by] = physical(third, second, image);
  // Unlike the arc cosine of a dot product, atan2 is precise near 0 and 180 degrees.
  return { value: (Math.abs(Math.atan2(ax * by - ay * bx, ax * bx + ay * by)) * 180) / Math.PI, unit: 'deg' };
}

export function measuredText(measurement: Pick<Measurement, 'kind' | 'points'>, image: Scale): string {
  const { value, unit } = measured(measurement, image);
  return unit === 'deg' ? `${value.toFixed(1)}°` : `${value.toFixed(1)} ${unit}`;
}

/** Return the unit of lengths on an image. */
export function unitOf(image: Scale): Measured['unit'] {
  if (image.spacing_mm === null) return 'px';
  return image.spacingAt === 'detector' ? 'mm on detector' : 'mm';
}

/** Return the vector between two points in millimeters, or in row heights where there is no spacing. */
function physical(to: Point, from: Point, image: Scale): Point {
  const spacing = image.spacing_mm ?? { column: image.pixelAspect, row: 1 };
  return [(to[0] - from[0]) * spacing.column, (to[1] - from[1]) * spacing.row];
}

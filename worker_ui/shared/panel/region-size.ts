/** Sizes of regions as text, in pixels and, where the spacing is known, in millimeters. */

import { unitOf } from '../shapes/measure';
import { bounds } from '../shapes/geometry';
import type { RadiographImage } from '../pixels/radiograph-image';
import type { Point } from '../shapes/geometry';
import type { Region } from '../state/types';

export interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export function boxOf(points: readonly Point[]): Box {
  const { left, top, right, bottom } = bounds(points);
  return { x: left, y: top, width: right - left, height: bottom - top };
}

/** Return the two corners of a box with one of its numbers changed, kept inside the image; null when it would be empty. */
export function edited(
  region: Region,
  field: keyof Box,
  value: number,
  image: RadiographImage | null,
): readonly Point[] | null {
  const box = boxOf(region.points);
  const columns = image?.columns ?? Infinity,
    rows = image?.rows ?? Infinity;
  const most: Box = { x: columns - box.width, y: rows - box.height, width: columns - box.x, height: rows - box.y };
  const changed: Box = { ...box, [field]: Math.max(0, Math.min(value, most[field])) };
  const { x, y, width, height } = changed;
  return width > 0 && height > 0
    ? [
        [x, y],
        [x + width, y + height],
      ]
    : null;
}

/** "412 × 318 px", and in mm where known. */
export function sizeText(region: Region, image: RadiographImage | null): { readonly px: string; readonly mm: string } {
  const { width, height } = boxOf(region.points);
  if (region.shape === 'point') return { px: `at ${region.points[0]?.map((value) => round(value)).join(', ')}`, mm: '' };
  const spacing = image?.spacing_mm ?? null;
  return {
    px: `${round(width)} × ${round(height)} px`,
    mm: image && spacing ? `${round(width * spacing.column)} × ${round(height * spacing.row)} ${unitOf(image)}` : '',
  };
}

function round(value: number): string {
  return String(Math.abs(value) < 100 ? Math.round(value * 10) / 10 : Math.round(value));
}

/** Pixel spacing, in the patient or on the detector (PS3.3 10.7.1.3). */

import type { DataSet } from 'dicom-parser';

import { numbers, TAGS, text } from './elements';

export interface Spacing {
  /** Millimeters between rows and between columns. */
  readonly spacing_mm: { readonly row: number; readonly column: number } | null;
  readonly spacingAt: 'patient' | 'detector' | null;
}

/** Spacings outside of this range are errors. */
const LEAST_MM = 1e-3,
  MOST_MM = 100;
const MOST_ASPECT = 20;

/**
 * Return the spacing of a projection.
 *
 * Pixel Spacing equal to Imager Pixel Spacing or Nominal Scanned Pixel Spacing, without a calibration type, is not
 * corrected for magnification: it is the spacing on the detector.
 */
export function spacingOf(data: DataSet): Spacing {
  const own = pair(data, TAGS.PixelSpacing);
  const detector = pair(data, TAGS.ImagerPixelSpacing) ?? pair(data, TAGS.NominalScannedPixelSpacing);
  if (!own) return { spacing_mm: detector, spacingAt: detector && 'detector' };
  const repeated = detector && near(own.row, detector.row) && near(own.column, detector.column);
  const calibrated = text(data, TAGS.PixelSpacingCalibrationType) !== '';
  return { spacing_mm: own, spacingAt: repeated && !calibrated ? 'detector' : 'patient' };
}

/** Return width over height of a pixel. */
export function aspectOf(data: DataSet, spacing: Spacing['spacing_mm']): number {
  const [vertical = 0, horizontal = 0] = numbers(data, TAGS.PixelAspectRatio);
  const aspect = spacing ? spacing.column / spacing.row : horizontal / vertical;
  return aspect >= 1 / MOST_ASPECT && aspect <= MOST_ASPECT ? aspect : 1;
}

function pair(data: DataSet, tag: string): { row: number; column: number } | null {
  const [row = Number.NaN, column = Number.NaN] = numbers(data, tag);
  const sane = (length: number) => length >= LEAST_MM && length <= MOST_MM;
  return sane(row) && sane(column) ? { row, column } : null;
}

function near(one: number, other: number): boolean {
  return Math.abs(one - other) <= 1e-4 * other;
}

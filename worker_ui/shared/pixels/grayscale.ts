/**
 * The grayscale pipeline, the same as `dicom_workflow.dicom.pixels.to_display`:
 *
 * stored value -> padding mask -> Modality LUT or rescale -> VOI LUT or window -> inversion -> display.
 *
 * The values of an image are those before the linear window and the inversion, which the viewer applies.
 * Each step maps one stored value, of which there are at most 65,536: the pipeline is computed for the values that occur,
 * and every pixel is looked up in the result.
 *
 * References: PS3.3 C.7.6.3.1.2 (photometric interpretation), C.7.5.1.1.2 (padding), C.11.1 (Modality LUT), C.11.2 (VOI LUT).
 */

import type { Values, VoiWindow } from './radiograph-image';
import type { Header, HeaderWindow } from './header';
import type { Lut } from './lut';
import { patternsOf, type Stored } from './stored';

/** Values that occur in an image, without padding, in ascending order, each with its number of pixels. */
export interface Distribution {
  readonly values: Float64Array;
  readonly counts: Float64Array;
  readonly pixels: number;
}

export interface Grayscale {
  readonly values: Values;
  readonly distribution: Distribution;
  readonly lowest: number;
  readonly highest: number;
  readonly initial: VoiWindow;
  /** Where `initial` comes from. */
  readonly initialFrom: 'window' | 'table' | 'sigmoid' | 'bits' | 'percentiles';
}

/** The parts of a header that the pipeline uses. */
export type PipelineInput = Pick<
  Header,
  | 'modalityLut'
  | 'voiLut'
  | 'slope'
  | 'intercept'
  | 'windows'
  | 'voiFunction'
  | 'inverted'
  | 'padding'
  | 'bitsStored'
  | 'signed'
>;

/** Range shown of an image of more than 8 bits without window or VOI LUT, as in the Python package. */
const PERCENTILES = [0.5, 99.5] as const;

/** Output range of a sigmoid: 16 bits are finer than any screen. */
const SIGMOID_TOP = 65_535;

/**
 * Distance of padding from the range of the image, in multiples of the range: black in every useful window, yet small enough
 * for a renderer with 32-bit floats.
 */
const PADDING_DISTANCE = 7;

/** Return the image's values, and the window that shows what the header asks for. */
export function grayscaleOf(stored: Stored, header: PipelineInput): Grayscale {
  const patterns = patternsOf(stored),
    counts = histogram(patterns);
  const size = counts.length;
  const levels = occurringValues(counts, header.signed);
  const window = header.voiLut ? undefined : header.windows[0];
  const pipeline = pipelineOf(header, window);
  const shown = filled(levels.length, (at) => pipeline(levels[at]!));
  const padded = levels.map(isPadding(header.padding, size, header.signed));
  const distribution = distributionOf(levels, shown, padded, counts);
  const lowest = distribution.values[0] ?? 0,
    highest = distribution.values.at(-1) ?? lowest;
  const padding = paddingValue(lowest, highest, header.inverted);
  padded.forEach((is, at) => {
    if (is) shown[at] = padding;
  });
  return {
    values: mapPixels(stored, patterns, levels, shown, size),
    distribution,
    lowest,
    highest,
    ...initialOf(header, window, distribution, pipeline, size),
  };
}

/** Much faster than Float64Array.from with a function. */
function filled(length: number, value: (at: number) => number): Float64Array {
  const values = new Float64Array(length);
  for (let at = 0; at < length; at += 1) values[at] = value(at);
  return values;
}

function histogram(patterns: Uint8Array | Uint16Array): Uint32Array {
  const counts = new Uint32Array(patterns.BYTES_PER_ELEMENT === 1 ? 256 : 65_536);
  for (let at = 0; at < patterns.length; at += 1) counts[patterns[at]!]! += 1;
  return counts;
}

/** Return the stored values that occur, ascending. */
function occurringValues(counts: Uint32Array, signed: boolean): Int32Array {
  const size = counts.length,
    least = signed ? -size / 2 : 0,
    found = new Int32Array(size);
  let number = 0;
  for (let level = least; level < least + size; level += 1) {
    if (counts[level & (size - 1)]) found[number++] = level;
  }
  return found.subarray(0, number);
}

/** A padding value written with the wrong sign is read by its bit pattern. */
function isPadding(padding: PipelineInput['padding'], size: number, signed: boolean): (level: number) => 0 | 1 {
  if (!padding) return () => 0;
  const ends = padding.map((end) => {
    const pattern = ((end % size) + size) % size;
    return signed && pattern >= size / 2 ? pattern - size : pattern;
  });
  const low = Math.min(...ends),
    high = Math.max(...ends);
  return (level) => (level >= low && level <= high ? 1 : 0);
}

/** Return the function from a stored value to the input of the linear window. */
function pipelineOf(header: PipelineInput, window: HeaderWindow | undefined): (level: number) => number {
  const { slope, intercept, modalityLut, voiLut } = header;
  const modality = modalityLut ? (level: number) => lookUp(modalityLut, level) : (level: number) => level * slope + intercept;
  if (voiLut) return (level) => lookUp(voiLut, roundHalfEven(modality(level)));
  if (!window || header.voiFunction !== 'SIGMOID') return modality;
  return (level) => Math.round(SIGMOID_TOP * (0.5 + 0.5 * Math.tanh((2 * (modality(level) - window.center)) / window.width)));
}

function lookUp({ table, first }: Lut, value: number): number {
  return table[Math.trunc(Math.min(Math.max(value - first, 0), table.length - 1))]!;
}

/** Round half to even, as NumPy does. */
function roundHalfEven(value: number): number {
  const down = Math.floor(value),
    part = value - down;
  if (part !== 0.5) return Math.round(value);
  return down % 2 === 0 ? down : down + 1;
}

function distributionOf(levels: Int32Array, shown: Float64Array, padded: Int32Array, counts: Uint32Array): Distribution {
  const rising = levels.map((_, at) => at).filter((at) => !padded[at]);
  if (rising.some((at, number) => number > 0 && shown[at]! < shown[rising[number - 1]!]!)) {
    rising.sort((one, other) => shown[one]! - shown[other]!);
  }
  const values = filled(rising.length, (at) => shown[rising[at]!]!);
  const pixels = filled(rising.length, (at) => counts[levels[rising[at]!]! & (counts.length - 1)]!);
  return { values, counts: pixels, pixels: pixels.reduce((sum, count) => sum + count, 0) };
}

/** Return the lowest value that has this percentage of the pixels at or below it; null where there are none. */
export function percentile({ values, counts, pixels }: Distribution, percent: number): number | null {
  const rank = (percent / 100) * pixels;
  let heaped = 0;
  for (let at = 0; at < values.length; at += 1) {
    heaped += counts[at]!;
    if (heaped >= rank) return values[at]!;
  }
  return values.at(-1) ?? null;
}

/** Return the value of padding, which is black after the inversion. */
function paddingValue(lowest: number, highest: number, inverted: boolean): number {
  const distance = PADDING_DISTANCE * Math.max(1, highest - lowest);
  return inverted ? highest + distance : lowest - distance;
}

/** Return the image with every stored value mapped, in the smallest sufficient type. */
function mapPixels(
  stored: Stored,
  patterns: Uint8Array | Uint16Array,
  levels: Int32Array,
  shown: Float64Array,
  size: number,
): Values {
  if (!(stored instanceof Int8Array) && shown.every((value, at) => value === levels[at])) return stored;
  const make = smallestType(shown),
    table = new make(size),
    values = new make(patterns.length);
  levels.forEach((level, at) => {
    table[level & (size - 1)] = shown[at]!;
  });
  for (let at = 0; at < patterns.length; at += 1) values[at] = table[patterns[at]!]!;
  return values;
}

function smallestType(values: Float64Array) {
  if (!values.every(Number.isInteger)) return Float32Array;
  const least = values.reduce((low, value) => Math.min(low, value), 0);
  const most = values.reduce((high, value) => Math.max(high, value), 0);
  if (least >= 0) return most <= 255 ? Uint8Array : most <= 65_535 ? Uint16Array : Float32Array;
  return least >= -32_768 && most <= 32_767 ? Int16Array : Float32Array;
}

function initialOf(
  header: PipelineInput,
  window: HeaderWindow | undefined,
  distribution: Distribution,
  pipeline: (level: number) => number,
  size: number,
): Pick<Grayscale, 'initial' | 'initialFrom'> {
  if (header.voiLut) return { initial: windowBetween(0, 2 ** header.voiLut.bits - 1), initialFrom: 'table' };
  if (window && header.voiFunction === 'SIGMOID') return { initial: windowBetween(0, SIGMOID_TOP), initialFrom: 'sigmoid' };
  if (window) return { initial: exactWindow(window, header.voiFunction, distribution), initialFrom: 'window' };
  if (header.bitsStored <= 8) {
    const half = 2 ** (header.bitsStored - 1);
    const ends = header.signed ? [-half, half - 1] : [0, 2 * half - 1];
    const [low, high] = ends.map((end) => pipeline(Math.max(end, -size / 2))).sort((one, other) => one - other) as [
      number,
      number,
    ];
    return { initial: windowFromRange(low, high, distribution), initialFrom: 'bits' };
  }
  const [low, high] = PERCENTILES.map((percent) => percentile(distribution, percent) ?? 0) as [number, number];
  return { initial: windowFromRange(low, high, distribution), initialFrom: 'percentiles' };
}

/** Return a header's window in the form of LINEAR_EXACT, which all images use. */
export function exactWindow({ center, width }: VoiWindow, voiFunction: string, distribution: Distribution): VoiWindow {
  // LINEAR with a width below 1, which is forbidden, is read as LINEAR_EXACT.
  if (voiFunction === 'LINEAR_EXACT' || width < 1) return { center, width };
  if (width > 1) return { center: center - 0.5, width: width - 1 };
  // Width 1 is a step above center - 0.5: it must end before the next value that occurs.
  const foot = center - 0.5,
    next = distribution.values.find((value) => value > foot) ?? foot + 1;
  const rise = Math.min(1, next - foot);
  return { center: foot + rise / 2, width: rise };
}

/** Return the window whose black and white are these values. */
export function windowBetween(low: number, high: number): VoiWindow {
  return { center: (low + high) / 2, width: high - low };
}

/** Where both are equal everything is black: an image without contrast stays without contrast. */
function windowFromRange(low: number, high: number, { values }: Distribution): VoiWindow {
  return high > low ? windowBetween(low, high) : { center: (values.at(-1) ?? 0) + 0.5, width: 1 };
}

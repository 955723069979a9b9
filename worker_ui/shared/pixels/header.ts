/** Reads and checks the header of a DICOM file from any source. */

import { readPart10Header, type DataSet, type Element } from 'dicom-parser';

import { BIG_ENDIAN, code, elementOf, integer, numbers, oneNumber, parseDataSet, readableLine, TAGS, text } from './elements';
import { joined, MAX_BYTES } from './fetch';
import { lutOf, type Lut } from './lut';
import { errors } from './messages';
import { aspectOf, spacingOf, type Spacing } from './spacing';

/** The same limit as in the Python package: a header can claim any size in a few bytes. */
export const MAX_PIXELS = 2 ** 27;

/** Trailing bytes that may follow a deflated data set. */
const TAIL_BYTES = 64;

/** A chunk may inflate to a thousand times its size before inflation can be stopped. */
const PIECE_BYTES = 2 ** 16;

const DEFLATED = '1.2.840.10008.1.2.1.99';

/** A window as the header gives it. */
export interface HeaderWindow {
  readonly center: number;
  readonly width: number;
  readonly name: string;
}

export interface Header extends Spacing {
  readonly rows: number;
  readonly columns: number;
  readonly bitsAllocated: number;
  readonly bitsStored: number;
  readonly highBit: number;
  readonly signed: boolean;
  readonly photometric: string;
  readonly samples: number;
  readonly frames: number;
  readonly syntax: string;
  readonly padding: readonly [number, number] | null;
  readonly slope: number;
  readonly intercept: number;
  readonly modalityLut: Lut | null;
  readonly voiLut: Lut | null;
  readonly windows: readonly HeaderWindow[];
  readonly voiFunction: string;
  /** MONOCHROME1 or Presentation LUT Shape INVERSE; both together mean one inversion. */
  readonly inverted: boolean;
  readonly pixelAspect: number;
  readonly sopInstanceUid: string;
  readonly caption: string;
}

/** Pixel bytes of the file; `wordsSwapped` where 8-bit pixels were written as big-endian words. */
export interface PixelBytes {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly compressed: boolean;
  readonly wordsSwapped: boolean;
}

export interface Parsed {
  readonly header: Header;
  /** Null where the instance has no pixels. */
  readonly pixels: PixelBytes | null;
}

/** Return header and pixel bytes of a DICOM file. */
export async function parse(bytes: Uint8Array<ArrayBuffer>): Promise<Parsed> {
  const { syntax, start } = metaOf(bytes);
  const inflated = syntax === DEFLATED ? await inflate(bytes.subarray(start)) : null;
  const data = dataSetOf(inflated ?? bytes, inflated ? 0 : start, syntax);
  const header = guarded(() => headerOf(data, syntax));
  return { header, pixels: guarded(() => pixelsOf(data, inflated ?? bytes, syntax)) };
}

/** In a file that begins as DICOM, any parser error means that it is damaged. */
function guarded<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof Error && error.name === 'ImageError') throw error;
    throw errors.truncated(); // also for a RangeError of deeply nested sequences
  }
}

function metaOf(bytes: Uint8Array): { syntax: string; start: number } {
  const meta = guarded(() => readPart10Header(bytes));
  const syntax = guarded(() => text(meta, 'x00020010'));
  if (!syntax || meta.position >= bytes.length) throw errors.truncated();
  return { syntax, start: meta.position };
}

function dataSetOf(bytes: Uint8Array, start: number, syntax: string): DataSet {
  const data = guarded(() => parseDataSet(bytes, start, syntax));
  if (data.warnings.some((warning) => warning.includes('missing sequence delimiter'))) throw errors.truncated();
  return data;
}

/**
 * Inflate a deflated data set as far as possible; the parser finds out whether it is complete.
 *
 * Some writers append a padding byte or a checksum. Inflation fails there and loses what was written but not yet read,
 * so the last bytes are written one by one.
 */
async function inflate(deflated: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const { readable, writable } = new DecompressionStream('deflate-raw');
  void feed(writable.getWriter(), deflated);
  const reader = readable.getReader(),
    chunks: Uint8Array[] = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read().catch(() => ({ done: true, value: undefined }));
    if (done || !value) return joined(chunks, size);
    chunks.push(value);
    size += value.length;
    if (size <= MAX_BYTES) continue;
    reader.cancel().catch(() => undefined);
    throw errors.tooLarge();
  }
}

async function feed(writer: WritableStreamDefaultWriter<BufferSource>, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
  const tail = Math.max(0, bytes.length - TAIL_BYTES);
  try {
    for (let at = 0, length = 0; at < bytes.length; at += length) {
      length = at < tail ? Math.min(PIECE_BYTES, tail - at) : 1;
      await writer.write(bytes.subarray(at, at + length));
    }
    await writer.close();
  } catch {
    writer.closed.catch(() => undefined); // the reading side gets the error
  }
}

function headerOf(data: DataSet, syntax: string): Header {
  const bitsStored = integer(data, TAGS.BitsStored) ?? 0;
  const signed = integer(data, TAGS.PixelRepresentation) === 1;
  const photometric = text(data, TAGS.PhotometricInterpretation);
  const padding = integer(data, TAGS.PixelPaddingValue);
  const slope = oneNumber(data, TAGS.RescaleSlope, 1) || 1,
    intercept = oneNumber(data, TAGS.RescaleIntercept, 0);
  const modalityLut = lutOf(data, TAGS.ModalityLUTSequence, signed);
  const spacing = spacingOf(data);
  const frames = Number(text(data, TAGS.NumberOfFrames) || 1);
  return {
    rows: integer(data, TAGS.Rows) ?? 0,
    columns: integer(data, TAGS.Columns) ?? 0,
    bitsAllocated: integer(data, TAGS.BitsAllocated) ?? 0,
    bitsStored,
    highBit: integer(data, TAGS.HighBit) ?? bitsStored - 1,
    signed,
    photometric,
    samples: integer(data, TAGS.SamplesPerPixel) ?? 1,
    frames: Number.isInteger(frames) ? frames || 1 : Number.NaN,
    syntax,
    padding: padding === null ? null : [padding, integer(data, TAGS.PixelPaddingRangeLimit) ?? padding],
    slope,
    intercept,
    modalityLut,
    voiLut: lutOf(data, TAGS.VOILUTSequence, !modalityLut && canBeNegative(bitsStored, signed, slope, intercept)),
    windows: windowsOf(data),
    voiFunction: (text(data, TAGS.VOILUTFunction) || 'LINEAR').toUpperCase(),
    inverted: photometric === 'MONOCHROME1' || text(data, TAGS.PresentationLUTShape) === 'INVERSE',
    ...spacing,
    pixelAspect: aspectOf(data, spacing.spacing_mm),
    sopInstanceUid: /^[0-9.]{1,64}$/.exec(text(data, TAGS.SOPInstanceUID))?.[0] ?? '',
    caption: captionOf(data),
  };
}

/** Whether rescaling a stored value can give a negative one; the output of a Modality LUT never is. */
function canBeNegative(bitsStored: number, signed: boolean, slope: number, intercept: number): boolean {
  const least = signed ? -(2 ** (bitsStored - 1)) : 0;
  return Math.min(least * slope, (least + 2 ** bitsStored - 1) * slope) + intercept < 0;
}

function windowsOf(data: DataSet): HeaderWindow[] {
  const centers = numbers(data, TAGS.WindowCenter),
    widths = numbers(data, TAGS.WindowWidth);
  const names = text(data, TAGS.WindowCenterWidthExplanation).split('\\');
  const characterSet = text(data, TAGS.SpecificCharacterSet);
  return centers
    .slice(0, Math.min(widths.length, 16))
    .map((center, at) => ({ center, width: widths[at]!, name: readableLine(names[at] ?? '', characterSet) }))
    .filter(({ center, width }) => Number.isFinite(center) && Number.isFinite(width) && width > 0);
}

/** Modality, view and side are code strings: they cannot contain a name. */
function captionOf(data: DataSet): string {
  const side = code(data, TAGS.ImageLaterality) || code(data, TAGS.Laterality);
  const words = [code(data, TAGS.Modality), code(data, TAGS.ViewPosition), side === 'L' || side === 'R' ? side : ''];
  return words.filter(Boolean).join(' ');
}

function pixelsOf(data: DataSet, bytes: Uint8Array<ArrayBuffer>, syntax: string): PixelBytes | null {
  const element = elementOf(data, TAGS.PixelData);
  if (!element) return null;
  if (element.fragments) return { bytes: fragmentsOf(element, bytes), compressed: true, wordsSwapped: false };
  const { dataOffset, length } = element;
  return {
    bytes: bytes.subarray(dataOffset, dataOffset + length),
    compressed: false,
    wordsSwapped: syntax === BIG_ENDIAN && element.vr === 'OW',
  };
}

/** One frame may lie in any number of fragments. */
function fragmentsOf(element: Element, bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const parts = element.fragments!.map(({ position, length }) => bytes.subarray(position, position + length));
  return parts.length === 1
    ? parts[0]!
    : joined(
        parts,
        parts.reduce((size, part) => size + part.length, 0),
      );
}

/** Loads an image from its address. */

import { ImageError, type RadiographImage, type ImageSource } from './radiograph-image';
import { decodedValues, isDecodable } from './decode';
import { fetchBytes, type FetchOptions } from './fetch';
import { windowBetween, grayscaleOf, type PipelineInput } from './grayscale';
import { BIG_ENDIAN, IMPLICIT } from './elements';
import { MAX_PIXELS, parse, type Header, type Parsed } from './header';
import { errors } from './messages';
import { isPicture, pictureOf, resampled, type Picture } from './picture';
import { presetsOf, type PresetRange } from './presets';
import { nativeValues } from './stored';

const UNCOMPRESSED = [IMPLICIT, '1.2.840.10008.1.2.1', '1.2.840.10008.1.2.1.99', BIG_ENDIAN];
/** Relative difference allowed between the aspect ratios of the image and of the picture that replaces it. */
const SAME_SHAPE = 0.02;

export interface LoadOptions extends FetchOptions {
  /** Presets from the histogram that suit the kind of image. */
  readonly ranges?: readonly PresetRange[];
}

/** Return the image of a DICOM file, a PNG or a JPEG. Fails with an ImageError only. */
export async function loadImage(source: ImageSource, options: LoadOptions = {}): Promise<RadiographImage> {
  try {
    const bytes = await fetchBytes(source.url, options);
    return await decodeImage(bytes, source.renderedUrl, options);
  } catch (error) {
    if (error instanceof ImageError) throw error;
    throw errors.truncated(); // only a damaged file leads here
  }
}

/** Return the image in a file's bytes, or the rendered picture where its pixels cannot be decoded here. */
export async function decodeImage(
  bytes: Uint8Array<ArrayBuffer>,
  renderedUrl = '',
  options: LoadOptions = {},
): Promise<RadiographImage> {
  if (!isDicom(bytes)) {
    if (isPicture(bytes)) return fromPicture(await pictureOf(bytes), options.ranges);
    throw isWebPage(bytes) ? errors.webPage() : bytes.length < 132 ? errors.truncated() : errors.notDicom();
  }
  const parsed = await parse(bytes);
  try {
    return await fromPixels(parsed, options);
  } catch (error) {
    const other = error instanceof ImageError && (error.code === 'unsupported' || error.code === 'worker');
    if (!other || !renderedUrl || !hasValidSize(parsed.header)) throw error;
    return await standIn(parsed.header, renderedUrl, options).catch((second: unknown) => {
      throw options.signal?.aborted ? second : error; // the error of the image itself is more helpful
    });
  }
}

function isDicom(bytes: Uint8Array): boolean {
  return [0x44, 0x49, 0x43, 0x4d].every((byte, at) => bytes[128 + at] === byte);
}

function isWebPage(bytes: Uint8Array): boolean {
  const start = new TextDecoder('latin1').decode(bytes.subarray(0, 256));
  return /^\s*(<!--|<!doctype html|<html|<head|<body|<\?xml|<error)/i.test(start);
}

function hasValidSize({ rows, columns }: Header): boolean {
  return rows * columns > 0 && rows * columns <= MAX_PIXELS;
}

async function fromPixels({ header, pixels }: Parsed, { signal, ranges }: LoadOptions): Promise<RadiographImage> {
  if (!pixels) throw errors.unsupported('the file holds no image');
  checkSupported(header, pixels.compressed);
  const stored = pixels.compressed ? await decodedValues(pixels.bytes, header, signal) : nativeValues(pixels, header);
  const grayscale = grayscaleOf(stored, header);
  return {
    ...geometryOf(header),
    values: grayscale.values,
    lowest: grayscale.lowest,
    highest: grayscale.highest,
    inverted: header.inverted,
    initial: grayscale.initial,
    presets: presetsOf(grayscale, header, ranges ?? []),
    standIn: '',
  };
}

function checkSupported(header: Header, compressed: boolean): void {
  const { photometric, samples, frames, bitsAllocated, bitsStored, syntax } = header;
  if (!hasValidSize(header)) throw errors.unsupported('its size is not valid');
  if (samples !== 1 || !['MONOCHROME1', 'MONOCHROME2'].includes(photometric)) throw errors.unsupported('it is in color');
  if (frames !== 1) throw errors.unsupported('it has more than one frame');
  if (![8, 16].includes(bitsAllocated) || bitsStored < 1 || bitsStored > bitsAllocated) {
    throw errors.unsupported('its bit depth is not supported');
  }
  if (!(compressed ? isDecodable(syntax) : UNCOMPRESSED.includes(syntax))) {
    throw errors.unsupported('its compression is not supported');
  }
}

type Geometry = Pick<
  RadiographImage,
  'rows' | 'columns' | 'spacing_mm' | 'spacingAt' | 'pixelAspect' | 'sopInstanceUid' | 'caption'
>;

function geometryOf(header: Header): Geometry {
  const { rows, columns, spacing_mm, spacingAt, pixelAspect, sopInstanceUid, caption } = header;
  return { rows, columns, spacing_mm, spacingAt, pixelAspect, sopInstanceUid, caption };
}

function fromPicture({ rows, columns, values }: Picture, ranges?: readonly PresetRange[]): RadiographImage {
  const unknown = { spacing_mm: null, spacingAt: null, pixelAspect: 1, sopInstanceUid: '', caption: '' } as const;
  return { rows, columns, ...unknown, ...fullRange(values, ranges), inverted: false, standIn: '' };
}

/** Regions use the pixels of the DICOM image, so the picture is resampled to its size. */
async function standIn(header: Header, url: string, options: LoadOptions): Promise<RadiographImage> {
  const picture = await pictureOf(await fetchBytes(url, { ...options, onProgress: undefined }));
  const shape = picture.columns / picture.rows,
    own = header.columns / header.rows;
  const same = [own, own * header.pixelAspect].some((one) => Math.abs(shape / one - 1) <= SAME_SHAPE);
  if (!same) throw errors.unsupported('the picture that replaces it has another shape');
  const frames = header.frames > 1 ? `, the first of ${header.frames} frames` : '';
  return {
    ...geometryOf(header),
    ...fullRange(resampled(picture, header.rows, header.columns), options.ranges),
    inverted: false,
    standIn:
      'The pixels of this image could not be decoded here. ' +
      `A reduced picture of it is shown${frames}, with fewer gray levels.`,
  };
}

/** A picture is made for display: its whole range is the initial window. */
function fullRange(
  values: Uint8Array<ArrayBuffer>,
  ranges: readonly PresetRange[] = [],
): Pick<RadiographImage, 'values' | 'lowest' | 'highest' | 'initial' | 'presets'> {
  const plain: PipelineInput = {
    modalityLut: null,
    voiLut: null,
    slope: 1,
    intercept: 0,
    windows: [],
    voiFunction: 'LINEAR',
    inverted: false,
    padding: null,
    bitsStored: 8,
    signed: false,
  };
  const grayscale = grayscaleOf(values, plain),
    initial = windowBetween(0, 255);
  const presets = presetsOf({ ...grayscale, initial }, plain, ranges);
  return { values: grayscale.values, lowest: grayscale.lowest, highest: grayscale.highest, initial, presets };
}

/** Stored values from pixel bytes: byte order, unused bits, sign extension (PS3.5 8.1). */

import type { Header, PixelBytes } from './header';
import { BIG_ENDIAN } from './elements';
import { errors } from './messages';

export type Stored = Uint8Array | Int8Array | Uint16Array | Int16Array;

/** Return the stored values of pixels that are not compressed. */
export function nativeValues(pixels: PixelBytes, header: Header): Stored {
  const count = header.rows * header.columns,
    size = header.bitsAllocated / 8;
  const needed = pixels.wordsSwapped ? 2 * Math.ceil((count * size) / 2) : count * size;
  if (pixels.bytes.length < needed) throw errors.truncated();
  const { buffer, byteOffset } = pixels.bytes;
  const low = Math.max(0, header.highBit + 1 - header.bitsStored);
  if (size === 1) {
    const bytes = pixels.wordsSwapped ? swapBytes8(pixels.bytes.subarray(0, needed)) : pixels.bytes;
    return storedValues(bytes.subarray(0, count), header, low);
  }
  // A Uint16Array must begin at an even byte; where the pixels do, nothing is copied.
  const words =
    byteOffset % 2 === 0
      ? new Uint16Array(buffer, byteOffset, count)
      : new Uint16Array(buffer.slice(byteOffset, byteOffset + needed));
  return storedValues(header.syntax === BIG_ENDIAN ? swapBytes16(words) : words, header, low);
}

/**
 * Return bit patterns as stored values.
 *
 * The `low` bits below the stored ones and all bits above them are dropped.
 */
export function storedValues(
  patterns: Uint8Array | Uint16Array,
  header: Pick<Header, 'bitsStored' | 'signed'>,
  low = 0,
): Stored {
  const size = patterns.BYTES_PER_ELEMENT * 8,
    high = Math.max(0, size - header.bitsStored - low);
  if (high === 0 && low === 0) return header.signed ? asSigned(patterns) : patterns;
  const count = patterns.length,
    up = high + (32 - size),
    down = Math.min(31, low + high + (32 - size));
  if (!header.signed) {
    const values = size === 8 ? new Uint8Array(count) : new Uint16Array(count);
    for (let at = 0; at < count; at += 1) values[at] = (patterns[at]! << up) >>> down;
    return values;
  }
  const values = size === 8 ? new Int8Array(count) : new Int16Array(count);
  for (let at = 0; at < count; at += 1) values[at] = (patterns[at]! << up) >> down;
  return values;
}

/** Return the same bytes as unsigned values. */
export function patternsOf(values: Stored): Uint8Array | Uint16Array {
  const { buffer, byteOffset, length } = values;
  if (values.BYTES_PER_ELEMENT === 1) return new Uint8Array(buffer, byteOffset, length);
  return new Uint16Array(buffer, byteOffset, length);
}

function asSigned(patterns: Uint8Array | Uint16Array): Stored {
  const { buffer, byteOffset, length } = patterns;
  if (patterns.BYTES_PER_ELEMENT === 1) return new Int8Array(buffer, byteOffset, length);
  return new Int16Array(buffer, byteOffset, length);
}

function swapBytes16(words: Uint16Array): Uint16Array {
  return words.map((word) => (word << 8) | (word >> 8));
}

function swapBytes8(bytes: Uint8Array): Uint8Array {
  return bytes.map((_, at) => bytes[at ^ 1]!);
}

/** PNG and JPEG pictures as 8-bit gray levels. */

import { codeStream } from './codestream';
import { MAX_PIXELS } from './header';
import { errors } from './messages';

export interface Picture {
  readonly rows: number;
  readonly columns: number;
  readonly values: Uint8Array<ArrayBuffer>;
}

/** Pixels drawn and read back at a time. */
const STRIP_PIXELS = 2 ** 22;

export function isPicture(bytes: Uint8Array): boolean {
  return isPng(bytes) || (bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff);
}

/** Return the gray levels of a PNG or JPEG; colors become their luminance. */
export async function pictureOf(bytes: Uint8Array<ArrayBuffer>): Promise<Picture> {
  const size = sizeOf(bytes);
  if (!size) throw errors.truncated();
  if (!(size.rows * size.columns > 0 && size.rows * size.columns <= MAX_PIXELS)) throw errors.tooLarge();
  const kind = isPng(bytes) ? 'image/png' : 'image/jpeg';
  const bitmap = await createImageBitmap(new Blob([bytes], { type: kind }), { colorSpaceConversion: 'none' }).catch(
    (): never => {
      throw errors.truncated();
    },
  );
  try {
    return grayLevels(bitmap);
  } finally {
    bitmap.close();
  }
}

function grayLevels(bitmap: ImageBitmap): Picture {
  const { width: columns, height: rows } = bitmap;
  const strip = Math.max(1, Math.min(rows, Math.floor(STRIP_PIXELS / columns)));
  const canvas = document.createElement('canvas');
  canvas.width = columns;
  canvas.height = strip;
  const context = canvas.getContext('2d', { willReadFrequently: true });
  if (!context) throw errors.unsupported('this browser cannot draw it');
  const values = new Uint8Array(rows * columns);
  for (let top = 0; top < rows; top += strip) {
    context.fillRect(0, 0, columns, strip); // black behind transparent pixels
    context.drawImage(bitmap, 0, -top);
    const height = Math.min(strip, rows - top);
    luminances(context.getImageData(0, 0, columns, height).data, values.subarray(top * columns, (top + height) * columns));
  }
  return { rows, columns, values };
}

function luminances(colours: Uint8ClampedArray, values: Uint8Array): void {
  for (let at = 0; at < values.length; at += 1) {
    // Rec. 601 in 256ths; gray stays exact
    values[at] = (77 * colours[4 * at]! + 150 * colours[4 * at + 1]! + 29 * colours[4 * at + 2]!) >> 8;
  }
}

function isPng(bytes: Uint8Array): boolean {
  return [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a].every((byte, at) => bytes[at] === byte);
}

/** Read the size before the browser allocates memory for it. */
function sizeOf(bytes: Uint8Array): { rows: number; columns: number } | null {
  if (!isPng(bytes)) return codeStream(bytes);
  if (bytes.length < 24) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return { columns: view.getUint32(16), rows: view.getUint32(20) };
}

/** Return the picture resampled linearly between pixel centers, so that positions are preserved. */
export function resampled({ rows, columns, values }: Picture, newRows: number, newColumns: number): Uint8Array<ArrayBuffer> {
  if (rows === newRows && columns === newColumns) return values;
  const across = stops(columns, newColumns),
    down = stops(rows, newRows);
  const made = new Uint8Array(newRows * newColumns);
  for (let row = 0; row < newRows; row += 1) {
    const top = down.from[row]! * columns,
      bottom = Math.min(down.from[row]! + 1, rows - 1) * columns,
      y = down.part[row]!;
    for (let column = 0; column < newColumns; column += 1) {
      const left = across.from[column]!,
        right = left + 1 < columns ? left + 1 : left,
        x = across.part[column]!;
      const above = values[top + left]! * (1 - x) + values[top + right]! * x;
      const below = values[bottom + left]! * (1 - x) + values[bottom + right]! * x;
      made[row * newColumns + column] = above * (1 - y) + below * y + 0.5;
    }
  }
  return made;
}

function stops(old: number, wanted: number): { from: Int32Array; part: Float64Array } {
  const from = new Int32Array(wanted),
    part = new Float64Array(wanted);
  for (let at = 0; at < wanted; at += 1) {
    const place = Math.min(Math.max(((at + 0.5) * old) / wanted - 0.5, 0), old - 1);
    from[at] = Math.floor(place);
    part[at] = place - from[at]!;
  }
  return { from, part };
}

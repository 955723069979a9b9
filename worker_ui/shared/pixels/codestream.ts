/**
 * Reads the header of a compressed frame before it is decoded: decoders allocate memory for the size it states, and a
 * kilobyte can claim many gigabytes.
 *
 * References: ISO/IEC 10918-1 B.2.2 (SOF), 14495-1 C.2.2 (SOF55), 15444-1 A.5.1 (SIZ).
 */

export interface CodeStream {
  readonly kind: 'jpeg' | 'jpeg-lossless' | 'jpeg-ls' | 'jpeg-2000';
  readonly rows: number;
  readonly columns: number;
  readonly components: number;
  readonly precision: number;
  /** Only JPEG 2000 has signed samples. */
  readonly signed: boolean;
}

const LOSSLESS_FRAMES = [0xc3, 0xc7, 0xcb, 0xcf],
  JPEG_LS_FRAME = 0xf7;
const NO_FRAMES = [0xc4, 0xc8, 0xcc];

/** Return whether a JPEG stream has its end marker; a padding byte may follow. */
export function isEnded(bytes: Uint8Array): boolean {
  const end = bytes.at(-1) === 0 ? bytes.length - 1 : bytes.length;
  return bytes[end - 2] === 0xff && bytes[end - 1] === 0xd9;
}

/** Return the header of a code stream, or null for anything else. */
export function codeStream(bytes: Uint8Array): CodeStream | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    if (view.getUint32(0) === 0xff4fff51) return jpeg2000(view, 0);
    if (view.getUint32(0) === 12 && view.getUint32(4) === 0x6a502020) return largestInside(bytes, view);
    return view.getUint16(0) === 0xffd8 ? jpeg(view) : null;
  } catch {
    return null; // truncated
  }
}

function jpeg2000(view: DataView, at: number): CodeStream {
  const side = (end: number) => view.getUint32(at + end) - view.getUint32(at + end + 8); // minus its offset
  const depth = view.getUint8(at + 42);
  return {
    kind: 'jpeg-2000',
    rows: side(12),
    columns: side(8),
    components: view.getUint16(at + 40),
    precision: (depth & 0x7f) + 1,
    signed: depth > 0x7f,
  };
}

/** In a JP2 file boxes come first, and one may contain bytes that look like a code stream: return the largest. */
function largestInside(bytes: Uint8Array, view: DataView): CodeStream | null {
  let largest: CodeStream | null = null;
  for (let at = bytes.indexOf(0xff); at >= 0 && at + 43 <= bytes.length; at = bytes.indexOf(0xff, at + 1)) {
    if (view.getUint32(at) !== 0xff4fff51) continue;
    const found = jpeg2000(view, at);
    if (!largest || samples(found) > samples(largest)) largest = found;
  }
  return largest;
}

function samples({ rows, columns, components }: CodeStream): number {
  return rows * columns * components;
}

function jpeg(view: DataView): CodeStream | null {
  let at = 2;
  while (view.getUint8(at) === 0xff) {
    const marker = view.getUint8(at + 1);
    if ((marker >= 0xc0 && marker <= 0xcf && !NO_FRAMES.includes(marker)) || marker === JPEG_LS_FRAME) {
      return {
        kind: marker === JPEG_LS_FRAME ? 'jpeg-ls' : LOSSLESS_FRAMES.includes(marker) ? 'jpeg-lossless' : 'jpeg',
        precision: view.getUint8(at + 4),
        rows: view.getUint16(at + 5),
        columns: view.getUint16(at + 7),
        components: view.getUint8(at + 9),
        signed: false,
      };
    }
    at += marker === 0xff ? 1 : 2 + view.getUint16(at + 2); // FF is a fill byte
  }
  return null;
}

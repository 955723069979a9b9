/** RLE Lossless of one grayscale frame (PS3.5 annex G): PackBits for each byte of a pixel, the high byte first. */

/** Return the bit patterns, or throw where the frame ends too early. */
export function decodeRle(frame: Uint8Array, pixels: number, bytesPerPixel: 1 | 2): Uint8Array | Uint16Array {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const segments = view.getUint32(0, true);
  if (segments !== bytesPerPixel) throw new RangeError('not as many segments as a pixel has bytes');
  const bytes = new Uint8Array(pixels * bytesPerPixel);
  for (let segment = 0; segment < segments; segment += 1) {
    const start = view.getUint32(4 + 4 * segment, true);
    const end = segment + 1 < segments ? view.getUint32(8 + 4 * segment, true) : frame.length;
    unpack(frame.subarray(start, end), bytes, bytesPerPixel - 1 - segment, bytesPerPixel);
  }
  return bytesPerPixel === 1 ? bytes : new Uint16Array(bytes.buffer);
}

function unpack(packed: Uint8Array, bytes: Uint8Array, first: number, step: number): void {
  let from = 0,
    to = first;
  while (to < bytes.length) {
    if (from >= packed.length) throw new RangeError('the segment ends before the image does');
    const control = packed[from]!;
    from += 1;
    if (control < 128) {
      const stop = Math.min(bytes.length, to + (control + 1) * step);
      if (from + control >= packed.length && stop < bytes.length) throw new RangeError('the segment ends inside a run');
      for (; to < stop; to += step, from += 1) bytes[to] = packed[from]!;
    } else if (control > 128) {
      const stop = Math.min(bytes.length, to + (257 - control) * step),
        value = packed[from]!;
      for (; to < stop; to += step) bytes[to] = value;
      from += 1;
    }
  }
}

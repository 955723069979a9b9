/** The decoders, each loaded on first use. They run in a worker only. */

import charlsUrl from '@cornerstonejs/codec-charls/decodewasm?url';
import createCharls from '@cornerstonejs/codec-charls/decodewasmjs';
import turboUrl from '@cornerstonejs/codec-libjpeg-turbo-8bit/decodewasm?url';
import createTurbo from '@cornerstonejs/codec-libjpeg-turbo-8bit/decodewasmjs';
import openJpegUrl from '@cornerstonejs/codec-openjpeg/decodewasm?url';
import createOpenJpeg from '@cornerstonejs/codec-openjpeg/decodewasmjs';
import { Decoder as LosslessDecoder } from '@cornerstonejs/jpeg-lossless-decoder-js';
import decodeJpeg12 from 'decoders/decodeJPEGBaseline12Bit-js';

import type { CodeStream } from './codestream';
import { decodeRle } from './rle';

/** A compressed frame; `stream` is null for RLE, which has no header of its own. */
export interface DecodeTask {
  readonly frame: Uint8Array<ArrayBuffer>;
  readonly stream: CodeStream | null;
  readonly rows: number;
  readonly columns: number;
  readonly bitsAllocated: 8 | 16;
}

export type Patterns = Uint8Array | Uint16Array;

/** Return the decoded samples as bit patterns, in memory of their own. */
export async function decode(task: DecodeTask): Promise<Patterns> {
  const { frame, stream, rows, columns } = task;
  if (!stream) return decodeRle(frame, rows * columns, task.bitsAllocated === 8 ? 1 : 2);
  if (stream.kind === 'jpeg-2000') return run(await (loaded.openJpeg ??= load.openJpeg()), task);
  if (stream.kind === 'jpeg-ls') return run(await (loaded.charls ??= load.charls()), task);
  if (stream.kind === 'jpeg-lossless') return lossless(frame, stream);
  if (stream.precision === 8) return run(await (loaded.turbo ??= load.turbo()), task);
  return extended(task);
}

const load = {
  openJpeg: () => createOpenJpeg(binary(openJpegUrl)).then((it) => it.J2KDecoder),
  charls: () => createCharls(binary(charlsUrl)).then((it) => it.JpegLSDecoder),
  turbo: () => createTurbo(binary(turboUrl)).then((it) => it.JPEGDecoder),
} as const;

const loaded: { -readonly [Name in keyof typeof load]?: ReturnType<(typeof load)[Name]> } = {};

/** The WebAssembly modules are data: URLs in the script. They are decoded here, because a policy may forbid fetching them. */
function binary(url: string): { wasmBinary: Uint8Array } {
  const text = atob(url.slice(url.indexOf(',') + 1));
  return { wasmBinary: Uint8Array.from(text, (character) => character.charCodeAt(0)) };
}

function run(Decoder: new () => WasmDecoder, { frame, rows, columns }: DecodeTask): Patterns {
  const decoder = new Decoder();
  try {
    decoder.getEncodedBuffer(frame.length).set(frame);
    decoder.decode();
    const { width, height, bitsPerSample, componentCount } = decoder.getFrameInfo();
    if (width !== columns || height !== rows || componentCount !== 1) throw new RangeError('another size than the header says');
    const { buffer } = new Uint8Array(decoder.getDecodedBuffer()); // copied, because the decoder's memory may move
    return bitsPerSample <= 8 ? new Uint8Array(buffer) : new Uint16Array(buffer);
  } finally {
    decoder.delete();
  }
}

function lossless(frame: Uint8Array<ArrayBuffer>, stream: CodeStream): Patterns {
  const bytes = stream.precision <= 8 ? 1 : 2;
  const { buffer } = new LosslessDecoder().decode(frame.buffer, frame.byteOffset, frame.length, bytes);
  return bytes === 1 ? new Uint8Array(buffer) : new Uint16Array(buffer);
}

async function extended({ frame, rows, columns }: DecodeTask): Promise<Patterns> {
  const image = { bitsAllocated: 16, rows, columns, pixelData: undefined as Patterns | undefined };
  await (decodeJpeg12 as unknown as (image: object, frame: Uint8Array) => Promise<unknown>)(image, frame);
  if (!image.pixelData) throw new RangeError('nothing was decoded');
  return image.pixelData;
}

/** The decoder worker as the page sees it: asked for a frame, it answers, fails or is given up. */

import type { ImageError } from './radiograph-image';
import { codeStream, isEnded, type CodeStream } from './codestream';
import DecoderWorker from './decoder.worker?worker&inline';
import type { Reply, Request } from './decoder.worker';
import type { Header } from './header';
import { errors } from './messages';
import { cleaned, type Stored } from './stored';

const RLE = '1.2.840.10008.1.2.5', JPEG_2000 = ['1.2.840.10008.1.2.4.90', '1.2.840.10008.1.2.4.91'];
const JPEG = ['50', '51', '57', '70', '80', '81'].map((number) => `1.2.840.10008.1.2.4.${number}`);

export interface Limits {
  /** A worker that a page's policy forbids may just never answer. */
  readonly start_ms: number;
  readonly decode_ms: number;
}

const LIMITS: Limits = { start_ms: 10_000, decode_ms: 30_000 };

export function isDecodable(syntax: string): boolean {
  return syntax === RLE || JPEG_2000.includes(syntax) || JPEG.includes(syntax);
}

/** Return the stored values of a compressed frame. */
export async function decodedValues(
  frame: Uint8Array<ArrayBuffer>, header: Header, signal?: AbortSignal, limits: Limits = LIMITS,
): Promise<Stored> {
  const { rows, columns, syntax } = header;
  const stream = syntax === RLE ? null : codeStream(frame);
  if (syntax !== RLE) check(stream, header);
  // The decoder looks for the next bits of a cut JPEG-LS stream for many seconds before it says that there are none.
  if (stream?.kind === 'jpeg-ls' && !isEnded(frame)) throw errors.truncated();
  const bitsAllocated = header.bitsAllocated === 8 ? 8 : 16;
  const patterns = await ask({ frame: frame.slice(), stream, rows, columns, bitsAllocated }, limits, signal);
  if (patterns.length !== rows * columns) throw errors.truncated();
  return cleaned(patterns, { signed: header.signed, bitsStored: meaningfulBits(stream, header) });
}

function check(stream: CodeStream | null, header: Header): asserts stream is CodeStream {
  if (!stream) throw errors.truncated();
  if (stream.rows !== header.rows || stream.columns !== header.columns || stream.components !== 1 || stream.precision > 16) {
    throw errors.unsupported('its pixels are not those that its header describes');
  }
}

/** JPEG-LS knows no signs, and JPEG 2000 may have another one than the header: then a value's sign is in its own top bit. */
function meaningfulBits(stream: CodeStream | null, { bitsStored, signed }: Header): number {
  const otherSign = stream?.kind === 'jpeg-2000' ? stream.signed !== signed : stream?.kind === 'jpeg-ls' && signed;
  return otherSign ? Math.min(bitsStored, stream!.precision) : bitsStored;
}

let worker: Worker | null = null;
let last: Promise<unknown> = Promise.resolve();
let lastId = 0;

/** Frames are decoded one after the other: one that ends its worker must not take another one with it. */
function ask(task: NonNullable<Request['task']>, limits: Limits, signal?: AbortSignal): Promise<Uint8Array | Uint16Array> {
  const asked = last.then(() => decodedPatterns(task, limits, signal));
  last = asked.catch(() => undefined);
  return asked;
}

async function decodedPatterns(
  task: NonNullable<Request['task']>, limits: Limits, signal?: AbortSignal,
): Promise<Uint8Array | Uint16Array> {
  if (signal?.aborted) throw errors.stopped();
  const it = await started(limits);
  const { patterns, failed } = await answered(it, task, limits.decode_ms, errors.tooSlow);
  if (patterns) return patterns;
  discard(it); // a decoder that failed once may be left in disorder
  throw failed === 'wasm' ? errors.worker() : errors.truncated();
}

/** End a worker; the next image starts another one. */
function discard(it: Worker): void {
  if (worker === it) worker = null;
  it.terminate();
}

async function started(limits: Limits): Promise<Worker> {
  if (worker) return worker;
  let it: Worker;
  try {
    it = new DecoderWorker();
  } catch {
    throw errors.worker();
  }
  await answered(it, null, limits.start_ms, errors.worker);
  worker = it;
  return it;
}

function answered(it: Worker, task: Request['task'], limit_ms: number, late: () => ImageError): Promise<Reply> {
  lastId += 1;
  const id = lastId;
  return new Promise((resolve, reject) => {
    const done = () => {
      clearTimeout(timer);
      it.removeEventListener('message', onMessage);
      it.removeEventListener('error', onError);
    };
    const fail = (error: ImageError) => {
      done();
      discard(it);
      reject(error);
    };
    const onMessage = ({ data }: MessageEvent<Reply>) => {
      if (data.id !== id) return;
      done();
      resolve(data);
    };
    const onError = () => fail(errors.worker());
    const timer = setTimeout(() => fail(late()), limit_ms);
    it.addEventListener('message', onMessage);
    it.addEventListener('error', onError);
    it.postMessage({ id, task }, task ? [task.frame.buffer] : []);
  });
}

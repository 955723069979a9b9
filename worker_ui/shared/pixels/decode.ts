/** Decodes frames in a web worker, with time limits. */

import type { ImageError } from './radiograph-image';
import { codeStream, isEnded, type CodeStream } from './codestream';
import DecoderWorker from './decoder.worker?worker&inline';
import type { Reply, Request } from './decoder.worker';
import type { Header } from './header';
import { errors } from './messages';
import { storedValues, type Stored } from './stored';

const RLE = '1.2.840.10008.1.2.5',
  JPEG_2000 = ['1.2.840.10008.1.2.4.90', '1.2.840.10008.1.2.4.91'];
const JPEG = ['50', '51', '57', '70', '80', '81'].map((number) => `1.2.840.10008.1.2.4.${number}`);

export interface Limits {
  /** A worker that a content security policy forbids may never answer. */
  readonly start_ms: number;
  readonly decode_ms: number;
}

const LIMITS: Limits = { start_ms: 10_000, decode_ms: 30_000 };

export function isDecodable(syntax: string): boolean {
  return syntax === RLE || JPEG_2000.includes(syntax) || JPEG.includes(syntax);
}

/** Return the stored values of a compressed frame. */
export async function decodedValues(
  frame: Uint8Array<ArrayBuffer>,
  header: Header,
  signal?: AbortSignal,
  limits: Limits = LIMITS,
): Promise<Stored> {
  const { rows, columns, syntax } = header;
  const stream = syntax === RLE ? null : codeStream(frame);
  if (syntax !== RLE) check(stream, header);
  // The decoder takes many seconds to fail on a truncated JPEG-LS stream.
  if (stream?.kind === 'jpeg-ls' && !isEnded(frame)) throw errors.truncated();
  const bitsAllocated = header.bitsAllocated === 8 ? 8 : 16;
  const patterns = await enqueue({ frame: frame.slice(), stream, rows, columns, bitsAllocated }, limits, signal);
  if (patterns.length !== rows * columns) throw errors.truncated();
  return storedValues(patterns, { signed: header.signed, bitsStored: meaningfulBits(stream, header) });
}

function check(stream: CodeStream | null, header: Header): asserts stream is CodeStream {
  if (!stream) throw errors.truncated();
  if (stream.rows !== header.rows || stream.columns !== header.columns || stream.components !== 1 || stream.precision > 16) {
    throw errors.unsupported('its pixels do not match its header');
  }
}

/** JPEG-LS has no signed samples, and JPEG 2000 may differ from the header: then the sign is in the sample's top bit. */
function meaningfulBits(stream: CodeStream | null, { bitsStored, signed }: Header): number {
  const otherSign = stream?.kind === 'jpeg-2000' ? stream.signed !== signed : stream?.kind === 'jpeg-ls' && signed;
  return otherSign ? Math.min(bitsStored, stream!.precision) : bitsStored;
}

let worker: Worker | null = null;
let last: Promise<unknown> = Promise.resolve();
let lastId = 0;

/** Frames are decoded one at a time: one that crashes the worker must not affect another. */
function enqueue(task: NonNullable<Request['task']>, limits: Limits, signal?: AbortSignal): Promise<Uint8Array | Uint16Array> {
  const queued = last.then(() => decodedPatterns(task, limits, signal));
  last = queued.catch(() => undefined);
  return queued;
}

async function decodedPatterns(
  task: NonNullable<Request['task']>,
  limits: Limits,
  signal?: AbortSignal,
): Promise<Uint8Array | Uint16Array> {
  if (signal?.aborted) throw errors.stopped();
  const running = await started(limits);
  const { patterns, failed } = await request(running, task, limits.decode_ms, errors.tooSlow);
  if (patterns) return patterns;
  terminate(running); // a decoder that failed may be in an invalid state
  throw failed === 'wasm' ? errors.worker() : errors.truncated();
}

/** Terminate a worker; the next image starts another one. */
function terminate(running: Worker): void {
  if (worker === running) worker = null;
  running.terminate();
}

async function started(limits: Limits): Promise<Worker> {
  if (worker) return worker;
  let running: Worker;
  try {
    running = new DecoderWorker();
  } catch {
    throw errors.worker();
  }
  await request(running, null, limits.start_ms, errors.worker);
  worker = running;
  return running;
}

function request(running: Worker, task: Request['task'], limit_ms: number, onTimeout: () => ImageError): Promise<Reply> {
  lastId += 1;
  const id = lastId;
  return new Promise((resolve, reject) => {
    const done = () => {
      clearTimeout(timer);
      running.removeEventListener('message', onMessage);
      running.removeEventListener('error', onError);
    };
    const fail = (error: ImageError) => {
      done();
      terminate(running);
      reject(error);
    };
    const onMessage = ({ data }: MessageEvent<Reply>) => {
      if (data.id !== id) return;
      done();
      resolve(data);
    };
    const onError = () => fail(errors.worker());
    const timer = setTimeout(() => fail(onTimeout()), limit_ms);
    running.addEventListener('message', onMessage);
    running.addEventListener('error', onError);
    running.postMessage({ id, task }, task ? [task.frame.buffer] : []);
  });
}

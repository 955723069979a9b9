/** The decoder worker as the page sees it: asked for a frame, it answers, fails or is given up. */

import type { FilmError } from '../types';
import type { CodeStream } from './codestream';
import { codeStream } from './codestream';
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

const LIMITS: Limits = { start_ms: 10_000, decode_ms: 60_000 };

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

let worker: { readonly it: Worker; readonly alive: Promise<void> } | null = null;
let lastId = 0;

async function ask(task: NonNullable<Request['task']>, limits: Limits, signal?: AbortSignal): Promise<Uint8Array | Uint16Array> {
  const { it, alive } = started(limits);
  await alive;
  if (signal?.aborted) throw errors.stopped();
  const { patterns, failed } = await answered(it, task, limits.decode_ms);
  if (failed === 'wasm') throw errors.worker();
  if (!patterns) throw errors.truncated();
  return patterns;
}

function started(limits: Limits): NonNullable<typeof worker> {
  if (worker) return worker;
  let it: Worker;
  try {
    it = new DecoderWorker();
  } catch {
    throw errors.worker();
  }
  worker = { it, alive: answered(it, null, limits.start_ms).then(() => undefined) };
  worker.alive.catch(() => undefined); // whoever waits for it hears of it
  return worker;
}

function answered(it: Worker, task: Request['task'], limit_ms: number): Promise<Reply> {
  lastId += 1;
  const id = lastId;
  return new Promise((resolve, reject) => {
    const done = () => {
      clearTimeout(timer);
      it.removeEventListener('message', onMessage);
      it.removeEventListener('error', onError);
    };
    const fail = (error: FilmError) => {
      done();
      if (worker?.it === it) worker = null; // the next film starts another one
      it.terminate();
      reject(error);
    };
    const onMessage = ({ data }: MessageEvent<Reply>) => {
      if (data.id !== id) return;
      done();
      resolve(data);
    };
    const onError = () => fail(errors.worker());
    const timer = setTimeout(onError, limit_ms);
    it.addEventListener('message', onMessage);
    it.addEventListener('error', onError);
    it.postMessage({ id, task }, task ? [task.frame.buffer] : []);
  });
}

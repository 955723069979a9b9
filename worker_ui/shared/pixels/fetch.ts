/** Fetches an image completely, with a timeout when no data arrives. */

import { ImageError } from './radiograph-image';
import { errors } from './messages';

/** 2^27 pixels of 16 bits with a generous header: no radiograph that can be shown is larger. */
export const MAX_BYTES = 2 ** 28 + 2 ** 24;

export interface FetchOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called with the fraction fetched, or null when the length is not known. */
  readonly onProgress?: ((fraction: number | null) => void) | undefined;
  /** Timeout without data, in milliseconds; 20 seconds by default. */
  readonly stall_ms?: number;
}

/**
 * Return the bytes at an address.
 *
 * Cookies are sent to the page's own origin only: presigned addresses need none, and a server that allows every origin must
 * not receive any. Fails with an ImageError only.
 */
export async function fetchBytes(url: string, options: FetchOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
  if (!url.trim()) throw errors.noAddress();
  const stall_ms = options.stall_ms ?? 20_000;
  const own = new AbortController();
  const stop = () => own.abort();
  let stalled = false,
    timer: ReturnType<typeof setTimeout> | undefined;
  const alive = () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      stalled = true;
      own.abort();
    }, stall_ms);
  };
  options.signal?.addEventListener('abort', stop);
  if (options.signal?.aborted) stop();
  alive();
  try {
    const request = fetch(url, { credentials: 'same-origin', referrerPolicy: 'no-referrer', signal: own.signal });
    const response = await abortable(own.signal, request);
    check(response.status);
    return await body(response, own.signal, alive, options.onProgress);
  } catch (error) {
    own.abort(); // the rest is not needed
    if (error instanceof ImageError) throw error;
    if (stalled) throw errors.slow(Math.round(stall_ms / 1000));
    throw options.signal?.aborted ? errors.stopped() : errors.unreachable();
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener('abort', stop);
  }
}

function check(status: number): void {
  if (status === 404 || status === 410) throw errors.missing();
  if (status === 401 || status === 403) throw errors.refused();
  if (status < 200 || status > 299) throw errors.unreachable();
}

async function body(
  response: Response,
  signal: AbortSignal,
  alive: () => void,
  onProgress: FetchOptions['onProgress'],
): Promise<Uint8Array<ArrayBuffer>> {
  const announced = Number(response.headers.get('Content-Length') ?? Number.NaN);
  if (announced > MAX_BYTES) throw errors.tooLarge();
  if (!response.body) return new Uint8Array(await abortable(signal, response.arrayBuffer()));
  const reader = response.body.getReader(),
    chunks: Uint8Array[] = [];
  let size = 0;
  for (;;) {
    const { done, value } = await abortable(signal, reader.read());
    if (done) break;
    alive();
    chunks.push(value);
    size += value.length;
    if (size > MAX_BYTES) throw errors.tooLarge();
    // With transport compression Content-Length is the compressed length, and more bytes arrive.
    onProgress?.(announced > 0 && size <= announced ? size / announced : null);
  }
  return joined(chunks, size);
}

export function joined(chunks: readonly Uint8Array[], size: number): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}

/** Settle like the promise, or reject when the signal aborts first: not every operation reacts to its signal. */
function abortable<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(new DOMException('stopped', 'AbortError'));
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}

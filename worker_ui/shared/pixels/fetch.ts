/** Fetching an image whole, and never waiting for ever. */

import { ImageError } from './radiograph-image';
import { errors } from './messages';

/** 2^27 pixels of 16 bits with a generous header: no radiograph that can be shown is larger. */
export const MAX_BYTES = 2 ** 28 + 2 ** 24;

export interface FetchOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called with the fraction fetched, or null while the length is not known. */
  readonly onProgress?: ((fraction: number | null) => void) | undefined;
  /** For how long nothing may arrive; 20 seconds unless said otherwise. */
  readonly stall_ms?: number;
}

/**
 * Return the bytes at an address.
 *
 * Cookies go to the page's own origin alone: a presigned address of another one needs none, and a store that allows every
 * origin may not be sent any. Fails with an ImageError and nothing else.
 */
export async function fetchBytes(url: string, options: FetchOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
  if (!url.trim()) throw errors.noAddress();
  const stall_ms = options.stall_ms ?? 20_000;
  const own = new AbortController();
  const stop = () => own.abort();
  let stalled = false, timer: ReturnType<typeof setTimeout> | undefined;
  const alive = () => {
    clearTimeout(timer);
    timer = setTimeout(() => { stalled = true; own.abort(); }, stall_ms);
  };
  options.signal?.addEventListener('abort', stop);
  if (options.signal?.aborted) stop();
  alive();
  try {
    const request = fetch(url, { credentials: 'same-origin', referrerPolicy: 'no-referrer', signal: own.signal });
    const response = await raced(own.signal, request);
    check(response.status);
    return await body(response, own.signal, alive, options.onProgress);
  } catch (error) {
    own.abort(); // nobody reads the rest
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
  response: Response, signal: AbortSignal, alive: () => void, onProgress: FetchOptions['onProgress'],
): Promise<Uint8Array<ArrayBuffer>> {
  const announced = Number(response.headers.get('Content-Length') ?? Number.NaN);
  if (announced > MAX_BYTES) throw errors.tooLarge();
  if (!response.body) return new Uint8Array(await raced(signal, response.arrayBuffer()));
  const reader = response.body.getReader(), chunks: Uint8Array[] = [];
  let size = 0;
  for (;;) {
    const { done, value } = await raced(signal, reader.read());
    if (done) break;
    alive();
    chunks.push(value);
    size += value.length;
    if (size > MAX_BYTES) throw errors.tooLarge();
    // The length is that of the compressed form where the transport compresses; then more arrives than was announced.
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

/** What a promise gives, unless the signal is raised first: not everything that can be aborted says so by itself. */
function raced<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(new DOMException('stopped', 'AbortError'));
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}

/** The decoder worker: a malformed code stream cannot block or crash the page. */

import { decode, type DecodeTask } from './codecs';

export interface Request {
  readonly id: number;
  /** Null only checks that the worker runs. */
  readonly task: DecodeTask | null;
}

export interface Reply {
  readonly id: number;
  readonly patterns: Uint8Array | Uint16Array | null;
  /** Set where decoding failed; "wasm" where the browser forbids WebAssembly. */
  readonly failed: '' | 'frame' | 'wasm';
}

const scope = globalThis as unknown as { onmessage: unknown; postMessage(message: Reply, transfer: Transferable[]): void };

scope.onmessage = async ({ data: { id, task } }: MessageEvent<Request>) => {
  try {
    const patterns = task && (await decode(task));
    scope.postMessage({ id, patterns, failed: '' }, patterns ? [patterns.buffer as ArrayBuffer] : []);
  } catch (error) {
    const forbidden = error instanceof WebAssembly.CompileError || /WebAssembly|Content Security/i.test(String(error));
    scope.postMessage({ id, patterns: null, failed: forbidden ? 'wasm' : 'frame' }, []);
  }
};

// @vitest-environment node
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import type { Reply, Request } from '../../shared/pixels/decoder.worker';
import type { Header } from '../../shared/pixels/header';

type Behaviour = 'works' | 'silent' | 'refused' | 'throws' | 'hangs' | 'fails' | 'wasm';

const made: FakeWorker[] = [];
let behaviour: Behaviour = 'works';

class FakeWorker extends EventTarget {
  terminated = false;
  frames = 0;

  constructor() {
    super();
    if (behaviour === 'throws') throw new DOMException('no', 'SecurityError');
    made.push(this);
    if (behaviour === 'refused') queueMicrotask(() => this.dispatchEvent(new Event('error')));
  }

  postMessage({ id, task }: Request): void {
    if (behaviour === 'silent' || behaviour === 'refused' || (task && behaviour === 'hangs')) return;
    if (task) this.frames += 1;
    const failed = task && behaviour === 'fails' ? 'frame' : task && behaviour === 'wasm' ? 'wasm' : '';
    const patterns = task && !failed ? new Uint8Array(task.rows * task.columns).fill(9) : null;
    queueMicrotask(() => this.dispatchEvent(new MessageEvent<Reply>('message', { data: { id, patterns, failed } })));
  }

  terminate(): void {
    this.terminated = true;
  }
}

vi.mock('../../shared/pixels/decoder.worker?worker&inline', () => ({ default: FakeWorker }));

const HEADER = { rows: 2, columns: 3, bitsAllocated: 8, bitsStored: 8, signed: false, syntax: '1.2.840.10008.1.2.5' } as Header;
const SOON = { start_ms: 30, decode_ms: 30 };

async function decoded(): Promise<number[] | string> {
  const { decodedValues } = await import('../../shared/pixels/decode');
  return decodedValues(new Uint8Array(64), HEADER, undefined, SOON).then(
    (values) => [...values],
    (error: { code: string }) => error.code,
  );
}

beforeEach(() => {
  vi.resetModules();
  made.length = 0;
  behaviour = 'works';
});
afterEach(() => vi.restoreAllMocks());

describe('the decoder worker', () => {
  it('is started once and used again', async () => {
    expect(await decoded()).toEqual([9, 9, 9, 9, 9, 9]);
    expect(await decoded()).toEqual([9, 9, 9, 9, 9, 9]);
    expect(made).toHaveLength(1);
  });

  it.each<Behaviour>(['throws', 'refused', 'silent', 'hangs', 'wasm'])('that %s is said to be at fault', async (how) => {
    behaviour = how;
    expect(await decoded()).toBe('worker');
    expect(made.every((worker) => worker.terminated)).toBe(true);
  });

  it('is not believed after a frame that it cannot decode', async () => {
    behaviour = 'fails';
    expect(await decoded()).toBe('truncated');
    behaviour = 'works';
    expect(await decoded()).toEqual([9, 9, 9, 9, 9, 9]);
    expect(made.map((worker) => worker.terminated)).toEqual([true, false]);
  });

  it('that ends with one image does not take another one with it', async () => {
    behaviour = 'hangs';
    const first = decoded();
    const second = decoded();
    expect(await first).toBe('worker');
    behaviour = 'works';
    expect(await second).toEqual([9, 9, 9, 9, 9, 9]);
  });
});

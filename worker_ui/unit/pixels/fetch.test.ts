// @vitest-environment node
import { afterEach, describe, expect, it, vi } from 'vitest';

import { fetchBytes } from '../../shared/pixels/fetch';
import { ImageError } from '../../shared/pixels/radiograph-image';

const bytes = (length: number) => new Uint8Array(length).fill(7);

/** A body that comes in pieces and, at the end, may stop coming. */
function body(pieces: readonly Uint8Array[], ends = true): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      for (const piece of pieces) controller.enqueue(piece);
      if (ends) controller.close();
    },
  });
}

function answers(response: Response | Promise<Response>): void {
  vi.stubGlobal(
    'fetch',
    vi.fn(() => Promise.resolve(response)),
  );
}

async function failure(promise: Promise<unknown>): Promise<ImageError> {
  const error = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(ImageError);
  return error as ImageError;
}

afterEach(() => {
  vi.unstubAllGlobals();
});

describe('fetching an image', () => {
  it('joins what comes in pieces and tells how far it is', async () => {
    answers(new Response(body([bytes(3), bytes(5)]), { headers: { 'Content-Length': '8' } }));
    const heard: (number | null)[] = [];
    expect(await fetchBytes('http://x/', { onProgress: (fraction) => heard.push(fraction) })).toEqual(bytes(8));
    expect(heard).toEqual([3 / 8, 1]);
  });

  it('does not know how far it is without a length, or with that of a compressed form', async () => {
    const heard: (number | null)[] = [];
    answers(new Response(body([bytes(3)])));
    await fetchBytes('http://x/', { onProgress: (fraction) => heard.push(fraction) });
    answers(new Response(body([bytes(3)]), { headers: { 'Content-Length': '2' } }));
    await fetchBytes('http://x/', { onProgress: (fraction) => heard.push(fraction) });
    expect(heard).toEqual([null, null]);
  });

  it('sends cookies to its own origin alone', async () => {
    answers(new Response(body([])));
    await fetchBytes('https://elsewhere.example/a.dcm');
    expect(vi.mocked(fetch).mock.calls[0]?.[1]).toMatchObject({ credentials: 'same-origin', referrerPolicy: 'no-referrer' });
  });

  it.each([
    [404, 'missing'],
    [410, 'missing'],
    [401, 'refused'],
    [403, 'refused'],
    [500, 'unreachable'],
    [304, 'unreachable'],
  ])('has words for status %i', async (status, code) => {
    answers(new Response(null, { status }));
    const error = await failure(fetchBytes('http://x/'));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(/[Rr]eport it as not displayed/);
  });

  it('has words for a network that fails, at once or on the way', async () => {
    answers(Promise.reject(new TypeError('Failed to fetch')));
    expect((await failure(fetchBytes('http://x/'))).code).toBe('unreachable');
    const broken = new ReadableStream({ pull: (controller) => controller.error(new TypeError('reset')) });
    answers(new Response(broken));
    expect((await failure(fetchBytes('http://x/'))).code).toBe('unreachable');
  });

  it('does not wait for ever, neither for the answer nor for the rest of it', async () => {
    answers(new Promise<Response>(() => undefined));
    expect((await failure(fetchBytes('http://x/', { stall_ms: 20 }))).code).toBe('slow');
    answers(new Response(body([bytes(3)], false)));
    expect((await failure(fetchBytes('http://x/', { stall_ms: 20 }))).code).toBe('slow');
  });

  it('waits as long as something comes', async () => {
    let sent = 0;
    const trickle = new ReadableStream<Uint8Array>({
      async pull(controller) {
        await new Promise((resolve) => {
          setTimeout(resolve, 20);
        });
        sent += 1;
        if (sent > 6) controller.close();
        else controller.enqueue(bytes(1));
      },
    });
    answers(new Response(trickle));
    expect(await fetchBytes('http://x/', { stall_ms: 80 })).toEqual(bytes(6));
  });

  it('stops when it is told to', async () => {
    const stop = new AbortController();
    answers(new Promise<Response>(() => undefined));
    const waiting = failure(fetchBytes('http://x/', { signal: stop.signal }));
    stop.abort();
    expect((await waiting).message).toMatch(/^Loading was stopped/);
    expect((await failure(fetchBytes('http://x/', { signal: stop.signal }))).message).toMatch(/^Loading was stopped/);
  });

  it('refuses what no radiograph can be', async () => {
    answers(new Response(body([]), { headers: { 'Content-Length': String(2 ** 40) } }));
    expect((await failure(fetchBytes('http://x/'))).code).toBe('unsupported');
    expect((await failure(fetchBytes(' '))).code).toBe('missing');
  });
});

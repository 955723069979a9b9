import { afterEach, describe, expect, it, vi } from 'vitest';

import { httpTransport } from '../../search/transport/http';
import { dataOf, ServiceError } from '../../search/transport/transport';
import { widgetTransport, type WidgetModel } from '../../search/transport/widget';

type Listener = (content: Record<string, unknown>, buffers?: DataView[]) => void;

/** A kernel: answers what `reply` returns, or not at all. */
function kernel(
  reply: (message: Record<string, unknown>, buffers: ArrayBuffer[]) => [Record<string, unknown>, DataView[]?] | null,
) {
  const listeners = new Set<Listener>();
  const sent: Record<string, unknown>[] = [];
  const model: WidgetModel = {
    get: () => undefined,
    set: () => undefined,
    save_changes: () => undefined,
    on: (_, listener) => listeners.add(listener as unknown as Listener),
    off: (_, listener) => listeners.delete(listener as unknown as Listener),
    send: (content, _, buffers) => {
      const message = content as Record<string, unknown>;
      sent.push(message);
      const answer = reply(message, buffers ?? []);
      if (answer)
        queueMicrotask(() => listeners.forEach((listener) => listener({ ...answer[0], id: message['id'] }, answer[1])));
    },
  };
  return { model, sent, listeners };
}

describe('answers of GraphQL', () => {
  it('are the data, or an error that says what went wrong, shortened', () => {
    expect(dataOf({ data: { a: 1 } })).toEqual({ a: 1 });
    expect(() => dataOf({ data: null, errors: [{ message: 'There is no field x.' }] })).toThrow('There is no field x.');
    expect(() => dataOf({ errors: [{ message: 'y'.repeat(9999) }] })).toThrow(/^y{400}$/);
    for (const bad of [null, 'text', 3]) expect(() => dataOf(bad)).toThrow(ServiceError);
  });
});

describe('widget messages', () => {
  it('each get their own answer, in whatever order', async () => {
    const { model, sent } = kernel((message) => [{ answer: { data: { echo: message['query'] } } }]);
    const { transport } = widgetTransport(model);
    const answers = await Promise.all(['one', 'two', 'three'].map((query) => transport.graphql(query, { k: 3 })));
    expect(answers).toEqual([{ echo: 'one' }, { echo: 'two' }, { echo: 'three' }]);
    expect(new Set(sent.map(({ id }) => id)).size).toBe(3);
    expect(sent[0]).toMatchObject({ kind: 'graphql', variables: { k: 3 } });
  });

  it('carry pictures and files as buffers', async () => {
    const png = new DataView(Uint8Array.from([137, 80, 78, 71]).buffer);
    const { model, sent } = kernel((message, buffers) =>
      message['kind'] === 'picture' ? [{}, [png]] : [{ answer: { id: `upload-${buffers[0]?.byteLength}` } }],
    );
    const { transport } = widgetTransport(model);
    expect((await transport.picture('1.2', 'large')).size).toBe(4);
    expect(sent[0]).toMatchObject({ image_id: '1.2', px: 1024 });
    expect(await transport.upload(new File(['12345'], 'NAME^PATIENT.dcm'))).toBe('upload-5');
    expect(JSON.stringify(sent)).not.toContain('PATIENT');
  });

  it('end with an error when the kernel refuses, is silent, or the question is withdrawn', async () => {
    const { model, listeners } = kernel((message) =>
      message['kind'] === 'picture' ? [{ error: 'There is no such image.' }] : null,
    );
    const { transport, close } = widgetTransport(model, 20);
    await expect(transport.picture('9', 'thumbnail')).rejects.toThrow('There is no such image.');
    await expect(transport.graphql('{ a }', {})).rejects.toThrow('The kernel did not answer');
    const stop = new AbortController();
    const asked = transport.graphql('{ a }', {}, stop.signal);
    stop.abort();
    await expect(asked).rejects.toMatchObject({ name: 'AbortError' });
    close();
    expect(listeners.size).toBe(0);
  });
});

describe('requests over HTTP', () => {
  afterEach(() => void vi.unstubAllGlobals());

  const answering = (...answers: [number, unknown][]) => {
    const asked: [string, RequestInit][] = [];
    const fetch = (url: URL, init: RequestInit) => {
      asked.push([String(url), init]);
      const [status, body] = answers.shift() ?? [500, {}];
      return Promise.resolve(new Response(JSON.stringify(body), { status }));
    };
    vi.stubGlobal('fetch', fetch);
    return asked;
  };

  it('carry words in the body, and no query and no file name in the address', async () => {
    const asked = answering([200, { data: { ok: 1 } }], [201, { id: 'upload-1' }]);
    const transport = httpTransport('http://127.0.0.1:8600/', window);
    expect(await transport.graphql('query', { text: 'effusion' })).toEqual({ ok: 1 });
    expect(await transport.upload(new File(['x'], 'DOE^JANE.dcm'))).toBe('upload-1');
    expect(asked.map(([url]) => url)).toEqual(['http://127.0.0.1:8600/graphql', 'http://127.0.0.1:8600/uploads']);
    expect(asked[0]?.[1].body).toContain('effusion');
  });

  it('say when signing in helps, and what the service said else', async () => {
    answering(
      [401, {}],
      [404, { error: 'The index has no such image.' }],
      [413, { error: 'expected at most 128 MB.' }],
      [500, 'no'],
    );
    const transport = httpTransport('http://127.0.0.1:8600/', window);
    await expect(transport.graphql('q', {})).rejects.toMatchObject({ denied: true });
    await expect(transport.picture('1', 'thumbnail')).rejects.toThrow('The index has no such image.');
    await expect(transport.upload(new File(['x'], 'a'))).rejects.toThrow('expected at most 128 MB.');
    await expect(transport.graphql('q', {})).rejects.toThrow('did not answer with JSON');
  });

  it('takes the printed token out of the address before anything else', async () => {
    const asked = answering(
      [200, { kind: 'token', signed_in: true, name: '' }],
      [200, { kind: 'token', signed_in: true, name: 'Jo' }],
    );
    location.hash = '#token=s%2Fecret';
    const who = await httpTransport('http://127.0.0.1:8600/', window).session?.open();
    expect(who).toEqual({ signedIn: true, needed: true, name: 'Jo', at: '', problem: '' });
    expect(asked[0]?.[1].body).toBe('{"token":"s/ecret"}');
    expect(location.href).not.toContain('ecret');
  });
});

/** The transport of a notebook: requests are widget messages, which the kernel answers with the same GraphQL schema. */

import { dataOf, LARGE, ServiceError, uploadIdOf, type Transport } from './transport';

/** What is used of anywidget's model. */
export interface WidgetModel {
  get(name: string): unknown;
  set(name: string, value: unknown): void;
  save_changes(): void;
  on(event: string, listener: (...given: never[]) => void): void;
  off(event: string, listener: (...given: never[]) => void): void;
  send(content: unknown, callbacks?: unknown, buffers?: ArrayBuffer[]): void;
}

interface Waiting {
  readonly resolve: (answer: readonly [Record<string, unknown>, readonly DataView[]]) => void;
  readonly reject: (error: Error) => void;
}

const TIMEOUT_MS = 60_000;

/** Return the transport and a function that stops listening. */
export function widgetTransport(model: WidgetModel, timeoutMs = TIMEOUT_MS): { transport: Transport; close: () => void } {
  const waiting = new Map<string, Waiting>();
  const prefix = Math.random().toString(36).slice(2); // several views of one widget listen to the same model
  let count = 0;

  const onMessage = (content: Record<string, unknown>, buffers: readonly DataView[] = []): void => {
    const id = String(content?.['id'] ?? '');
    waiting.get(id)?.resolve([content, buffers]);
    waiting.delete(id);
  };
  model.on('msg:custom', onMessage as (...given: never[]) => void);

  const ask = async (
    message: Record<string, unknown>,
    buffers: ArrayBuffer[],
    signal?: AbortSignal,
  ): Promise<readonly [Record<string, unknown>, readonly DataView[]]> => {
    const id = `${prefix}-${(count += 1)}`;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const stop = (): void => waiting.get(id)?.reject(new DOMException('aborted', 'AbortError'));
    try {
      return await new Promise((resolve, reject) => {
        waiting.set(id, { resolve, reject });
        signal?.addEventListener('abort', stop, { once: true });
        const late = 'The kernel did not answer. Run the cell again, or wait until the kernel is idle.';
        timer = setTimeout(() => reject(new ServiceError(late)), timeoutMs);
        model.send({ ...message, id }, undefined, buffers);
      });
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', stop);
      waiting.delete(id);
    }
  };

  const transport: Transport = {
    graphql: async (query, variables, signal) => {
      const [answer] = await ask({ kind: 'graphql', query, variables }, [], signal);
      return dataOf(answer['answer']);
    },
    picture: async (imageId, size, signal) => {
      const [answer, buffers] = await ask(
        { kind: 'picture', image_id: imageId, px: size === 'large' ? LARGE : null },
        [],
        signal,
      );
      const png = buffers[0];
      if (!png) throw new ServiceError(String(answer['error'] ?? 'There is no picture of this image.'));
      return new Blob([png as DataView<ArrayBuffer>], { type: 'image/png' });
    },
    upload: async (file, signal) => {
      const [answer] = await ask({ kind: 'upload' }, [await file.arrayBuffer()], signal);
      const { answer: told, error } = answer; // `id` is that of the message
      return uploadIdOf({ error, ...(told as Record<string, unknown> | undefined) });
    },
  };
  return { transport, close: () => model.off('msg:custom', onMessage as (...given: never[]) => void) };
}

/** Hooks that ask the service: the last answer wins, what it replaces stays visible, and an unmounted part asks no longer. */

import { useLayoutEffect, useReducer, useState } from 'preact/hooks';

import { isAbort, ServiceError } from '../transport/transport';

export interface Asked<T> {
  /** The last answer; of an earlier question while `busy`. */
  readonly data: T | null;
  readonly busy: boolean;
  readonly error: ServiceError | null;
}

/** How long the page waits for another letter before it asks. */
const DEBOUNCE_MS = 250;

/**
 * Ask when `key` changes; an empty key asks nothing. `ask` gets a signal that stops it when the next question comes. While somebody
 * is `typing` the question waits for the next letter; what the question is made of never does.
 */
export function useQuery<T>(
  key: string,
  ask: (signal: AbortSignal) => Promise<T>,
  typing = false,
): Asked<T> & { again: () => void } {
  const [state, setState] = useState<Asked<T>>({ data: null, busy: key !== '', error: null });
  const [round, again] = useReducer((count: number) => count + 1, 0);
  useLayoutEffect(() => {
    if (key === '') {
      setState({ data: null, busy: false, error: null });
      return undefined;
    }
    const stop = new AbortController();
    const start = (): void => {
      setState((before) => ({ ...before, busy: true, error: null }));
      ask(stop.signal).then(
        (data) => !stop.signal.aborted && setState({ data, busy: false, error: null }),
        (error: unknown) => {
          if (stop.signal.aborted || isAbort(error)) return;
          setState({ data: null, busy: false, error: asServiceError(error) });
        },
      );
    };
    const timer = typing ? setTimeout(start, DEBOUNCE_MS) : undefined;
    if (!typing) start();
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [key, round, typing]);
  return { ...state, again: () => again(undefined) };
}

function asServiceError(error: unknown): ServiceError {
  if (error instanceof ServiceError) return error;
  return new ServiceError(`The answer of the search service could not be read: ${String(error).slice(0, 200)}`);
}

/** Hooks that ask the service: the last answer wins, what it replaces stays visible, and an unmounted part asks no longer. */

import { useEffect, useLayoutEffect, useReducer, useState } from 'preact/hooks';

import { isAbort, ServiceError } from '../transport/transport';

export interface Asked<T> {
  /** The last answer; of an earlier question while `busy`. */
  readonly data: T | null;
  readonly busy: boolean;
  readonly error: ServiceError | null;
}

/** Ask when `key` changes; an empty key asks nothing. `ask` gets a signal that stops it when the next question comes. */
export function useQuery<T>(key: string, ask: (signal: AbortSignal) => Promise<T>): Asked<T> & { again: () => void } {
  const [state, setState] = useState<Asked<T>>({ data: null, busy: key !== '', error: null });
  const [round, again] = useReducer((count: number) => count + 1, 0);
  useLayoutEffect(() => {
    if (key === '') {
      setState({ data: null, busy: false, error: null });
      return undefined;
    }
    const stop = new AbortController();
    setState((before) => ({ ...before, busy: true, error: null }));
    ask(stop.signal).then(
      (data) => !stop.signal.aborted && setState({ data, busy: false, error: null }),
      (error: unknown) => {
        if (stop.signal.aborted || isAbort(error)) return;
        setState({ data: null, busy: false, error: asServiceError(error) });
      },
    );
    return () => stop.abort();
  }, [key, round]);
  return { ...state, again: () => again(undefined) };
}

/** Return a value once it has not changed for some milliseconds. */
export function useDebounced<T>(value: T, milliseconds: number): T {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    if (Object.is(value, settled)) return undefined;
    const timer = setTimeout(() => setSettled(value), milliseconds);
    return () => clearTimeout(timer);
  }, [value, milliseconds]);
  return settled;
}

function asServiceError(error: unknown): ServiceError {
  if (error instanceof ServiceError) return error;
  return new ServiceError(`The answer of the search service could not be read: ${String(error).slice(0, 200)}`);
}

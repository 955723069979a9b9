/** What every part of the page may reach: the service, the place, and the selection that the host is told of. */

import { createContext } from 'preact';
import { useContext, useEffect, useReducer } from 'preact/hooks';

import type { Navigation } from '../state/navigation';
import type { Place } from '../state/places';
import type { Selection } from '../state/selection';
import type { Pictures } from '../transport/pictures';
import type { Transport } from '../transport/transport';

export interface Host {
  readonly transport: Transport;
  readonly pictures: Pictures;
  readonly navigation: Navigation;
  readonly selection: Selection;
  /** Called when a search was answered, with the ids of what it found, best first. */
  readonly onHits: (kind: 'reports' | 'images', hits: readonly Hit[]) => void;
}

export interface Hit {
  readonly id: string;
  readonly score: number;
}

const Context = createContext<Host | null>(null);

export const HostProvider = Context.Provider;

export function useHost(): Host {
  const host = useContext(Context);
  if (!host) throw new Error('A part of the search page stands outside of HostProvider.');
  return host;
}

/** Return the place, rendering again when it changes. */
export function usePlace(): Place {
  const { navigation } = useHost();
  const [, again] = useReducer((count: number) => count + 1, 0);
  useEffect(() => navigation.subscribe(() => again(undefined)), [navigation]);
  return navigation.place;
}

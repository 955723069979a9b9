/** A hook that renders a component again when the store changes. */

import { useLayoutEffect, useReducer } from 'preact/hooks';

import type { Store } from './store';

/**
 * Render again when the store changes; with `watch`, only when one of its values changes.
 *
 * A drag changes window or view many times a second: parts that show neither should not be rendered again.
 */
export function useStore(store: Store, watch?: (store: Store) => readonly unknown[]): void {
  const [, again] = useReducer((count: number) => count + 1, 0);
  useLayoutEffect(() => {
    let before = watch?.(store);
    return store.subscribe(() => {
      const now = watch?.(store);
      if (before && now && now.every((value, at) => Object.is(value, before?.[at]))) return;
      before = now;
      again(undefined);
    });
  }, [store]);
}

/** A word that goes away by itself, after long enough to be read; clicks go through it. */

import { useEffect } from 'preact/hooks';

import type { Store } from '../store';

const LEAST_MS = 4000;
/** A slow reader's time for one letter. */
const LETTER_MS = 60;

export function Notice({ store }: { store: Store }) {
  const { notice } = store.ui;
  useEffect(() => {
    if (notice === '') return undefined;
    const timer = setTimeout(() => store.set({ notice: '' }), LEAST_MS + LETTER_MS * notice.length);
    return () => clearTimeout(timer);
  }, [notice]);
  return <div class="notice" role="status">{notice !== '' && <p key={notice}>{notice}</p>}</div>;
}

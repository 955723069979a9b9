/** A word that goes away by itself; long enough to be read, and not while the mouse is on it. */

import { useEffect, useState } from 'preact/hooks';

import type { Store } from '../store';

const SHOWN_MS = 6000;

export function Notice({ store }: { store: Store }) {
  const { notice } = store.ui;
  const [held, hold] = useState(false);
  useEffect(() => {
    if (notice === '' || held) return undefined;
    const timer = setTimeout(() => store.set({ notice: '' }), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [notice, held]);
  return (
    <div class="notice" role="status" onPointerEnter={() => hold(true)} onPointerLeave={() => hold(false)}>
      {notice !== '' && <p key={notice}>{notice}</p>}
    </div>
  );
}

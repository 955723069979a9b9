/** Messages at the bottom of the image that disappear by themselves; clicks pass through them. */

import { useEffect } from 'preact/hooks';

import type { Store } from '../state/store';
import { useStore } from '../state/use-store';

const LEAST_MS = 4000;
/** Display time for each letter. */
const LETTER_MS = 60;

export function Notice({ store }: { store: Store }) {
  useStore(store, ({ ui }) => [ui.notice, ui.spoken]);
  const { notice, spoken } = store.ui;
  useEffect(() => {
    if (notice === '') return undefined;
    const timer = setTimeout(() => store.set({ notice: '' }), LEAST_MS + LETTER_MS * notice.length);
    return () => clearTimeout(timer);
  }, [notice]);
  return (
    <>
      <div class="notice" role="status">
        {notice !== '' && <p key={notice}>{notice}</p>}
      </div>
      <div class="unseen" role="status">
        {spoken !== '' && <p key={spoken}>{spoken}</p>}
      </div>
    </>
  );
}

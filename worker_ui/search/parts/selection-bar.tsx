/** What is selected, for all pages: how many, which, and the way to take the ids along. */

import { useEffect, useReducer, useState } from 'preact/hooks';

import { useHost } from './host';

export function SelectionBar() {
  const { selection } = useHost();
  const [, again] = useReducer((count: number) => count + 1, 0);
  const [copied, setCopied] = useState('');
  useEffect(() => selection.subscribe(() => (setCopied(''), again(undefined))), [selection]);
  const ids = selection.all;
  if (ids.length === 0) return null;
  const copy = (): void => {
    navigator.clipboard?.writeText(ids.join('\n')).then(
      () => setCopied('Copied.'),
      () => setCopied('The browser does not allow copying.'),
    );
  };
  return (
    <footer class="selection" aria-label="Selection">
      <span role="status">
        {ids.length} {ids.length === 1 ? 'image' : 'images'} selected. {copied}
      </span>
      <button type="button" onClick={copy}>
        Copy the ids
      </button>
      <button type="button" onClick={() => selection.set([])}>
        Clear
      </button>
    </footer>
  );
}

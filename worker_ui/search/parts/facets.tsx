/** The column of charts beside a list; in a narrow window it opens on request. */

import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';

interface Props {
  readonly label: string;
  readonly children: ComponentChildren;
}

export function Facets({ label, children }: Props) {
  const [open, setOpen] = useState(false);
  return (
    <aside class={`facets${open ? ' open' : ''}`} aria-label={label}>
      <button type="button" class="facets-toggle" aria-expanded={open} onClick={() => setOpen(!open)}>
        {open ? 'Hide charts and filters' : 'Charts and filters'}
      </button>
      {children}
    </aside>
  );
}

/** The right-hand side: what the reader says of the image. */

import { adjudicates } from '../state/disagreements';
import type { Store } from '../state/store';
import { Adjudication } from './adjudication';
import { Assistance } from './assistance';
import { Findings } from './finding-list';
import { Foot } from './footer';
import { Head } from './header';
import { Help } from './help';
import { Regions } from './regions';
import { Remarks, SetAside } from './comment';
import { useStore } from '../state/use-store';

interface Props {
  readonly store: Store;
  readonly onSubmit: () => void;
}

export function Panel({ store, onSubmit }: Props) {
  useStore(store, shown);
  const aside = store.reading.unusable !== '';
  const kind = adjudicates(store.task) ? ' adjudicating' : '';
  return (
    <section class={`panel${aside ? ' aside' : ''}${kind}`} aria-label="Reading">
      <div class="body" inert={store.closed}>
        <Head store={store} />
        <SetAside store={store} />
        <Adjudication store={store} />
        <Findings store={store} />
        <div class="rest">
          <Assistance store={store} />
          <Regions store={store} />
          <Remarks store={store} />
        </div>
      </div>
      <Foot store={store} onSubmit={onSubmit} />
      <Help store={store} />
    </section>
  );
}

/** All the panel shows; windows and views change with every move of a drag, and are none of it, nor are passing words. */
function shown({ history, ui }: Store): readonly unknown[] {
  const { viewports, notice, spoken, ...rest } = ui;
  return [history, viewports[0]?.image, ...Object.values(rest)];
}

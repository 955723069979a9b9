/** The panel: the reading of the image. */

import { adjudicates } from '../state/disagreements';
import type { Store } from '../state/store';
import { Adjudication } from './adjudication';
import { Assistance } from './assistance';
import { Findings } from './finding-list';
import { Footer } from './footer';
import { Header } from './header';
import { Help } from './help';
import { Regions } from './regions';
import { CommentAndReason, NotReadable } from './comment';
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
        <Header store={store} />
        <NotReadable store={store} />
        <Adjudication store={store} />
        <Findings store={store} />
        <div class="rest">
          <Assistance store={store} />
          <Regions store={store} />
          <CommentAndReason store={store} />
        </div>
      </div>
      <Footer store={store} onSubmit={onSubmit} />
      <Help store={store} />
    </section>
  );
}

/** Everything that the panel depends on; windows, views and notices are left out, because they change during every drag. */
function shown({ history, ui }: Store): readonly unknown[] {
  const { viewports, notice, spoken, ...rest } = ui;
  return [history, viewports[0]?.image, ...Object.values(rest)];
}

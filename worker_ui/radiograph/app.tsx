/** The radiograph page: images on the left, panel on the right. */

import { Overlay } from '../shared/drawing/overlay';
import { Notice } from '../shared/panel/notice';
import { Panel } from '../shared/panel/panel';
import type { Store } from '../shared/state/store';
import { Toolbar } from './viewer/toolbar';
import { ImageViewport } from './viewer/viewport';

interface Props {
  readonly store: Store;
  readonly onSubmit: () => void;
  readonly onShown: () => void;
}

const SECOND = { lateral: 'Lateral view', prior: 'Prior image', other: 'Second image' } as const;

export function App({ store, onSubmit, onShown }: Props) {
  const { image, second } = store.task;
  return (
    <div id="page">
      <section id="reading" aria-label="Image">
        <Toolbar store={store} />
        <div id="viewports">
          <ImageViewport store={store} index={0} name="Radiograph" source={image} onShown={onShown}>
            <Overlay store={store} />
          </ImageViewport>
          {second && <ImageViewport store={store} index={1} name={second.caption || SECOND[second.role]} source={second} />}
        </div>
        <Notice store={store} />
      </section>
      <Panel store={store} onSubmit={onSubmit} />
    </div>
  );
}

/** Entry point of the search page, hosted twice: as a web page, and as a widget in notebooks (anywidget). */

import './styles/search.css';
import './styles/report.css';
import './styles/image.css';

import { render } from 'preact';

import { App } from './app';
import type { Hit } from './parts/host';
import { Navigation } from './state/navigation';
import { Selection } from './state/selection';
import { followTheme } from './theme';
import { httpTransport } from './transport/http';
import { Pictures } from './transport/pictures';
import type { Transport } from './transport/transport';
import { widgetTransport, type WidgetModel } from './transport/widget';

interface Hosted {
  readonly transport: Transport;
  readonly window: Window | null;
  readonly onHits: (kind: 'reports' | 'images', hits: readonly Hit[]) => void;
}

/** Put the page into an element; returns what takes it out again, and its selection. */
function mount(element: HTMLElement, { transport, window, onHits }: Hosted): { selection: Selection; close: () => void } {
  const navigation = new Navigation(window);
  const selection = new Selection();
  const pictures = new Pictures(transport);
  element.classList.add('dicom-search');
  const stopTheme = followTheme(element);
  element.replaceChildren();
  render(<App host={{ transport, pictures, navigation, selection, onHits }} />, element);
  const close = (): void => {
    render(null, element);
    stopTheme();
    navigation.close();
    pictures.clear();
  };
  return { selection, close };
}

/** What anywidget calls for each view of the widget. */
function renderWidget({ model, el }: { model: WidgetModel; el: HTMLElement }): () => void {
  const { transport, close } = widgetTransport(model);
  const element = document.createElement('div');
  element.dataset['lmSuppressShortcuts'] = 'true'; // keys pressed here are not those of the notebook
  el.append(element);
  const keep = (name: string, value: unknown): void => {
    model.set(name, value);
    model.save_changes();
  };
  const onHits: Hosted['onHits'] = (kind, hits) => keep('_hits', { kind, hits: hits.map(({ id, score }) => ({ id, score })) });
  const mounted = mount(element, { transport, window: null, onHits });
  const fromKernel = (): void => mounted.selection.set((model.get('_selected') as string[] | undefined) ?? []);
  fromKernel();
  model.on('change:_selected', fromKernel);
  const stop = mounted.selection.subscribe((ids) => keep('_selected', [...ids]));
  const resize = (): void => void (element.style.maxHeight = `${Number(model.get('height')) || 720}px`);
  resize();
  model.on('change:height', resize);
  return () => {
    model.off('change:_selected', fromKernel);
    model.off('change:height', resize);
    stop();
    mounted.close();
    close();
  };
}

/** A web page has this element; a notebook has not. */
const page = typeof document === 'undefined' ? null : document.getElementById('dicom-workflow-search');
if (page) mount(page, { transport: httpTransport(new URL('./', location.href).href, window), window, onHits: () => undefined });

export default { render: renderWidget };

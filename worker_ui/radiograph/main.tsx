/** Where the page begins: the task out of the document, the draft out of its store, and everything on the screen. */

import '../shared/styles/base.css';
import './viewer/viewer.css';
import '../shared/styles/panel.css';
import '../shared/styles/drawing.css';

import { render } from 'preact';

import { App } from './app';
import { CHEST_RADIOGRAPH } from './findings';
import { keepDrafts } from '../shared/drafts/sync';
import { Session } from '../shared/state/session';
import { listenKeys } from '../shared/input/shortcuts';
import { Store } from '../shared/state/store';
import { Submission } from '../shared/host/submission';
import { readTask } from '../shared/host/task';

function begin(element: HTMLElement): void {
  const store = new Store(readTask(element, CHEST_RADIOGRAPH));
  const session = new Session(store);
  const submission = new Submission(store, session, keepDrafts(store, session));
  const onSubmit = (): void => submission.submit();
  listenKeys(store, onSubmit);
  element.replaceChildren();
  render(<App store={store} onSubmit={onSubmit} onShown={() => session.imageShown()} />, element);
  if (document.querySelector('meta[name="worker-ui-test"]')) Object.assign(window, { radiographPage: { store, session } });
}

function start(): void {
  const element = document.getElementById('task');
  if (element) begin(element);
}

// After the crowd elements: theirs is an earlier script, and sets up its form when the document has been read.
if (document.readyState === 'loading') document.addEventListener('DOMContentLoaded', start, { once: true });
else start();

/** Entry point of the radiograph page: reads the task, restores the draft, renders the page. */

import '../shared/styles/base.css';
import './viewer/viewer.css';
import '../shared/styles/panel.css';
import '../shared/styles/drawing.css';

import { render } from 'preact';

import { App } from './app';
import { CHEST_RADIOGRAPH } from './chest';
import { syncDrafts } from '../shared/drafts/sync';
import { Session } from '../shared/state/session';
import { listenKeys } from '../shared/input/shortcuts';
import { Store } from '../shared/state/store';
import { Submission } from '../shared/host/submission';
import { readTask } from '../shared/host/task';

function begin(element: HTMLElement): void {
  const store = new Store(readTask(element, CHEST_RADIOGRAPH));
  const session = new Session(store);
  const submission = new Submission(store, session, syncDrafts(store, session));
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

// The crowd elements' script comes first and sets up its form when the document is parsed.
if (document.readyState === 'loading') document.addEventListener('DOMContentLoaded', start, { once: true });
else start();

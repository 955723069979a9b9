/** Help dialog: keyboard shortcuts, from the table that the listener uses, and mouse actions. */

import { useLayoutEffect, useRef } from 'preact/hooks';

import { SHORTCUTS, rememberShortcuts, type Shortcut } from '../input/shortcuts';
import type { Store } from '../state/store';

const MOUSE: readonly (readonly [what: string, does: string])[] = [
  ['Wheel', 'zoom where the pointer is'],
  ['Drag with the right button', 'contrast: sideways width, up and down level'],
  ['Drag with the middle button, or with Alt', 'move the image'],
  ['Drag, or click twice, with a drawing tool', 'a region of the active finding'],
  ['Click on a finding’s name', 'make it the active one'],
  ['Click on the chosen answer', 'clear the answer'],
];

export function Help({ store }: { store: Store }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const { help } = store.ui;
  // A layout effect, so that Escape pressed at once finds the dialog open.
  useLayoutEffect(() => {
    const element = dialog.current;
    if (!element || element.open === help) return;
    if (help) element.showModal();
    else element.close();
  }, [help]);
  const groups = [...new Set(SHORTCUTS.map(({ group }) => group))];
  return (
    <dialog
      class="help"
      ref={dialog}
      aria-labelledby="panel-help"
      onClose={() => store.set({ help: false })}
      onClick={(event) => event.target === dialog.current && store.set({ help: false })}
    >
      {help && (
        <div class="inside">
          <div class="bar">
            <h2 id="panel-help">Keys and mouse</h2>
            <button type="button" onClick={() => store.set({ help: false })}>
              Close
            </button>
          </div>
          <label class="switch">
            <input
              type="checkbox"
              checked={store.ui.shortcuts}
              onChange={(event) => turn(store, event.currentTarget.checked)}
            />
            <span>
              <b>Single-key shortcuts</b> — without them letters, digits and signs do nothing; Ctrl and Alt keys, Escape, Home
              and Delete still work.
            </span>
          </label>
          <div class="groups">
            {groups.map((group) => (
              <section key={group}>
                <h3>{group}</h3>
                <dl>
                  {SHORTCUTS.filter((one) => one.group === group).map((one) => (
                    <Line key={one.text} shortcut={one} />
                  ))}
                </dl>
              </section>
            ))}
            <section>
              <h3>Mouse</h3>
              <dl>
                {MOUSE.map(([what, does]) => (
                  <div key={what}>
                    <dt>{what}</dt>
                    <dd>{does}</dd>
                  </div>
                ))}
              </dl>
            </section>
          </div>
        </div>
      )}
    </dialog>
  );
}

function Line({ shortcut }: { shortcut: Shortcut }) {
  return (
    <div>
      <dt>
        {shortcut.keys.split(' / ').map((keys, at) => (
          <span key={keys}>
            {at > 0 && ' or '}
            <kbd>{keys}</kbd>
          </span>
        ))}
      </dt>
      <dd>{shortcut.text}</dd>
    </div>
  );
}

function turn(store: Store, shortcuts: boolean): void {
  store.set({ shortcuts });
  rememberShortcuts(shortcuts);
}

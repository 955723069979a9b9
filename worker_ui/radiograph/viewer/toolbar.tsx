/** The toolbar: tools and view commands, which all have a key too. */

import {
  applyWindow,
  everyViewport,
  fit,
  flip,
  invert,
  oneToOne,
  resetView,
  rotate,
  zoomBy,
} from '../../shared/state/viewport-commands';
import { useStore } from '../../shared/state/use-store';
import type { ViewportState, Store, Tool } from '../../shared/state/store';

const TOOLS: readonly (readonly { tool: Tool; name: string; key: string; icon: string }[])[] = [
  [
    { tool: 'window', name: 'Contrast', key: 'W', icon: 'M10 3a7 7 0 1 0 0 14zM10 3a7 7 0 0 1 0 14' },
    {
      tool: 'pan',
      name: 'Move',
      key: 'M',
      icon: 'M10 2v16M2 10h16M7.5 4.5 10 2l2.5 2.5M7.5 15.5 10 18l2.5-2.5M4.5 7.5 2 10l2.5 2.5M15.5 7.5 18 10l-2.5 2.5',
    },
    { tool: 'select', name: 'Select', key: 'S', icon: 'M5 3l10 7-4.5 1L13 16l-2 1-2.500-5L5 15z' },
  ],
  [
    { tool: 'rectangle', name: 'Rectangle', key: 'R', icon: 'M3 5h14v10H3z' },
    {
      tool: 'ellipse',
      name: 'Ellipse',
      key: 'E',
      icon: 'M10 4.500c4.500 0 7.500 2.500 7.500 5.500s-3 5.500-7.500 5.500S2.500 13 2.500 10 5.500 4.500 10 4.500',
    },
    { tool: 'polygon', name: 'Polygon', key: 'G', icon: 'M4 6l7-3 6 6-3 8-9-2z' },
    { tool: 'freehand', name: 'Freehand', key: 'F', icon: 'M4 12c0-6 4-9 7-8s1 4 4 5 2 6-2 7-9 1-9-4' },
  ],
  [
    {
      tool: 'length',
      name: 'Length',
      key: 'L',
      icon: 'M3 14L14 3l3 3L6 17zM6 11l1.500 1.500M9 8l1.500 1.500M12 5l1.500 1.500',
    },
    { tool: 'angle', name: 'Angle', key: 'D', icon: 'M15 4L4 16h13M9.500 16c0-2-.6-3.400-1.900-4.400' },
  ],
];

export function Toolbar({ store }: { store: Store }) {
  useStore(store);
  const at = store.ui.activeViewport;
  const state = store.ui.viewports[at] as ViewportState;
  const off = state.image === null;
  return (
    <div class="toolbar" role="toolbar" aria-label="Image tools">
      {TOOLS.map((group) => (
        <div class="group" key={group[0]?.tool}>
          {group.map(({ tool, name, key, icon }) => (
            <button
              type="button"
              key={tool}
              aria-label={name}
              aria-keyshortcuts={key}
              title={`${name} (${key})`}
              aria-pressed={store.ui.tool === tool}
              onClick={() => store.set({ tool })}
            >
              <svg viewBox="0 0 20 20" aria-hidden="true">
                <path d={icon} />
              </svg>
            </button>
          ))}
        </div>
      ))}
      <div class="group">
        <WindowPresets store={store} state={state} />
        <Press
          name="Invert"
          keys="I"
          off={off}
          pressed={state.image !== null && state.inverted !== state.image.inverted}
          run={() => invert(store, at)}
          icon="M10 3a7 7 0 1 0 0 14 7 7 0 1 0 0-14M10 3v14M10 6h3.500M10 10h6.500M10 14h3.500"
        />
      </div>
      <div class="group">
        <Press name="Zoom out" keys="-" off={off} run={() => zoomBy(store, 1 / 1.25, at)} icon="M4 10h12" />
        <Press name="Zoom in" keys="+" off={off} run={() => zoomBy(store, 1.25, at)} icon="M4 10h12M10 4v12" />
        <Press
          name="Fit"
          keys="T"
          off={off}
          run={() => everyViewport(store, fit)}
          icon="M3 7V3h4M13 3h4v4M17 13v4h-4M7 17H3v-4M7 7h6v6H7z"
        />
        <Press name="1:1" keys="B" off={off} run={() => oneToOne(store, at)} text="1:1" />
      </div>
      <div class="group">
        <Press name="Rotate left" keys="[" off={off} run={() => rotate(store, false, at)} icon="M5 8a6 6 0 1 1-1 5M5 3v5h5" />
        <Press
          name="Rotate right"
          keys="]"
          off={off}
          run={() => rotate(store, true, at)}
          icon="M15 8a6 6 0 1 0 1 5M15 3v5h-5"
        />
        <Press
          name="Flip horizontally"
          keys="H"
          off={off}
          run={() => flip(store, 'horizontal', at)}
          icon="M10 2v16M7 5L2 15h5zM13 5l5 10h-5z"
        />
        <Press
          name="Flip vertically"
          keys="V"
          off={off}
          run={() => flip(store, 'vertical', at)}
          icon="M2 10h16M5 7l10-5v5zM5 13l10 5v-5z"
        />
        <Press name="Reset view" keys="Home" off={off} run={() => everyViewport(store, resetView)} text="Reset" />
      </div>
    </div>
  );
}

function WindowPresets({ store, state }: { store: Store; state: ViewportState }) {
  const presets = state.image?.presets ?? [];
  const now = presets.findIndex(({ window }) => window.center === state.window.center && window.width === state.window.width);
  return (
    <select
      aria-label="Window"
      title="Window: from the image's header and its own histogram"
      disabled={presets.length === 0}
      value={String(now)}
      onChange={(event) => {
        const chosen = presets[Number(event.currentTarget.value)];
        if (chosen) applyWindow(store, chosen.window, store.ui.activeViewport);
      }}
    >
      {now < 0 && <option value="-1">{state.image ? 'By hand' : 'Window'}</option>}
      {presets.map(({ name }, at) => (
        <option key={name} value={String(at)}>
          {name}
        </option>
      ))}
    </select>
  );
}

interface PressProps {
  readonly name: string;
  readonly keys: string;
  readonly off: boolean;
  readonly run: () => void;
  readonly icon?: string;
  readonly text?: string;
  readonly pressed?: boolean;
}

function Press({ name, keys, off, run, icon, text, pressed }: PressProps) {
  return (
    <button
      type="button"
      aria-label={name}
      aria-keyshortcuts={keys}
      title={`${name} (${keys})`}
      disabled={off}
      onClick={run}
      {...(pressed === undefined ? {} : { 'aria-pressed': pressed })}
    >
      {icon ? (
        <svg viewBox="0 0 20 20" aria-hidden="true">
          <path d={icon} />
        </svg>
      ) : (
        text
      )}
    </button>
  );
}

/** The windows a reader can choose: those of the header, those of the histogram. Never fixed ones: a radiograph has no unit. */

import type { Preset, VoiWindow } from './radiograph-image';
import { between, exact, percentile, type Grey } from './grayscale';
import type { Header } from './header';

/** Parts of a chest image's robust range, from black (0) to white (1) as displayed: lungs are dark, bones bright. */
const CHEST: readonly (readonly [name: string, black: number, white: number])[] = [
  ['Lungs', 0, 0.85], // less, and what lies behind heart and diaphragm is white
  ['Soft tissue', 0.25, 0.9],
  ['Bone', 0.45, 1.05],
];

const INITIAL_NAMES = {
  table: 'Header', sigmoid: 'Header', window: 'Header 1', bits: 'As stored', percentiles: 'Default',
} as const;

/** Return the presets; the first is the image's initial window. */
export function presetsOf(grey: Grey, header: Pick<Header, 'windows' | 'voiFunction' | 'voiLut' | 'inverted'>): Preset[] {
  const made: Preset[] = [{ name: initialName(grey, header), window: grey.initial }];
  if (grey.initialFrom === 'window') {
    header.windows.slice(1).forEach((window, at) => {
      made.push({ name: window.name || `Header ${at + 2}`, window: exact(window, header.voiFunction, grey.distribution) });
    });
  }
  const low = percentile(grey.distribution, 1), high = percentile(grey.distribution, 99);
  if (low !== null && high !== null && high > low) {
    made.push({ name: 'Auto 1–99 %', window: between(low, high) });
    made.push(...CHEST.map(([name, black, white]) => ({ name, window: part(low, high, black, white, header.inverted) })));
  }
  if (grey.highest > grey.lowest) made.push({ name: 'Full range', window: between(grey.lowest, grey.highest) });
  return unique(made);
}

function initialName(grey: Grey, header: Pick<Header, 'windows' | 'voiLut'>): string {
  const own = grey.initialFrom === 'table' ? header.voiLut?.name
    : grey.initialFrom === 'window' || grey.initialFrom === 'sigmoid' ? header.windows[0]?.name : '';
  return own || INITIAL_NAMES[grey.initialFrom];
}

/** On an inverted image the highest values are the dark ones. */
function part(low: number, high: number, black: number, white: number, inverted: boolean): VoiWindow {
  const at = (fraction: number) => (inverted ? high - fraction * (high - low) : low + fraction * (high - low));
  return inverted ? between(at(white), at(black)) : between(at(black), at(white));
}

/** A name that comes twice is numbered, and a window that comes twice is left out. */
function unique(presets: readonly Preset[]): Preset[] {
  const kept: Preset[] = [];
  for (const { name, window } of presets) {
    if (kept.some((other) => other.window.center === window.center && other.window.width === window.width)) continue;
    let free = name;
    for (let number = 2; kept.some((other) => other.name === free); number += 1) free = `${name} (${number})`;
    kept.push({ name: free, window });
  }
  return kept;
}

/** Window presets from the header and the histogram. There are no fixed ones, because radiographs have no unit. */

import type { Preset, VoiWindow } from './radiograph-image';
import { windowBetween, exactWindow, percentile, type Grayscale } from './grayscale';
import type { Header } from './header';

/** A named part of the range between the 1st percentile (0) and the 99th (1), as displayed. */
export type PresetRange = readonly [name: string, black: number, white: number];

const INITIAL_NAMES = {
  table: 'Header',
  sigmoid: 'Header',
  window: 'Header 1',
  bits: 'As stored',
  percentiles: 'Default',
} as const;

/** Return the presets; the first is the image's initial window. */
export function presetsOf(
  grayscale: Grayscale,
  header: Pick<Header, 'windows' | 'voiFunction' | 'voiLut' | 'inverted'>,
  ranges: readonly PresetRange[],
): Preset[] {
  const made: Preset[] = [{ name: initialName(grayscale, header), window: grayscale.initial }];
  if (grayscale.initialFrom === 'window') {
    header.windows.slice(1).forEach((window, at) => {
      made.push({
        name: window.name || `Header ${at + 2}`,
        window: exactWindow(window, header.voiFunction, grayscale.distribution),
      });
    });
  }
  const low = percentile(grayscale.distribution, 1),
    high = percentile(grayscale.distribution, 99);
  if (low !== null && high !== null && high > low) {
    made.push({ name: 'Auto 1–99 %', window: windowBetween(low, high) });
    made.push(
      ...ranges.map(([name, black, white]) => ({ name, window: partOfRange(low, high, black, white, header.inverted) })),
    );
  }
  if (grayscale.highest > grayscale.lowest)
    made.push({ name: 'Full range', window: windowBetween(grayscale.lowest, grayscale.highest) });
  return withoutRepeats(made);
}

function initialName(grayscale: Grayscale, header: Pick<Header, 'windows' | 'voiLut'>): string {
  const own =
    grayscale.initialFrom === 'table'
      ? header.voiLut?.name
      : grayscale.initialFrom === 'window' || grayscale.initialFrom === 'sigmoid'
        ? header.windows[0]?.name
        : '';
  return own || INITIAL_NAMES[grayscale.initialFrom];
}

/** On an inverted image the highest values are the dark ones. */
function partOfRange(low: number, high: number, black: number, white: number, inverted: boolean): VoiWindow {
  const at = (fraction: number) => (inverted ? high - fraction * (high - low) : low + fraction * (high - low));
  return inverted ? windowBetween(at(white), at(black)) : windowBetween(at(black), at(white));
}

/** Number repeated names and leave out repeated windows. */
function withoutRepeats(presets: readonly Preset[]): Preset[] {
  const kept: Preset[] = [];
  for (const { name, window } of presets) {
    if (kept.some((other) => other.window.center === window.center && other.window.width === window.width)) continue;
    let free = name;
    for (let number = 2; kept.some((other) => other.name === free); number += 1) free = `${name} (${number})`;
    kept.push({ name: free, window });
  }
  return kept;
}

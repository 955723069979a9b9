/** A page for tests: loads an image as the worker page does, and compares it with what it should look like. */

import { CHEST_PRESETS } from '../../../radiograph/chest';
import { loadImage } from '../../../shared/pixels/load';
import { ImageError, type RadiographImage } from '../../../shared/pixels/radiograph-image';

/** Return what the image shows in its own window, as the viewer does it. */
function displayed({ values, initial, inverted }: RadiographImage): Float32Array {
  const shown = new Float32Array(values.length);
  for (let at = 0; at < shown.length; at += 1) {
    const gray = Math.min(Math.max((values[at]! - initial.center) / initial.width + 0.5, 0), 1);
    shown[at] = inverted ? 1 - gray : gray;
  }
  return shown;
}

async function check(url: string, expectedUrl: string, renderedUrl: string, stall_ms: number): Promise<object> {
  const progress: (number | null)[] = [],
    start = performance.now();
  try {
    const onProgress = (fraction: number | null) => progress.push(fraction);
    const image = await loadImage({ url, renderedUrl }, { stall_ms, ranges: CHEST_PRESETS, onProgress });
    const ms = performance.now() - start,
      { values, ...about } = image;
    const shown = displayed(image);
    const expected = expectedUrl ? new Float32Array(await (await fetch(expectedUrl)).arrayBuffer()) : shown;
    let worst = shown.length === expected.length ? 0 : Number.POSITIVE_INFINITY;
    for (let at = 0; at < shown.length; at += 1) worst = Math.max(worst, Math.abs(shown[at]! - expected[at]!));
    const type = values.constructor.name,
      first = Array.from(values.subarray(0, 32));
    return { ...about, type, first, worst, ms, progress: progress.at(-1) };
  } catch (error) {
    if (error instanceof ImageError) return { code: error.code, message: error.message };
    return { code: 'not an ImageError', message: String(error) };
  }
}

Object.assign(window, { check });

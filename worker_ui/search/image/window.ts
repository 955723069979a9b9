/** Window and level of the picture in the viewer, on its gray values from 0 to 255. */

export interface GrayWindow {
  readonly center: number;
  readonly width: number;
  readonly inverted: boolean;
}

/** Shows the picture as it came. */
export const WHOLE: GrayWindow = { center: 127.5, width: 255, inverted: false };

/** A drag over this many CSS pixels changes the window by the full range. */
export const DRAG_PIXELS = 400;

/** Make the window wider and higher, in shares of the full range. */
export function windowBy(window: GrayWindow, wider: number, higher: number): GrayWindow {
  const sign = window.inverted ? -1 : 1;
  return {
    ...window,
    width: clamp(window.width + 255 * wider, 1, 1020),
    center: clamp(window.center + sign * 255 * higher, 0, 255),
  };
}

/** Return the displayed gray for each stored gray (PS3.3 C.11.2.1.2, linear exact). */
export function tableOf({ center, width, inverted }: GrayWindow): Uint8ClampedArray {
  const low = center - width / 2;
  return Uint8ClampedArray.from({ length: 256 }, (_, gray) => {
    const shown = (255 * (gray - low)) / width;
    return inverted ? 255 - shown : shown;
  });
}

/** Write the windowed picture; `gray` has one value a pixel, `out` four. */
export function paint(gray: Uint8ClampedArray, table: Uint8ClampedArray, out: Uint8ClampedArray): void {
  for (let at = 0, to = 0; at < gray.length; at += 1, to += 4) {
    const shown = table[gray[at] as number] as number;
    out[to] = out[to + 1] = out[to + 2] = shown;
    out[to + 3] = 255;
  }
}

/** Return one value a pixel: the red channel, as the pictures are gray. */
export function grayOf(rgba: Uint8ClampedArray): Uint8ClampedArray {
  return Uint8ClampedArray.from({ length: rgba.length / 4 }, (_, at) => rgba[4 * at] as number);
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(Math.max(value, low), high);
}

/** A decoded radiograph, where it comes from, and why there may be none. */

export interface ImageSource {
  readonly url: string;
  /** Address of a picture the host rendered, for pixels this page cannot decode; may be empty. */
  readonly renderedUrl: string;
}

export interface VoiWindow {
  readonly center: number;
  readonly width: number;
}

export interface Preset {
  readonly name: string;
  readonly window: VoiWindow;
}

export type Values = Uint8Array | Int16Array | Uint16Array | Float32Array;

/**
 * A decoded grey-scale image, ready to be windowed: displayed = clamp((value - center) / width + 0.5), then inverted if
 * `inverted`. Values are after the Modality LUT or rescale, and after the VOI LUT where there is one; windows are in the same
 * values and in the exact form above whatever function the header names (a SIGMOID is applied to the values beforehand).
 */
export interface RadiographImage {
  readonly rows: number;
  readonly columns: number;
  readonly values: Values;
  readonly lowest: number;
  readonly highest: number;
  /** Millimetres between rows and between columns, or null where the header does not say. */
  readonly spacing_mm: { readonly row: number; readonly column: number } | null;
  /** "detector" for Imager Pixel Spacing: lengths are those on the detector, larger than in the patient. */
  readonly spacingAt: 'patient' | 'detector' | null;
  /** Width over height of one pixel as it is to be shown; 1 where nothing says otherwise. */
  readonly pixelAspect: number;
  readonly inverted: boolean;
  readonly initial: VoiWindow;
  readonly presets: readonly Preset[];
  readonly sopInstanceUid: string;
  /** For the corner of the image, from the header: modality, view position, laterality. Never a name or a date of birth. */
  readonly caption: string;
  /** Set when a rendered picture stands in for the pixels; says so to the reader. Its size may be that of the picture. */
  readonly standIn: string;
}

/** Whatever kept an image from the screen, in a reader's words. */
export class ImageError extends Error {
  constructor(
    readonly code: 'missing' | 'refused' | 'unreachable' | 'slow' | 'truncated' | 'not-dicom' | 'unsupported' | 'worker' | 'webgl',
    message: string,
  ) {
    super(message);
    this.name = 'ImageError';
  }
}

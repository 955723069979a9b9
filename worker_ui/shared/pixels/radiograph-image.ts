/** A decoded radiograph, its source, and the error when it cannot be shown. */

export interface ImageSource {
  readonly url: string;
  /** Address of a picture that the host rendered, for pixels that this page cannot decode; may be empty. */
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
 * A decoded grayscale image before windowing: displayed = clamp((value - center) / width + 0.5), then inverted if
 * `inverted`. Values are after the Modality LUT or rescale, and after the VOI LUT where there is one; windows are in the same
 * values and in the exact form above whatever function the header names (a SIGMOID is applied to the values beforehand).
 */
export interface RadiographImage {
  readonly rows: number;
  readonly columns: number;
  readonly values: Values;
  readonly lowest: number;
  readonly highest: number;
  /** Millimeters between rows and between columns, or null where the header does not give them. */
  readonly spacing_mm: { readonly row: number; readonly column: number } | null;
  /** "detector" for Imager Pixel Spacing: lengths on the detector are larger than in the patient. */
  readonly spacingAt: 'patient' | 'detector' | null;
  /** Displayed width of a pixel over its height; 1 by default. */
  readonly pixelAspect: number;
  readonly inverted: boolean;
  readonly initial: VoiWindow;
  readonly presets: readonly Preset[];
  readonly sopInstanceUid: string;
  /** Text for the corner of the image: modality, view position, laterality. Never a name or a date of birth. */
  readonly caption: string;
  /** Message to the reader when a rendered picture replaces the pixels, else empty. */
  readonly standIn: string;
}

/** Why an image cannot be shown, as a message to the reader. */
export class ImageError extends Error {
  constructor(
    readonly code:
      | 'missing'
      | 'refused'
      | 'unreachable'
      | 'slow'
      | 'truncated'
      | 'not-dicom'
      | 'unsupported'
      | 'worker'
      | 'webgl',
    message: string,
  ) {
    super(message);
    this.name = 'ImageError';
  }
}

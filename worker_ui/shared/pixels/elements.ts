/** Reading single elements of a data set. Whatever is in them, these functions answer. */

import type { DataSet, Element } from 'dicom-parser';

/** Tags by the keywords of PS3.6. */
export const TAGS = {
  SpecificCharacterSet: 'x00080005', SOPInstanceUID: 'x00080018', Modality: 'x00080060', PresentationLUTShape: 'x20500020',
  ViewPosition: 'x00185101', ImageLaterality: 'x00200062', Laterality: 'x00200060',
  ImagerPixelSpacing: 'x00181164', NominalScannedPixelSpacing: 'x00182010', PixelSpacing: 'x00280030',
  PixelSpacingCalibrationType: 'x00280a02', PixelAspectRatio: 'x00280034',
  SamplesPerPixel: 'x00280002', PhotometricInterpretation: 'x00280004', NumberOfFrames: 'x00280008',
  Rows: 'x00280010', Columns: 'x00280011', BitsAllocated: 'x00280100', BitsStored: 'x00280101', HighBit: 'x00280102',
  PixelRepresentation: 'x00280103', PixelPaddingValue: 'x00280120', PixelPaddingRangeLimit: 'x00280121',
  WindowCenter: 'x00281050', WindowWidth: 'x00281051', RescaleIntercept: 'x00281052', RescaleSlope: 'x00281053',
  WindowCenterWidthExplanation: 'x00281055', VOILUTFunction: 'x00281056',
  ModalityLUTSequence: 'x00283000', LUTDescriptor: 'x00283002', LUTExplanation: 'x00283003', LUTData: 'x00283006',
  VOILUTSequence: 'x00283010', PixelData: 'x7fe00010',
} as const;

/** Return an element that has a value. */
export function elementOf(data: DataSet, tag: string): Element | null {
  const element = data.elements[tag];
  return element && element.length > 0 ? element : null;
}

/** Return the text of an element, an empty one where there is none; a byte is a character. */
export function text(data: DataSet, tag: string): string {
  const element = elementOf(data, tag);
  // A length may be anything; no text that is read here is long.
  if (!element || element.items || element.length > 65_536) return '';
  return (data.string(tag) ?? '').trim();
}

/** Return one 16-bit number, or null where the element does not hold exactly one integer. */
export function integer(data: DataSet, tag: string): number | null {
  const element = elementOf(data, tag);
  if (!element || element.items) return null;
  if (element.length === 2) return data.uint16(tag) ?? null;
  // Four bytes are one long integer or, in the usual type of these elements, two values.
  return element.length === 4 && (element.vr === 'SL' || element.vr === 'UL') ? data.int32(tag) ?? null : null;
}

/** Return the numbers of a decimal string; what is no number is NaN. */
export function decimals(data: DataSet, tag: string): number[] {
  const value = text(data, tag);
  return value ? value.split('\\').map(decimal) : [];
}

/** Return the only number of a decimal string, or what stands for it where there is none. */
export function oneDecimal(data: DataSet, tag: string, otherwise: number): number {
  const values = decimals(data, tag);
  return values.length === 1 && Number.isFinite(values[0]) ? values[0]! : otherwise;
}

function decimal(value: string): number {
  return /^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$/.test(value) ? Number(value) : Number.NaN;
}

/** Return what a person may read of a text: one short line, or an empty one where the character set is not known here. */
export function readable(value: string, characterSet: string): string {
  let line = value;
  // Bytes came one by one as characters, which is Latin 1 already.
  if (/[\u0080-\u00ff]/.test(value) && characterSet !== 'ISO_IR 100') {
    if (characterSet !== 'ISO_IR 192') return '';
    line = new TextDecoder('utf-8').decode(Uint8Array.from(value, (character) => character.charCodeAt(0)));
  }
  line = line.replace(/[\p{C}\p{Z}]+/gu, ' ').trim();
  return line.length <= 32 ? line : `${line.slice(0, 31).trimEnd()}…`;
}

/** Return a code string as it may be shown: what the standard allows in one, shortened. */
export function code(data: DataSet, tag: string): string {
  const value = text(data, tag);
  return /^[A-Z0-9 _]{1,16}$/.test(value) ? value : '';
}

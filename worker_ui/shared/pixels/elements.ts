/** Reads the elements of a data set. Invalid values do not throw. */

import {
  bigEndianByteArrayParser,
  ByteStream,
  DataSet,
  littleEndianByteArrayParser,
  parseDicomDataSetExplicit,
  parseDicomDataSetImplicit,
  type Element,
} from 'dicom-parser';

export const IMPLICIT = '1.2.840.10008.1.2',
  BIG_ENDIAN = '1.2.840.10008.1.2.2';

/** Tags by the keywords of PS3.6. */
export const TAGS = {
  SpecificCharacterSet: 'x00080005',
  SOPInstanceUID: 'x00080018',
  Modality: 'x00080060',
  PresentationLUTShape: 'x20500020',
  ViewPosition: 'x00185101',
  ImageLaterality: 'x00200062',
  Laterality: 'x00200060',
  ImagerPixelSpacing: 'x00181164',
  NominalScannedPixelSpacing: 'x00182010',
  PixelSpacing: 'x00280030',
  PixelSpacingCalibrationType: 'x00280a02',
  PixelAspectRatio: 'x00280034',
  SamplesPerPixel: 'x00280002',
  PhotometricInterpretation: 'x00280004',
  NumberOfFrames: 'x00280008',
  Rows: 'x00280010',
  Columns: 'x00280011',
  BitsAllocated: 'x00280100',
  BitsStored: 'x00280101',
  HighBit: 'x00280102',
  PixelRepresentation: 'x00280103',
  PixelPaddingValue: 'x00280120',
  PixelPaddingRangeLimit: 'x00280121',
  WindowCenter: 'x00281050',
  WindowWidth: 'x00281051',
  RescaleIntercept: 'x00281052',
  RescaleSlope: 'x00281053',
  WindowCenterWidthExplanation: 'x00281055',
  VOILUTFunction: 'x00281056',
  ModalityLUTSequence: 'x00283000',
  LUTDescriptor: 'x00283002',
  LUTExplanation: 'x00283003',
  LUTData: 'x00283006',
  VOILUTSequence: 'x00283010',
  PixelData: 'x7fe00010',
} as const;

/** Value representations with a 16-bit length; all others, also future ones, have a 32-bit length (PS3.5 7.1.2, 6.2.2). */
const SHORT_VRS = 'AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US';

/** The parser knows ten of the long value representations; the others, such as OV, SV and UV, are laid out alike. */
class Stream extends ByteStream {
  constructor(bytes: Uint8Array, start: number, bigEndian: boolean) {
    super(bigEndian ? bigEndianByteArrayParser : littleEndianByteArrayParser, bytes, start);
    const read = this.readFixedString;
    this.readFixedString = (length) => {
      const value = read.call(this, length);
      const isLong = length === 2 && /^[A-Z]{2}$/.test(value) && !SHORT_VRS.includes(value);
      return isLong && !['OB', 'OW', 'SQ', 'UN', 'UT'].includes(value) ? 'OD' : value;
    };
  }
}

/** Return the data set that starts at an offset; throws where it cannot be parsed. */
export function parseDataSet(bytes: Uint8Array, start: number, syntax: string): DataSet {
  const stream = new Stream(bytes, start, syntax === BIG_ENDIAN);
  const data = new DataSet(stream.byteArrayParser, bytes, {});
  data.warnings = stream.warnings;
  const parse = syntax === IMPLICIT ? parseDicomDataSetImplicit : parseDicomDataSetExplicit;
  parse(data, stream, bytes.length);
  return data;
}

/** Return an element that has a value. */
export function elementOf(data: DataSet, tag: string): Element | null {
  const element = data.elements[tag];
  return element && element.length > 0 ? element : null;
}

/** Return the text of an element, one character a byte, or an empty text where there is none. */
export function text(data: DataSet, tag: string): string {
  const element = elementOf(data, tag);
  // A damaged length may be huge; no text that is read here is long.
  if (!element || element.items || element.length > 65_536) return '';
  return (data.string(tag) ?? '').trim();
}

/** Return one 16-bit number, or null where the element does not hold exactly one integer. */
export function integer(data: DataSet, tag: string): number | null {
  const element = elementOf(data, tag);
  if (!element || element.items) return null;
  if (element.length === 2) return data.uint16(tag) ?? null;
  // Four bytes are one 32-bit integer or, with the usual VR, two values.
  return element.length === 4 && (element.vr === 'SL' || element.vr === 'UL') ? (data.int32(tag) ?? null) : null;
}

/** Return the numbers of an element, in whatever value representation they are written; text that is no number is NaN. */
export function numbers(data: DataSet, tag: string): number[] {
  const element = elementOf(data, tag),
    binary = element ? BINARY[vrOf(data, element)] : undefined;
  if (!element || !binary) {
    const value = text(data, tag);
    return value ? value.split('\\').map(decimal) : [];
  }
  const view = new DataView(data.byteArray.buffer, data.byteArray.byteOffset + element.dataOffset, element.length);
  const isLittle = data.byteArrayParser !== bigEndianByteArrayParser,
    count = Math.min(element.length / binary.bytes, 64);
  return Array.from({ length: Math.floor(count) }, (_, at) => binary.read(view, at * binary.bytes, isLittle));
}

/** Return the value representation as written; `Stream` gives the parser OD for those that it does not know. */
function vrOf(data: DataSet, { vr = '', dataOffset }: Element): string {
  return vr === 'OD' ? String.fromCharCode(...data.byteArray.subarray(dataOffset - 8, dataOffset - 6)) : vr;
}

/** Number types of PS3.5 6.2. */
const BINARY: Readonly<Record<string, { bytes: number; read: (view: DataView, at: number, isLittle: boolean) => number }>> = {
  US: { bytes: 2, read: (view, at, isLittle) => view.getUint16(at, isLittle) },
  SS: { bytes: 2, read: (view, at, isLittle) => view.getInt16(at, isLittle) },
  UL: { bytes: 4, read: (view, at, isLittle) => view.getUint32(at, isLittle) },
  SL: { bytes: 4, read: (view, at, isLittle) => view.getInt32(at, isLittle) },
  FL: { bytes: 4, read: (view, at, isLittle) => view.getFloat32(at, isLittle) },
  FD: { bytes: 8, read: (view, at, isLittle) => view.getFloat64(at, isLittle) },
  SV: { bytes: 8, read: (view, at, isLittle) => Number(view.getBigInt64(at, isLittle)) },
  UV: { bytes: 8, read: (view, at, isLittle) => Number(view.getBigUint64(at, isLittle)) },
};

/** Return the only number of an element, or the default where there is none. */
export function oneNumber(data: DataSet, tag: string, otherwise: number): number {
  const values = numbers(data, tag);
  return values.length === 1 && Number.isFinite(values[0]) ? values[0]! : otherwise;
}

function decimal(value: string): number {
  return /^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$/.test(value) ? Number(value) : Number.NaN;
}

/** Return a text as one short line, or empty where its character set is not supported. */
export function readableLine(value: string, characterSet: string): string {
  let line = value;
  // Each byte was read as one character, which is Latin 1.
  if (/[\u0080-\u00ff]/.test(value) && characterSet !== 'ISO_IR 100') {
    if (characterSet !== 'ISO_IR 192') return '';
    line = new TextDecoder('utf-8').decode(Uint8Array.from(value, (character) => character.charCodeAt(0)));
  }
  line = line.replace(/[\p{C}\p{Z}]+/gu, ' ').trim();
  return line.length <= 32 ? line : `${line.slice(0, 31).trimEnd()}…`;
}

/** Return a valid code string, or an empty text. */
export function code(data: DataSet, tag: string): string {
  const value = text(data, tag);
  return /^[A-Z0-9 _]{1,16}$/.test(value) ? value : '';
}

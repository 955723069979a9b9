// @vitest-environment node
import { describe, expect, it } from 'vitest';

import { grayscaleOf } from '../../shared/pixels/grayscale';
import { parse, type Header } from '../../shared/pixels/header';
import { nativeValues } from '../../shared/pixels/stored';

const LONG = ['OB', 'OW', 'OV', 'SQ', 'SV', 'UN', 'UT', 'UV'];

/** One element in Explicit VR Little Endian. */
function element(tag: number, vr: string, value: Uint8Array): Uint8Array {
  const head = new Uint8Array(LONG.includes(vr) ? 12 : 8),
    view = new DataView(head.buffer);
  view.setUint16(0, tag >>> 16, true);
  view.setUint16(2, tag & 0xffff, true);
  head.set([vr.charCodeAt(0), vr.charCodeAt(1)], 4);
  if (head.length === 12) view.setUint32(8, value.length, true);
  else view.setUint16(6, value.length, true);
  return joined(head, value);
}

function joined(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

const text = (value: string) => new TextEncoder().encode(value.length % 2 ? `${value} ` : value);
const words = (...values: number[]) => new Uint8Array(Uint16Array.from(values).buffer);
const doubles = (...values: number[]) => new Uint8Array(Float64Array.from(values).buffer);
const longs = (...values: number[]) => new Uint8Array(BigInt64Array.from(values.map(BigInt)).buffer);

const item = (...elements: Uint8Array[]) => {
  const content = joined(...elements),
    head = new Uint8Array(8);
  head.set([0xfe, 0xff, 0x00, 0xe0]);
  new DataView(head.buffer).setUint32(4, content.length, true);
  return joined(head, content);
};

/** A LUT item; `vr` is that of the descriptor. */
const lut = (descriptor: number[], data: Uint8Array, vr = 'US') =>
  item(element(0x00283002, vr, words(...descriptor)), element(0x00283006, 'OW', data));

const MODALITY_LUT = 0x00283000,
  VOI_LUT = 0x00283010,
  WINDOW_CENTER = 0x00281050,
  WINDOW_WIDTH = 0x00281051;

/** A file of one row with 12-bit pixels in 16 bits; `more` are elements between Pixel Representation and Pixel Data. */
function file(pixels: number[], signed: boolean, more: Uint8Array[], before: Uint8Array[] = []): Uint8Array<ArrayBuffer> {
  const syntax = element(0x00020010, 'UI', new TextEncoder().encode('1.2.840.10008.1.2.1\0'));
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, syntax.length, true);
  return joined(
    new Uint8Array(128),
    new TextEncoder().encode('DICM'),
    element(0x00020000, 'UL', length),
    syntax,
    ...before,
    element(0x00280002, 'US', words(1)),
    element(0x00280004, 'CS', text('MONOCHROME2')),
    element(0x00280010, 'US', words(1)),
    element(0x00280011, 'US', words(pixels.length)),
    element(0x00280100, 'US', words(16)),
    element(0x00280101, 'US', words(12)),
    element(0x00280102, 'US', words(11)),
    element(0x00280103, 'US', words(signed ? 1 : 0)),
    ...more,
    element(0x7fe00010, 'OW', words(...pixels)),
  );
}

/** What the page displays, from 0 (black) to 1 (white). */
async function displayed(bytes: Uint8Array<ArrayBuffer>): Promise<number[]> {
  const { header, pixels } = await parse(bytes);
  const { values, initial } = grayscaleOf(nativeValues(pixels!, header), header);
  return [...values].map((value) => Math.min(Math.max((value - initial.center) / initial.width + 0.5, 0), 1));
}

async function headerOf(...more: Uint8Array[]): Promise<Header> {
  return (await parse(file([0], false, more))).header;
}

describe('value representations that the parser does not know', () => {
  it.each(['OV', 'SV', 'UV'])('%s is skipped by its 32-bit length, in sequences too', async (vr) => {
    const value = element(0x00091001, vr, longs(1, 2, 3));
    const nested = element(0x00091002, 'SQ', item(value));
    const { header } = await parse(file([0, 1], false, [], [value, nested]));
    expect([header.rows, header.columns, header.bitsStored]).toEqual([1, 2, 12]);
  });
});

describe('the first value that a table maps', () => {
  const rising = Array.from({ length: 4096 }, (_, at) => at);

  it.each(['US', 'SS'])('has the sign of the pixels in a Modality LUT, written as %s', async (vr) => {
    const table = element(MODALITY_LUT, 'SQ', lut([4096, 0xf800, 16], words(...rising), vr)); // -2048
    const window = [element(WINDOW_CENTER, 'DS', text('2048')), element(WINDOW_WIDTH, 'DS', text('4096'))];
    const [low, middle, high] = await displayed(file([0x800, 0, 0x7ff], true, [...window, table]));
    expect(low).toBeLessThan(0.001);
    expect(middle).toBeCloseTo(0.5, 3);
    expect(high).toBeGreaterThan(0.999);
  });

  it.each(['US', 'SS'])('has the sign of the rescaled values in a VOI LUT, written as %s', async (vr) => {
    const rescale = [element(0x00281052, 'DS', text('-1024')), element(0x00281053, 'DS', text('1'))];
    const table = element(VOI_LUT, 'SQ', lut([4096, 0xfc00, 12], words(...rising), vr)); // -1024
    const shown = await displayed(file([0, 2048, 4095], false, [...rescale, table]));
    expect(shown.map((one) => Math.round(one * 4095))).toEqual([0, 2048, 4095]);
  });

  it.each(['US', 'SS'])('is unsigned where rescaling lifts signed pixels above zero, written as %s', async (vr) => {
    const rescale = [element(0x00281052, 'DS', text('40960')), element(0x00281053, 'DS', text('1'))];
    const table = element(VOI_LUT, 'SQ', lut([4096, 0x9800, 12], words(...rising), vr)); // 38912 = 40960 - 2048
    const shown = await displayed(file([0x800, 0, 0x7ff], true, [...rescale, table]));
    expect(shown.map((one) => Math.round(one * 4095))).toEqual([0, 2048, 4095]);
  });

  it('is unsigned behind a Modality LUT', async () => {
    const modality = element(MODALITY_LUT, 'SQ', lut([2, 0, 16], words(0x9000, 0x9001)));
    const voi = element(VOI_LUT, 'SQ', lut([2, 0x9000, 8], words(10, 200), 'SS'));
    const shown = await displayed(file([0, 1], true, [modality, voi]));
    expect(shown.map((one) => Math.round(one * 255))).toEqual([10, 200]);
  });
});

describe('a table', () => {
  it('that is shorter than its descriptor keeps its 16-bit entries; values above them get the last one', async () => {
    const entries = Array.from({ length: 3000 }, (_, at) => at);
    const table = element(VOI_LUT, 'SQ', lut([4096, 0, 12], words(...entries)));
    const shown = await displayed(file([0, 1000, 2999, 4095], false, [table]));
    expect(shown.map((one) => Math.round(one * 4095))).toEqual([0, 1000, 2999, 2999]);
  });

  it('of more than 16 bits an entry is refused', async () => {
    const table = element(VOI_LUT, 'SQ', lut([1, 0, 17], words(1)));
    await expect(displayed(file([0], false, [table]))).rejects.toThrow(/lookup table/);
  });

  it('of 8-bit entries may be packed two to a word', async () => {
    const table = element(VOI_LUT, 'SQ', lut([4, 0, 8], Uint8Array.of(10, 20, 30, 40)));
    const shown = await displayed(file([0, 1, 2, 3], false, [table]));
    expect(shown.map((one) => Math.round(one * 255))).toEqual([10, 20, 30, 40]);
  });
});

describe('the window', () => {
  it.each([
    ['DS', text('2048'), text('1000')],
    ['UT', text('2048'), text('1000')],
    ['LO', text('2048'), text('1000')],
    ['US', words(2048), words(1000)],
    ['SS', words(2048), words(1000)],
    ['FD', doubles(2048), doubles(1000)],
    ['SV', longs(2048), longs(1000)],
  ])('is read from elements with the value representation %s', async (vr, center, width) => {
    const { windows } = await headerOf(element(WINDOW_CENTER, vr, center), element(WINDOW_WIDTH, vr, width));
    expect(windows).toEqual([{ center: 2048, width: 1000, name: '' }]);
  });

  it('may have several values of a binary type', async () => {
    const { windows } = await headerOf(
      element(WINDOW_CENTER, 'US', words(100, 200)),
      element(WINDOW_WIDTH, 'FD', doubles(10.5, 20)),
    );
    expect(windows.map(({ center, width }) => [center, width])).toEqual([
      [100, 10.5],
      [200, 20],
    ]);
  });

  it('that is no number is left out', async () => {
    const { windows } = await headerOf(element(WINDOW_CENTER, 'FD', doubles(NaN)), element(WINDOW_WIDTH, 'FD', doubles(10)));
    expect(windows).toEqual([]);
  });
});

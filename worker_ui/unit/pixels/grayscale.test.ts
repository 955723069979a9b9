// @vitest-environment node
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { CHEST_PRESETS } from '../../radiograph/chest';
import { codeStream, isEnded } from '../../shared/pixels/codestream';
import { exactWindow, grayscaleOf, percentile } from '../../shared/pixels/grayscale';
import { resampled } from '../../shared/pixels/picture';
import { presetsOf } from '../../shared/pixels/presets';
import { decodeRle } from '../../shared/pixels/rle';
import { storedValues } from '../../shared/pixels/stored';

const PLAIN = {
  modalityLut: null,
  voiLut: null,
  slope: 1,
  intercept: 0,
  windows: [],
  voiFunction: 'LINEAR',
  inverted: false,
  padding: null,
  bitsStored: 16,
  signed: false,
} as const;

const between = (min: number, max: number) => fc.integer({ min, max });

const shown = (value: number, { center, width }: { center: number; width: number }) =>
  Math.min(Math.max((value - center) / width + 0.5, 0), 1);

describe('stored values', () => {
  it('lose what is around them and keep their sign', () => {
    expect([...storedValues(Uint16Array.of(0xf123, 0x7fff), { bitsStored: 12, signed: false })]).toEqual([0x123, 0xfff]);
    expect([...storedValues(Uint16Array.of(0x0fff, 0x1801), { bitsStored: 12, signed: true })]).toEqual([-1, -2047]);
    expect([...storedValues(Uint16Array.of(0x1230, 0xffff), { bitsStored: 12, signed: false }, 4)]).toEqual([0x123, 0xfff]);
    expect([...storedValues(Uint8Array.of(0x3f, 0xe0), { bitsStored: 6, signed: true })]).toEqual([-1, -32]);
    expect([...storedValues(Uint8Array.of(255), { bitsStored: 8, signed: true })]).toEqual([-1]);
  });

  it('are the same for every pattern, whichever way they are made', () => {
    fc.assert(
      fc.property(between(0, 65_535), between(1, 16), fc.boolean(), (word, bitsStored, signed) => {
        const low = BigInt(word) & ((1n << BigInt(bitsStored)) - 1n);
        const wanted = Number(signed ? BigInt.asIntN(bitsStored, low) : low);
        expect(storedValues(Uint16Array.of(word), { bitsStored, signed })[0]).toBe(wanted);
      }),
    );
  });
});

describe('the grayscale pipeline', () => {
  it('leaves the pixels where they are when it has nothing to do', () => {
    const stored = Uint16Array.of(5, 900, 70);
    const grayscale = grayscaleOf(stored, PLAIN);
    expect(grayscale.values).toBe(stored);
    expect([grayscale.lowest, grayscale.highest]).toEqual([5, 900]);
  });

  it('finds every percentile that sorting finds', () => {
    const images = fc.array(between(0, 500), { minLength: 1, maxLength: 300 });
    fc.assert(
      fc.property(images, between(1, 100), (all, percent) => {
        const { distribution } = grayscaleOf(Uint16Array.from(all), PLAIN);
        const sorted = [...all].sort((one, other) => one - other);
        expect(percentile(distribution, percent)).toBe(sorted[Math.max(0, Math.ceil((percent / 100) * all.length) - 1)]);
      }),
    );
  });

  it('shows a window of the header as the standard says, in the exact form', () => {
    fc.assert(
      fc.property(between(-2000, 2000), between(2, 4000), between(-4000, 4000), (center, width, value) => {
        const standard = Math.min(Math.max((value - (center - 0.5)) / (width - 1) + 0.5, 0), 1);
        const { distribution } = grayscaleOf(Int16Array.of(value), { ...PLAIN, signed: true });
        expect(shown(value, exactWindow({ center, width }, 'LINEAR', distribution))).toBeCloseTo(standard, 9);
      }),
    );
  });

  it('puts padding out of reach of every window a reader could want', () => {
    for (const inverted of [false, true]) {
      const { values, lowest, highest } = grayscaleOf(Uint16Array.of(0, 100, 200), { ...PLAIN, padding: [0, 0], inverted });
      expect([lowest, highest]).toEqual([100, 200]);
      expect(shown(values[0]!, { center: 150, width: 1000 })).toBe(inverted ? 1 : 0);
    }
  });

  it('offers no window twice and no name twice', () => {
    const windows = [1, 2, 3].map((center) => ({ center, width: 9, name: 'NORMAL' }));
    const header = { ...PLAIN, windows: [...windows, windows[0]!] };
    const presets = presetsOf(
      grayscaleOf(
        Uint16Array.from({ length: 900 }, (_, at) => at),
        header,
      ),
      header,
      CHEST_PRESETS,
    );
    expect(presets.map(({ name }) => name)).toEqual([
      'NORMAL',
      'NORMAL (2)',
      'NORMAL (3)',
      'Auto 1–99 %',
      'Lungs',
      'Soft tissue',
      'Bone',
      'Full range',
    ]);
  });
});

describe('code streams', () => {
  const jpeg = (marker: number) =>
    Uint8Array.of(0xff, 0xd8, 0xff, 0xe0, 0, 4, 1, 2, 0xff, 0xff, marker, 0, 11, 12, 0, 7, 0, 9, 1, 0, 0, 0);

  it('say what they are', () => {
    expect(codeStream(jpeg(0xc3))).toMatchObject({ kind: 'jpeg-lossless', rows: 7, columns: 9, precision: 12, components: 1 });
    expect(codeStream(jpeg(0xc1))).toMatchObject({ kind: 'jpeg' });
    expect(codeStream(jpeg(0xf7))).toMatchObject({ kind: 'jpeg-ls' });
  });

  it('may be anything without harm', () => {
    const starts = fc.constantFrom([0xff, 0xd8], [0xff, 0x4f, 0xff, 0x51], [0, 0, 0, 12, 0x6a, 0x50, 0x20, 0x20]);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), starts, (bytes, start) => {
        codeStream(Uint8Array.from([...start, ...bytes]));
        isEnded(bytes);
      }),
    );
  });
});

describe('RLE', () => {
  const frame = (segments: readonly (readonly number[])[]) => {
    const header = new Uint32Array(16);
    header[0] = segments.length;
    segments.reduce((at, segment, number) => ((header[number + 1] = at), at + segment.length), 64);
    return Uint8Array.from([...new Uint8Array(header.buffer), ...segments.flat()]);
  };

  it('is unpacked, the high byte first', () => {
    expect([
      ...decodeRle(
        frame([
          [254, 1],
          [2, 7, 8, 9],
        ]),
        3,
        2,
      ),
    ]).toEqual([0x107, 0x108, 0x109]);
    expect([...decodeRle(frame([[128, 1, 4, 5, 255, 6, 0]]), 4, 1)]).toEqual([4, 5, 6, 6]);
  });

  it('that ends too early is an error', () => {
    expect(() => decodeRle(frame([[1, 4]]), 4, 1)).toThrow(RangeError);
    expect(() => decodeRle(frame([[1, 4, 5]]), 4, 1)).toThrow(RangeError);
    expect(() => decodeRle(frame([[1, 4, 5]]), 2, 2)).toThrow(RangeError);
    expect(() => decodeRle(new Uint8Array(3), 2, 2)).toThrow(RangeError);
  });
});

describe('a picture that stands in', () => {
  it('keeps its edges where they are on the image', () => {
    const picture = { rows: 1, columns: 4, values: Uint8Array.of(0, 0, 200, 200) };
    expect([...resampled(picture, 1, 8)]).toEqual([0, 0, 0, 50, 150, 200, 200, 200]);
    expect([...resampled(picture, 2, 4)]).toEqual([0, 0, 200, 200, 0, 0, 200, 200]);
  });
});

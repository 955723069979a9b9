import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { piecesOf, slice } from '../../search/parts/offsets';

const marked = (text: string, begin: number, end: number): string[] =>
  piecesOf(text, [{ begin, end }])
    .filter((piece) => piece.marked)
    .map((piece) => piece.text);

describe('pieces of a text', () => {
  it('counts code points, as the service does, and not UTF-16 units', () => {
    const text = 'Fever 🤒🤒 and no effusion.';
    expect(marked(text, 13, 24)).toEqual(['no effusion']);
    expect(slice(text, { begin: 16, end: 24 })).toBe('effusion');
    expect(slice('🤒ab', { begin: 1, end: 2 })).toBe('a');
  });

  it('joins spans that touch, and ignores what is outside of the text or empty', () => {
    const spans = [
      { begin: 4, end: 6 },
      { begin: 0, end: 2 },
      { begin: 1, end: 4 },
      { begin: 9, end: 9 },
      { begin: -3, end: 0 },
      { begin: 50, end: 60 },
      { begin: 8, end: 99 },
    ];
    expect(piecesOf('abcdefghij', spans)).toEqual([
      { text: 'abcdef', marked: true },
      { text: 'gh', marked: false },
      { text: 'ij', marked: true },
    ]);
  });

  it('gives the whole text back, whatever the spans', () => {
    const span = fc.record({ begin: fc.integer({ min: -5, max: 60 }), end: fc.integer({ min: -5, max: 60 }) });
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 40 }), fc.array(span, { maxLength: 6 }), (text, spans) => {
        const pieces = piecesOf(text, spans);
        expect(pieces.map((piece) => piece.text).join('')).toBe(text);
        expect(pieces.every((piece, at) => at === 0 || piece.marked !== pieces[at - 1]?.marked)).toBe(true);
      }),
    );
  });
});

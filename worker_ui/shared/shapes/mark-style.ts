/** How marks of others are told apart: by colour, by dashes and by a letter. */

/** SVG dash patterns by reader, from the first on; they repeat like the colours --reader-1 … --reader-6. */
const READER_DASHES: readonly string[] = ['10 4', '3 3', '14 4 3 4', '6 6', '14 4 3 4 3 4', '2 6'];

/** Dash pattern of the model's marks. */
export const MODEL_DASH = '1 5';

export function readerDash(index: number): string {
  return READER_DASHES[index % READER_DASHES.length]!;
}

/** Class that gives a mark the reader's colour. */
export function readerClass(index: number): string {
  return `mark-reader-${(index % READER_DASHES.length) + 1}`;
}

/** How the marks of readers and model are distinguished: by color, dash pattern and letter. */

/** SVG dash patterns by reader; they repeat as the colors --reader-1 … --reader-6 do. */
const READER_DASHES: readonly string[] = ['10 4', '3 3', '14 4 3 4', '6 6', '14 4 3 4 3 4', '2 6'];

/** Dash pattern of the model's marks. */
export const MODEL_DASH = '1 5';

export function readerDash(index: number): string {
  return READER_DASHES[index % READER_DASHES.length]!;
}

/** Return the CSS class that gives a mark the reader's color. */
export function readerClass(index: number): string {
  return `mark-reader-${(index % READER_DASHES.length) + 1}`;
}

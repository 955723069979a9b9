/** Pieces of a text between offsets. The service counts code points; JavaScript counts UTF-16 units. */

export interface Span {
  readonly begin: number;
  readonly end: number;
}

export interface Piece {
  readonly text: string;
  readonly marked: boolean;
}

/** Return the pieces of a text, in order, together the whole text; overlapping spans make one piece. */
export function piecesOf(text: string, spans: readonly Span[]): readonly Piece[] {
  const points = Array.from(text);
  const pieces: Piece[] = [];
  let at = 0;
  for (const { begin, end } of merged(spans, points.length)) {
    if (begin > at) pieces.push({ text: points.slice(at, begin).join(''), marked: false });
    pieces.push({ text: points.slice(begin, end).join(''), marked: true });
    at = end;
  }
  if (at < points.length) pieces.push({ text: points.slice(at).join(''), marked: false });
  return pieces;
}

/** Return the part of a text between two offsets in code points. */
export function slice(text: string, { begin, end }: Span): string {
  return Array.from(text).slice(begin, end).join('');
}

function merged(spans: readonly Span[], length: number): Span[] {
  const valid = spans
    .map(({ begin, end }) => ({ begin: Math.max(0, Math.trunc(begin)), end: Math.min(length, Math.trunc(end)) }))
    .filter(({ begin, end }) => begin < end)
    .sort((one, other) => one.begin - other.begin);
  const out: Span[] = [];
  for (const span of valid) {
    const last = out.at(-1);
    if (last && span.begin <= last.end) out[out.length - 1] = { begin: last.begin, end: Math.max(last.end, span.end) };
    else out.push(span);
  }
  return out;
}

/** A text of a report with what matched marked. Text goes in as text nodes, never as HTML. */

import { piecesOf, type Span } from './offsets';

export function Highlighted({ text, marks }: { readonly text: string; readonly marks: readonly Span[] }) {
  return (
    <>
      {piecesOf(text, marks).map(({ text: piece, marked }, at) =>
        marked ? <mark key={at}>{piece}</mark> : <span key={at}>{piece}</span>,
      )}
    </>
  );
}

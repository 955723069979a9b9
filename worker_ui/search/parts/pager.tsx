/** Going through the pages of a list; where a page begins is known from the pages before it. */

interface Props {
  readonly page: number;
  readonly size: number;
  readonly shown: number;
  readonly total: number;
  readonly more: boolean;
  readonly onPrevious: () => void;
  readonly onNext: () => void;
}

export function Pager({ page, size, shown, total, more, onPrevious, onNext }: Props) {
  if (total <= shown && page === 0) return null;
  const from = page * size + 1;
  return (
    <nav class="pager" aria-label="Pages">
      <button type="button" disabled={page === 0} onClick={onPrevious}>
        ‹ Previous
      </button>
      <span>
        {`${from.toLocaleString('en-US')}–${(from + shown - 1).toLocaleString('en-US')} of ${total.toLocaleString('en-US')}`}
      </span>
      <button type="button" disabled={!more} onClick={onNext}>
        Next ›
      </button>
    </nav>
  );
}

/** One line that says what the search is doing or found, read out by screen readers. */

import type { ServiceError } from '../transport/transport';

interface Props {
  readonly busy: boolean;
  readonly error: ServiceError | null;
  readonly found: string;
  readonly none: boolean;
  readonly onAgain: () => void;
}

export function Status({ busy, error, found, none, onAgain }: Props) {
  if (error) {
    return (
      <div class="status error" role="alert">
        {error.message}{' '}
        <button type="button" onClick={onAgain}>
          Try again
        </button>
      </div>
    );
  }
  return (
    <div class={`status${none && !busy ? ' none' : ''}`} role="status">
      {busy ? 'Searching…' : none ? 'Sorry, no results.' : found}
    </div>
  );
}

/** The comment on the image, and the reason why it cannot be read. */

import { LIMITS } from '../answer/form';
import type { Store } from '../state/store';
import { REASON_CODES, type ReasonCode } from '../state/types';
import { focusOn, PLACES } from '../input/focus';

export function CommentAndReason({ store }: { store: Store }) {
  const { comment, unusable } = store.reading;
  const missing = (place: string): boolean => store.ui.complaints.some(({ at }) => at === place);
  return (
    <section class="remarks" aria-label="Remarks">
      <textarea
        id={PLACES.comment}
        class={missing('comment') ? 'missing' : ''}
        aria-label="Comment on the image"
        aria-keyshortcuts="C"
        rows={comment.length > 60 ? 3 : 1}
        placeholder="Comment on the image"
        maxLength={LIMITS.comment}
        value={comment}
        aria-invalid={missing('comment')}
        onInput={(event) => store.dispatch({ kind: 'comment', comment: event.currentTarget.value }, 'comment')}
      />
      <label class="reason">
        <span>Why can it not be read?</span>
        <select
          id={PLACES.unusable}
          class={unusable ? 'set' : ''}
          aria-label="Why can it not be read?"
          value={unusable}
          aria-invalid={missing('unusable')}
          onChange={(event) => {
            store.dispatch({ kind: 'unusable', code: event.currentTarget.value });
            if (event.currentTarget.value === 'other' && comment.trim() === '') focusOn(PLACES.comment);
          }}
        >
          <option value="">Readable</option>
          {REASON_CODES.map((code) => (
            <option key={code} value={code}>
              {store.task.labelSet.unusableReasons[code]}
            </option>
          ))}
        </select>
      </label>
    </section>
  );
}

/** Says that findings are kept but not sent while the image is reported as not readable. */
export function NotReadable({ store }: { store: Store }) {
  const { unusable } = store.reading;
  if (unusable === '') return null;
  const reason = store.task.labelSet.unusableReasons[unusable as ReasonCode];
  return (
    <div class="set-aside" role="status">
      <p>
        <b>Not readable: {reason}.</b> Findings and regions are kept, but not sent.
      </p>
      <button type="button" onClick={() => store.dispatch({ kind: 'unusable', code: '' })}>
        It can be read
      </button>
    </div>
  );
}

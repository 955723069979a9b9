/** What a report says of a finding, shown by a sign, a fill and a color, so that no color has to be told from another. */

export type State = 'positive' | 'negative' | 'uncertain';

export const STATES: readonly State[] = ['positive', 'uncertain', 'negative'];

export const STATE_WORDS: Readonly<Record<State, { readonly title: string; readonly word: string }>> = {
  positive: { title: 'Positive', word: 'stated as present' },
  uncertain: { title: 'Uncertain', word: 'stated as uncertain' },
  negative: { title: 'Negative', word: 'stated as absent' },
};

export function isState(value: string): value is State {
  return (STATES as readonly string[]).includes(value);
}

/** A sign of its own shape for each state: a filled disk with plus, a half-filled disk, a ring with minus. */
export function StateIcon({ state }: { readonly state: State }) {
  return (
    <svg class={`state-icon ${state}`} viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      {state === 'positive' && <circle class="fill" cx="8" cy="8" r="7" />}
      {state === 'positive' && <path class="sign-on" d="M8 4.5v7M4.5 8h7" />}
      {state === 'uncertain' && <circle class="ring" cx="8" cy="8" r="6.2" />}
      {state === 'uncertain' && <path class="fill" d="M8 1.8a6.2 6.2 0 0 0 0 12.4z" />}
      {state === 'negative' && <circle class="ring" cx="8" cy="8" r="6.2" />}
      {state === 'negative' && <path class="sign" d="M4.8 8h6.4" />}
    </svg>
  );
}

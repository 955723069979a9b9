/** Small controls of the panel. */

import { useState } from 'preact/hooks';

interface NumberFieldProps {
  readonly sign: string;
  readonly name: string;
  readonly value: number;
  readonly least: number;
  readonly onValue: (value: number) => void;
}

/** A number field that ignores incomplete input. */
export function NumberField({ sign, name, value, least, onValue }: NumberFieldProps) {
  const [typed, setTyped] = useState<string | null>(null);
  const shown = String(Math.round(value * 100) / 100);
  return (
    <label class="number-field">
      <span aria-hidden="true">{sign}</span>
      <input
        type="number"
        aria-label={name}
        title={name}
        value={typed ?? shown}
        step="any"
        inputMode="decimal"
        autocomplete="off"
        onKeyDown={preventEnter}
        onInput={(event) => {
          const text = event.currentTarget.value;
          setTyped(text);
          if (text !== '' && Number.isFinite(Number(text)) && Number(text) >= least) onValue(Number(text));
        }}
        onBlur={() => setTyped(null)}
      />
    </label>
  );
}

/** Keep Enter from submitting the surrounding form. */
export function preventEnter(event: KeyboardEvent): void {
  if (event.key === 'Enter' && !event.ctrlKey && !event.metaKey) event.preventDefault();
}

/** Line icons of 20 by 20, in the text color. */

export function Icon({ path }: { path: string }) {
  return (
    <svg class="icon" viewBox="0 0 20 20" aria-hidden="true">
      <path d={path} />
    </svg>
  );
}

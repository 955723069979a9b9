/** Signs, diagnoses and symptoms of a report; each opens the sentence that states it. */

import { useState } from 'preact/hooks';

import type { Finding } from '../api/types';
import { isState, StateIcon, STATES, STATE_WORDS } from './states';

const COLUMNS = [
  { kind: 'sign', title: 'Signs' },
  { kind: 'diagnosis', title: 'Diagnoses' },
  { kind: 'symptom', title: 'Symptoms' },
] as const;

const LATERALITY: Readonly<Record<string, string>> = { left: 'left', right: 'right', bilateral: 'both sides' };

interface Props {
  readonly findings: readonly Finding[];
  /** For the ids of what the buttons open. */
  readonly id: string;
}

export function FindingColumns({ findings, id }: Props) {
  const [open, setOpen] = useState<Finding | null>(null);
  const shown = distinct(findings);
  if (shown.length === 0) return <p class="quiet">No finding was read out of this report.</p>;
  const evidence = `${id}-evidence`;
  return (
    <div class="findings">
      <div class="columns">
        {COLUMNS.map(({ kind, title }) => {
          const mine = shown.filter((one) => one.kind === kind);
          return (
            <section key={kind} aria-label={title}>
              <h4>{title}</h4>
              {mine.length === 0 && <p class="quiet">none</p>}
              <ul>
                {mine.map((one) => (
                  <li key={`${one.state} ${one.concept} ${one.laterality}`}>
                    <FindingButton
                      finding={one}
                      open={one === open}
                      controls={evidence}
                      onOpen={() => setOpen(one === open ? null : one)}
                    />
                  </li>
                ))}
              </ul>
            </section>
          );
        })}
      </div>
      <div id={evidence} class="evidence" role="status">
        {open && shown.includes(open) && <Evidence finding={open} />}
      </div>
    </div>
  );
}

interface ButtonProps {
  readonly finding: Finding;
  readonly open: boolean;
  readonly controls: string;
  readonly onOpen: () => void;
}

function FindingButton({ finding: { concept, state, laterality }, open, controls, onOpen }: ButtonProps) {
  if (!isState(state)) return null;
  const side = LATERALITY[laterality];
  return (
    <button type="button" class={`finding ${state}`} aria-expanded={open} aria-controls={controls} onClick={onOpen}>
      <StateIcon state={state} />
      <span>
        {concept}
        {side && <span class="quiet"> {side}</span>}
        <span class="unseen">, {STATE_WORDS[state].word}</span>
      </span>
    </button>
  );
}

function Evidence({ finding }: { readonly finding: Finding }) {
  const { concept, state, sentence, section, code, codeText } = finding;
  return (
    <>
      <q>{sentence}</q>
      <p class="quiet">
        {[
          concept,
          isState(state) ? STATE_WORDS[state].word : state,
          section && `in ${section}`,
          [code, codeText].filter(Boolean).join(' '),
        ]
          .filter(Boolean)
          .join(' · ')}
      </p>
    </>
  );
}

/** One entry for each concept, state and side, by state; what is not of this patient now is left out. */
function distinct(findings: readonly Finding[]): readonly Finding[] {
  const seen = new Map<string, Finding>();
  for (const one of findings) {
    const key = `${one.state} ${one.concept} ${one.laterality}`;
    if (isState(one.state) && !seen.has(key)) seen.set(key, one);
  }
  return STATES.flatMap((state) => [...seen.values()].filter((one) => one.state === state));
}

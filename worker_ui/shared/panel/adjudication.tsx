/** Adjudication: a table of the readers' disagreements, and a collapsed list of what they agree on. */

import { adjudicates, agreed, disagreements } from '../state/disagreements';
import { readerDash } from '../shapes/mark-style';
import { stateOf } from '../state/reading';
import type { Store } from '../state/store';
import type { EarlierReading, ReasonCode } from '../state/types';
import { TakeList } from './assistance';
import { activate } from '../state/finding-actions';
import { accept } from '../state/accept-reader';
import { Sign, StateName } from './label-state';
import { STATES } from '../state/label-states';

export function Adjudication({ store }: { store: Store }) {
  if (!adjudicates(store.task)) return null;
  const open = disagreements(store.task).map(({ label }) => label);
  const common = Object.entries(agreed(store.task));
  const settled = open.filter((label) => Object.hasOwn(store.reading.labels, label)).length;
  return (
    <section class="adjudication" aria-label="Adjudication">
      <h2>
        Disagreements{' '}
        <span class="count">
          {settled} of {open.length} settled
        </span>
      </h2>
      {open.length === 0 ? <p class="nothing">The readers agree on every finding.</p> : <Table store={store} labels={open} />}
      {common.length > 0 && (
        <details>
          <summary>{common.length} agreed, filled in</summary>
          <ul class="agreed">
            {common.map(([label, state]) => (
              <li key={label}>
                {label} <StateName state={state} />
              </li>
            ))}
          </ul>
        </details>
      )}
      {store.task.earlier.map((reader, index) => (
        <ReaderRegions key={reader.name} store={store} reader={reader} index={index} />
      ))}
    </section>
  );
}

function Table({ store, labels }: { store: Store; labels: readonly string[] }) {
  const readers = store.task.earlier;
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Table of disagreements">
      <table>
        <thead>
          <tr>
            <th scope="col">Finding</th>
            {readers.map((reader, index) => (
              <th scope="col" key={reader.name}>
                <Swatch index={index} />
                {reader.name} <span class="quiet">Alt+{index + 1}</span>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {labels.map((label, row) => (
            <tr
              key={label}
              class={store.ui.activeLabel === label ? 'active' : ''}
              aria-current={store.ui.activeLabel === label ? 'true' : undefined}
            >
              <th scope="row" id={`panel-dispute-${row}`} title={label} onClick={() => activate(store, label)}>
                <span class={Object.hasOwn(store.reading.labels, label) ? 'settled' : 'due'} aria-hidden="true" />
                {label}
                <span class="unseen">{Object.hasOwn(store.reading.labels, label) ? ', settled' : ', to be settled'}</span>
              </th>
              {readers.map((reader, index) => (
                <td key={reader.name}>
                  <Cell store={store} reader={reader} index={index} label={label} row={row} />
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

interface CellProps {
  readonly store: Store;
  readonly reader: EarlierReading;
  readonly index: number;
  readonly label: string;
  readonly row: number;
}

function Cell({ store, reader, index, label, row }: CellProps) {
  const state = stateOf(reader.reading, label);
  if (state === null) return <StateName state={null} />;
  const same = store.reading.labels[label] === state;
  const { name } = STATES[state];
  return (
    <button
      type="button"
      class={`accept ${state}`}
      aria-pressed={same}
      disabled={store.reading.unusable !== ''}
      aria-describedby={`panel-dispute-${row}`}
      aria-label={`Accept ${reader.name}: ${name}`}
      title={`Accept ${reader.name}: ${label} ${name.toLowerCase()} (Alt+${index + 1})`}
      onClick={() => accept(store, reader, label)}
    >
      <Sign state={state} />
      {store.task.earlier.length > 3 ? STATES[state].letter : name}
    </button>
  );
}

function ReaderRegions({ store, reader, index }: { store: Store; reader: EarlierReading; index: number }) {
  const { regions, comment, unusable } = reader.reading;
  if (regions.length === 0 && comment === '' && unusable === '') return null;
  return (
    <details class="reader">
      <summary>
        <Swatch index={index} />
        Reader {reader.name}: {regionCount(regions.length)}
        {comment && ', a comment'}
        {unusable && ', not readable'}
      </summary>
      {unusable !== '' && <p class="note">Could not read it: {store.task.labelSet.unusableReasons[unusable as ReasonCode]}</p>}
      {comment !== '' && <blockquote>{comment}</blockquote>}
      <TakeList store={store} from={reader.name} regions={regions} />
    </details>
  );
}

function regionCount(count: number): string {
  return count === 1 ? '1 region' : `${count} regions`;
}

/** The line style of a reader's regions. */
function Swatch({ index }: { index: number }) {
  return (
    <svg class={`swatch reader-${(index % 6) + 1}`} viewBox="0 0 26 10" aria-hidden="true">
      <rect width="26" height="10" rx="2" />
      <path d="M2 5h22" strokeDasharray={readerDash(index)} />
    </svg>
  );
}

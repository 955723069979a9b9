/**
 * The list of findings: one tab stop, with arrow keys inside. As for radio buttons in a toolbar, arrow keys only move the
 * focus; Space or Enter chooses an answer.
 */

import { useEffect, useRef, useState } from 'preact/hooks';

import { conflicts } from '../state/reading';
import type { Store } from '../state/store';
import { LABEL_STATES } from '../state/types';
import { FindingRow } from './finding-row';
import { checkedColumn, focusFinding, focusOn, leaveSearch, radioId, PLACES } from '../input/focus';
import { activate, choose, hasNoFinding, noFinding, othersAbsent, step, visibleFindings } from '../state/finding-actions';
import { Sign } from './label-state';
import { STATES } from '../state/label-states';

export function Findings({ store }: { store: Store }) {
  const [hovered, setHovered] = useState<string | null>(null);
  const [column, setColumn] = useState(0);
  const list = useRef<HTMLDivElement>(null);
  const shown = visibleFindings(store);
  const { activeLabel } = store.ui,
    { noFinding } = store.task.labelSet;
  const stop = shown.find(({ label }) => label === activeLabel) ?? shown[0];
  const clashing = conflicts(store.reading, store.task.labelSet);
  const inList = list.current?.contains(document.activeElement) ?? false;

  useEffect(() => {
    list.current?.querySelector('.finding.active')?.scrollIntoView?.({ block: 'nearest' });
  }, [activeLabel]);

  const take = (label: string, at: number): void => {
    setColumn(at);
    activate(store, label);
  };

  return (
    <section class="findings" aria-label="Findings">
      <QuickAnswers store={store} found={shown.length} />
      <div
        class="list"
        ref={list}
        id={PLACES.findings}
        role="toolbar"
        aria-orientation="vertical"
        aria-label="Answers"
        aria-describedby="panel-keys"
        style={{ '--rows': store.task.findings.length }}
        onKeyDown={(event) => onArrow(store, event)}
      >
        {shown.map((finding) => (
          <FindingRow
            key={finding.label}
            store={store}
            finding={finding}
            index={store.task.findings.indexOf(finding)}
            tabColumn={finding !== stop ? null : inList ? column : checkedColumn(store, finding.label)}
            conflicting={clashing.includes(finding.label) || (finding.label === noFinding && clashing.length > 0)}
            onFocus={take}
            onHover={setHovered}
          />
        ))}
        {shown.length === 0 && (
          <p class="nothing">
            {store.task.findings.length > 0 ? 'No finding matches the search.' : 'This task names no findings.'}
          </p>
        )}
      </div>
      <p id="panel-keys" hidden>
        Arrow keys move between findings and answers, Space chooses an answer, Space again clears it.
      </p>
      <Definition store={store} label={hovered ?? activeLabel} />
      <Announcement store={store} silent={inList} />
    </section>
  );
}

function QuickAnswers({ store, found }: { store: Store; found: number }) {
  const off = store.reading.unusable !== '';
  return (
    <div class="quick">
      {hasNoFinding(store) && (
        <button
          type="button"
          class="no-finding"
          aria-pressed={store.reading.labels[store.task.labelSet.noFinding] === 'positive'}
          aria-keyshortcuts="N"
          disabled={off}
          title="No finding (N): the rest is absent unless answered"
          onClick={(event) => event.detail < 2 && noFinding(store)}
        >
          <Sign state="negative" />
          No finding
        </button>
      )}
      <button
        type="button"
        aria-keyshortcuts="O"
        disabled={off}
        title="All others absent (O): what has no answer yet becomes absent"
        onClick={() => othersAbsent(store)}
      >
        All others absent
      </button>
      <Search store={store} found={found} />
    </div>
  );
}

function Search({ store, found }: { store: Store; found: number }) {
  const onKey = (event: KeyboardEvent): void => {
    const first = visibleFindings(store)[0];
    if (event.key === 'Escape' && store.ui.search !== '') store.set({ search: '' });
    else if ((event.key === 'Enter' || event.key === 'ArrowDown') && !event.ctrlKey && !event.metaKey) {
      if (first && event.key === 'Enter') choose(store, first.label);
      if (first) focusFinding(store, first.label);
      // Enter ends the search; the down arrow does not.
      if (first && event.key === 'Enter') leaveSearch(store, first.label);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <div class="search">
      <input
        type="search"
        id={PLACES.search}
        aria-label="Search findings"
        placeholder="Search  /"
        autocomplete="off"
        spellcheck={false}
        aria-keyshortcuts="/"
        value={store.ui.search}
        onInput={(event) => store.set({ search: event.currentTarget.value })}
        onKeyDown={onKey}
      />
      <span class="unseen" aria-live="polite">
        {store.ui.search && `${found} of ${store.task.findings.length} findings`}
      </span>
    </div>
  );
}

/** Approximate number of letters in one line of the definition. */
const LETTERS = 70;

/** Always rendered, so that the layout does not shift. */
function Definition({ store, label }: { store: Store; label: string | null }) {
  const longest = Math.max(
    0,
    ...store.task.findings.map(({ label: name, definition }) => name.length + (definition ? 1 + definition.length : 0)),
  );
  const lines = Math.min(Math.max(1, Math.ceil(longest / LETTERS)), 4);
  const finding = store.task.findings.find((one) => one.label === label);
  return (
    <p class={`definition lines-${lines}`} aria-hidden="true" title={finding?.definition}>
      {finding ? (
        <>
          <b>{finding.label}</b> {finding.definition}
        </>
      ) : (
        LABEL_STATES.map((state) => (
          <span key={state} class={`legend ${state}`}>
            <b>{STATES[state].letter}</b> {STATES[state].name.toLowerCase()}
            {STATES[state].letter !== STATES[state].key && ` (${STATES[state].key})`}{' '}
          </span>
        ))
      )}
    </p>
  );
}

/** Announces the state of the active finding while the image is focused. */
function Announcement({ store, silent }: { store: Store; silent: boolean }) {
  const label = store.ui.activeLabel;
  const state = label === null ? undefined : store.reading.labels[label];
  return (
    <span class="unseen" aria-live="polite">
      {!silent && label !== null && `${label}: ${state ? STATES[state].name : 'no answer'}`}
    </span>
  );
}

function onArrow(store: Store, event: KeyboardEvent): void {
  if (event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
  const at = /^panel-finding-(\d+)-(\d)$/.exec(document.activeElement?.id ?? '');
  const label = at && store.task.findings[Number(at[1])]?.label;
  if (!at || !label) return;
  const column = Number(at[2]);
  const to = target(store, event.key, label, column);
  if (to === null) return;
  event.preventDefault();
  event.stopPropagation();
  focusOn(radioId(store, to[0], to[1]));
}

function target(store: Store, key: string, label: string, column: number): [label: string, column: number] | null {
  const shown = visibleFindings(store);
  switch (key) {
    case 'ArrowDown':
      return [step(store, 1) ?? label, column];
    case 'ArrowUp':
      return [step(store, -1) ?? label, column];
    case 'ArrowRight':
      return [label, Math.min(column + 1, LABEL_STATES.length - 1)];
    case 'ArrowLeft':
      return [label, Math.max(column - 1, 0)];
    case 'Home':
      return [shown[0]?.label ?? label, column];
    case 'End':
      return [shown.at(-1)?.label ?? label, column];
    default:
      return null;
  }
}

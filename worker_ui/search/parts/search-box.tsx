/** One box for words and images: typing searches reports, a file dropped or chosen searches similar images. */

import { useEffect, useRef, useState } from 'preact/hooks';

import { useDebounced } from '../state/use-query';

const DEBOUNCE_MS = 250;
export const MOST_UPLOAD_BYTES = 64 * 2 ** 20;

interface Props {
  readonly text: string;
  /** Which page it stands on: what is being typed is dropped when a person goes to another one. */
  readonly at: string;
  readonly onText: (text: string) => void;
  readonly onFile: (file: File) => void;
  /** Whether the service takes images to search by. */
  readonly uploads: boolean;
}

export function SearchBox({ text, at, onText, onFile, uploads }: Props) {
  const chooser = useRef<HTMLInputElement>(null);
  const { typed, type, send } = useTyped(text, at, onText);
  return (
    <form
      class="search-box"
      role="search"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <svg class="glass" viewBox="0 0 20 20" aria-hidden="true">
        <circle cx="8.5" cy="8.5" r="5.5" />
        <path d="m12.8 12.8 4.7 4.7" />
      </svg>
      <input
        type="search"
        aria-label="Search reports"
        placeholder='Words of a report, "a phrase in quotes"'
        autocomplete="off"
        spellcheck={false}
        maxLength={1000}
        value={typed}
        onInput={(event) => type(event.currentTarget.value)}
      />
      {uploads && (
        <button type="button" title="Or drag a file onto the page" onClick={() => chooser.current?.click()}>
          Search by image…
        </button>
      )}
      <input
        ref={chooser}
        type="file"
        class="unseen"
        tabIndex={-1}
        aria-label="Image to search by"
        accept=".dcm,application/dicom,image/png,image/jpeg"
        onChange={(event) => {
          const file = event.currentTarget.files?.[0];
          if (file) onFile(file);
          event.currentTarget.value = '';
        }}
      />
    </form>
  );
}

/** Words that narrow the similar images by what their reports say. */
export function WordsBox({ text, at, onText }: Pick<Props, 'text' | 'at' | 'onText'>) {
  const { typed, type } = useTyped(text, at, onText);
  return (
    <label class="words">
      and whose report says
      <input
        type="text"
        placeholder="words"
        autocomplete="off"
        spellcheck={false}
        maxLength={1000}
        value={typed}
        onInput={(event) => type(event.currentTarget.value)}
      />
    </label>
  );
}

/** What is being typed: passed on when nothing was typed for a while, and changed when the place changes by going back. */
function useTyped(text: string, at: string, onText: (text: string) => void) {
  const [typed, type] = useState(text);
  const sent = useRef(text);
  const own = useRef(false);
  const settled = useDebounced(typed, DEBOUNCE_MS);
  const send = (value = typed): void => {
    if (value === sent.current) return;
    sent.current = value;
    own.current = true;
    onText(value);
  };
  useEffect(() => {
    if (!own.current) {
      sent.current = text;
      type(text);
    }
    own.current = false;
  }, [text, at]);
  useEffect(() => {
    if (settled === typed) send(settled);
  }, [settled]);
  return { typed, type, send: () => send() };
}

/** Let a file be dropped anywhere on an element; returns whether one is held over it. */
export function useFileDrop(element: { readonly current: HTMLElement | null }, onFile: (file: File) => void): boolean {
  const [over, setOver] = useState(false);
  const latest = useRef(onFile);
  latest.current = onFile;
  useEffect(() => {
    const target = element.current;
    if (!target) return undefined;
    const enter = (event: DragEvent): void => {
      if (!event.dataTransfer?.types.includes('Files')) return;
      event.preventDefault();
      event.stopPropagation(); // a notebook would open the file itself
      setOver(true);
    };
    const leave = (event: DragEvent): void => {
      if (!(event.relatedTarget instanceof Node && target.contains(event.relatedTarget))) setOver(false);
    };
    const drop = (event: DragEvent): void => {
      setOver(false);
      if (!event.dataTransfer?.types.includes('Files')) return;
      event.preventDefault();
      event.stopPropagation();
      const file = event.dataTransfer.files[0];
      if (file) latest.current(file);
    };
    target.addEventListener('dragenter', enter);
    target.addEventListener('dragover', enter);
    target.addEventListener('dragleave', leave);
    target.addEventListener('drop', drop);
    return () => {
      target.removeEventListener('dragenter', enter);
      target.removeEventListener('dragover', enter);
      target.removeEventListener('dragleave', leave);
      target.removeEventListener('drop', drop);
    };
  }, []);
  return over;
}

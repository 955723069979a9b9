/** One box for words and images: typing searches reports, a file dropped or chosen searches similar images. */

import { useEffect, useRef, useState } from 'preact/hooks';

import { useDebounced } from '../state/use-query';

const DEBOUNCE_MS = 250;
export const MOST_UPLOAD_BYTES = 64 * 2 ** 20;

interface Props {
  readonly text: string;
  readonly onText: (text: string) => void;
  readonly onFile: (file: File) => void;
  /** Whether the service takes images to search by. */
  readonly uploads: boolean;
}

export function SearchBox({ text, onText, onFile, uploads }: Props) {
  const [typed, setTyped] = useState(text);
  const [sent, setSent] = useState(text);
  const settled = useDebounced(typed, DEBOUNCE_MS);
  const chooser = useRef<HTMLInputElement>(null);
  useEffect(() => {
    if (text === sent) return;
    setTyped(text); // the place changed by going back
    setSent(text);
  }, [text]);
  const send = (value: string): void => {
    if (value === sent) return;
    setSent(value);
    onText(value);
  };
  useEffect(() => {
    if (settled === typed) send(settled);
  }, [settled]);
  return (
    <form
      class="search-box"
      role="search"
      onSubmit={(event) => {
        event.preventDefault();
        send(typed);
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
        onInput={(event) => setTyped(event.currentTarget.value)}
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

/** One box for words and images: typing searches reports, a file dropped or chosen searches similar images. */

import { useEffect, useRef, useState } from 'preact/hooks';

export const MOST_UPLOAD_BYTES = 64 * 2 ** 20;

interface Props {
  readonly text: string;
  /** Called for every letter. */
  readonly onText: (text: string) => void;
  /** Called by the Enter key. */
  readonly onEnter: () => void;
  readonly onFile: (file: File) => void;
  /** Whether the service takes images to search by. */
  readonly uploads: boolean;
}

export function SearchBox({ text, onText, onEnter, onFile, uploads }: Props) {
  const chooser = useRef<HTMLInputElement>(null);
  return (
    <form
      class="search-box"
      role="search"
      onSubmit={(event) => {
        event.preventDefault();
        onEnter();
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
        value={text}
        onInput={(event) => onText(event.currentTarget.value)}
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
export function WordsBox({ text, onText, onEnter }: Pick<Props, 'text' | 'onText' | 'onEnter'>) {
  return (
    <label class="words">
      and whose report says
      <input
        type="text"
        placeholder="words"
        autocomplete="off"
        spellcheck={false}
        maxLength={1000}
        value={text}
        onInput={(event) => onText(event.currentTarget.value)}
        onKeyDown={(event) => event.key === 'Enter' && onEnter()}
      />
    </label>
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

/** One undo stack for labels, regions, measurements and comments. */

import type { Reading } from './types';

export interface History {
  readonly past: readonly Reading[];
  readonly present: Reading;
  readonly future: readonly Reading[];
  /** Consecutive changes with the same tag are one undo step, such as the letters of a comment. */
  readonly tag: string;
}

/** Undo steps kept; readings share their unchanged parts. */
const LIMIT = 1000;

export function begin(reading: Reading): History {
  return { past: [], present: reading, future: [], tag: '' };
}

/** Return the history after a change; the same object when the reading is. */
export function record(history: History, reading: Reading, tag = ''): History {
  if (reading === history.present) return history;
  const merged = tag !== '' && tag === history.tag;
  const past = merged ? history.past : [...history.past.slice(1 - LIMIT), history.present];
  return { past, present: reading, future: [], tag };
}

export function undo(history: History): History {
  const before = history.past.at(-1);
  if (before === undefined) return history;
  return { past: history.past.slice(0, -1), present: before, future: [history.present, ...history.future], tag: '' };
}

export function redo(history: History): History {
  const [after, ...future] = history.future;
  if (after === undefined) return history;
  return { past: [...history.past, history.present], present: after, future, tag: '' };
}

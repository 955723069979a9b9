/** The one place that holds what the page knows; whoever wants to hear of changes subscribes. */

import { disagreements } from './disagreements';
import { begin, record, redo, undo, type History } from './history';
import { reduce, type Action } from './reading';
import { EMPTY_READING, type Reading, type Task } from './types';
import type { RadiographImage, ImageError, VoiWindow } from '../pixels/radiograph-image';
import type { View } from './view';
import type { Size } from './view';

export type Tool =
  | 'window' | 'pan' | 'select' | 'rectangle' | 'ellipse' | 'polygon' | 'freehand' | 'length' | 'angle';

/** One viewport: what it shows, and how. */
export interface ViewportState {
  readonly image: RadiographImage | null;
  readonly error: ImageError | null;
  /** 0 to 1, or null when the length is not known. */
  readonly progress: number | null;
  readonly window: VoiWindow;
  readonly inverted: boolean;
  readonly view: View;
  /** Of the viewport, in CSS pixels. */
  readonly size: Size;
}

/** What is neither undone nor kept: how the page stands at the moment. */
export interface Ui {
  readonly tool: Tool;
  /** The finding that the next region belongs to and that the state keys set. */
  readonly activeLabel: string | null;
  /** What the list of findings is narrowed to. */
  readonly search: string;
  /** Id of the selected region or measurement. */
  readonly selected: string | null;
  readonly hiddenRegions: ReadonlySet<string>;
  readonly regionsShown: boolean;
  readonly shortcuts: boolean;
  readonly help: boolean;
  /** What keeps the reading from being sent, shown after an attempt. */
  readonly complaints: readonly Complaint[];
  /** The first reading, once it is locked and the model's suggestions are shown. */
  readonly first: Reading | null;
  readonly viewports: readonly ViewportState[];
  /** Which image the toolbar and the keys are for: the one touched last. */
  readonly activeViewport: number;
  /** Where the reading is kept. */
  readonly kept: 'device' | 'tab' | 'nowhere';
  /** A word to the reader that goes away by itself; announced to screen readers. */
  readonly notice: string;
  /** What a screen reader says of a thing that the eye has seen already. */
  readonly spoken: string;
  readonly sending: boolean;
  readonly sent: boolean;
}

/** Something missing, and where it is to be mended: `at` is a label, the id of a mark, "comment" or "unusable". */
export interface Complaint {
  readonly text: string;
  readonly at: string;
}

const EMPTY_VIEWPORT: ViewportState = {
  image: null, error: null, progress: null, window: { center: 0.5, width: 1 }, inverted: false,
  view: { center: [0, 0], zoom: 1, rotation_deg: 0, mirrored: false },
  size: { width: 0, height: 0 },
};

/** What is begun and no part of the reading yet: a polygon half drawn, a region that is being pulled. */
export interface Unfinished {
  /** Take back its last step; false when nothing is begun. */
  stepBack(): boolean;
  /** Finish what can be finished and let go of the rest; whether the reading has one mark more now. */
  settle(): boolean;
}

export class Store {
  history: History;
  unfinished: Unfinished | null = null;
  ui: Ui;
  /** How often readings changed, and what changed them, for the answer. */
  readonly counts = { changes: 0, undone: 0, byKind: {} as Record<string, number> };
  private readonly listeners = new Set<() => void>();

  constructor(readonly task: Task, start: Reading = task.start ?? EMPTY_READING) {
    this.history = begin(start);
    this.ui = {
      tool: 'window', activeLabel: disagreements(task)[0]?.label ?? null, search: '', selected: null, hiddenRegions: new Set(), regionsShown: true, shortcuts: true,
      help: false, complaints: [], first: null, viewports: task.second ? [EMPTY_VIEWPORT, EMPTY_VIEWPORT] : [EMPTY_VIEWPORT], activeViewport: 0,
      kept: 'device', notice: '', spoken: '', sending: false, sent: false,
    };
  }

  get reading(): Reading {
    return this.history.present;
  }

  /** Whether the reading stands: its answer is on its way, or has arrived. */
  get closed(): boolean {
    return this.ui.sending || this.ui.sent;
  }

  /** Change the reading, unless it is closed. Changes with the same tag, one after the other, are undone together. */
  dispatch(action: Action, tag = ''): void {
    if (this.closed) return;
    const history = record(this.history, reduce(this.reading, action, this.task), tag);
    if (history === this.history) return;
    this.history = history;
    this.counts.changes += 1;
    this.counts.byKind[action.kind] = (this.counts.byKind[action.kind] ?? 0) + 1;
    this.ui = { ...this.ui, complaints: [] };
    this.changed();
  }

  undo(): void {
    if (this.unfinished?.stepBack()) return;
    this.travel(undo(this.history));
  }

  redo(): void {
    this.travel(redo(this.history));
  }

  set(ui: Partial<Ui>): void {
    this.ui = { ...this.ui, ...ui };
    this.changed();
  }

  setViewport(index: number, change: Partial<ViewportState>): void {
    this.set({ viewports: this.ui.viewports.map((one, at) => (at === index ? { ...one, ...change } : one)) });
  }

  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private travel(history: History): void {
    if (this.closed || history === this.history) return;
    this.history = history;
    this.counts.undone += 1;
    // What was said of the step undone is no longer so.
    this.ui = { ...this.ui, complaints: [], selected: null, notice: '', spoken: '' };
    this.changed();
  }

  private changed(): void {
    for (const listener of [...this.listeners]) listener();
  }
}

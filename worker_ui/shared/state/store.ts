/** The state of the page, with subscriptions to its changes. */

import { disagreements } from './disagreements';
import { begin, record, redo, undo, type History } from './history';
import { reduce, type Action } from './reading';
import { EMPTY_READING, type Reading, type Task } from './types';
import type { RadiographImage, ImageError, VoiWindow } from '../pixels/radiograph-image';
import type { View } from './view';
import type { Size } from './view';

export type Tool = 'window' | 'pan' | 'select' | 'rectangle' | 'ellipse' | 'polygon' | 'freehand' | 'length' | 'angle';

/** The image in one viewport, and how it is shown. */
export interface ViewportState {
  readonly image: RadiographImage | null;
  readonly error: ImageError | null;
  /** Fraction loaded, or null when the length is not known. */
  readonly progress: number | null;
  readonly window: VoiWindow;
  readonly inverted: boolean;
  readonly view: View;
  /** Size of the viewport in CSS pixels. */
  readonly size: Size;
}

/** State of the user interface: neither undone nor saved. */
export interface Ui {
  readonly tool: Tool;
  /** The finding that the next region belongs to and that the answer keys change. */
  readonly activeLabel: string | null;
  /** Text that the list of findings is filtered by. */
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
  /** Index of the viewport focused last, which toolbar and keys act on. */
  readonly activeViewport: number;
  /** Where drafts are stored. */
  readonly draftPlace: 'device' | 'tab' | 'nowhere';
  /** A message that disappears by itself; announced by screen readers. */
  readonly notice: string;
  /** A message for screen readers only. */
  readonly spoken: string;
  readonly sending: boolean;
  readonly sent: boolean;
}

/** Something that prevents sending, and where to resolve it: `at` is a label, the id of a mark, "comment" or "unusable". */
export interface Complaint {
  readonly text: string;
  readonly at: string;
}

const EMPTY_VIEWPORT: ViewportState = {
  image: null,
  error: null,
  progress: null,
  window: { center: 0.5, width: 1 },
  inverted: false,
  view: { center: [0, 0], zoom: 1, rotation_deg: 0, mirrored: false },
  size: { width: 0, height: 0 },
};

/** A shape in progress, which is not part of the reading yet. */
export interface Unfinished {
  /** Undo its last step; return false when nothing is in progress. */
  stepBack(): boolean;
  /** Finish or discard it; return whether a mark was added to the reading. */
  settle(): boolean;
}

export class Store {
  history: History;
  unfinished: Unfinished | null = null;
  ui: Ui;
  /** Numbers of changes, which the answer reports. */
  readonly counts = { changes: 0, undone: 0, byKind: {} as Record<string, number> };
  private readonly listeners = new Set<() => void>();

  constructor(
    readonly task: Task,
    start: Reading = task.start ?? EMPTY_READING,
  ) {
    this.history = begin(start);
    this.ui = {
      tool: 'window',
      activeLabel: disagreements(task)[0]?.label ?? null,
      search: '',
      selected: null,
      hiddenRegions: new Set(),
      regionsShown: true,
      shortcuts: true,
      help: false,
      complaints: [],
      first: null,
      viewports: task.second ? [EMPTY_VIEWPORT, EMPTY_VIEWPORT] : [EMPTY_VIEWPORT],
      activeViewport: 0,
      draftPlace: 'device',
      notice: '',
      spoken: '',
      sending: false,
      sent: false,
    };
  }

  get reading(): Reading {
    return this.history.present;
  }

  /** Whether the reading can no longer be changed: its answer is being sent or was sent. */
  get closed(): boolean {
    return this.ui.sending || this.ui.sent;
  }

  /** Change the reading, unless it is closed. Consecutive changes with the same tag are undone together. */
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
    // Messages about the undone step no longer apply.
    this.ui = { ...this.ui, complaints: [], selected: null, notice: '', spoken: '' };
    this.changed();
  }

  private changed(): void {
    for (const listener of [...this.listeners]) listener();
  }
}

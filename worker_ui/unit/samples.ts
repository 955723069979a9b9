/** Images, tasks and readings for tests. */

import { CHEST_RADIOGRAPH } from '../radiograph/chest';
import { Session } from '../shared/state/session';
import { Store } from '../shared/state/store';
import { EMPTY_READING, type Finding, type LabelState, type Reading, type Region, type Task } from '../shared/state/types';
import type { RadiographImage } from '../shared/pixels/radiograph-image';

export const IMAGE: RadiographImage = {
  rows: 80,
  columns: 60,
  values: new Uint8Array(4800),
  lowest: 0,
  highest: 255,
  spacing_mm: { row: 0.2, column: 0.4 },
  spacingAt: 'patient',
  pixelAspect: 1,
  inverted: false,
  initial: { center: 128, width: 256 },
  presets: [],
  sopInstanceUid: '1.2.3',
  caption: 'DX PA',
  standIn: '',
};

export function finding(label: string, region: Finding['region'] = label === 'No Finding' ? 'none' : 'optional'): Finding {
  return { label, definition: '', region };
}

export function task(part: Partial<Task> = {}): Task {
  return {
    labelSet: CHEST_RADIOGRAPH,
    key: 'job/object/worker',
    image: { url: 'http://images.test/1.dcm', renderedUrl: '' },
    second: null,
    findings: ['Edema', 'Fracture', 'No Finding'].map((label) => finding(label)),
    instructions: '',
    answerAll: true,
    suggestions: null,
    earlier: [],
    start: null,
    problems: [],
    ...part,
  };
}

export function labels(said: Record<string, LabelState>): Record<string, LabelState> {
  return Object.assign(Object.create(null), said) as Record<string, LabelState>;
}

export function reading(part: Partial<Reading> = {}): Reading {
  return { ...EMPTY_READING, ...part };
}

export const NORMAL = reading({ labels: labels({ 'Edema': 'negative', 'Fracture': 'negative', 'No Finding': 'positive' }) });

export function box(id: string, label: string, part: Partial<Region> = {}): Region {
  return {
    id,
    label,
    shape: 'rectangle',
    points: [
      [1.25, 2.5],
      [30.1, 40.7],
    ],
    comment: '',
    ...part,
  };
}

/** A store whose image is on the screen. */
export function store(given: Task = task(), image: RadiographImage | null = IMAGE): Store {
  const made = new Store(given);
  if (image)
    made.setViewport(0, {
      image,
      window: image.initial,
      view: { center: [30, 40], zoom: 2, rotation_deg: 0, mirrored: false },
    });
  return made;
}

export function opened(given: Task = task(), image: RadiographImage | null = IMAGE): { store: Store; session: Session } {
  const made = store(given, image);
  return { store: made, session: new Session(made) };
}

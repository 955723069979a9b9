/** Storage of drafts: local storage, else the name of the window, else none. Nothing here throws. */

export type DraftPlace = 'device' | 'tab' | 'nowhere';

/** Separates our entries from those of other pages of the same origin. */
const PREFIX = 'dicom-workflow/draft/';
/** A window keeps its name when its page is reloaded, also in a sandboxed frame without an origin. */
const NAME_MARK = 'dicom-workflow/drafts:';
const MOST_IN_TAB = 20;

export class DraftStorage {
  constructor(private readonly host: Window) {}

  /** Return where a draft saved now would be stored. */
  get place(): DraftPlace {
    const probe = `${PREFIX}probe`;
    if (this.onDevice((device) => device.setItem(probe, '1'))) {
      this.onDevice((device) => device.removeItem(probe));
      return 'device';
    }
    return this.inTab((texts) => texts) ? 'tab' : 'nowhere';
  }

  /** Return what is stored under a name: at most one text from each storage. */
  read(name: string): string[] {
    const texts: string[] = [];
    this.onDevice((device) => {
      const text = device.getItem(PREFIX + name);
      if (text !== null) texts.push(text);
    });
    const inTab = this.tab()?.get(name);
    return inTab === undefined ? texts : [...texts, inTab];
  }

  write(name: string, text: string): DraftPlace {
    if (this.onDevice((device) => device.setItem(PREFIX + name, text))) {
      if (this.tab()?.has(name)) this.inTab((texts) => without(texts, name));
      return 'device';
    }
    return this.inTab((texts) => new Map([...without(texts, name), [name, text] as const].slice(-MOST_IN_TAB)))
      ? 'tab'
      : 'nowhere';
  }

  remove(name: string): void {
    this.onDevice((device) => device.removeItem(PREFIX + name));
    if (this.tab()?.has(name)) this.inTab((texts) => without(texts, name));
  }

  names(): string[] {
    const names = new Set(this.tab()?.keys());
    this.onDevice((device) => {
      for (let index = 0; index < device.length; index += 1) {
        const key = device.key(index);
        if (key?.startsWith(PREFIX)) names.add(key.slice(PREFIX.length));
      }
    });
    return [...names];
  }

  /** Call back when another tab changes an entry: with its text, or null when it was removed; `all` when everything was. */
  watch(name: string, changed: (text: string | null, all: boolean) => void): () => void {
    const listener = (event: StorageEvent) => {
      if (event.key === null) changed(null, true);
      else if (event.key === PREFIX + name) changed(event.newValue, false);
    };
    this.host.addEventListener('storage', listener);
    return () => this.host.removeEventListener('storage', listener);
  }

  /** Return whether it worked; a denied, full or missing storage throws even on read access. */
  private onDevice(use: (device: globalThis.Storage) => void): boolean {
    try {
      use(this.host.localStorage);
      return true;
    } catch {
      return false;
    }
  }

  private inTab(change: (texts: ReadonlyMap<string, string>) => ReadonlyMap<string, string>): boolean {
    const texts = this.tab();
    if (texts === null) return false;
    try {
      const after = change(texts),
        name = after.size === 0 ? '' : NAME_MARK + JSON.stringify([...after]);
      this.host.name = name;
      return this.host.name === name;
    } catch {
      return false;
    }
  }

  /** Return the texts in the window's name, or null when the host uses the name, for example as a link target. */
  private tab(): Map<string, string> | null {
    try {
      const { name } = this.host;
      if (name === '') return new Map();
      if (!name.startsWith(NAME_MARK)) return null;
      const entries: unknown = JSON.parse(name.slice(NAME_MARK.length));
      return new Map((Array.isArray(entries) ? entries : []).filter(isEntry));
    } catch {
      return new Map(); // our prefix with damaged content
    }
  }
}

function isEntry(value: unknown): value is [string, string] {
  return Array.isArray(value) && value.length === 2 && typeof value[0] === 'string' && typeof value[1] === 'string';
}

function without(texts: ReadonlyMap<string, string>, name: string): Map<string, string> {
  return new Map([...texts].filter(([one]) => one !== name));
}

import type { DraftDatabase } from '../../shared/drafts/indexeddb';

/** The second copy of a browser's drafts. */
export class Copies implements DraftDatabase {
  readonly texts = new Map<string, string>();

  all(): Promise<ReadonlyMap<string, string>> {
    return Promise.resolve(new Map(this.texts));
  }

  write(name: string, text: string): void {
    this.texts.set(name, text);
  }

  remove(name: string): void {
    this.texts.delete(name);
  }
}

/** Tabs of one browser, as far as drafts know them: a shared storage, a name of their own, events between them. */

export class Device {
  readonly texts = new Map<string, string>();
  readonly tabs: Tab[] = [];
  /** Characters that fit; a real browser takes five million. */
  quota = Infinity;
  denied = false;

  tab(name = ''): Tab {
    const tab = new Tab(this, name);
    this.tabs.push(tab);
    return tab;
  }

  tell(from: Tab, key: string | null, newValue: string | null): void {
    for (const tab of this.tabs)
      if (tab !== from && !tab.frozen) tab.dispatchEvent(Object.assign(new Event('storage'), { key, newValue }));
  }
}

export class Tab extends EventTarget {
  readonly document = Object.assign(new EventTarget(), { hidden: false });
  readonly performance = { now: () => 0 };
  parent: unknown = this;
  frozen = false;

  constructor(
    private readonly device: Device,
    public name: string,
  ) {
    super();
  }

  get localStorage(): Storage {
    const { device } = this;
    if (device.denied) throw new DOMException('The operation is insecure.', 'SecurityError');
    return {
      get length() {
        return device.texts.size;
      },
      key: (index: number) => [...device.texts.keys()][index] ?? null,
      getItem: (key: string) => device.texts.get(key) ?? null,
      setItem: (key: string, text: string) => {
        const used = [...device.texts].reduce(
          (sum, [other, value]) => sum + (other === key ? 0 : other.length + value.length),
          0,
        );
        if (used + key.length + text.length > device.quota) throw new DOMException('It is full.', 'QuotaExceededError');
        const before = device.texts.get(key);
        device.texts.set(key, text);
        if (before !== text) device.tell(this, key, text);
      },
      removeItem: (key: string) => void (device.texts.delete(key) && device.tell(this, key, null)),
      clear: () => {
        device.texts.clear();
        device.tell(this, null, null);
      },
    };
  }

  /** The page goes and comes again: the tab stays, what listened to it does not. */
  reload(): Tab {
    this.device.tabs.splice(this.device.tabs.indexOf(this), 1);
    const tab = this.device.tab(this.name);
    tab.parent = this.parent === this ? tab : this.parent;
    return tab;
  }

  hide(hidden = true): void {
    this.document.hidden = hidden;
    this.document.dispatchEvent(new Event('visibilitychange'));
  }

  /** Whether the browser would ask before it leaves the page. */
  asks(): boolean {
    return !this.dispatchEvent(new Event('beforeunload', { cancelable: true }));
  }

  get window(): Window {
    return this as unknown as Window;
  }
}

/**
 * A second copy of drafts in IndexedDB, for a browser that is killed: Chromium writes local storage to disk seconds after a
 * change, IndexedDB at once. IndexedDB opens only after the page has started, so local storage is read first.
 */

export interface DraftDatabase {
  /** Return every stored text by name; empty where IndexedDB is denied. */
  all(): Promise<ReadonlyMap<string, string>>;
  write(name: string, text: string): void;
  remove(name: string): void;
}

const DATABASE = 'dicom-workflow-drafts',
  TEXTS = 'texts';

export function openDatabase(host: Window): DraftDatabase {
  const database = opened(host);
  /** Pending writes: the newest text of each name, null for a removal. */
  const waiting = new Map<string, string | null>();
  let writing = false;

  async function writeNext(): Promise<void> {
    const base = await database;
    if (base === null || writing || waiting.size === 0) return;
    writing = true;
    const changes = [...waiting];
    waiting.clear();
    await written(base, changes);
    writing = false;
    void writeNext();
  }

  return {
    async all() {
      const base = await database;
      return base === null ? new Map() : read(base);
    },
    write(name, text) {
      waiting.set(name, text);
      void writeNext();
    },
    remove(name) {
      waiting.set(name, null);
      void writeNext();
    },
  };
}

/** Return the database, or null where it is denied, as in a frame without an origin. */
function opened(host: Window): Promise<IDBDatabase | null> {
  return new Promise((resolve) => {
    try {
      const request = host.indexedDB.open(DATABASE, 1);
      request.onupgradeneeded = () => request.result.createObjectStore(TEXTS);
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => resolve(null);
    } catch {
      resolve(null);
    }
  });
}

function read(base: IDBDatabase): Promise<ReadonlyMap<string, string>> {
  const texts = new Map<string, string>();
  return new Promise((resolve) => {
    try {
      const transaction = base.transaction(TEXTS, 'readonly'),
        cursor = transaction.objectStore(TEXTS).openCursor();
      cursor.onsuccess = () => {
        const entry = cursor.result;
        if (entry === null) return;
        if (typeof entry.key === 'string' && typeof entry.value === 'string') texts.set(entry.key, entry.value);
        entry.continue();
      };
      transaction.oncomplete = transaction.onabort = () => resolve(texts);
    } catch {
      resolve(texts); // the connection was closed, for example because the site's data was cleared
    }
  });
}

function written(base: IDBDatabase, changes: readonly (readonly [string, string | null])[]): Promise<void> {
  return new Promise((resolve) => {
    try {
      const transaction = base.transaction(TEXTS, 'readwrite', { durability: 'strict' }),
        store = transaction.objectStore(TEXTS);
      for (const [name, text] of changes) {
        if (text === null) store.delete(name);
        else store.put(text, name);
      }
      transaction.oncomplete = transaction.onabort = () => resolve();
      transaction.commit?.(); // the page may be closing
    } catch {
      resolve();
    }
  });
}

/** Pictures of images, asked for once and kept while the page is open. */

import type { PictureSize, Transport } from './transport';

const MOST_KEPT = 400;

/** Picture addresses by image and size, the oldest first; an address works only in this document. */
export class Pictures {
  private readonly kept = new Map<string, Promise<string>>();

  constructor(private readonly transport: Transport) {}

  address(id: string, size: PictureSize): Promise<string> {
    const key = `${size} ${id}`;
    const known = this.kept.get(key);
    if (known) return known;
    const made = this.transport.picture(id, size).then((blob) => URL.createObjectURL(blob));
    this.kept.set(key, made);
    made.catch(() => this.kept.delete(key));
    if (this.kept.size > MOST_KEPT) {
      const [oldest, address] = [...this.kept][0] as [string, Promise<string>];
      this.kept.delete(oldest);
      void address.then((url) => URL.revokeObjectURL(url));
    }
    return made;
  }

  clear(): void {
    for (const address of this.kept.values()) void address.then((url) => URL.revokeObjectURL(url)).catch(() => undefined);
    this.kept.clear();
  }
}

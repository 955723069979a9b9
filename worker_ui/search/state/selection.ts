/** The images that a person has selected, in the order of selection; the notebook gets them as a table. */

export class Selection {
  private ids: readonly string[] = [];
  private readonly listeners = new Set<(ids: readonly string[]) => void>();

  get all(): readonly string[] {
    return this.ids;
  }

  has(id: string): boolean {
    return this.ids.includes(id);
  }

  toggle(id: string): void {
    this.set(this.has(id) ? this.ids.filter((one) => one !== id) : [...this.ids, id]);
  }

  /** Select all of the images, or none of them where all are selected already. */
  toggleAll(ids: readonly string[]): void {
    const others = this.ids.filter((one) => !ids.includes(one));
    this.set(ids.every((id) => this.has(id)) ? others : [...this.ids, ...ids.filter((id) => !this.has(id))]);
  }

  set(ids: readonly string[]): void {
    if (ids.length === this.ids.length && ids.every((id, at) => id === this.ids[at])) return;
    this.ids = [...ids];
    for (const listener of this.listeners) listener(this.ids);
  }

  subscribe(listener: (ids: readonly string[]) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}

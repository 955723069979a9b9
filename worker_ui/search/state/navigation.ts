/** Going from place to place: with the browser's history on a page, with a list of its own in a notebook. */

import { addressOf, placeAt, readPlace, START, type Place } from './places';

export class Navigation {
  place: Place;
  /** Whether the place changes letter by letter: what it asks for can wait until no more are typed. */
  typing = false;
  /** Number of places to go back to inside of the page. */
  depth = 0;
  private readonly listeners = new Set<() => void>();
  private readonly before: Place[] = [];
  private readonly window: Window | null;

  /** With a window its history and address are used; without one nothing outside of the element changes. */
  constructor(window: Window | null) {
    this.window = window;
    this.place = START;
    if (!window) return;
    this.readHistory();
    window.addEventListener('popstate', this.onPopState);
  }

  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Go to a place; "back" returns from it. */
  go(place: Place): void {
    this.push(place);
    this.show(place, false);
  }

  /** Change the place without a new entry in the history. */
  replace(place: Place): void {
    this.keep(place);
    this.show(place, false);
  }

  /**
   * Change the place by a letter that was typed: it is kept at once, so that no click and no "back" comes before it. The letters of
   * one query are one entry in the history.
   */
  type(place: Place): void {
    const goesOn = place.kind === this.place.kind && place.text !== '' && this.place.text !== '';
    if (goesOn) this.keep(place);
    else this.push(place);
    this.show(place, true);
  }

  /** Ask for what has been typed without waiting for more. */
  settle(): void {
    if (this.typing) this.show(this.place, false);
  }

  back(): void {
    if (this.depth === 0) this.go(START);
    else if (this.window) this.window.history.back();
    else {
      this.depth -= 1;
      this.show(this.before.pop() ?? START, false);
    }
  }

  close(): void {
    this.window?.removeEventListener('popstate', this.onPopState);
    this.listeners.clear();
  }

  private readonly onPopState = (): void => {
    this.readHistory();
    for (const listener of this.listeners) listener();
  };

  private readHistory(): void {
    if (!this.window) return;
    const { history, location } = this.window;
    const kept = (history.state ?? {}) as { place?: unknown; depth?: unknown };
    const place = readPlace(kept.place);
    this.place = place && addressOf(place) === (location.hash || '#/') ? place : placeAt(location.hash);
    this.depth = typeof kept.depth === 'number' ? kept.depth : 0;
    this.typing = false;
  }

  private push(place: Place): void {
    this.before.push(this.place);
    this.depth += 1;
    this.window?.history.pushState({ place, depth: this.depth }, '', addressOf(place));
  }

  private keep(place: Place): void {
    try {
      this.window?.history.replaceState({ place, depth: this.depth }, '', addressOf(place));
    } catch {
      // Browsers refuse to write the history many times a second; the next letter writes all of them.
    }
  }

  private show(place: Place, typing: boolean): void {
    this.place = place;
    this.typing = typing;
    for (const listener of this.listeners) listener();
  }
}

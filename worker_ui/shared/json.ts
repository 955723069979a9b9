/** Reading values from JSON that may come from anybody. */

const SURROGATES = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** Return the text with each half of a character replaced: the other half was cut off, and no UTF-8 can hold it. */
export function whole(text: string): string {
  return text.replace(SURROGATES, '\ufffd');
}

/** Return the start of a text, at most so many characters, none of them cut in half. */
export function cut(text: string, most: number): string {
  return whole(text.length > most ? text.slice(0, most - 1).replace(/[\ud800-\udbff]$/, '') + '…' : text);
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Return an own value of an object; a key such as "constructor" finds nothing that is not there. */
export function own(value: unknown, key: string): unknown {
  return isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
}

/** Return a text, or an empty one for what is absent or something else. */
export function text(value: unknown): string {
  return typeof value === 'string' ? whole(value) : '';
}

/** A short sight of something, never the whole of it. */
export function shown(value: unknown): string {
  if (typeof value !== 'string')
    return value === undefined ? 'nothing' : Array.isArray(value) ? 'a list' : `a ${value === null ? 'null' : typeof value}`;
  return `“${cut(value, 40)}”`;
}

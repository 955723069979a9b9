/** Reading values from untrusted JSON. */

const SURROGATES = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** Return the text with unpaired surrogates replaced, which UTF-8 cannot encode. */
export function wellFormed(text: string): string {
  return text.replace(SURROGATES, '\ufffd');
}

/** Return at most the given number of characters of a text, without splitting a surrogate pair. */
export function truncate(text: string, most: number): string {
  return wellFormed(text.length > most ? text.slice(0, most - 1).replace(/[\ud800-\udbff]$/, '') + '…' : text);
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Return an own property of an object, never an inherited one such as "constructor". */
export function own(value: unknown, key: string): unknown {
  return isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
}

/** Return a text, or an empty one for any other value. */
export function text(value: unknown): string {
  return typeof value === 'string' ? wellFormed(value) : '';
}

/** Return a short form of a value for a message. */
export function describe(value: unknown): string {
  if (typeof value !== 'string')
    return value === undefined ? 'nothing' : Array.isArray(value) ? 'a list' : `a ${value === null ? 'null' : typeof value}`;
  return `“${truncate(value, 40)}”`;
}

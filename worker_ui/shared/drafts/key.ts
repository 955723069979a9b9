/** The key under which the drafts of a task are stored. */

import { ANSWER_SCHEMA } from '../answer/form';
import { own } from '../json';

/** Return the host's key, or a digest of the task's content that does not depend on how the image addresses are signed. */
export function draftKey(
  input: Record<string, unknown>,
  urls: readonly string[],
  labels: readonly string[],
  adjudicates: boolean,
): string {
  const host = document.querySelector<HTMLMetaElement>('meta[name="task-draft-key"]')?.content ?? '';
  if (host !== '') return host.length <= 200 ? host : digest(host);
  const image = own(input, 'source') ?? own(input, 'source-ref') ?? own(input, 'image') ?? '';
  const mode = own(own(input, 'suggestions'), 'mode') ?? '';
  return digest(JSON.stringify([ANSWER_SCHEMA, image, image === '' ? urls.map(unsigned) : [], labels, mode, adjudicates]));
}

/** Return an address without its query, which holds the signature. */
function unsigned(url: string): string {
  return url.split(/[?#]/, 1)[0] ?? '';
}

/** Return a 128-bit hash in hexadecimal. crypto.subtle is missing where the page is not served over TLS. */
export function digest(text: string): string {
  const lanes = [0x9e3779b9, 0x243f6a88, 0xb7e15162, 0x85ebca6b];
  const factors = [0x01000193, 0x5bd1e995, 0xcc9e2d51, 0x1b873593];
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    for (let lane = 0; lane < 4; lane += 1) {
      const mixed = Math.imul(lanes[lane]! ^ code, factors[lane]!);
      lanes[lane] = mixed ^ (mixed >>> 15) ^ (lanes[(lane + 1) % 4]! << 1);
    }
  }
  return lanes.map((lane) => (Math.imul(lane ^ (lane >>> 16), 0x7feb352d) >>> 0).toString(16).padStart(8, '0')).join('');
}

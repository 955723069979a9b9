/** Look-up tables of the Modality LUT and VOI LUT modules (PS3.3 C.11.1, C.11.2). */

import type { DataSet } from 'dicom-parser';

import { elementOf, readableLine, TAGS, text } from './elements';
import { errors } from './messages';

export interface Lut {
  readonly table: Uint8Array | Uint16Array;
  /** The first value mapped; those below get the first entry, those above the last. */
  readonly first: number;
  /** Number of output bits. */
  readonly bits: number;
  readonly name: string;
}

/** Most bits of an entry (C.11.1.1, C.11.2.1.1). */
const MAX_DEPTH = 16;

/**
 * Return the first table of a sequence, or null where there is none.
 *
 * The first value mapped has the sign of the values that the table is applied to, in whatever value representation it is
 * written (C.11.1.1.1, C.11.2.1.1): `signedInput` says whether those can be negative.
 */
export function lutOf(data: DataSet, sequence: string, signedInput: boolean): Lut | null {
  const items = data.elements[sequence]?.items;
  if (!items?.length) return null;
  const item = items[0]?.dataSet;
  const descriptor = item && elementOf(item, TAGS.LUTDescriptor);
  if (!item || descriptor?.length !== 6) throw errors.unsupported('its lookup table has no valid descriptor');
  const count = (item.uint16(TAGS.LUTDescriptor, 0) ?? 0) || 65_536;
  const first = (signedInput ? item.int16(TAGS.LUTDescriptor, 1) : item.uint16(TAGS.LUTDescriptor, 1)) ?? 0;
  const depth = item.uint16(TAGS.LUTDescriptor, 2) ?? 0;
  if (depth > MAX_DEPTH) throw errors.unsupported('its lookup table has no valid descriptor');
  const table = tableOf(item, count, depth);
  let highest = 0;
  for (const entry of table) highest = Math.max(highest, entry);
  const bits = Math.max(depth, highest.toString(2).length, 1);
  const name = readableLine(text(item, TAGS.LUTExplanation), text(data, TAGS.SpecificCharacterSet));
  return { table, first, bits, name };
}

function tableOf(item: DataSet, count: number, depth: number): Uint8Array | Uint16Array {
  const element = elementOf(item, TAGS.LUTData);
  if (!element) throw errors.unsupported('its lookup table is empty');
  const bytes = item.byteArray.slice(element.dataOffset, element.dataOffset + element.length);
  const words = element.vr === 'US' || element.vr === 'SS';
  // Entries of 8 bits may be packed two to a word; fewer bytes of a deeper table are a table that is cut short.
  if (depth <= 8 && bytes.length < 2 * count && (!words || bytes.length >= count))
    return new Uint8Array(bytes).subarray(0, count);
  const table = new Uint16Array(Math.min(count, bytes.length >> 1));
  for (let at = 0; at < table.length; at += 1) table[at] = item.uint16(TAGS.LUTData, at) ?? 0;
  if (!table.length) throw errors.unsupported('its lookup table is empty');
  return table;
}

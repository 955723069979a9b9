/** Colors of the layer that shows which regions make two images similar. */

/** Return the values with the least as 0 and the greatest as 1: what all places have in common tells nothing. */
export function shares(values: readonly number[]): readonly number[] {
  const low = values.reduce((least, value) => Math.min(least, value), Infinity);
  const range = values.reduce((most, value) => Math.max(most, value), -Infinity) - low;
  return values.map((value) => (range > 0 ? (value - low) / range : 0));
}

/** Whether a map tells one region from another. */
export function tells(values: readonly number[]): boolean {
  return shares(values).some((share) => share > 0);
}

/** Return red, green, blue and opacity for a share: clear, then blue, then yellow; lightness alone tells them apart as well. */
export function colorOf(share: number): readonly [number, number, number, number] {
  return [255 * share, 60 + 160 * share, 255 * (1 - share), 190 * share ** 1.5];
}

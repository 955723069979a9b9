import Ajv from 'ajv';
import { describe, expect, it } from 'vitest';

import schema from '../../../dicom_workflow/formats/schemas/answer.schema.json';
// @ts-expect-error a build script has no types
import { validatorSource } from '../../build/validator-source.js';
import { complaintOf, faultOf } from '../../shared/answer/validate';
import generated from '../../shared/answer/validator.generated.js?raw';
import corpusText from './answer-corpus.json?raw';
import { box, reading } from '../samples';

const corpus: { name: string; valid: boolean; answer: unknown }[] = JSON.parse(corpusText);
const least = { schema: 'dicom-workflow/answer/2', pixel_origin: 'corner', labels: {}, regions: [] };

describe('the validator of answers', () => {
  it('is made from the schema as it is (else: node build/validator.js)', () => {
    expect(generated).toBe(validatorSource(schema));
  });

  const compiled = new Ajv({ strictTypes: false }).compile(schema);
  it.each(corpus)('$name: $valid', ({ valid, answer }) => {
    expect(faultOf(answer) === null).toBe(valid);
    expect(compiled(answer)).toBe(valid);
  });

  it('counts characters, not halves of them', () => {
    expect(faultOf({ ...least, comment: '😀'.repeat(4000) })).toBeNull();
    expect(faultOf({ ...least, comment: '😀'.repeat(4001) })).toEqual({
      path: '/comment',
      text: 'must NOT have more than 4000 characters',
    });
  });

  it('takes no number that JSON does not have', () => {
    for (const x of [NaN, Infinity])
      expect(faultOf({ ...least, regions: [{ label: 'A', shape: 'point', points_px: [[x, 0]] }] })?.path).toBe(
        '/regions/0/points_px/0/0',
      );
  });

  it('limits what can be sent', () => {
    const region = { label: 'A', shape: 'point', points_px: [[0, 0]] };
    expect(faultOf({ ...least, regions: Array.from({ length: 501 }, () => region) })?.path).toBe('/regions');
    const long = { label: 'A', shape: 'polygon', points_px: Array.from({ length: 5001 }, () => [0, 0]) };
    expect(faultOf({ ...least, regions: [long] })?.path).toBe('/regions/0/points_px');
  });

  it('points to where it can be resolved', () => {
    const marked = reading({ regions: [box('a', 'Edema')], measurements: [{ id: 'm', kind: 'length', points: [] }] });
    const at = (path: string) => complaintOf({ path, text: 'is wrong' }, marked).at;
    expect(['/comment', '/regions/0/points_px/3', '/measurements/0', '/regions', '/measurements', ''].map(at)).toEqual([
      'comment',
      'a',
      'm',
      'comment',
      'comment',
      'comment',
    ]);
  });
});

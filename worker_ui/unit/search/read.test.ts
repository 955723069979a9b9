import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { fieldOf } from '../../search/api/fields';
import { readCases, readImage, readMap, readReports } from '../../search/api/read';

describe('reading answers', () => {
  it('survives any JSON', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        for (const data of [value, { reports: value }, { image: value }, { cases: value, image: { id: '1' } }]) {
          expect(readReports(data).reports).toBeInstanceOf(Array);
          readImage(data);
          readCases(data);
          readMap(data);
        }
      }),
    );
  });

  it('marks the sentence that matched in the section that has it', () => {
    const text = 'FINDINGS: Clear lungs. No effusion.\nIMPRESSION: Effusion?';
    const section = (name: string, content: string) => ({ name, text: content, begin: text.indexOf(content) });
    const node = { id: '7', sections: [section('findings', 'Clear lungs. No effusion.'), section('impression', 'Effusion?')] };
    const sentence = { sentenceBegin: text.indexOf('No eff'), sentenceEnd: text.indexOf('No eff') + 12 };
    const page = readReports({ reports: { totalCount: 1, edges: [{ node, highlights: [sentence] }] } });
    expect(page.reports[0]?.sections.map(({ marks }) => marks)).toEqual([[{ begin: 13, end: 25 }], []]);
  });

  it('continues only where there is a next page', () => {
    const page = (hasNextPage: unknown) => readReports({ reports: { pageInfo: { hasNextPage, endCursor: 'c' } } }).cursor;
    expect([page(true), page(false), page(undefined)]).toEqual(['c', '', '']);
  });

  it('shows a case by its best image and the sentence that matched', () => {
    const images = [
      { score: 0.9, image: { id: 'a' } },
      { score: 0.5, image: { id: 'b' } },
    ];
    const hits = [
      { images, highlights: [{ sentence: 'No effusion.' }], report: { sections: [{ text: 'Clear.' }] } },
      { images: [] },
    ];
    const facets = [{ field: 'positive_labels', values: [{ value: 'Edema', text: '', count: 2 }] }];
    const similar = readCases({ image: { id: 'q' }, cases: { exact: true, hits, facets } })?.similar;
    expect(similar?.hits.map(({ image, score, sentence }) => [image.id, score, sentence])).toEqual([
      ['a', 0.9, 'No effusion.'],
    ]);
    expect(similar?.facets[0]).toMatchObject({ field: 'labels_positive', buckets: [{ name: 'Edema', count: 2 }] });
    expect(readCases({ image: null, cases: { hits } })).toBeNull();
  });

  it('takes a map only when it is whole', () => {
    const map = (values: unknown) => readMap({ image: { similarityMap: { rows: 1, columns: 2, values } } });
    expect(map([0, 1])).toEqual({ rows: 1, columns: 2, values: [0, 1] });
    expect([map([0]), map(null), readMap({ image: { similarityMap: null } })]).toEqual([null, null, null]);
  });
});

it('knows the state of a field of reports and of images', () => {
  expect(fieldOf('negative_codes')).toEqual({ title: 'Negative', state: 'negative' });
  expect(fieldOf('labels_uncertain')).toEqual({ title: 'Uncertain', state: 'uncertain' });
  expect(fieldOf('view_position')).toEqual({ title: 'View', state: null });
  expect(fieldOf('constructor').title).toBe('constructor');
});

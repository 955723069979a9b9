import { describe, expect, it } from 'vitest';

import { CHEST_RADIOGRAPH } from '../../radiograph/chest';
import { digest } from '../../shared/drafts/key';
import { fittedTo } from '../../shared/state/reading';
import { readTask } from '../../shared/host/task';
import { box, finding, labels, reading } from '../samples';

function page(input: unknown, data: Record<string, string> = {}): HTMLElement {
  const element = document.createElement('main');
  Object.assign(element.dataset, {
    task: typeof input === 'string' ? input : JSON.stringify(input),
    image: 'https://images.test/1.dcm?X-Signature=1',
    ...data,
  });
  return element;
}
const read = (input: unknown, data?: Record<string, string>) => readTask(page(input, data), CHEST_RADIOGRAPH);

describe('a task', () => {
  it('is read whole', () => {
    const task = read(
      {
        labels: ['Edema', 'Nodule'],
        instructions: 'Look twice.',
        definitions: { Nodule: 'Small and round.' },
        rules: { answer_all: false, regions: { 'Nodule': 'required', '*': 'none' } },
        second_image: { image: 's3://b/2.dcm', role: 'lateral', caption: 'Lateral' },
        renderedImage: '/1.jpg',
        renderedSecond: '/2.jpg',
        suggestions: {
          mode: 'shown',
          model: 'densenet 1',
          probabilities: { Edema: 0.25, Other: 0.5 },
          regions: [{ label: 'Nodule', shape: 'point', points_px: [[3, 4]] }],
        },
        earlier_answers: [
          { reader: 'A', answer: { labels: { Edema: 'positive', Nodule: 'negative' } } },
          { reader: 'B', answer: { labels: { Edema: 'negative', Nodule: 'negative' } } },
        ],
      },
      { second: 'https://images.test/2.dcm' },
    );
    expect(task.problems).toEqual([]);
    expect(task.findings).toEqual([
      { label: 'Edema', definition: CHEST_RADIOGRAPH.definitions.get('Edema'), region: 'none' },
      { label: 'Nodule', definition: 'Small and round.', region: 'required' },
    ]);
    expect(task).toMatchObject({
      instructions: 'Look twice.',
      answerAll: false,
      image: { url: 'https://images.test/1.dcm?X-Signature=1' },
    });
    expect(task.image.renderedUrl).toMatch(/\/1\.jpg$/);
    expect(task.second).toMatchObject({ url: 'https://images.test/2.dcm', role: 'lateral', caption: 'Lateral' });
    expect(task.suggestions).toMatchObject({
      mode: 'shown',
      model: 'densenet 1',
      regions: [{ id: 'model-1', label: 'Nodule' }],
    });
    expect({ ...task.suggestions?.probabilities }).toEqual({ Edema: 0.25 });
    expect(task.earlier.map(({ name }) => name)).toEqual(['A', 'B']);
    expect({ ...task.start?.labels }).toEqual({ Nodule: 'negative' });
  });

  it('needs labels and an image only', () => {
    const task = read({ labels: 'Edema, Fracture' });
    expect(task).toMatchObject({
      answerAll: true,
      second: null,
      suggestions: null,
      earlier: [],
      start: null,
      problems: [],
      instructions: '',
    });
    expect(task.findings.map(({ label }) => label)).toEqual(['Edema', 'Fracture']);
  });

  it('takes labels from the template where the input has none', () => {
    expect(read({}, { labels: '["Edema","Fracture"]' }).findings.map(({ label }) => label)).toEqual(['Edema', 'Fracture']);
    expect(read({}, { labels: 'Edema,Fracture' }).findings).toHaveLength(2);
  });

  it('brings words of its own for the fourteen usual labels', () => {
    expect(CHEST_RADIOGRAPH.definitions.size).toBe(14);
    for (const { label, definition } of read({ labels: [...CHEST_RADIOGRAPH.definitions.keys()] }).findings)
      expect([label, definition.length > 40]).toEqual([label, true]);
  });

  it('gives "No Finding" no region, whatever holds for all', () => {
    expect(
      read({ labels: ['No Finding', 'Edema'], rules: { regions: { '*': 'required' } } }).findings.map(({ region }) => region),
    ).toEqual(['none', 'required']);
  });

  it('starts from an answer, with answers to its own findings only', () => {
    const start = {
      labels: { Edema: 'positive', Gout: 'positive' },
      regions: [{ label: 'Gout', shape: 'point', points_px: [[1, 1]] }],
    };
    const task = read({ labels: ['Edema'], start_answer: start });
    expect({ ...task.start?.labels }).toEqual({ Edema: 'positive' });
    expect(task.start?.regions[0]).toMatchObject({ id: 'start-1', label: '' });
  });

  it('starts adjudication with the reason that all readers gave', () => {
    const answer = { labels: {}, unusable: 'motion' };
    expect(
      read({
        labels: ['Edema'],
        earlier_answers: [
          { reader: 'A', answer },
          { reader: 'B', answer },
        ],
      }).start?.unusable,
    ).toBe('motion');
  });

  it('never shows a name that may be a worker', () => {
    const answer = { labels: { Edema: 'positive' } };
    const names = (...readers: unknown[]) =>
      read({ labels: ['Edema'], earlier_answers: readers.map((reader) => ({ reader, answer })) }).earlier.map(
        ({ name }) => name,
      );
    expect(names('private.eu.1234', 'A', undefined)).toEqual(['A', 'B', 'C']);
    expect(names('B', 'A')).toEqual(['B', 'A']);
  });
});

describe('a task that is wrong', () => {
  it.each<[unknown, RegExp]>([
    ['{', /not a JSON object/],
    ['[1]', /not a JSON object/],
    ['', /names no findings/],
    [{ labels: 7 }, /not a list of texts/],
    [{ labels: [1, '', 'Edema'] }, /empty or not text/],
    [{ labels: ['A', 'A', 'A'] }, /more than once/],
    [{ labels: ['A'.repeat(1e6)] }, /more than 200 characters/],
    [{ labels: ['A'], instructions: { html: 1 } }, /instructions is not text/],
    [{ labels: ['A'], instructions: 'x'.repeat(1e6) }, /cut after 20000/],
    [{ labels: ['A'], definitions: 'A' }, /definitions are not/],
    [{ labels: ['A'], rules: [] }, /rules are not/],
    [{ labels: ['A'], rules: { answer_all: 'yes' } }, /answer_all/],
    [{ labels: ['A'], rules: { regions: { A: 'maybe' } } }, /region rule of “A”/],
    [{ labels: ['A'], suggestions: 'all' }, /suggestions are not/],
    [{ labels: ['A'], suggestions: { mode: 'always' } }, /mode of the suggestions/],
    [{ labels: ['A'], suggestions: { probabilities: { A: 2 } } }, /probability of “A”/],
    [{ labels: ['A'], suggestions: { regions: [{ shape: 'star' }] } }, /shape “star”/],
    [{ labels: ['A'], suggestions: { regions: {} } }, /suggested regions are not a list/],
    [{ labels: ['A'], earlier_answers: {} }, /earlier answers are not a list/],
    [{ labels: ['A'], earlier_answers: [{ reader: 'A', answer: '<b>' }] }, /Earlier answer A was left out/],
    [{ labels: ['A'], start_answer: 5 }, /start from was left out/],
    [{ labels: ['A'], second_image: { role: 'lateral' } }, /second image has no address/],
  ])('%# says so and goes on', (input, sentence) => {
    const task = read(input);
    expect(task.problems.join(' ')).toMatch(sentence);
    expect(task.problems.every((one) => one.length < 300)).toBe(true);
    expect(new Set(task.problems).size).toBe(task.problems.length);
    expect(task.instructions.length).toBeLessThanOrEqual(20_000);
  });

  it('asks at most 200 findings, and says little of a lot', () => {
    const task = read({
      labels: Array.from({ length: 1e5 }, (_, index) => `L${index}`),
      earlier_answers: Array.from({ length: 1000 }, () => 1),
    });
    expect(task.findings).toHaveLength(200);
    expect(task.problems.length).toBeLessThanOrEqual(20);
    expect(read({ labels: 'x,'.repeat(1e5) }).findings).toHaveLength(1);
  });

  it('takes findings named like parts of an object', () => {
    const names = ['__proto__', 'constructor', 'hasOwnProperty', 'toString'];
    const task = read(`{"labels": ${JSON.stringify(names)}, "definitions": {"__proto__": "D"}, 
      "rules": {"regions": {"constructor": "required"}},
      "suggestions": {"probabilities": {"__proto__": 0.5}}, "start_answer": {"labels": {"__proto__": "positive"}}}`);
    expect(task.findings.map(({ label, definition, region }) => [label, definition, region])).toEqual([
      ['__proto__', 'D', 'optional'],
      ['constructor', '', 'required'],
      ['hasOwnProperty', '', 'optional'],
      ['toString', '', 'optional'],
    ]);
    expect(Object.entries(task.suggestions?.probabilities ?? {})).toEqual([['__proto__', 0.5]]);
    expect(Object.entries(task.start?.labels ?? {})).toEqual([['__proto__', 'positive']]);
    expect(({} as Record<string, unknown>)['positive']).toBeUndefined();
  });

  it.each(['javascript:alert(1)', 'file:///etc/passwd', 'http://['])('does not go to %s', (image) => {
    const task = read({ labels: ['A'] }, { image });
    expect(task.image.url).toBe('');
    expect(task.problems.join()).toMatch(/cannot be used.*names no image/);
  });

  it('goes on without any task at all', () => {
    expect(readTask(document.createElement('main'), CHEST_RADIOGRAPH)).toMatchObject({
      findings: [],
      image: { url: '' },
      answerAll: true,
    });
  });
});

describe('the key of drafts', () => {
  const key = (input: Record<string, unknown>, data?: Record<string, string>) => read({ labels: ['A'], ...input }, data).key;

  it('is the same for every signature, and another for another image, question or mode', () => {
    const one = key({ 'source-ref': 's3://b/1.dcm' });
    expect(key({ 'source-ref': 's3://b/1.dcm' }, { image: 'https://images.test/1.dcm?X-Signature=2' })).toBe(one);
    expect(key({}, { image: 'https://i.test/1.dcm?X=1' })).toBe(key({}, { image: 'https://i.test/1.dcm?X=2' }));
    const others = [
      { 'source-ref': 's3://b/2.dcm' },
      { 'source-ref': 's3://b/1.dcm', 'labels': ['B'] },
      { 'source-ref': 's3://b/1.dcm', 'suggestions': { mode: 'shown' } },
    ];
    expect(new Set([one, ...others.map((other) => key(other))]).size).toBe(4);
  });

  it("is the host's where the host has one", () => {
    const meta = document.createElement('meta');
    meta.name = 'task-draft-key';
    meta.content = 'job/0/worker';
    document.head.append(meta);
    expect(key({})).toBe('job/0/worker');
    meta.content = 'x'.repeat(500);
    expect(key({})).toMatch(/^[0-9a-f]{32}$/);
    meta.remove();
  });

  it('does not collide', () => {
    expect(new Set(Array.from({ length: 20_000 }, (_, index) => digest(`s3://bucket/images/${index}.dcm`))).size).toBe(20_000);
  });
});

describe('a reading fitted to findings', () => {
  it('is the same object when it fits', () => {
    const fits = reading({ labels: labels({ Edema: 'positive' }), regions: [box('a', 'Edema'), box('b', '')] });
    expect(fittedTo([finding('Edema')], fits)).toBe(fits);
  });
});

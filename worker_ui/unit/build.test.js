// @vitest-environment node
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';

const ROOT = path.join(import.meta.dirname, '..');
const PACKAGE = path.join(ROOT, '../dicom_workflow/labeling/worker_templates');

let out = '';

beforeAll(() => {
  out = fs.mkdtempSync(path.join(os.tmpdir(), 'worker-ui-'));
  const { VITEST: _, NODE_ENV: __, ...env } = process.env; // the build takes other definitions under the test runner
  execFileSync(process.execPath, ['build.js', '--out', out], { cwd: ROOT, env });
}, 120_000);

afterAll(() => fs.rmSync(out, { recursive: true, force: true }));

it('the package holds what the sources build, and nothing else', () => {
  expect(fs.readdirSync(PACKAGE).sort()).toEqual(fs.readdirSync(out).sort());
  for (const name of fs.readdirSync(out)) {
    const same = fs.readFileSync(path.join(out, name)).equals(fs.readFileSync(path.join(PACKAGE, name)));
    expect(same, `${name} is not what the sources build: run npm run build`).toBe(true);
  }
});

it('every bundled package stands in THIRD-PARTY.txt with the text of its license', () => {
  const { packages } = JSON.parse(fs.readFileSync(path.join(out, 'build.json'), 'utf8'));
  const sections = fs.readFileSync(path.join(out, 'THIRD-PARTY.txt'), 'utf8').split(`\n\n${'-'.repeat(80)}\n\n`);
  const texts = new Map(sections.map((section) => [section.replace(/^Software inside.*\n\n/, '').split('\n', 1)[0], section]));
  expect([...texts.keys()]).toEqual(packages);
  for (const [name, text] of texts) expect(text.length, name).toBeGreaterThan(450);
  for (const name of [
    'CharLS',
    'OpenJPEG',
    'libjpeg-turbo',
    'Emscripten',
    'jpgjs',
    '@cornerstonejs/core',
    'dicom-parser',
    'ajv',
  ])
    expect(
      packages.some((one) => one.startsWith(`${name} `)),
      name,
    ).toBe(true);
});

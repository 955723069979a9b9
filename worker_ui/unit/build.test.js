// @vitest-environment node
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';

import { PAGES } from '../build/pages.js';

const ROOT = path.join(import.meta.dirname, '..');

let out = '';
const built = (page) => path.join(out, page);

beforeAll(() => {
  out = fs.mkdtempSync(path.join(os.tmpdir(), 'worker-ui-'));
  const { VITEST: _, NODE_ENV: __, ...env } = process.env; // the build takes other definitions under the test runner
  for (const page of Object.keys(PAGES)) {
    fs.mkdirSync(built(page));
    execFileSync(process.execPath, ['build.js', '--page', page, '--out', built(page)], { cwd: ROOT, env });
  }
}, 120_000);

afterAll(() => fs.rmSync(out, { recursive: true, force: true }));

it.each(Object.keys(PAGES))('the package holds what the sources of the %s page build, and nothing else', (page) => {
  const folder = path.join(ROOT, PAGES[page].folder);
  expect(fs.readdirSync(folder).sort()).toEqual(fs.readdirSync(built(page)).sort());
  for (const name of fs.readdirSync(folder)) {
    const same = fs.readFileSync(path.join(built(page), name)).equals(fs.readFileSync(path.join(folder, name)));
    expect(same, `${name} is not what the sources build: run npm run build`).toBe(true);
  }
});

it.each(Object.keys(PAGES))('every package in the %s page stands in THIRD-PARTY.txt with the text of its license', (page) => {
  const { packages } = JSON.parse(fs.readFileSync(path.join(built(page), 'build.json'), 'utf8'));
  const sections = fs.readFileSync(path.join(built(page), 'THIRD-PARTY.txt'), 'utf8').split(`\n\n${'-'.repeat(80)}\n\n`);
  const texts = new Map(sections.map((section) => [section.replace(/^Software inside.*\n\n/, '').split('\n', 1)[0], section]));
  expect([...texts.keys()]).toEqual(packages);
  for (const [name, text] of texts) expect(text.length, name).toBeGreaterThan(450);
  const names = {
    radiograph: ['CharLS', 'OpenJPEG', 'libjpeg-turbo', 'Emscripten', 'jpgjs', '@cornerstonejs/core', 'dicom-parser', 'ajv'],
    search: ['preact'],
  }[page];
  for (const name of names) expect(packages.filter((one) => one.startsWith(`${name} `)).length, name).toBeGreaterThan(0);
});

/**
 * Builds the page into dicom_workflow/labeling/worker_templates: one script and one style sheet, named by their content, the
 * licences of what is inside them, and build.json, which says from which sources they were made.
 *
 * usage: node build.js [--out folder]
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'vite';

import config from './vite.config.js';

const here = path.dirname(fileURLToPath(import.meta.url));
const templates = path.join(here, '../dicom_workflow/labeling/worker_templates');
const SOURCES = ['shared', 'radiograph', 'build', 'build.js', 'vite.config.js', 'package.json', 'package-lock.json'];

/** Files that go into the package as they are written. */
const COPIED = ['shared/host/crowd-shim.js', 'radiograph/radiograph.liquid.html'];

const sha256 = (data) => createHash('sha256').update(data).digest('hex');

/** Files under a path, in the order of their names, the same on every machine. */
function files(name) {
  const full = path.join(here, name);
  if (fs.statSync(full).isFile()) return [name];
  return fs.readdirSync(full).sort().flatMap((child) => files(`${name}/${child}`));
}

/** One number for all that the build is made from: "<sha256 of a file>  <name>" for each, one a line. */
export function sourcesSha256() {
  const lines = SOURCES.flatMap(files).map((name) => `${sha256(fs.readFileSync(path.join(here, name)))}  ${name}\n`);
  return sha256(lines.join(''));
}

/** Package folder of a module in node_modules. */
function packageOf(id) {
  const at = id.lastIndexOf('node_modules/');
  if (at < 0) return null;
  const parts = id.slice(at + 13).split('/');
  return path.join(id.slice(0, at + 13), ...parts.slice(0, parts[0].startsWith('@') ? 2 : 1));
}

function licences(folders) {
  const texts = [...folders].sort().map((folder) => {
    const about = JSON.parse(fs.readFileSync(path.join(folder, 'package.json'), 'utf8'));
    const name = fs.readdirSync(folder).find((file) => /^(licen[cs]e|copying)(\.(md|txt))?$/i.test(file));
    const text = name ? fs.readFileSync(path.join(folder, name), 'utf8').trim() : '';
    const licence = typeof about.license === 'string' ? about.license : about.license?.type ?? 'see its repository';
    const author = about.author?.name ?? about.author ?? '', repository = about.repository?.url ?? about.repository ?? about.homepage ?? '';
    const origin = text ? '' : [author && `Copyright ${author}`, repository].filter(Boolean).join('\n');
    return `${about.name} ${about.version}\n${licence}\n\n${text || origin}`.trim();
  });
  return `Software inside the worker pages, with its licences.\n\n${texts.join(`\n\n${'-'.repeat(80)}\n\n`)}\n`;
}

async function main(out) {
  const folders = new Set();
  const collect = () => ({
    name: 'collect-packages',
    transform(_, id) {
      const folder = packageOf(id.replace(/^\0/, '').replace(/\?.*$/, ''));
      if (folder) folders.add(folder);
    },
  });
  const { output } = [await build({
    ...config,
    configFile: false,
    root: here,
    logLevel: 'warn',
    plugins: [collect()],
    worker: { ...config.worker, plugins: () => [collect()] },
    build: { ...config.build, write: false },
  })].flat()[0];

  const text = { script: '', style: '' };
  for (const file of output) {
    if (file.type === 'chunk') text.script += file.code;
    else if (file.fileName.endsWith('.css')) text.style += file.source;
    else throw new Error(`expected one script and one style sheet, got ${file.fileName} too`);
  }
  const names = { script: `radiograph.${sha256(text.script).slice(0, 12)}.js`, style: `radiograph.${sha256(text.style).slice(0, 12)}.css` };
  for (const old of fs.readdirSync(out)) if (/^radiograph\.[0-9a-f]{12}\.(js|css)$/.test(old)) fs.rmSync(path.join(out, old));
  fs.writeFileSync(path.join(out, names.script), text.script);
  fs.writeFileSync(path.join(out, names.style), text.style);
  fs.writeFileSync(path.join(out, 'THIRD-PARTY.txt'), licences(folders));
  for (const name of COPIED) fs.copyFileSync(path.join(here, name), path.join(out, path.basename(name)));
  const sizes = { script_bytes: Buffer.byteLength(text.script), gzip_bytes: gzipSync(text.script + text.style, { level: 9 }).length };
  fs.writeFileSync(path.join(out, 'build.json'), `${JSON.stringify({ ...names, sources_sha256: sourcesSha256(), ...sizes }, null, 2)}\n`);
  console.log(`${names.script}: ${(sizes.script_bytes / 1e6).toFixed(2)} MB, ${(sizes.gzip_bytes / 1e6).toFixed(2)} MB as it travels`);
}

const at = process.argv.indexOf('--out');
await main(at > 0 ? process.argv[at + 1] : templates);

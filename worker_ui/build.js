/**
 * Builds the page into dicom_workflow/labeling/worker_templates: one script and one style sheet, named by their content, the
 * template and the host's script as they are, the licenses of what is bundled, and build.json, which names the sources.
 *
 * usage: node build.js [--out folder]
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'vite';

import { bundled, packageOf, thirdParty } from './build/licenses.js';
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
  return fs
    .readdirSync(full)
    .sort()
    .flatMap((child) => files(`${name}/${child}`));
}

/** One digest for everything that the build is made from: "<sha256 of a file>  <name>" for each, one a line. */
function sourcesSha256() {
  const lines = SOURCES.flatMap(files).map((name) => `${sha256(fs.readFileSync(path.join(here, name)))}  ${name}\n`);
  return sha256(lines.join(''));
}

/** Return the page's script and style, and the folders of the npm packages in them. */
async function page() {
  const folders = new Set();
  const collect = () => ({
    name: 'collect-packages',
    transform(_, id) {
      const folder = packageOf(id.replace(/^\0/, '').replace(/\?.*$/, ''));
      if (folder) folders.add(folder);
    },
  });
  const { output } = [
    await build({
      ...config,
      configFile: false,
      root: here,
      logLevel: 'error',
      plugins: [collect()],
      worker: { ...config.worker, plugins: () => [collect()] },
      build: { ...config.build, write: false },
    }),
  ].flat()[0];
  const text = { script: '', style: '' };
  for (const file of output) {
    if (file.type === 'chunk') text.script += file.code;
    else if (file.fileName.endsWith('.css')) text.style += file.source;
    else throw new Error(`The build made ${file.fileName} beside one script and one style sheet; nothing serves a third file.`);
  }
  return { ...text, folders };
}

async function main(out) {
  const { script, style, folders } = await page();
  const names = {
    script: `radiograph.${sha256(script).slice(0, 12)}.js`,
    style: `radiograph.${sha256(style).slice(0, 12)}.css`,
  };
  const packages = bundled(folders);
  const made = { [names.script]: script, [names.style]: style, 'THIRD-PARTY.txt': thirdParty(packages) };
  for (const name of COPIED) made[path.basename(name)] = fs.readFileSync(path.join(here, name), 'utf8');
  for (const old of fs.readdirSync(out)) if (/^radiograph\.[0-9a-f]{12}\.(js|css)$/.test(old)) fs.rmSync(path.join(out, old));
  for (const [name, content] of Object.entries(made)) fs.writeFileSync(path.join(out, name), content);
  const sizes = { script_bytes: Buffer.byteLength(script), gzip_bytes: gzipSync(script + style, { level: 9 }).length };
  const about = {
    about: 'Made by `npm run build` in worker_ui; change the sources there, never the files here.',
    ...names,
    sources_sha256: sourcesSha256(),
    ...sizes,
    files_sha256: Object.fromEntries(
      Object.keys(made)
        .sort()
        .map((name) => [name, sha256(made[name])]),
    ),
    packages: packages.map(({ name, version }) => `${name} ${version}`),
  };
  fs.writeFileSync(path.join(out, 'build.json'), `${JSON.stringify(about, null, 2)}\n`);
  console.log(
    `${names.script}: ${(sizes.script_bytes / 1e6).toFixed(2)} MB, ${(sizes.gzip_bytes / 1e6).toFixed(2)} MB as it travels`,
  );
}

const at = process.argv.indexOf('--out');
await main(at > 0 ? process.argv[at + 1] : templates);

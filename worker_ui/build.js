/**
 * Builds each page of pages.js into its folder of the package: one script and one style sheet, the files that are copied as
 * they are, the licenses of what is bundled, and build.json, which names the sources.
 *
 * usage: node build.js [--page name] [--out folder]     (with --out, one page: radiograph unless another is named)
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'vite';

import { bundled, packageOf, thirdParty } from './build/licenses.js';
import { PAGES } from './build/pages.js';
import config from './vite.config.js';

const here = path.dirname(fileURLToPath(import.meta.url));
const sha256 = (data) => createHash('sha256').update(data).digest('hex');

/** Files under a path, in the order of their names, the same on every machine. */
function files(name) {
  const full = path.join(here, name);
  if (fs.statSync(full).isFile()) return name.endsWith('.graphql') ? [] : [name]; // the service's; no build reads it
  return fs
    .readdirSync(full)
    .sort()
    .flatMap((child) => files(`${name}/${child}`));
}

/** One digest for everything that the build is made from: "<sha256 of a file>  <name>" for each, one a line. */
function sourcesSha256(sources) {
  const lines = sources.flatMap(files).map((name) => `${sha256(fs.readFileSync(path.join(here, name)))}  ${name}\n`);
  return sha256(lines.join(''));
}

/** Return the page's script and style, and the folders of the npm packages in them. */
async function bundle(lib) {
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
      build: { ...config.build, lib, write: false },
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

async function make(page, out) {
  const { script, style, folders } = await bundle(page.lib);
  const names = { script: page.scriptName(sha256(script).slice(0, 12)), style: page.styleName(sha256(style).slice(0, 12)) };
  const packages = bundled(folders, page.generators);
  const made = { [names.script]: script, [names.style]: style, 'THIRD-PARTY.txt': thirdParty(packages) };
  for (const name of page.copied) made[path.basename(name)] = fs.readFileSync(path.join(here, name), 'utf8');
  for (const old of fs.readdirSync(out)) if (page.old.test(old)) fs.rmSync(path.join(out, old));
  for (const [name, content] of Object.entries(made)) fs.writeFileSync(path.join(out, name), content);
  const sizes = { script_bytes: Buffer.byteLength(script), gzip_bytes: gzipSync(script + style, { level: 9 }).length };
  const about = {
    about: 'Made by `npm run build` in worker_ui; change the sources there, never the files here.',
    ...names,
    ...(page.html && { html: page.html }),
    sources_sha256: sourcesSha256(page.sources),
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

function option(name) {
  const at = process.argv.indexOf(name);
  return at > 0 ? process.argv[at + 1] : undefined;
}

const [only, out] = [option('--page'), option('--out')];
for (const [name, page] of Object.entries(PAGES)) {
  if (name === (only ?? (out ? 'radiograph' : name))) await make(page, out ?? path.join(here, page.folder));
}

/** The licenses of everything in the built pages: npm packages, and the libraries that those have inside. */
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const supplied = (name) => fs.readFileSync(here(`./licenses/${name}.txt`), 'utf8');
const LICENSE_FILE = /^(licen[cs]e|copying)([.-](md|txt|mit))?$/i;

/** Packages that are published without their license file; the texts are from their repositories. */
const WITHOUT_FILE = {
  '@cornerstonejs/core': 'cornerstone3d',
  '@cornerstonejs/metadata': 'cornerstone3d',
  '@cornerstonejs/utils': 'cornerstone3d',
  '@cornerstonejs/codec-libjpeg-turbo-8bit': 'cornerstone-codecs',
  '@cornerstonejs/codec-openjpeg': 'cornerstone-codecs',
};

/** Packages that are published as one file with their dependencies in it. */
const PREBUILT = ['dcmjs'];

/** Libraries compiled or copied into a package, which do not stand in node_modules by themselves. */
const INSIDE = [
  { name: 'CharLS', inside: '@cornerstonejs/codec-charls', license: 'BSD-3-Clause', text: () => supplied('charls') },
  { name: 'OpenJPEG', inside: '@cornerstonejs/codec-openjpeg', license: 'BSD-2-Clause', text: () => supplied('openjpeg') },
  {
    name: 'libjpeg-turbo',
    inside: '@cornerstonejs/codec-libjpeg-turbo-8bit',
    license: 'IJG AND BSD-3-Clause AND Zlib',
    text: () => supplied('libjpeg-turbo'),
  },
  {
    name: 'Emscripten runtime and musl',
    inside: '@cornerstonejs/codec-openjpeg',
    license: 'MIT',
    text: () => supplied('emscripten'),
  },
  { name: 'jpgjs', inside: '@cornerstonejs/dicom-image-loader', license: 'Apache-2.0', text: jpgjsNotice },
];

function jpgjsNotice() {
  return `Copyright 2011 notmasteryet\n\n${fs.readFileSync(here('../node_modules/comlink/LICENSE'), 'utf8')}`;
}

/** Return the folder of the npm package that a module belongs to, or null for a module of our own. */
export function packageOf(id) {
  const at = id.lastIndexOf('node_modules/');
  if (at < 0) return null;
  const parts = id.slice(at + 13).split('/');
  return path.join(id.slice(0, at + 13), ...parts.slice(0, parts[0].startsWith('@') ? 2 : 1));
}

/** Return the folders of everything that a package depends on. */
function dependencies(folder) {
  const { dependencies: names = {} } = JSON.parse(fs.readFileSync(path.join(folder, 'package.json'), 'utf8'));
  return Object.keys(names).flatMap((name) => {
    const found = [folder, here('..')].map((from) => path.join(from, 'node_modules', name)).find((one) => fs.existsSync(one));
    return found ? [found, ...dependencies(found)] : [];
  });
}

/**
 * Return one entry for each package folder and for each library inside one: its name, version, license and full text.
 * `generators` are packages that wrote code into our sources.
 */
export function bundled(folders, generators = []) {
  const prebuilt = [...folders].filter((folder) => PREBUILT.some((name) => folder.endsWith(`node_modules/${name}`)));
  const all = new Set([
    ...folders,
    ...prebuilt.flatMap(dependencies),
    ...generators.map((name) => here(`../node_modules/${name}`)),
  ]);
  const packages = [...all].map((folder) => {
    const { name, version, license } = JSON.parse(fs.readFileSync(path.join(folder, 'package.json'), 'utf8'));
    const text = textOf(folder, name);
    if (!text)
      throw new Error(`${name} ${version} has no license file. Put its text into build/licenses and name it in WITHOUT_FILE.`);
    return { name, version, license, text };
  });
  const names = new Set(packages.map(({ name }) => name));
  const inside = INSIDE.filter((one) => names.has(one.inside)).map((one) => {
    const { version } = packages.find(({ name }) => name === one.inside);
    return { name: one.name, version: `(in ${one.inside} ${version})`, license: one.license, text: one.text().trim() };
  });
  const key = ({ name, version }) => `${name} ${version}`;
  return [...packages, ...inside].sort((one, other) => (key(one) < key(other) ? -1 : 1));
}

function textOf(folder, name) {
  const file = fs.readdirSync(folder).find((one) => LICENSE_FILE.test(one));
  if (file) return fs.readFileSync(path.join(folder, file), 'utf8').trim();
  if (WITHOUT_FILE[name]) return supplied(WITHOUT_FILE[name]).trim();
  const readme = path.join(folder, 'README.md');
  const section = fs.existsSync(readme) && /^(#+ )?licen[cs]e\b[^]*$/im.exec(fs.readFileSync(readme, 'utf8'))?.[0].trim();
  return section && section.length > 500 ? section : '';
}

/** Return the text of THIRD-PARTY.txt. */
export function thirdParty(entries) {
  const texts = entries.map(
    ({ name, version, license, text }) => `${name} ${version}\n${license}\n\n${text.replace(/\r\n?/g, '\n')}`,
  );
  return `Software inside the worker pages, with its licenses.\n\n${texts.join(`\n\n${'-'.repeat(80)}\n\n`)}\n`;
}

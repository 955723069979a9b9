/** The pages that are built: from which sources, into which folder of the package, under which names. */
import { fileURLToPath } from 'node:url';

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const COMMON = ['shared', 'build', 'build.js', 'vite.config.js', 'package.json', 'package-lock.json'];

export const PAGES = {
  // A classic script, named by its content: a labeling job keeps the one that it was created with.
  radiograph: {
    folder: '../dicom_workflow/labeling/worker_templates',
    sources: ['radiograph', ...COMMON],
    copied: ['shared/host/crowd-shim.js', 'radiograph/radiograph.liquid.html'],
    generators: ['ajv'], // the validator of answers
    lib: {
      entry: here('../radiograph/main.tsx'),
      formats: ['iife'],
      name: 'RadiographPage',
      fileName: () => 'radiograph.js',
      cssFileName: 'radiograph',
    },
    scriptName: (digest) => `radiograph.${digest}.js`,
    styleName: (digest) => `radiograph.${digest}.css`,
    old: /^radiograph\.[0-9a-f]{12}\.(js|css)$/,
  },
  // A module, for the web page of the search service and for anywidget in notebooks; both come with the package that they ask.
  search: {
    folder: '../dicom_workflow/search/page',
    sources: ['search', ...COMMON],
    copied: ['search/index.html'],
    html: 'index.html',
    generators: [],
    lib: { entry: here('../search/main.tsx'), formats: ['es'], fileName: () => 'search.mjs', cssFileName: 'search' },
    scriptName: () => 'search.mjs',
    styleName: () => 'search.css',
    old: /^search\.(mjs|css)$/,
  },
};

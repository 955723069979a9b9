// The script of the page for tests, built as the worker page is.
import { fileURLToPath } from 'node:url';

import page from '../../../vite.config.js';

const here = (name) => fileURLToPath(new URL(name, import.meta.url));

export default {
  ...page,
  root: here('../../..'),
  build: {
    ...page.build,
    lib: { entry: here('./entry.ts'), formats: ['iife'], name: 'PixelsPage', fileName: () => 'pixels.js' },
  },
};

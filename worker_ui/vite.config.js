// One classic script for the page, decoders inside it: Ground Truth serves the page from one origin and the script from
// another, where a worker or a WebAssembly file of its own could not be loaded.
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vite';

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const modules = (name) => path.join(here('./node_modules'), name);

export default defineConfig({
  base: './',
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  resolve: {
    alias: [
      // vtk.js writes XML for file formats no page needs; its XML library expects Node's "events" and fails at load.
      { find: 'xmlbuilder2', replacement: here('./build/empty.js') },
      { find: /^\.\.\/WebGPU\/Profiles\/.*$/, replacement: here('./build/empty.js') },
      // The decoders of the image loader, one by one: the package's own entry brings every one of them twice.
      { find: /^decoders\/(.*)$/, replacement: modules('@cornerstonejs/dicom-image-loader/dist/esm/shared/decoders/$1.js') },
    ],
  },
  // A classic script has no import.meta; under the test runner there is one.
  define: process.env.VITEST ? {} : { 'import.meta.url': 'globalThis.location.href' },
  worker: { format: 'iife' },
  build: {
    target: 'es2022',
    outDir: 'dist',
    assetsInlineLimit: 1e8,
    chunkSizeWarningLimit: 5000,
    lib: {
      entry: here('./radiograph/main.tsx'),
      formats: ['iife'],
      name: 'RadiographPage',
      fileName: () => 'radiograph.js',
      cssFileName: 'radiograph',
    },
  },
  test: { environment: 'happy-dom', include: ['unit/**/*.test.{ts,js}'] },
});

// What the builds of all pages have in common; build/pages.js has the rest. Each is one script with everything inside: Ground
// Truth serves page and script from different origins, so that separate worker or WebAssembly files could not be loaded.
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
      // vtk.js needs its XML library only for file formats that no page reads; the library requires Node's "events".
      { find: 'xmlbuilder2', replacement: here('./build/empty.js') },
      { find: /^\.\.\/WebGPU\/Profiles\/.*$/, replacement: here('./build/empty.js') },
      // Single decoders of the image loader: the entry point of the package includes each of them twice.
      { find: /^decoders\/(.*)$/, replacement: modules('@cornerstonejs/dicom-image-loader/dist/esm/shared/decoders/$1.js') },
    ],
  },
  // A classic script has no import.meta; the test runner has one.
  define: process.env.VITEST ? {} : { 'import.meta.url': 'globalThis.location.href' },
  worker: { format: 'iife' },
  build: {
    target: 'es2022',
    outDir: 'dist',
    assetsInlineLimit: 1e8,
    chunkSizeWarningLimit: 5000,
  },
  test: { environment: 'happy-dom', include: ['unit/**/*.test.{ts,js}'] },
});

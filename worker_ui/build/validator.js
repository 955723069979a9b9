// Turns the answer's schema into a function: the page may not compile code (its content security policy has no "unsafe-eval").
// `node build/validator.js` writes src/answer/validator.generated.js; a unit test says when that is to be done again.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import Ajv from 'ajv';
import standalone from 'ajv/dist/standalone/index.js';

const schemaFile = fileURLToPath(new URL('../../dicom_workflow/labeling/worker_templates/answer.schema.json', import.meta.url));
export const validatorFile = fileURLToPath(new URL('../src/answer/validator.generated.js', import.meta.url));

// Lengths are counted in characters, as Python counts them; ajv would take its own counter from a CommonJS file.
const COUNTER = /require\("ajv\/dist\/runtime\/ucs2length"\)\.default/g;

/** Return the source of an ES module whose default export says whether an answer has the schema's form. */
export function validatorSource() {
  const ajv = new Ajv({ code: { source: true, esm: true, lines: true }, strict: true, strictTypes: false, strictRequired: false });
  const validate = ajv.compile(JSON.parse(readFileSync(schemaFile, 'utf8')));
  const code = standalone(ajv, validate).replace(COUNTER, '(text) => [...text].length').replace(/^"use strict";\s*/, '');
  const left = /\brequire\(|\beval\(|\bnew Function\b|^import /m.exec(code);
  if (left) throw new Error(`The validator would need ${left[0]} at run time.`);
  return `// Made from answer.schema.json by build/validator.js.\n${code.trimEnd()}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(validatorFile, validatorSource());

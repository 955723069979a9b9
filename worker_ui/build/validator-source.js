// Compiles the answer's schema to a function at build time: a content security policy without "unsafe-eval" forbids it later.
import Ajv from 'ajv';
import standalone from 'ajv/dist/standalone/index.js';

// Count code points, as Python does; ajv would import its own counter from a CommonJS file.
const COUNTER = /require\("ajv\/dist\/runtime\/ucs2length"\)\.default/g;

/** Return the source of an ES module whose default export says whether an answer has the form of the schema. */
export function validatorSource(schema) {
  const ajv = new Ajv({ code: { source: true, esm: true, lines: true }, strictTypes: false });
  const code = standalone(ajv, ajv.compile(withoutDescriptions(schema)))
    .replace(COUNTER, '(text) => [...text].length')
    .replace(/^"use strict";\s*/, '');
  const left = /\brequire\(|\beval\(|\bnew Function\b|^import /m.exec(code);
  if (left) throw new Error(`The validator would need ${left[0]} at run time.`);
  return `// Made from answer.schema.json by build/validator.js.\n${code.trimEnd()}\n`;
}

/** The generated code contains the schema; descriptions would only make it larger. */
function withoutDescriptions(schema) {
  return JSON.parse(JSON.stringify(schema), (key, value) =>
    key === 'description' && typeof value === 'string' ? undefined : value,
  );
}

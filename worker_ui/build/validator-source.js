// The answer's schema as a function: the page may not compile code (its content security policy has no "unsafe-eval").
import Ajv from 'ajv';
import standalone from 'ajv/dist/standalone/index.js';

// Lengths are counted in characters, as Python counts them; ajv would take its own counter from a CommonJS file.
const COUNTER = /require\("ajv\/dist\/runtime\/ucs2length"\)\.default/g;

/** Return the source of an ES module whose default export says whether an answer has the form of the schema. */
export function validatorSource(schema) {
  const ajv = new Ajv({ code: { source: true, esm: true, lines: true }, strictTypes: false });
  const code = standalone(ajv, ajv.compile(withoutWords(schema)))
    .replace(COUNTER, '(text) => [...text].length')
    .replace(/^"use strict";\s*/, '');
  const left = /\brequire\(|\beval\(|\bnew Function\b|^import /m.exec(code);
  if (left) throw new Error(`The validator would need ${left[0]} at run time.`);
  return `// Made from answer.schema.json by build/validator.js.\n${code.trimEnd()}\n`;
}

/** The generated code carries the schema along; its descriptions are for readers of the schema. */
function withoutWords(schema) {
  return JSON.parse(JSON.stringify(schema), (key, value) =>
    key === 'description' && typeof value === 'string' ? undefined : value,
  );
}

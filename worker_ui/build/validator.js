// `node build/validator.js` writes shared/answer/validator.generated.js; a unit test says when that is to be done again.
import { readFileSync, writeFileSync } from 'node:fs';
import { validatorSource } from './validator-source.js';

const file = (name) => new URL(name, import.meta.url);
const schema = JSON.parse(readFileSync(file('../../dicom_workflow/formats/schemas/answer.schema.json'), 'utf8'));
writeFileSync(file('../shared/answer/validator.generated.js'), validatorSource(schema));

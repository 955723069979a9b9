import { expect, it } from 'vitest';

import chest from '../../../dicom_workflow/formats/label_sets/chest.json';
import { CHEST_RADIOGRAPH } from '../../radiograph/chest';

it('the label set of the page is that of the package', () => {
  const { definitions, noFinding, besideNoFinding } = CHEST_RADIOGRAPH;
  expect([...definitions.keys()]).toEqual(chest.labels);
  expect({ [noFinding]: besideNoFinding }).toEqual(chest.exclusive);
});

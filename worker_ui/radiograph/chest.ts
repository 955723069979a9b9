/** What is specific to chest radiographs: the label set of CheXpert and MIMIC-CXR, and window presets. */

import type { PresetRange } from '../shared/pixels/presets';
import type { LabelSet } from '../shared/state/types';

const DEFINITIONS: ReadonlyMap<string, string> = new Map([
  [
    'Atelectasis',
    'Loss of lung volume: an opacity with crowded vessels or bronchi, or with fissures, hilum, diaphragm or mediastinum ' +
      'drawn towards it. Linear (plate) atelectasis counts.',
  ],
  [
    'Cardiomegaly',
    'An enlarged heart: cardiothoracic ratio above 0.5 on an upright PA radiograph in inspiration. AP, supine and expiratory ' +
      'images magnify the heart; say uncertain when only that may explain the size.',
  ],
  [
    'Consolidation',
    'Air spaces filled with fluid, pus, blood or cells: a homogeneous opacity that hides the vessels, often with air ' +
      'bronchograms, with little or no loss of volume.',
  ],
  [
    'Edema',
    'Pulmonary edema, interstitial or alveolar: septal (Kerley) lines, thickened fissures, indistinct vessels, ' +
      'peribronchial cuffing, or perihilar air-space opacities, mostly on both sides.',
  ],
  [
    'Enlarged Cardiomediastinum',
    'A wide or abnormally contoured mediastinum, with or without an enlarged heart: vessels, mass, nodes, blood. Allow for ' +
      'AP projection, rotation and shallow inspiration.',
  ],
  ['Fracture', 'Any fracture that can be seen, recent or healed: ribs, clavicles, scapulae, humeri, sternum, vertebrae.'],
  ['Lung Lesion', 'A nodule or mass in the lung, solid or cavitary, one or several; not an infiltrate.'],
  [
    'Lung Opacity',
    'Any abnormal whitening of the lung, whatever the cause; present as well when consolidation, edema, atelectasis, ' +
      'pneumonia or a lesion is the reason for it.',
  ],
  [
    'Pleural Effusion',
    'Fluid in the pleural space: a blunted costophrenic angle, a meniscus, fluid in a fissure, or a veil over the lung on a ' +
      'supine radiograph.',
  ],
  [
    'Pneumonia',
    'An opacity judged to be infection by its look and by what is known of the patient. Without a hint of infection, use ' +
      'Consolidation or Lung Opacity.',
  ],
  [
    'Pneumothorax',
    'Air in the pleural space: a visceral pleural line without lung markings beyond it, or on a supine radiograph a deep ' +
      'costophrenic sulcus or an unusually sharp heart or diaphragm border.',
  ],
  ['Pleural Other', 'Another change of the pleura than fluid or air: thickening, plaques, calcification, a pleural mass.'],
  [
    'Support Devices',
    'Tubes, lines, catheters, drains, pacemakers, valves, clips and other hardware, in the right place or not. May be there ' +
      'beside “No Finding”.',
  ],
  ['No Finding', 'None of the other findings is present; support devices may be.'],
]);

export const CHEST_RADIOGRAPH: LabelSet = {
  title: 'Chest radiograph',
  definitions: DEFINITIONS,
  noFinding: 'No Finding',
  besideNoFinding: ['Support Devices'],
  unusableReasons: {
    'not-displayed': 'Not displayed',
    'poor-quality': 'Exposure or noise',
    'motion': 'Motion blur',
    'rotation': 'Patient rotated',
    'wrong-view': 'Wrong view',
    'wrong-body-part': 'Not a chest radiograph',
    'incomplete': 'Part of the chest cut off',
    'foreign-object': 'Hidden by a foreign object',
    'identity-visible': 'Patient data visible on it',
    'other': 'Another reason, see comment',
  },
};

export const CHEST_PRESETS: readonly PresetRange[] = [
  ['Lungs', 0, 0.85], // with less, lung behind heart and diaphragm is white
  ['Soft tissue', 0.25, 0.9],
  ['Bone', 0.45, 1.05],
];

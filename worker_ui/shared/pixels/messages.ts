/** Messages for images that cannot be shown: what happened, and what to do. */

import { ImageError } from './radiograph-image';

type Code = ImageError['code'];

const RELOAD = 'Reload the page to try again, or report it as not displayed.';
const REPORT = 'Report it as not displayed.';

const message = (code: Code, text: string) => () => new ImageError(code, text);

export const errors = {
  noAddress: message('missing', `The task names no image. ${REPORT}`),
  missing: message('missing', `The image is not where the task says it is. ${RELOAD}`),
  refused: message('refused', `Access to the image was refused; its link may have expired. ${RELOAD}`),
  unreachable: message('unreachable', `The image cannot be reached; the network or its server may be down. ${RELOAD}`),
  stopped: message('unreachable', `Loading was stopped. ${RELOAD}`),
  slow: (seconds: number) =>
    new ImageError(
      'slow',
      `No data of the image has arrived for ${seconds} ${seconds === 1 ? 'second' : 'seconds'}. ${RELOAD}`,
    ),
  tooLarge: message('unsupported', `The image is larger than this page can show. ${REPORT}`),
  truncated: message('truncated', `The image file is incomplete or damaged. ${RELOAD}`),
  webPage: message('not-dicom', `A web page was sent instead of the image; your access may have expired. ${RELOAD}`),
  notDicom: message('not-dicom', `The file is not a radiograph that this page can read. ${REPORT}`),
  unsupported: (why: string) => new ImageError('unsupported', `This page cannot show the image: ${why}. ${REPORT}`),
  worker: message('worker', `This browser does not let the page decode the image. Try another browser. ${REPORT}`),
  tooSlow: message('worker', `Decoding the image takes too long in this browser. ${RELOAD}`),
} as const;

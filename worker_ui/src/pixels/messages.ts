/** What is said to a reader when a film cannot be shown: what happened, and what to do now. */

import { FilmError } from '../types';

const REPORT = 'Report it as not displayed';

export const errors = {
  noAddress: () => new FilmError('missing', `The task names no image. ${REPORT}.`),
  missing: () => new FilmError('missing', `The image is not where the task says it is. ${REPORT}, or reload the page to try again.`),
  refused: () =>
    new FilmError('refused', `Access to the image was refused; its link may have expired. Reload the page; if that does not help, ${lower(REPORT)}.`),
  unreachable: () =>
    new FilmError('unreachable', `The image cannot be reached. Check your network connection and reload the page, or ${lower(REPORT)}.`),
  stopped: () => new FilmError('unreachable', `Loading was stopped. Reload the page, or ${lower(REPORT)}.`),
  slow: (seconds: number) =>
    new FilmError('slow', `Nothing of the image has arrived for ${seconds} ${seconds === 1 ? 'second' : 'seconds'}. Reload the page to try again, or ${lower(REPORT)}.`),
  tooLarge: () => new FilmError('unsupported', `The image is larger than this page can show. ${REPORT}.`),
  truncated: () => new FilmError('truncated', `The image file is incomplete or damaged. Reload the page to fetch it again, or ${lower(REPORT)}.`),
  webPage: () =>
    new FilmError('not-dicom', `A web page came instead of the image; your access may have expired. Reload the page, or ${lower(REPORT)}.`),
  notDicom: () => new FilmError('not-dicom', `What came is not a radiograph that this page can read. ${REPORT}.`),
  unsupported: (why: string) => new FilmError('unsupported', `This page cannot show the image: ${why}. ${REPORT}.`),
  worker: () =>
    new FilmError('worker', `This browser does not let the page decode the image. Try another browser, or ${lower(REPORT)}.`),
} as const;

function lower(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}

/** The transport of the web page: GraphQL, pictures and uploads by fetch, from the address that served the page. */

import { isObject, own, text } from '../../shared/json';
import {
  dataOf,
  LARGE,
  ServiceError,
  uploadIdOf,
  type PictureSize,
  type Session,
  type SignIn,
  type Transport,
} from './transport';

/** Return the transport to a service below an address that ends with "/". A cookie that no script can read signs requests. */
export function httpTransport(base: string, window: Window): Transport {
  const ask = async (path: string, init: RequestInit): Promise<Response> => {
    let response: Response;
    try {
      response = await fetch(new URL(path, base), { ...init, credentials: 'same-origin' });
    } catch (error) {
      if (error instanceof DOMException && error.name === 'AbortError') throw error;
      throw new ServiceError('The search service cannot be reached. Check that it runs, then try again.');
    }
    if (response.status === 401) throw new ServiceError('Sign in to search.', true);
    return response;
  };
  const json = async (path: string, init: RequestInit): Promise<unknown> => (await ask(path, init)).json().catch(() => null);

  return {
    session: sessionOf(json, window),
    graphql: async (query, variables, signal) => {
      const answer = await json('graphql', post(JSON.stringify({ query, variables }), 'application/json', signal));
      return dataOf(answer);
    },
    picture: async (imageId, size, signal) => {
      const response = await ask(pathOf(imageId, size), signal ? { signal } : {});
      if (response.ok) return response.blob();
      const said = text(own(await response.json().catch(() => null), 'error'));
      throw new ServiceError(said || 'The picture cannot be shown.');
    },
    // Without the name of the file, which may be a patient's.
    upload: async (file, signal) => uploadIdOf(await json('uploads', post(file, 'application/dicom', signal))),
  };
}

function sessionOf(json: (path: string, init: RequestInit) => Promise<unknown>, window: Window): Session {
  const read = (answer: unknown): SignIn => ({
    signedIn: own(answer, 'signed_in') === true,
    needed: text(own(answer, 'kind')) !== 'off',
    name: text(own(answer, 'name')),
    // A place of this service alone: "//" would begin another host.
    at: /^\/[a-z-]+$/.test(text(own(answer, 'sign_in'))) ? text(own(answer, 'sign_in')) : '',
    problem: '',
  });
  const signIn = async (token: string): Promise<SignIn> => {
    const answer = await json('session', post(JSON.stringify({ token }), 'application/json'));
    if (!isObject(answer) || answer['signed_in'] !== true) throw new ServiceError('This token was refused.', true);
    return read(answer);
  };
  return {
    open: async () => {
      const token = takeToken(window);
      if (token !== '') await signIn(token).catch(() => undefined); // the form comes where it was refused
      const problem = takeProblem(window);
      return { ...read(await json('session', {})), problem };
    },
    signIn,
    signOut: async () => read(await json('session', { method: 'DELETE' })),
  };
}

/** Take the token out of the address that the service printed, so that it stays neither there nor in the history. */
function takeToken({ location, history }: Window): string {
  const match = /^#token=([^&]{1,4000})$/.exec(location.hash);
  if (!match?.[1]) return '';
  history.replaceState(null, '', '#/');
  try {
    return decodeURIComponent(match[1]);
  } catch {
    return match[1];
  }
}

/** Take out of the address why signing in at the issuer failed. */
function takeProblem({ location, history }: Window): string {
  const match = /^#sign-in=([a-z-]{1,40})$/.exec(location.hash);
  if (!match?.[1]) return '';
  history.replaceState(null, '', '#/');
  return match[1];
}

function post(body: BodyInit, type: string, signal?: AbortSignal): RequestInit {
  return { method: 'POST', body, headers: { 'Content-Type': type }, ...(signal && { signal }) };
}

function pathOf(imageId: string, size: PictureSize): string {
  return `thumb/${encodeURIComponent(imageId)}.png${size === 'large' ? `?px=${LARGE}` : ''}`;
}

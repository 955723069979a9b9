/** The transport of the web page: GraphQL and pictures by fetch, from the address that served the page. */

import { dataOf, LARGE, ServiceError, uploadIdOf, type PictureSize, type Session, type Transport } from './transport';

const REMEMBERED = 'dicom-workflow-search-token';

/** Return the transport to a service below an address that ends with "/". */
export function httpTransport(base: string, storage: Storage | null = sessionStorageOrNull()): Transport {
  let token = storage?.getItem(REMEMBERED) ?? '';
  const session: Session = {
    signIn: (given) => {
      token = given.trim();
      storage?.setItem(REMEMBERED, token);
    },
    signOut: () => {
      token = '';
      storage?.removeItem(REMEMBERED);
    },
    signedIn: () => token !== '',
  };

  const ask = async (path: string, init: RequestInit): Promise<Response> => {
    const headers = new Headers(init.headers);
    if (token) headers.set('Authorization', `Bearer ${token}`);
    let response: Response;
    try {
      response = await fetch(new URL(path, base), { ...init, headers, credentials: 'same-origin', cache: 'default' });
    } catch (error) {
      if (error instanceof DOMException && error.name === 'AbortError') throw error;
      throw new ServiceError('The search service cannot be reached. Check that it runs, then try again.');
    }
    if (response.status === 401 || response.status === 403) throw new ServiceError('Sign in to search.', true);
    return response;
  };

  return {
    session,
    graphql: async (query, variables, signal) => {
      const headers = { 'Content-Type': 'application/json' };
      const response = await ask('graphql', post(JSON.stringify({ query, variables }), signal, headers));
      return dataOf(await response.json().catch(() => null));
    },
    picture: async (imageId, size, signal) => {
      const init: RequestInit = signal ? { signal } : {};
      const response = await ask(pathOf(imageId, size), init);
      if (!response.ok) throw new ServiceError(response.status === 404 ? 'There is no picture of this image.' : 'The picture failed.');
      return response.blob();
    },
    upload: async (file, signal) => {
      // Without the name of the file, which may be a patient's.
      const response = await ask('uploads', post(file, signal, { 'Content-Type': 'application/dicom' }));
      return uploadIdOf(await response.json().catch(() => null));
    },
  };
}

function post(body: BodyInit, signal?: AbortSignal, headers: HeadersInit = {}): RequestInit {
  return { method: 'POST', body, headers, ...(signal && { signal }) };
}

function pathOf(imageId: string, size: PictureSize): string {
  return `thumb/${encodeURIComponent(imageId)}.png${size === 'large' ? `?px=${LARGE}` : ''}`;
}

function sessionStorageOrNull(): Storage | null {
  try {
    return sessionStorage;
  } catch {
    return null; // a sandbox denies storage: the token lasts until the page is closed
  }
}

/** How the page reaches the search service: the same calls over HTTP and over a notebook's widget messages. */

export interface Transport {
  /** Run one GraphQL operation; rejects with `ServiceError` when the service answers with errors or not at all. */
  readonly graphql: (query: string, variables: Variables, signal?: AbortSignal) => Promise<unknown>;
  /** Return the picture of an image: a thumbnail, or as large as the viewer shows it. */
  readonly picture: (imageId: string, size: PictureSize, signal?: AbortSignal) => Promise<Blob>;
  /** Keep a file as a query and return its id, by which it can be searched like an image of the index. */
  readonly upload: (file: File, signal?: AbortSignal) => Promise<string>;
  /** Where a person has to sign in; absent where the host has done so. */
  readonly session?: Session;
}

export interface Session {
  /** Return who is signed in when the page opens. */
  readonly open: () => Promise<SignIn>;
  /** Rejects where the token is refused. */
  readonly signIn: (token: string) => Promise<SignIn>;
  readonly signOut: () => Promise<SignIn>;
}

export interface SignIn {
  readonly signedIn: boolean;
  /** Whether the service asks for it: on one's own machine it may not. */
  readonly needed: boolean;
  readonly name: string;
  /** Where the issuer of tokens signs a person in; empty where the page asks for a token. */
  readonly at: string;
  /** Why the last time at the issuer failed, as the service calls it; empty where it did not. */
  readonly problem: string;
}

export const SIGNED_IN: SignIn = { signedIn: true, needed: false, name: '', at: '', problem: '' };

export type PictureSize = 'thumbnail' | 'large';

/** Pixels of the longer side of a large picture. */
export const LARGE = 1024;

/** Values of a GraphQL operation. */
export type Variables = Readonly<Record<string, unknown>>;

export class ServiceError extends Error {
  /** Whether signing in may help. */
  readonly denied: boolean;

  constructor(message: string, denied = false) {
    super(message);
    this.name = 'ServiceError';
    this.denied = denied;
  }
}

const MOST_SHOWN = 400;

/** Return the data of a GraphQL answer, or throw what its errors say. */
export function dataOf(answer: unknown): unknown {
  if (typeof answer !== 'object' || answer === null) throw new ServiceError('The search service did not answer with JSON.');
  const { data, errors } = answer as { data?: unknown; errors?: unknown };
  if (Array.isArray(errors) && errors.length > 0) {
    const said = errors.map((one: { message?: unknown }) => String(one?.message ?? 'unknown error')).join(' ');
    throw new ServiceError(said.slice(0, MOST_SHOWN));
  }
  return data;
}

/** Return the id of a kept upload, or throw why it was refused. */
export function uploadIdOf(answer: unknown): string {
  const { id, error, detail } = (answer ?? {}) as Record<string, unknown>;
  if (typeof id === 'string' && id !== '') return id;
  const said = [error, detail].find((one) => typeof one === 'string' && one !== '');
  throw new ServiceError(String(said ?? 'The image could not be searched by.').slice(0, MOST_SHOWN));
}

export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'AbortError';
}

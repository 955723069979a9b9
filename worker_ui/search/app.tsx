/** The search page: header with search box and selection, and below it the reports or one image. */

import { useEffect, useMemo, useRef, useState } from 'preact/hooks';

import { openIndex } from './api/search';
import { ImagePage } from './image/image-page';
import { HostProvider, type Host, usePlace, useHost } from './parts/host';
import { MOST_UPLOAD_BYTES, SearchBox, useFileDrop } from './parts/search-box';
import { SelectionBar } from './parts/selection-bar';
import { SignInAtIssuer, SignInForm } from './parts/sign-in';
import { Status } from './parts/status';
import { ReportsPage } from './reports/reports-page';
import type { Navigation } from './state/navigation';
import { addressOf, imagePlace, START } from './state/places';
import { useQuery } from './state/use-query';
import { isAbort, ServiceError, SIGNED_IN, type SignIn, type Transport } from './transport/transport';

/** Render the page for a host; where the service denies an answer, the sign-in form comes first. */
export function App({ host }: { readonly host: Host }) {
  const { session } = host.transport;
  const [who, setWho] = useState<SignIn | null>(session ? null : SIGNED_IN);
  const [problem, setProblem] = useState<ServiceError | null>(null);
  const open = (): void => {
    setProblem(null);
    const asServiceError = (error: unknown): ServiceError =>
      error instanceof ServiceError ? error : new ServiceError(String(error));
    session?.open().then(setWho, (error: unknown) => setProblem(asServiceError(error)));
  };
  useEffect(open, [session]);
  const denied = (): void => setWho((before) => ({ ...SIGNED_IN, signedIn: false, needed: true, at: before?.at ?? '' }));
  const watched = useMemo<Host>(() => ({ ...host, transport: watching(host.transport, denied) }), [host]);
  if (!who) return <Status busy={!problem} error={problem} found="" none={false} onAgain={open} />;
  if (!who.signedIn && session) {
    if (who.at !== '') return <SignInAtIssuer at={who.at} problem={who.problem} />;
    return <SignInForm onToken={async (token) => setWho(await session.signIn(token))} />;
  }
  const leave = async (): Promise<void> => {
    const after = await session?.signOut();
    host.pictures.clear();
    host.selection.set([]);
    host.navigation.replace(START);
    // The issuer may still know this person: the next one is to be asked who they are.
    setWho({ ...SIGNED_IN, signedIn: false, needed: true, at: after?.at ? `${after.at}?prompt=login` : '' });
  };
  return (
    <HostProvider value={watched}>
      <Page name={who.name} onSignOut={who.needed ? () => void leave() : null} />
    </HostProvider>
  );
}

function Page({ name, onSignOut }: { readonly name: string; readonly onSignOut: (() => void) | null }) {
  const { navigation, transport } = useHost();
  const place = usePlace();
  const root = useRef<HTMLDivElement>(null);
  const main = useRef<HTMLElement>(null);
  const index = useQuery('index', (signal) => openIndex(transport, signal));
  const { sending, problem, send } = useUpload();
  const over = useFileDrop(root, send);
  useFocusOnArrival(main, navigation);
  useSlashKey(root);

  const query = place.kind === 'reports' ? place.text : '';
  const onText = (text: string): void => {
    navigation.type({ ...START, text, ...(place.kind === 'reports' && { chosen: place.chosen }) });
  };
  return (
    <div ref={root} class={`search-root${over ? ' dropping' : ''}`}>
      <header class="top">
        <a
          class="title"
          href={addressOf(START)}
          onClick={(event) => {
            event.preventDefault();
            navigation.go(START);
          }}
        >
          Image and report search
        </a>
        <SearchBox
          text={query}
          onText={onText}
          onEnter={() => navigation.settle()}
          onFile={send}
          uploads={index.data?.acceptsUploads !== false}
        />
        <span class="quiet index-size">
          {index.data ? `${index.data.reports.toLocaleString('en-US')} reports indexed` : ''}
        </span>
        {name && <span class="quiet">Hello, {name}</span>}
        {onSignOut && (
          <button type="button" class="plain" onClick={onSignOut}>
            Sign out
          </button>
        )}
      </header>
      {(sending || problem) && (
        <p class={`status upload${problem ? ' error' : ''}`} role={problem ? 'alert' : 'status'}>
          {problem || 'Reading the image…'}
        </p>
      )}
      <main ref={main} tabIndex={-1}>
        {place.kind === 'reports' ? (
          <ReportsPage place={place} />
        ) : (
          <ImagePage place={place} explains={index.data?.explains === true} />
        )}
      </main>
      <SelectionBar />
      {over && (
        <div class="drop-note" aria-hidden="true">
          Drop the image to find similar ones
        </div>
      )}
    </div>
  );
}

/** Send a file to the service and go to its page. */
function useUpload() {
  const { navigation, transport } = useHost();
  const [sending, setSending] = useState(false);
  const [problem, setProblem] = useState('');
  const send = (file: File): void => {
    if (file.size > MOST_UPLOAD_BYTES) {
      setProblem(
        `The file has ${Math.round(file.size / 2 ** 20)} MB; at most ${MOST_UPLOAD_BYTES / 2 ** 20} MB can be searched by.`,
      );
      return;
    }
    setSending(true);
    setProblem('');
    transport
      .upload(file)
      .then(
        (id) => navigation.go(imagePlace(id)),
        (error: unknown) => setProblem(error instanceof Error ? error.message : 'The image could not be sent.'),
      )
      .finally(() => setSending(false));
  };
  return { sending, problem, send };
}

/** Move the focus to a new page, so that a screen reader starts there; who is typing keeps it, and so does who stays on a page. */
function useFocusOnArrival(main: { readonly current: HTMLElement | null }, navigation: Navigation): void {
  const { place } = navigation;
  const page = place.kind === 'image' ? place.id : '';
  const before = useRef(page);
  useEffect(() => {
    if (before.current === page) return;
    before.current = page;
    if (navigation.typing) return;
    main.current?.focus({ preventScroll: true });
    main.current?.closest('.search-root')?.scrollIntoView({ block: 'start' });
  }, [page]);
}

/** "/" goes to the search box, unless a field is being filled in. */
function useSlashKey(root: { readonly current: HTMLElement | null }): void {
  useEffect(() => {
    const element = root.current;
    const onKey = (event: KeyboardEvent): void => {
      if (event.key !== '/' || event.ctrlKey || event.altKey || event.metaKey) return;
      if (event.target instanceof HTMLElement && event.target.matches('input:not([type="checkbox"]), select, textarea')) return;
      event.preventDefault();
      element?.querySelector<HTMLInputElement>('input[type="search"]')?.focus();
    };
    element?.addEventListener('keydown', onKey);
    return () => element?.removeEventListener('keydown', onKey);
  }, []);
}

/** The transport, telling when the service denies an answer. */
function watching(transport: Transport, onDenied: () => void): Transport {
  const watch = async <T,>(answer: Promise<T>): Promise<T> => {
    try {
      return await answer;
    } catch (error) {
      if (!isAbort(error) && error instanceof ServiceError && error.denied) onDenied();
      throw error;
    }
  };
  return {
    ...transport,
    graphql: (...given) => watch(transport.graphql(...given)),
    upload: (...given) => watch(transport.upload(...given)),
  };
}

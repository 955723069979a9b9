/** Signing in: at the issuer of the institution, or with the token that `dicom-workflow search serve` printed. */

import { useState } from 'preact/hooks';

interface Props {
  /** Rejects where the token is refused. */
  readonly onToken: (token: string) => Promise<void>;
}

export function SignInForm({ onToken }: Props) {
  const [token, setToken] = useState('');
  const [problem, setProblem] = useState('');
  const send = (): void => {
    setProblem('');
    onToken(token.trim()).catch(() => setProblem('This token does not open the search. Check it, or ask for a new one.'));
  };
  return (
    <main class="sign-in">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (token.trim() !== '') send();
        }}
      >
        <h1>Sign in to search</h1>
        {problem && (
          <p class="status error" role="alert">
            {problem}
          </p>
        )}
        <label>
          Token
          <input
            type="password"
            autocomplete="current-password"
            value={token}
            onInput={(event) => setToken(event.currentTarget.value)}
          />
        </label>
        <p class="quiet">The service printed it when it was started.</p>
        <button type="submit">Sign in</button>
      </form>
    </main>
  );
}

/** What the service says of a sign-in at the issuer that failed. */
const PROBLEMS: Readonly<Record<string, string>> = {
  denied: 'You were not signed in: the sign-in was canceled or refused there. Try again, or ask who runs this service.',
  expired: 'Signing in took too long, or this browser keeps no cookies of this page. Try again.',
  refused: 'The answer was not accepted. Start again from here, not from an older page.',
  unavailable: 'The sign-in of your institution does not answer. Try again in a minute.',
  'too-long': 'Your token is too long for a cookie. Ask who runs this service for a client with fewer claims.',
};

interface AtIssuerProps {
  readonly at: string;
  readonly problem: string;
}

export function SignInAtIssuer({ at, problem }: AtIssuerProps) {
  return (
    <main class="sign-in">
      <div class="sign-in-box">
        <h1>Sign in to search</h1>
        {problem && (
          <p class="status error" role="alert">
            {(Object.hasOwn(PROBLEMS, problem) && PROBLEMS[problem]) || 'Signing in failed. Try again.'}
          </p>
        )}
        <a class="button" href={at}>
          Sign in
        </a>
        <p class="quiet">This takes you to the sign-in of your institution and back.</p>
      </div>
    </main>
  );
}

/** Asks for the token that `dicom-workflow search serve` printed, or that the sign-in of the institution gave out. */

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

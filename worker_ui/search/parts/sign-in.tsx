/** Asks for the token that `dicom-workflow search serve` printed, or that the sign-in of the hospital gave out. */

import { useState } from 'preact/hooks';

interface Props {
  /** A token was sent and did not open the service. */
  readonly refused: boolean;
  readonly onToken: (token: string) => void;
}

export function SignIn({ refused, onToken }: Props) {
  const [token, setToken] = useState('');
  return (
    <main class="sign-in">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (token.trim() !== '') onToken(token);
        }}
      >
        <h1>Sign in to search</h1>
        {refused && (
          <p class="status error" role="alert">
            This token does not open the search. Check it, or ask for a new one.
          </p>
        )}
        <label>
          Token
          <input type="password" autocomplete="current-password" value={token} onInput={(event) => setToken(event.currentTarget.value)} />
        </label>
        <p class="quiet">The service printed it when it was started.</p>
        <button type="submit">Sign in</button>
      </form>
    </main>
  );
}

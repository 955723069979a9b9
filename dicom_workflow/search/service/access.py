"""Who may search: people with a token of OpenID Connect (Cognito), whoever has the local token, or anybody on this machine.

A credential comes in the ``Authorization`` header, or in a cookie that the page gets for it and no script can read.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from dicom_workflow.errors import SearchError, SettingsError
from dicom_workflow.http_server import is_loopback
from dicom_workflow.settings import Secret

if TYPE_CHECKING:
    from jwt import PyJWK

ALGORITHMS = ("RS256", "ES256")
"""Signatures that are accepted unless others are asked for: with a public key alone, so never HS256, and never none."""
_ASYMMETRIC = frozenset(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"))
MAX_CREDENTIAL = 8192
_LEEWAY_SECONDS = 30
_REFETCH_SECONDS = 30.0
"""Keys are read again at most this often: a token with an unknown key must not make a request of every request."""
_KEYS_SECONDS = 3600.0
_FETCH_SECONDS = 5.0
_MAX_KEYS_BYTES = 1 << 20


class AccessDeniedError(SearchError):
    """The credential is missing, expired, or of somebody else."""


class SignInUnavailableError(SearchError):
    """The issuer of tokens does not answer, so none can be checked."""


@dataclass(frozen=True)
class Identity:
    """Who asks."""

    subject: str
    """Tells people apart; not a name."""
    name: str = ""
    """For a greeting."""


class Access(Protocol):
    """Decides who may search."""

    kind: str
    """``off``, ``token`` or ``oidc``."""

    def identify(self, credential: str) -> Identity:
        """Return who has a credential; raises AccessDeniedError and SignInUnavailableError."""

    @property
    def cookie(self) -> str:
        """Name of the cookie: one of another service on the same host does not replace it."""


class NoAccessControl:
    """Lets everybody in: on a loopback address alone.

    Parameters
    ----------
    host : str
        Where the service listens.

    Raises
    ------
    SettingsError
        Other machines could reach it.
    """

    kind = "off"
    cookie = "search-off"

    def __init__(self, host: str) -> None:
        if not is_loopback(host):
            raise SettingsError(
                f"Access control can be off on a loopback address only, and the service is to listen on {host!r}. "
                "Use a token or OpenID Connect, or listen on 127.0.0.1."
            )

    def identify(self, credential: str) -> Identity:
        """Return the one user of this machine."""
        return Identity("local")


class LocalToken:
    """One token for everybody who is to search.

    Parameters
    ----------
    token : Secret
        At least 16 characters; `new` makes one.

    Raises
    ------
    SettingsError
        A shorter one could be guessed.
    """

    kind = "token"
    _LEAST = 16

    def __init__(self, token: Secret) -> None:
        text = token.reveal()
        if not self._LEAST <= len(text) <= MAX_CREDENTIAL:
            raise SettingsError(
                f"expected a token of at least {self._LEAST} characters, got {len(text)}. Leave it out for a new one."
            )
        self._digest = _digest(text)
        self.cookie = f"search-{_digest('cookie' + text).hex()[:8]}"

    @staticmethod
    def new() -> Secret:
        """Return a token of 256 random bits."""
        return Secret(secrets.token_urlsafe(32))

    def identify(self, credential: str) -> Identity:
        """Return the one user.

        Raises
        ------
        AccessDeniedError
            Another token, or none.
        """
        if not hmac.compare_digest(_digest(credential), self._digest):
            raise AccessDeniedError(
                "Sign in with the token that the service printed when it started."
                if not credential
                else "This is not the token of this service. Sign in with the one that it printed when it started."
            )
        return Identity("token")


class OidcTokens:
    """Tokens of an OpenID Connect issuer, such as a Cognito user pool.

    Parameters
    ----------
    issuer : str
        As in the tokens' ``iss``: ``https://cognito-idp.<region>.amazonaws.com/<user pool>``. Its keys are found by its
        ``/.well-known/openid-configuration``.
    audience : str
        As in ``aud``; of Cognito's access tokens the ``client_id``.
    algorithms : sequence of str
        Accepted signatures.
    clock : callable
        Seconds, never back.

    Raises
    ------
    SettingsError
        No https address, no audience, or an algorithm whose key is a shared secret.

    References
    ----------
    RFC 7519 (JWT), RFC 8725 (best practices), OpenID Connect Discovery 1.0; Cognito developer guide, "Verifying JSON web
    tokens".
    """

    kind = "oidc"

    def __init__(
        self,
        issuer: str,
        audience: str,
        *,
        algorithms: Sequence[str] = ALGORITHMS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not audience:
            raise SettingsError(
                "expected the audience (client id) of the tokens: without it, tokens for others would be accepted."
            )
        if not algorithms or not set(algorithms) <= _ASYMMETRIC:
            raise SettingsError(
                f"expected algorithms of {', '.join(sorted(_ASYMMETRIC))}, got {', '.join(algorithms) or 'none'}."
            )
        self._issuer, self._audience, self._algorithms = issuer, audience, list(algorithms)
        self._keys = _Keys(issuer, clock)
        self.cookie = f"search-{_digest(f'{issuer} {audience}').hex()[:8]}"

    def identify(self, credential: str) -> Identity:
        """Return who a token was issued to.

        Raises
        ------
        AccessDeniedError
            No token, or one that is expired, of another issuer, for another audience, or not signed by the issuer.
        SignInUnavailableError
            The issuer's keys cannot be had.
        """
        import jwt

        if not credential:
            raise AccessDeniedError("Sign in to search: send a token of the issuer of this service.")
        try:
            header = jwt.get_unverified_header(credential) if len(credential) <= MAX_CREDENTIAL else {}
            if header.get("alg") not in self._algorithms or not isinstance(header.get("kid"), str):
                raise jwt.InvalidTokenError
            claims = jwt.decode(
                credential,
                self._keys.key(header["kid"]).key,
                algorithms=self._algorithms,
                issuer=self._issuer,
                leeway=_LEEWAY_SECONDS,
                # Cognito's access tokens have a client_id and no aud: `_is_for` reads both.
                options={"require": ["exp", "iss", "sub"], "verify_aud": False},
            )
        except jwt.ExpiredSignatureError:
            raise AccessDeniedError("The token has expired. Sign in again.") from None
        except (jwt.PyJWTError, ValueError, TypeError):
            raise AccessDeniedError("This token is not accepted here. Sign in again.") from None
        if not _is_for(claims, self._audience):
            raise AccessDeniedError("This token was issued for another application. Sign in again.")
        names = (claims.get(name) for name in ("name", "cognito:username", "username", "email"))
        return Identity(str(claims["sub"]), next((name for name in names if isinstance(name, str) and name), ""))


class _Keys:
    """The public keys of an issuer, read when a token names one that is not known."""

    def __init__(self, issuer: str, clock: Callable[[], float]) -> None:
        _check_address(issuer, "the issuer")
        self._issuer, self._clock = issuer, clock
        self._known: dict[str, PyJWK] = {}
        self._asked_at = float("-inf")
        self._lock = threading.Lock()

    def key(self, key_id: str) -> PyJWK:
        """Return a key.

        Raises
        ------
        AccessDeniedError
            The issuer has no such key.
        SignInUnavailableError
            The issuer does not answer.
        """
        with self._lock:
            age = self._clock() - self._asked_at
            if age > _KEYS_SECONDS or (key_id not in self._known and age > _REFETCH_SECONDS):
                self._asked_at = self._clock()
                self._known = self._fetched()
            if not self._known:
                raise SignInUnavailableError("The issuer of tokens did not answer a moment ago. Try again in half a minute.")
            if key_id not in self._known:
                raise AccessDeniedError("This token is not accepted here. Sign in again.")
            return self._known[key_id]

    def _fetched(self) -> dict[str, PyJWK]:
        import jwt
        import requests

        try:
            about = _json_at(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
            if about.get("issuer") != self._issuer:
                raise ValueError
            address = str(about.get("jwks_uri", ""))
            _check_address(address, "the issuer's keys")
            keys = jwt.PyJWKSet.from_dict(_json_at(address)).keys
        except (requests.RequestException, jwt.PyJWTError, ValueError, TypeError, AttributeError, SettingsError) as error:
            if self._known and not isinstance(error, SettingsError):
                return self._known  # the issuer is away; its keys change rarely
            raise SignInUnavailableError("The issuer of tokens does not give its keys. Try again in a minute.") from error
        return {key.key_id: key for key in keys if key.key_id and key.public_key_use in (None, "sig")}


def _json_at(address: str) -> dict[str, Any]:
    import requests

    with requests.get(address, timeout=_FETCH_SECONDS, allow_redirects=False, stream=True) as response:
        response.raise_for_status()
        text = response.raw.read(_MAX_KEYS_BYTES + 1, decode_content=True)
        if response.is_redirect or len(text) > _MAX_KEYS_BYTES:
            raise ValueError
        return dict(json.loads(text))


def _check_address(address: str, what: str) -> None:
    parts = urlsplit(address)
    if not parts.hostname or not (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname))):
        raise SettingsError(f"expected the address of {what} as https://…, got {address[:80]!r}.")


def _is_for(claims: Mapping[str, Any], audience: str) -> bool:
    given = claims.get("aud")
    if given is None:
        return claims.get("token_use") == "access" and claims.get("client_id") == audience
    return audience in (given if isinstance(given, list) else [given])


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()

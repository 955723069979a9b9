"""Tokens of OpenID Connect (Cognito): whose they are, for whom they were issued, and whether the issuer signed them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dicom_workflow.errors import SettingsError
from dicom_workflow.http_server import is_loopback
from dicom_workflow.search.service.access import MAX_CREDENTIAL, AccessDeniedError, Identity, SignInUnavailableError, digest

if TYPE_CHECKING:
    from jwt import PyJWK
    from requests import Response

ALGORITHMS = ("RS256", "ES256")
"""Signatures that are accepted unless others are asked for: with a public key alone, so never HS256, and never none."""
_ASYMMETRIC = frozenset(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"))
_LEEWAY_SECONDS = 30
_REFETCH_SECONDS = 30.0
"""Keys are read again at most this often: a token with an unknown key must not make a request of every request."""
_KEYS_SECONDS = 3600.0
FETCH_SECONDS = 5.0
_MAX_BYTES = 1 << 20


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

    Attributes
    ----------
    issuer, audience : str
    provider : Provider
        The issuer's endpoints and keys.

    Raises
    ------
    SettingsError
        No https address, no audience, or an algorithm whose key is a shared secret.

    References
    ----------
    RFC 7519 (JWT), RFC 8725 (best practices), OpenID Connect Core 1.0 section 3.1.3.7 (``aud``, ``azp``), OpenID Connect
    Discovery 1.0; Cognito developer guide, "Verifying JSON web tokens".
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
        self.issuer, self.audience, self._algorithms = issuer, audience, list(algorithms)
        self.provider = Provider(issuer, clock)
        self.cookie = f"search-{digest(f'{issuer} {audience}').hex()[:8]}"

    def identify(self, credential: str) -> Identity:
        """Return who a token was issued to; errors as `claims_of`."""
        claims = self.claims_of(credential)
        names = (claims.get(name) for name in ("name", "cognito:username", "username", "email"))
        return Identity(str(claims["sub"]), next((name for name in names if isinstance(name, str) and name), ""))

    def claims_of(self, credential: str) -> dict[str, Any]:
        """Return what a token says, once it is known to be of the issuer, for this application, and valid now.

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
            claims: dict[str, Any] = jwt.decode(
                credential,
                self.provider.key(header["kid"]).key,
                algorithms=self._algorithms,
                issuer=self.issuer,
                leeway=_LEEWAY_SECONDS,
                # Cognito's access tokens have a client_id and no aud: `_is_for` reads both.
                options={"require": ["exp", "iss", "sub"], "verify_aud": False},
            )
        except jwt.ExpiredSignatureError:
            raise AccessDeniedError("The token has expired. Sign in again.") from None
        except (jwt.PyJWTError, ValueError, TypeError):
            raise AccessDeniedError("This token is not accepted here. Sign in again.") from None
        if not _is_for(claims, self.audience):
            raise AccessDeniedError("This token was issued for another application. Sign in again.")
        return claims


class Provider:
    """The endpoints and public keys of an issuer, read when they are asked for and when a token names an unknown key.

    Parameters
    ----------
    issuer : str
    clock : callable
        Seconds, never back.

    Raises
    ------
    SettingsError
        No https address.
    """

    def __init__(self, issuer: str, clock: Callable[[], float]) -> None:
        _check_address(issuer, "the issuer")
        self._issuer, self._clock = issuer, clock
        self._known: dict[str, PyJWK] = {}
        self._about: dict[str, Any] = {}
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

    def endpoint(self, name: str) -> str:
        """Return the address of an endpoint, such as ``token_endpoint``.

        Raises
        ------
        SignInUnavailableError
            The issuer does not answer, or has no such endpoint.
        """
        with self._lock:
            age = self._clock() - self._asked_at
            if age > _KEYS_SECONDS or (not self._about and age > _REFETCH_SECONDS):
                self._asked_at = self._clock()
                self._known = self._fetched()
            address = str(self._about.get(name, ""))
        try:
            _check_address(address, f"the issuer's {name}")
        except SettingsError as error:
            raise SignInUnavailableError(f"The issuer of tokens does not say its {name}. Try again in a minute.") from error
        return address

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
            self._about = about
        except (requests.RequestException, jwt.PyJWTError, ValueError, TypeError, AttributeError, SettingsError) as error:
            if self._known and not isinstance(error, SettingsError):
                return self._known  # the issuer is away; its keys change rarely
            raise SignInUnavailableError("The issuer of tokens does not give its keys. Try again in a minute.") from error
        return {key.key_id: key for key in keys if key.key_id and key.public_key_use in (None, "sig")}


def _json_at(address: str) -> dict[str, Any]:
    import requests

    with requests.get(address, timeout=FETCH_SECONDS, allow_redirects=False, stream=True) as response:
        return json_of(response)


def json_of(response: Response) -> dict[str, Any]:
    """Return the JSON object of an answer of the issuer, which was asked for with ``stream=True``.

    Raises
    ------
    requests.HTTPError
        It is an error.
    ValueError
        It is a redirect, too long, or something else.
    """
    response.raise_for_status()
    text = response.raw.read(_MAX_BYTES + 1, decode_content=True)
    if response.is_redirect or len(text) > _MAX_BYTES:
        raise ValueError
    return dict(json.loads(text))


def _check_address(address: str, what: str) -> None:
    parts = urlsplit(address)
    if not parts.hostname or not (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname))):
        raise SettingsError(f"expected the address of {what} as https://…, got {address[:80]!r}.")


def _is_for(claims: Mapping[str, Any], audience: str) -> bool:
    """Say whether a token was issued to this client, and not to another one that may name this one (Core, 3.1.3.7)."""
    given = claims.get("aud")
    if given is None:
        return claims.get("token_use") == "access" and claims.get("client_id") == audience
    audiences = given if isinstance(given, list) else [given]
    several = any(other != audience for other in audiences)
    return audience in audiences and claims.get("azp", None if several else audience) == audience

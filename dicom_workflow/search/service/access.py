"""Who may search: whoever has the local token, anybody on this machine, or people whom `oidc_tokens` knows.

A credential comes in the ``Authorization`` header, or in a cookie that the page gets for it and no script can read.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Protocol

from dicom_workflow.errors import SearchError, SettingsError
from dicom_workflow.http_server import is_loopback
from dicom_workflow.settings import Secret

MAX_CREDENTIAL = 8192


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
        self._digest = digest(text)
        self.cookie = f"search-{digest('cookie' + text).hex()[:8]}"

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
        if not hmac.compare_digest(digest(credential), self._digest):
            raise AccessDeniedError(
                "Sign in with the token that the service printed when it started."
                if not credential
                else "This is not the token of this service. Sign in with the one that it printed when it started."
            )
        return Identity("token")


def digest(text: str) -> bytes:
    """Return the SHA-256 digest of a credential: digests are compared in a time that tells nothing of them."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()

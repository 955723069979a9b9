"""Signing people in with a browser: the authorization code flow of OpenID Connect, with PKCE, state and nonce.

What has to be remembered between the two halves is in a cookie of the browser, signed by the service. Another process of the
service can finish what one began where both know the client's secret; without one, each process has a key of its own.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
import time
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from dicom_workflow.search.service.access import AccessDeniedError, SignInUnavailableError, digest
from dicom_workflow.search.service.oidc_tokens import FETCH_SECONDS, OidcTokens, json_of
from dicom_workflow.settings import Secret

SIGN_IN = "/sign-in"
CALLBACK = "/sign-in/callback"
"""What has to be registered with the issuer, after the address of the service."""
_SCOPE = "openid"
_WAIT_SECONDS = 600
"""For a person to sign in at the issuer."""
_MAX_COOKIE = 3800
"""Browsers drop longer cookies (4,096 bytes with name and attributes) and do not say so."""
_AT_A_TIME = 8


class AuthorizationCodeFlow:
    """Leads a browser to the issuer and takes the token that it comes back for.

    Parameters
    ----------
    tokens : OidcTokens
        Verifies what the issuer gives out.
    client_secret : Secret, optional
        Of a confidential client; PKCE is used with and without it.

    References
    ----------
    RFC 6749 section 4.1 (authorization code), RFC 7636 (PKCE), RFC 9207 (``iss`` of the answer), OpenID Connect Core 1.0
    sections 3.1 and 3.1.3.7; Cognito developer guide, "The authorize endpoint" and "The token endpoint".
    """

    def __init__(self, tokens: OidcTokens, client_secret: Secret | None = None) -> None:
        self._tokens, self._secret = tokens, client_secret or Secret()
        secret = self._secret.reveal()
        self._key = digest(f"sign-in cookie {secret}") if secret else secrets.token_bytes(32)
        self._finishing = asyncio.Semaphore(_AT_A_TIME)

    async def begin(self, request: Request) -> Response:
        """Return the redirect to the issuer, with what is remembered of it in a cookie."""
        try:
            endpoint = await run_in_threadpool(self._tokens.provider.endpoint, "authorization_endpoint")
        except SignInUnavailableError:
            return _back("unavailable")
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        asked = {
            "response_type": "code",
            "client_id": self._tokens.audience,
            "redirect_uri": _callback(request),
            "scope": _SCOPE,
            "state": state,
            "nonce": nonce,
            "code_challenge": _challenge(verifier),
            "code_challenge_method": "S256",
        }
        if request.query_params.get("prompt") == "login":  # after signing out: the issuer may still know the last person
            asked["prompt"] = "login"
        response = RedirectResponse(f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(asked)}", 303)
        response.set_cookie(
            self._cookie(request),
            self._signed(f"{state}.{nonce}.{verifier}.{int(time.time())}"),
            max_age=_WAIT_SECONDS,
            httponly=True,
            samesite="lax",  # it has to come with the redirect from the issuer
            secure=_is_secure(request),
            path="/",
        )
        return response

    async def finish(self, request: Request) -> Response:
        """Return the redirect to the page, signed in where the issuer's token is right; what was remembered is forgotten."""
        try:
            response = await self._finished(request)
        except AccessDeniedError:
            response = _back("refused")
        except SignInUnavailableError:
            response = _back("unavailable")
        response.delete_cookie(self._cookie(request), path="/", httponly=True, samesite="lax", secure=_is_secure(request))
        return response

    async def _finished(self, request: Request) -> Response:
        answer = request.query_params
        remembered = self._remembered(request.cookies.get(self._cookie(request), ""))
        if remembered is None:
            return _back("expired")
        state, nonce, verifier = remembered
        if not hmac.compare_digest(state.encode(), answer.get("state", "").encode("utf-8", "surrogatepass")):
            raise AccessDeniedError("The answer is not of the question that this browser asked.")
        if answer.get("iss", self._tokens.issuer) != self._tokens.issuer:
            raise AccessDeniedError("The answer is of another issuer.")
        if "error" in answer or not answer.get("code"):
            return _back("denied")
        if self._finishing.locked():
            raise SignInUnavailableError("Too many people sign in at the moment.")
        async with self._finishing:
            token = await run_in_threadpool(self._token, answer["code"], _callback(request), verifier)
            claims = await run_in_threadpool(self._tokens.claims_of, token)
        if not hmac.compare_digest(str(claims.get("nonce", "")).encode("utf-8", "surrogatepass"), nonce.encode()):
            raise AccessDeniedError("The token is not of the question that this browser asked.")
        if len(token) > _MAX_COOKIE:
            return _back("too-long")
        response = _back()
        left = max(int(claims["exp"] - time.time()), 1)
        secure, cookie = _is_secure(request), cookie_name(request, self._tokens.cookie)
        response.set_cookie(cookie, token, max_age=left, httponly=True, samesite="strict", secure=secure, path="/")
        return response

    def _token(self, code: str, redirect_uri: str, verifier: str) -> str:
        """Return the ID token for a code."""
        import requests

        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "client_id": self._tokens.audience,
            "code_verifier": verifier,
        }
        secret = self._secret.reveal()
        endpoint = self._tokens.provider.endpoint("token_endpoint")
        try:
            with requests.post(
                endpoint,
                data=form,
                auth=(self._tokens.audience, secret) if secret else None,
                timeout=FETCH_SECONDS,
                allow_redirects=False,
                stream=True,
            ) as response:
                if response.status_code in (400, 401, 403):
                    raise AccessDeniedError("The issuer does not take the code.")
                token = json_of(response).get("id_token")
        except (requests.RequestException, ValueError, TypeError) as error:
            raise SignInUnavailableError("The issuer of tokens does not give a token. Try again in a minute.") from error
        if not isinstance(token, str):
            raise AccessDeniedError("The issuer gave no ID token.")
        return token

    def _cookie(self, request: Request) -> str:
        return cookie_name(request, f"{self._tokens.cookie}-sign-in")

    def _signed(self, text: str) -> str:
        return f"{text}.{hmac.new(self._key, text.encode('utf-8', 'surrogatepass'), hashlib.sha256).hexdigest()}"

    def _remembered(self, cookie: str) -> tuple[str, str, str] | None:
        """Return state, nonce and verifier of a cookie that this service signed at most ten minutes ago; None of any other."""
        text = cookie.rpartition(".")[0]
        parts = text.split(".")
        signed = hmac.compare_digest(
            self._signed(text).encode("utf-8", "surrogatepass"), cookie.encode("utf-8", "surrogatepass")
        )
        if not signed or time.time() - int(parts[3]) > _WAIT_SECONDS:
            return None
        return parts[0], parts[1], parts[2]


def cookie_name(request: Request, name: str) -> str:
    """Return the name of a cookie: browsers take one with the prefix from this very host alone, over TLS (RFC 6265bis)."""
    return f"{'__Host-' if _is_secure(request) else ''}{name}"


def _challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _callback(request: Request) -> str:
    return f"{request.url.scheme}://{request.headers.get('host', '')}{CALLBACK}"


def _is_secure(request: Request) -> bool:
    return request.url.scheme == "https"


def _back(problem: str = "") -> Response:
    """Return the redirect to the page, which has a sentence for each problem."""
    return RedirectResponse(f"/#sign-in={problem}" if problem else "/", 303)

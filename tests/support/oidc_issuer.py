"""A small OpenID Connect issuer on this machine: discovery, keys, a sign-in page, and codes that are good for one token."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

AUDIENCE = "search-client"


class Issuer:
    """An issuer of tokens with a key pair. `redirects` and `client_secret` are what its client has registered."""

    def __init__(self, client_secret: str = "") -> None:
        self.private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.key_id, self.client_secret = "key-1", client_secret
        self.requests: list[str] = []
        self.asked: list[dict[str, str]] = []
        self.redirects: set[str] = set()
        self.away = False
        self.changes: dict[str, Any] = {}
        """Of the claims of tokens that are given for codes."""
        self._codes: dict[str, dict[str, str]] = {}
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def about(self) -> dict[str, str]:
        endpoints = {"jwks_uri": "keys", "authorization_endpoint": "authorize", "token_endpoint": "token"}
        return {"issuer": self.url, **{name: f"{self.url}/{path}" for name, path in endpoints.items()}}

    def keys(self) -> dict[str, Any]:
        key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.private.public_key()))
        return {"keys": [{**key, "kid": self.key_id, "use": "sig", "alg": "RS256"}]}

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        all_of = {"iss": self.url, "sub": "user-1", "aud": AUDIENCE, "iat": now, "exp": now + 600, "name": "Ada", **changes}
        return {name: value for name, value in all_of.items() if value is not None}

    def token(self, *, key: Any = None, algorithm: str = "RS256", headers: Any = None, **changes: Any) -> str:
        headers = {"kid": self.key_id} if headers is None else headers
        return jwt.encode(self.claims(**changes), key or self.private, algorithm=algorithm, headers=headers)

    def authorized(self, asked: dict[str, str]) -> str:
        """Return the address with a code to which a person is sent back, or an empty text for a wrong question."""
        expected = {"response_type": "code", "client_id": AUDIENCE, "code_challenge_method": "S256"}
        known = not self.redirects or asked.get("redirect_uri") in self.redirects
        if not known or "openid" not in asked.get("scope", "").split() or not expected.items() <= asked.items():
            return ""
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state'], 'iss': self.url})}"

    def exchanged(self, form: dict[str, str], authorization: str) -> dict[str, Any] | None:
        """Return the tokens for a code, once, to who proves to have asked for it."""
        asked = self._codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        proof = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        basic = base64.b64encode(f"{AUDIENCE}:{self.client_secret}".encode()).decode()
        if (
            asked is None
            or form.get("grant_type") != "authorization_code"
            or (form.get("redirect_uri"), form.get("client_id")) != (asked["redirect_uri"], AUDIENCE)
            or proof != asked["code_challenge"]
            or (self.client_secret and authorization != f"Basic {basic}")
        ):
            return None
        return {"id_token": self.token(**{"nonce": asked["nonce"], **self.changes}), "token_type": "Bearer"}


def _handler(issuer: Issuer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.requests.append(self.path)
            parts = urlsplit(self.path)
            if parts.path == "/authorize":
                issuer.asked.append({name: values[0] for name, values in parse_qs(parts.query).items()})
                button = "<form method=post><label>Name <input name=user></label><button>Go on</button></form>"
                self._send(200, f"<!doctype html><title>Institution</title>{button}".encode(), "text/html")
                return
            documents = {"/.well-known/openid-configuration": issuer.about(), "/keys": issuer.keys()}
            found = None if issuer.away else documents.get(self.path)
            self._send(200 if found else 503, json.dumps(found).encode(), "application/json")

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["content-length"])).decode()
            form = {name: values[0] for name, values in parse_qs(text).items()}
            parts = urlsplit(self.path)
            if parts.path == "/authorize":
                to = issuer.authorized({name: values[0] for name, values in parse_qs(parts.query).items()})
                self._send(303 if to else 400, b"", "text/html", to)
                return
            found = None if issuer.away else issuer.exchanged(form, self.headers.get("authorization", ""))
            status = 503 if issuer.away else 200 if found else 400
            self._send(status, json.dumps(found or {"error": "invalid_grant"}).encode(), "application/json")

        def _send(self, status: int, body: bytes, kind: str, location: str = "") -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            if location:
                self.send_header("location", location)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler

"""Who may search: local token, OpenID Connect with a real issuer on this machine, cookies, host names, other sites."""

from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.oidc_issuer import AUDIENCE, Issuer
from support.search_corpus import Corpus
from support.search_service import TOKEN, Service, filled_store, running

from dicom_workflow.errors import SettingsError
from dicom_workflow.search.service.access import (
    AccessDeniedError,
    LocalToken,
    NoAccessControl,
    SignInUnavailableError,
)
from dicom_workflow.search.service.oidc_tokens import OidcTokens
from dicom_workflow.search.service.server import ServeOptions
from dicom_workflow.settings import Secret

QUERY = {"query": "{ reports { totalCount edges { node { text } } } }"}


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer() as made:
        yield made


@pytest.fixture(scope="module")
def signed_in(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that takes the tokens of the issuer."""
    workspace = tmp_path_factory.mktemp("workspace")
    with running(
        filled_store(workspace / "index", Corpus(5, 5)), workspace, access=OidcTokens(issuer.url, AUDIENCE)
    ) as service:
        yield service


def _status(service: Service, token: str) -> tuple[int, str]:
    service.token = token
    answer = service.ask("POST", "/graphql", json=QUERY)
    return answer.status_code, answer.text


def test_a_token_of_the_issuer_lets_in(signed_in: Service, issuer: Issuer) -> None:
    status, text = _status(signed_in, issuer.token())
    assert status == 200
    assert "FINDINGS" in text
    assert signed_in.ask("GET", "/session").json() == {
        "kind": "oidc",
        "signed_in": True,
        "name": "Ada",
        "sign_in": "/sign-in",
    }


def test_an_access_token_of_cognito_has_a_client_id(signed_in: Service, issuer: Issuer) -> None:
    assert _status(signed_in, issuer.token(aud=None, client_id=AUDIENCE, token_use="access"))[0] == 200
    assert _status(signed_in, issuer.token(aud=None, client_id="another", token_use="access"))[0] == 401
    assert _status(signed_in, issuer.token(aud=None, client_id=AUDIENCE, token_use="id"))[0] == 401


def test_a_token_for_several_lets_in_whoever_asked_for_it(signed_in: Service, issuer: Issuer) -> None:
    for changes in ({"aud": [AUDIENCE, "resource"], "azp": AUDIENCE}, {"aud": [AUDIENCE]}, {"azp": AUDIENCE}):
        assert _status(signed_in, issuer.token(**changes))[0] == 200, changes


def _unsigned(claims: dict[str, Any], header: dict[str, Any]) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims)]
    return ".".join([*parts, ""])


def _signed_with_the_public_key(issuer: Issuer) -> str:
    import hashlib
    import hmac

    public = issuer.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    unsigned = _unsigned(issuer.claims(), {"alg": "HS256", "typ": "JWT", "kid": issuer.key_id})
    digest = hmac.new(public, unsigned.rstrip(".").encode(), hashlib.sha256).digest()
    return unsigned + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


OTHERS = {
    "none": lambda _: "",
    "no token at all": lambda _: "x" * 20,
    "too long": lambda issuer: issuer.token(name="x" * 9000),
    "expired": lambda issuer: issuer.token(exp=int(time.time()) - 60),
    "not yet": lambda issuer: issuer.token(nbf=int(time.time()) + 600),
    "without expiry": lambda issuer: issuer.token(exp=None),
    "without subject": lambda issuer: issuer.token(sub=None),
    "of another issuer": lambda issuer: issuer.token(iss="https://elsewhere.example"),
    "for another application": lambda issuer: issuer.token(aud="another-client"),
    "for another application too": lambda issuer: issuer.token(aud=[AUDIENCE, "evil"]),
    "for another application that asked": lambda issuer: issuer.token(aud=[AUDIENCE, "evil"], azp="evil"),
    "asked for by another application": lambda issuer: issuer.token(azp="evil"),
    "signed by another key": lambda issuer: issuer.token(key=rsa.generate_private_key(public_exponent=65537, key_size=2048)),
    "of an unknown key": lambda issuer: issuer.token(headers={"kid": "key-2"}),
    "without key id": lambda issuer: issuer.token(headers={}),
    "another algorithm": lambda issuer: issuer.token(algorithm="RS512"),
    "another kind of key": lambda issuer: issuer.token(key=ec.generate_private_key(ec.SECP256R1()), algorithm="ES256"),
    "alg none": lambda issuer: _unsigned(issuer.claims(), {"alg": "none", "typ": "JWT", "kid": issuer.key_id}),
    "alg None": lambda issuer: _unsigned(issuer.claims(), {"alg": "None", "kid": issuer.key_id}),
    "signed with the public key": _signed_with_the_public_key,
    "its claims changed": lambda issuer: ".".join(
        (issuer.token().split(".")[0], _unsigned(issuer.claims(sub="user-2"), {}).split(".")[1], issuer.token().split(".")[2])
    ),
    "the local token of another service": lambda _: TOKEN,
}


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
def test_other_tokens_show_nothing(signed_in: Service, issuer: Issuer, make: Any) -> None:
    status, text = _status(signed_in, make(issuer))
    assert status == 401
    assert "FINDINGS" not in text
    assert "token" in text or "Sign in" in text
    for method, path in (("GET", "/thumb/2.25.0000.png"), ("GET", "/dicom/2.25.0000"), ("POST", "/uploads")):
        assert signed_in.ask(method, path).status_code == 401, path
    assert signed_in.ask("GET", "/session").json()["signed_in"] is False
    assert signed_in.ask("POST", "/session", json={"token": signed_in.token}).status_code == 401


def test_the_message_of_an_expired_token_says_so(signed_in: Service, issuer: Issuer) -> None:
    assert "expired. Sign in again" in _status(signed_in, issuer.token(exp=int(time.time()) - 60))[1]


def test_a_new_key_of_the_issuer_is_found_and_unknown_ones_do_not_flood_it(issuer: Issuer) -> None:
    now = [1000.0]
    access = OidcTokens(issuer.url, AUDIENCE, clock=lambda: now[0])
    access.identify(issuer.token())
    asked = len(issuer.requests)
    for _ in range(20):
        with pytest.raises(AccessDeniedError):
            access.identify(issuer.token(headers={"kid": "unknown"}))
    assert len(issuer.requests) == asked
    now[0] += 31
    with pytest.raises(AccessDeniedError):
        access.identify(issuer.token(headers={"kid": "unknown"}))
    assert len(issuer.requests) == asked + 2
    try:
        issuer.key_id = "key-of-tomorrow"
        now[0] += 31
        assert access.identify(issuer.token()).subject == "user-1"
    finally:
        issuer.key_id = "key-1"


def test_an_issuer_that_is_away(issuer: Issuer, tmp_path: Path) -> None:
    now = [1000.0]
    known = OidcTokens(issuer.url, AUDIENCE, clock=lambda: now[0])
    known.identify(issuer.token())
    issuer.away = True
    try:
        now[0] += 4000
        assert known.identify(issuer.token()).subject == "user-1", "its keys are known"
        with pytest.raises(SignInUnavailableError, match="does not give its keys"):
            OidcTokens(issuer.url, AUDIENCE).identify(issuer.token())
        with running(
            filled_store(tmp_path / "index", Corpus(1, 1)), tmp_path, access=OidcTokens(issuer.url, AUDIENCE)
        ) as service:
            assert _status(service, issuer.token())[0] == 503
    finally:
        issuer.away = False


BAD_SETTINGS = {
    "issuer without TLS": lambda: OidcTokens("http://login.example", AUDIENCE),
    "no issuer": lambda: OidcTokens("", AUDIENCE),
    "no audience": lambda: OidcTokens("https://login.example", ""),
    "shared secret": lambda: OidcTokens("https://login.example", AUDIENCE, algorithms=["HS256"]),
    "alg none": lambda: OidcTokens("https://login.example", AUDIENCE, algorithms=["none"]),
    "short token": lambda: LocalToken(Secret("short")),
    "off for other machines": lambda: NoAccessControl("0.0.0.0"),  # noqa: S104
    "unknown kind": lambda: ServeOptions(access="password"),
    "proxy that is no address": lambda: ServeOptions(trusted_proxies=("proxy.example",)),
}


@pytest.mark.parametrize("make", BAD_SETTINGS.values(), ids=BAD_SETTINGS)
def test_access_control_that_cannot_be(make: Any) -> None:
    with pytest.raises(SettingsError, match=r"expected|Access control can be off on a loopback address only"):
        make()


def test_a_local_token(search_service: Service) -> None:
    for token, status in ((TOKEN, 200), ("", 401), (TOKEN + "x", 401), (TOKEN[:-1], 401), ("é" * 20, 401)):
        headers = {"authorization": f"Bearer {token}".encode()} if token else {}
        answer = search_service.ask("POST", "/graphql", json=QUERY, headers={"authorization": "", **headers})
        assert answer.status_code == status, token
        assert ("FINDINGS" in answer.text) == (status == 200)


def test_new_tokens_are_long_and_never_the_same() -> None:
    tokens = {LocalToken.new().reveal() for _ in range(50)}
    assert len(tokens) == 50
    assert min(map(len, tokens)) >= 43
    assert "***" in repr(LocalToken.new())


def test_the_page_signs_in_with_a_cookie_that_no_script_can_read(search_service: Service) -> None:
    answer = search_service.ask("POST", "/session", json={"token": TOKEN}, headers={"authorization": ""})
    assert answer.json() == {"kind": "token", "signed_in": True, "name": "", "sign_in": ""}
    (cookie,) = answer.cookies
    given = answer.headers["set-cookie"]
    assert "HttpOnly" in given
    assert "SameSite=strict" in given
    assert "Secure" not in given, "this one is over http"
    held = {"cookie": f"{cookie.name}={cookie.value}", "authorization": ""}
    assert search_service.ask("POST", "/graphql", json=QUERY, headers=held).status_code == 200
    assert search_service.ask("POST", "/graphql", json=QUERY, headers={**held, "cookie": f"{cookie.name}=x"}).status_code == 401
    out = search_service.ask("DELETE", "/session", headers=held)
    assert "Max-Age=0" in out.headers["set-cookie"]
    behind_tls = {"x-forwarded-proto": "https", "authorization": ""}
    answer = search_service.ask("POST", "/session", json={"token": TOKEN}, headers=behind_tls)
    assert "Secure" in answer.headers["set-cookie"]
    assert "max-age" in answer.headers["strict-transport-security"]


@pytest.mark.parametrize(("token", "status"), [(TOKEN, 200), (TOKEN + "x", 401), ("", 401)])
def test_the_token_that_a_load_balancer_sends_for_a_person_is_verified_like_any_other(
    search_service: Service, token: str, status: int
) -> None:
    sent = {"authorization": "", "x-amzn-oidc-accesstoken": token}
    assert search_service.ask("POST", "/graphql", json=QUERY, headers=sent).status_code == status


@pytest.mark.parametrize("body", ["x", "[]", "{}", '{"token": 1}', "[" * 10_000, '{"token": "\xff"}'])
def test_a_sign_in_without_token(search_service: Service, body: str) -> None:
    headers = {"content-type": "application/json", "authorization": ""}
    answer = search_service.ask("POST", "/session", data=body.encode("latin-1"), headers=headers)
    assert answer.status_code == 400
    assert answer.json() == {"error": 'expected {"token": "…"}.'}


def test_a_long_sign_in_is_refused_before_it_is_read(search_service: Service) -> None:
    headers = {"content-type": "application/json", "authorization": ""}
    answer = search_service.ask("POST", "/session", json={"token": "x" * 20_000}, headers=headers)
    assert answer.status_code == 413
    chunks = (b"x" * 1000 for _ in range(30))  # no Content-Length
    assert search_service.ask("POST", "/session", data=chunks, headers=headers).status_code == 413


def test_without_a_token_no_body_is_read(search_service: Service) -> None:
    for path, kind in (("/uploads", "application/dicom"), ("/graphql", "application/json")):
        host, port = search_service.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as sent:
            head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: 1000000\r\n\r\nx"
            sent.sendall(head.encode())  # the rest never comes
            assert sent.recv(4096).startswith(b"HTTP/1.1 401 "), path


FOREIGN = {
    "fetch": {"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"},
    "another port of this host": {"sec-fetch-site": "same-site"},
    "form": {"origin": "https://evil.example"},
    "opaque origin": {"origin": "null"},
    "broken origin": {"origin": "https://[evil"},
}


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
def test_pages_of_other_sites_are_refused(search_service: Service, headers: dict[str, str]) -> None:
    for method, path in (("POST", "/graphql"), ("POST", "/session"), ("DELETE", "/session"), ("GET", "/thumb/2.25.0000.png")):
        assert search_service.ask(method, path, json=QUERY, headers=headers).status_code == 403, path


def test_our_own_page_and_a_link_to_it_are_not(search_service: Service) -> None:
    host = search_service.url.removeprefix("http://")
    for headers in ({"sec-fetch-site": "same-origin"}, {"origin": f"http://{host}"}, {}):
        assert search_service.ask("POST", "/graphql", json=QUERY, headers=headers).status_code == 200
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert search_service.ask("GET", "/", headers=link).status_code == 200
    assert search_service.ask("POST", "/graphql", json=QUERY, headers=link).status_code == 403


def test_without_access_control_a_foreign_name_for_this_machine_is_refused(tmp_path: Path) -> None:
    options = ServeOptions(access="off")
    access = NoAccessControl(options.host)
    with running(
        filled_store(tmp_path / "index", Corpus(3, 3)), tmp_path, access=access, hosts=options.accepted_hosts()
    ) as service:
        service.token = ""
        assert service.ask("POST", "/graphql", json=QUERY).status_code == 200
        for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil", "", "[::1].x"):
            answer = service.ask("POST", "/graphql", json=QUERY, headers={"host": host})
            assert answer.status_code in (400, 421), host
            assert "FINDINGS" not in answer.text
        for host in ("localhost", "LOCALHOST:8600", "127.0.0.1", "[::1]:8600"):
            assert service.ask("POST", "/graphql", json=QUERY, headers={"host": host}).status_code == 200, host
        assert service.ask("GET", "/healthz", headers={"host": "10.0.0.7"}).status_code == 200, "a load balancer asks so"

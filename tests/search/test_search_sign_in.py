"""Signing people in with a browser at a real issuer on this machine: code flow, PKCE, state, nonce, and whoever interferes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from support.oidc_issuer import AUDIENCE, Issuer
from support.search_corpus import Corpus
from support.search_service import Service, filled_store, running

from dicom_workflow.search.service.authorization_code import AuthorizationCodeFlow
from dicom_workflow.search.service.oidc_tokens import OidcTokens
from dicom_workflow.settings import Secret

QUERY = {"query": "{ reports { totalCount } }"}
SECRET = "of the client, kept by the service"


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer(SECRET) as made:
        yield made


@pytest.fixture(scope="module")
def service(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    workspace = tmp_path_factory.mktemp("workspace")
    access = OidcTokens(issuer.url, AUDIENCE)
    store = filled_store(workspace / "index", Corpus(3, 3))
    with running(store, workspace, access=access, client_secret=Secret(SECRET)) as started:
        issuer.redirects = {f"{started.url}/sign-in/callback"}
        yield started


@pytest.fixture
def issuing(issuer: Issuer) -> Iterator[Issuer]:
    """The issuer, which is put right again after each test."""
    issuer.changes, issuer.away = {}, False
    yield issuer
    issuer.changes, issuer.away = {}, False


class Person:
    """A browser as far as cookies and redirects go."""

    def __init__(self, service: Service) -> None:
        self.url, self.session = service.url, requests.Session()

    def get(self, address: str, **headers: str) -> requests.Response:
        return self.session.get(address, allow_redirects=False, headers=headers, timeout=30)

    def asks(self, more: str = "") -> str:
        """Start, and return where the service sends the browser."""
        answer = self.get(f"{self.url}/sign-in{more}")
        assert answer.status_code == 303
        return answer.headers["location"]

    def authorized(self, address: str) -> str:
        """Sign in at the issuer, and return where it sends the browser."""
        answer = self.session.post(address, data={"user": "ada"}, allow_redirects=False, timeout=30)
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    def lands(self, callback: str) -> str:
        """Come back, and return where the service sends the browser."""
        answer = self.get(callback)
        assert answer.status_code == 303
        return answer.headers["location"]

    def sees(self) -> bool:
        return self.session.post(f"{self.url}/graphql", json=QUERY, timeout=30).status_code == 200


def test_a_person_signs_in_and_out(service: Service, issuing: Issuer) -> None:
    person = Person(service)
    assert not person.sees()
    assert person.get(f"{service.url}/session").json()["sign_in"] == "/sign-in"
    assert person.lands(person.authorized(person.asks())) == "/"
    assert person.sees()
    about = person.get(f"{service.url}/session").json()
    assert (about["signed_in"], about["name"]) == (True, "Ada")
    out = person.session.delete(f"{service.url}/session", timeout=30)
    assert out.json()["sign_in"] == "/sign-in"
    assert not person.sees()


def test_the_question_has_what_the_standards_ask_for_and_each_is_new(service: Service, issuing: Issuer) -> None:
    questions = [{name: value[0] for name, value in parse_qs(urlsplit(Person(service).asks()).query).items()} for _ in "ab"]
    for asked in questions:
        assert (asked["response_type"], asked["code_challenge_method"], asked["scope"]) == ("code", "S256", "openid")
        assert asked["redirect_uri"] == f"{service.url}/sign-in/callback"
        assert "prompt" not in asked
    for name in ("state", "nonce", "code_challenge"):
        assert len(questions[0][name]) >= 43
        assert questions[0][name] != questions[1][name]
    assert "prompt=login" in Person(service).asks("?prompt=login"), "after signing out the issuer asks who it is"
    assert "prompt" not in Person(service).asks("?prompt=none&client_id=x")


def test_cookies_are_for_this_service_alone_and_no_script(service: Service, issuing: Issuer) -> None:
    person = Person(service)
    begun = person.get(f"{service.url}/sign-in").headers["set-cookie"]
    assert {"HttpOnly", "SameSite=lax", "Path=/", "Max-Age=600"} <= set(begun.split("; "))
    address = person.asks()
    answer = person.get(person.authorized(address))
    given, forgotten = (one for one in answer.raw.headers.getlist("set-cookie"))
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(given.split("; "))
    assert 0 < int(given.split("Max-Age=")[1].split(";")[0]) <= 600
    assert "Max-Age=0" in forgotten
    behind_tls = person.get(f"{service.url}/sign-in", **{"x-forwarded-proto": "https"})
    assert behind_tls.headers["set-cookie"].startswith("__Host-")
    assert "Secure" in behind_tls.headers["set-cookie"]
    assert "redirect_uri=https%3A%2F%2F" in behind_tls.headers["location"]


def _with(callback: str, **changes: str | None) -> str:
    address, _, query = callback.partition("?")
    given = {**{name: value[0] for name, value in parse_qs(query).items()}, **changes}
    return requests.Request("GET", address, params={k: v for k, v in given.items() if v is not None}).prepare().url or ""


FORGED: dict[str, tuple[Callable[[str], str], str]] = {
    "another state": (lambda callback: _with(callback, state="x" * 43), "refused"),
    "no state": (lambda callback: _with(callback, state=None), "refused"),
    "a state that is no text": (lambda callback: _with(callback, state="\u2028é"), "refused"),
    "another code": (lambda callback: _with(callback, code="x"), "refused"),
    "no code": (lambda callback: _with(callback, code=None), "denied"),
    "another issuer": (lambda callback: _with(callback, iss="https://evil.example"), "refused"),
    "an error": (lambda callback: _with(callback, error="access_denied", code=None), "denied"),
}


@pytest.mark.parametrize(("forge", "problem"), FORGED.values(), ids=FORGED)
def test_an_answer_of_somebody_else_signs_nobody_in(
    service: Service, issuing: Issuer, forge: Callable[[str], str], problem: str
) -> None:
    person = Person(service)
    assert person.lands(forge(person.authorized(person.asks()))) == f"/#sign-in={problem}"
    assert not person.sees()


def test_a_code_of_one_browser_is_of_no_use_in_another(service: Service, issuing: Issuer) -> None:
    person, other = Person(service), Person(service)
    callback = person.authorized(person.asks())
    assert other.lands(callback) == "/#sign-in=expired"
    other.asks()  # has a question of its own now
    assert other.lands(callback) == "/#sign-in=refused"
    own = parse_qs(urlsplit(other.asks()).query)["state"][0]
    assert other.lands(_with(callback, state=own)) == "/#sign-in=refused", "its proof (PKCE) is another one"
    assert not other.sees()
    assert person.lands(callback) == "/#sign-in=refused", "the code was spent"


def test_an_answer_counts_once(service: Service, issuing: Issuer) -> None:
    person = Person(service)
    callback = person.authorized(person.asks())
    assert person.lands(callback) == "/"
    assert person.lands(callback) == "/#sign-in=expired"


TOKENS: dict[str, tuple[dict[str, Any], str]] = {
    "nonce of another question": ({"nonce": "x" * 43}, "refused"),
    "no nonce": ({"nonce": None}, "refused"),
    "for another client": ({"aud": "another-client"}, "refused"),
    "of another issuer": ({"iss": "https://evil.example"}, "refused"),
    "expired": ({"exp": 1}, "refused"),
    "too long for a cookie": ({"groups": "x" * 4000}, "too-long"),
}


@pytest.mark.parametrize(("changes", "problem"), TOKENS.values(), ids=TOKENS)
def test_a_token_that_is_not_the_one_asked_for(
    service: Service, issuing: Issuer, changes: dict[str, Any], problem: str
) -> None:
    issuing.changes = changes
    person = Person(service)
    assert person.lands(person.authorized(person.asks())) == f"/#sign-in={problem}"
    assert not person.sees()


def test_an_issuer_that_is_away(service: Service, issuing: Issuer, tmp_path: Path) -> None:
    person = Person(service)
    callback = person.authorized(person.asks())
    issuing.away = True
    assert person.lands(callback) == "/#sign-in=unavailable"
    access = OidcTokens(issuing.url, AUDIENCE)
    with running(filled_store(tmp_path / "index", Corpus(1, 1)), tmp_path, access=access) as unknowing:
        answer = Person(unknowing).get(f"{unknowing.url}/sign-in")
        assert answer.headers["location"] == "/#sign-in=unavailable"


def test_a_client_without_the_secret_of_the_issuer_gets_no_token(issuing: Issuer, tmp_path: Path) -> None:
    access = OidcTokens(issuing.url, AUDIENCE)
    with running(filled_store(tmp_path / "index", Corpus(1, 1)), tmp_path, access=access) as secretless:
        registered, issuing.redirects = issuing.redirects, {f"{secretless.url}/sign-in/callback"}
        person = Person(secretless)
        assert person.lands(person.authorized(person.asks())) == "/#sign-in=refused"
        issuing.redirects = registered


def test_where_a_token_is_typed_there_is_no_such_address(search_service: Service) -> None:
    for path in ("/sign-in", "/sign-in/callback?code=x&state=y"):
        assert search_service.ask("GET", path).status_code == 404


def test_neither_code_nor_token_is_logged(service: Service, issuing: Issuer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="dicom_workflow")
    person = Person(service)
    callback = person.authorized(person.asks())
    person.lands(callback)
    for _ in range(200):  # a line is written after its answer was sent
        ours = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("dicom_workflow"))
        if "GET /sign-in/callback status=303" in ours:
            break
        time.sleep(0.05)
    assert "GET /sign-in/callback status=303" in ours
    held = [*parse_qs(urlsplit(callback).query)["code"], *parse_qs(urlsplit(callback).query)["state"], SECRET]
    assert not [one for one in [*held, *(cookie.value for cookie in person.session.cookies)] if one and one in ours]


def test_a_sign_in_cookie_that_this_service_did_not_sign_asks_the_issuer_nothing(service: Service, issuing: Issuer) -> None:
    person = Person(service)
    callback = person.authorized(person.asks())
    (name,) = (cookie.name for cookie in person.session.cookies if cookie.name.endswith("-sign-in"))
    signed = person.session.cookies[name]
    state, nonce, verifier, _, mac = signed.split(".")
    asked = len(issuing.requests)
    for forged in ("x.y.z", "x.y.z.1.w", f"{state}.{nonce}.{verifier}.9999999999.{mac}", signed[:-1], "", "."):
        answer = requests.get(callback, cookies={name: forged}, allow_redirects=False, timeout=30)
        assert answer.headers["location"] == "/#sign-in=expired", forged
    assert len(issuing.requests) == asked
    assert person.lands(callback) == "/"


def test_processes_with_the_secret_of_the_client_finish_what_another_began(issuer: Issuer) -> None:
    first, second, other, alone = (
        AuthorizationCodeFlow(OidcTokens(issuer.url, AUDIENCE), secret)
        for secret in (Secret("a" * 20), Secret("a" * 20), Secret("b" * 20), None)
    )
    text = f"state.nonce.verifier.{int(time.time())}"
    assert second._remembered(first._signed(text)) == ("state", "nonce", "verifier")
    assert other._remembered(first._signed(text)) is None
    assert alone._remembered(first._signed(text)) is None
    assert first._remembered(first._signed(f"state.nonce.verifier.{int(time.time()) - 601}")) is None


def test_over_tls_all_cookies_are_of_this_host_alone_and_signing_out_ends_them(service: Service, issuing: Issuer) -> None:
    tls, cookie = {"x-forwarded-proto": "https"}, OidcTokens(issuing.url, AUDIENCE).cookie
    token = issuing.token()
    given = requests.post(f"{service.url}/session", json={"token": token}, headers=tls, timeout=30).headers["set-cookie"]
    assert given.startswith(f"__Host-{cookie}=")
    assert {"Secure", "HttpOnly", "Path=/"} <= set(given.split("; "))
    for name, signed_in in ((f"__Host-{cookie}", True), (cookie, False)):
        state = requests.get(f"{service.url}/session", cookies={name: token}, headers=tls, timeout=30).json()
        assert state["signed_in"] is signed_in, name
    balancer = {f"AWSELBAuthSessionCookie-{shard}": "x" for shard in (0, 1)}
    out = requests.delete(f"{service.url}/session", cookies={**balancer, "other": "x"}, headers=tls, timeout=30)
    ended = {line.partition("=")[0]: set(line.split("; ")) for line in out.raw.headers.getlist("set-cookie")}
    assert set(ended) == {f"__Host-{cookie}", *balancer}
    for parts in ended.values():
        assert {"Max-Age=0", "Path=/", "Secure", "HttpOnly"} <= parts

"""The workers' portal over HTTP: sign-in, pages, answers, access rules, and hostile input."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import uvicorn
from support.groundtruth import (
    KEY,
    LABELS,
    PASSWORDS,
    Service,
    Visitor,
    job_request,
    make_images,
    running,
    said,
    settings_for,
)
from support.postgres import database_environment

from dicom_workflow import http_server
from dicom_workflow.formats import manifests
from dicom_workflow.groundtruth import app as server
from dicom_workflow.groundtruth.portal import http as exchange
from dicom_workflow.labeling import page_assets
from dicom_workflow.labeling.client import put_workers
from dicom_workflow.settings import Secret
from dicom_workflow.storage import to_uri

NOBODYS = "0" * 32


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    workspace = tmp_path_factory.mktemp("portal") / "workspace"
    make_images(workspace, 6)
    with running(workspace, **database_environment(request)) as started:
        started.make_team()
        started.client().create_labeling_job(**job_request(workspace))
        started.wait_for("reading", "InProgress")
        yield started


@pytest.fixture(scope="module")
def first(service: Service) -> Visitor:
    return Visitor(service.url, "reader-1")


@pytest.fixture(scope="module")
def second(service: Service) -> Visitor:
    return Visitor(service.url, "reader-2")


# ---- Signing in -------------------------------------------------------------------------------------------------------------


def test_without_a_session_every_page_leads_to_the_sign_in(service: Service) -> None:
    visitor = Visitor(service.url)
    assert visitor.get("/").headers["location"] == "/sign-in?next=%2F"
    assert visitor.get(f"/tasks/{NOBODYS}").headers["location"] == f"/sign-in?next=%2Ftasks%2F{NOBODYS}"
    assert visitor.get(f"/tasks/{NOBODYS}/image", accept="*/*").status_code == 401
    assert visitor.post(f"/tasks/{NOBODYS}/answer", json={}, accept="application/json").status_code == 401


def test_a_session_is_a_cookie_that_scripts_and_other_sites_do_not_get(service: Service) -> None:
    response = Visitor(service.url).sign_in("reader-1", PASSWORDS["reader-1"].reveal())
    cookie = response.headers["set-cookie"]
    assert re.match(r"groundtruth_session=[\w-]{43}; HttpOnly; Max-Age=43200; Path=/; SameSite=strict$", cookie)


@pytest.mark.parametrize("following", ["//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:alert(1)"])
def test_a_sign_in_never_leads_away(service: Service, following: str) -> None:
    form = {"name": "reader-1", "password": PASSWORDS["reader-1"].reveal(), "next": following}
    assert Visitor(service.url).post("/sign-in", data=form).headers["location"] == "/"


def test_a_sign_in_leads_back_to_where_one_was(service: Service) -> None:
    form = {"name": "reader-1", "password": PASSWORDS["reader-1"].reveal(), "next": "/tasks/abc"}
    assert Visitor(service.url).post("/sign-in", data=form).headers["location"] == "/tasks/abc"


def test_a_name_is_shown_as_text(service: Service) -> None:
    response = Visitor(service.url).sign_in('"><script>alert(1)</script>', "wrong password")
    assert response.status_code == 403
    assert "<script>" not in response.text
    assert "&#34;&gt;&lt;script&gt;" in response.text


def test_guessing_is_slowed_down_for_that_name_only(service: Service) -> None:
    put_workers(service.settings, {"guessed": Secret("a good password")}, "readers")
    visitor = Visitor(service.url)
    assert [visitor.sign_in("guessed", f"guess {n}").status_code for n in range(6)] == [403] * 5 + [429]
    blocked = visitor.sign_in("guessed", "a good password")
    assert (blocked.status_code, "Wait 5 minutes" in blocked.text) == (429, True)
    assert visitor.sign_in("reader-3", PASSWORDS["reader-3"].reveal()).status_code == 303


def test_guessing_from_many_addresses_is_slowed_down_too(service: Service) -> None:
    put_workers(service.settings, {"besieged": Secret("a good password")}, "readers")
    visitor, codes = Visitor(service.url), []
    for n in range(52):  # an address anybody on this machine can claim
        form = {"name": "besieged", "password": f"guess {n}"}
        codes.append(visitor.post("/sign-in", data=form, headers={"X-Forwarded-For": f"192.0.2.{n}"}).status_code)
    assert codes == [403] * 50 + [429] * 2
    assert visitor.sign_in("reader-3", PASSWORDS["reader-3"].reveal()).status_code == 303


def test_signing_out_ends_the_session(service: Service) -> None:
    visitor = Visitor(service.url, "reader-3")
    cookie = dict(visitor.session.cookies)
    assert visitor.post("/sign-out", data={"csrf": "wrong"}).status_code == 403
    assert visitor.post("/sign-out", data={"csrf": visitor.csrf()}).status_code == 303
    visitor.session.cookies.update(cookie)
    assert visitor.get("/").status_code == 303


# ---- Jobs -------------------------------------------------------------------------------------------------------------------


def test_the_list_shows_a_worker_the_jobs_of_the_own_teams_with_their_progress(service: Service, first: Visitor) -> None:
    text = first.get("/").text
    assert "Chest radiographs" in text
    assert 'data-job="reading" data-status="InProgress" data-free="true" data-total="6"' in text
    service.client().create_workteam(
        WorkteamName="others", Description="d", MemberDefinitions=[{"OidcMemberDefinition": {"Groups": ["others"]}}]
    )
    put_workers(service.settings, {"outsider": Secret("outside password")}, "others")
    outsider = Visitor(service.url, "outsider", Secret("outside password"))
    assert "Nothing to do" in outsider.get("/").text
    # The page without jobs has the token in its sign-out form.
    refused = outsider.post("/jobs/reading/next", data={"csrf": outsider.csrf()})
    assert (refused.status_code, "This job does not exist or is not assigned to your team" in refused.text) == (404, True)


# ---- Tasks ------------------------------------------------------------------------------------------------------------------


def test_a_task_page_is_the_jobs_template_with_everything_a_host_owes_it(first: Visitor) -> None:
    task = first.next_task()
    response = first.get(task)
    html, policy = response.text, response.headers["content-security-policy"]
    assert "assets.crowd.aws" not in html
    assert re.search(r'<script nonce=[\w-]{24} src="/static/crowd-shim\.js\?v=[0-9a-f]{12}"></script>', html)
    assert f'<meta name="task-answer-url" content="{task}/answer">' in html
    assert re.search(r'<meta name="task-csrf" content="[0-9a-f]{64}">', html)
    assert f'data-image="{task}/image"' in html
    assert f"{task}/rendered.png" in html
    assert re.search(r'<meta name="task-draft-key" content="[0-9a-f]{64}">', html)
    assert re.search(r'<script nonce=[\w-]{24} src="/static/radiograph\.[0-9a-f]{12}\.js"></script>', html)
    assert re.search(r'<link nonce=[\w-]{24} rel="stylesheet" href="/static/radiograph\.[0-9a-f]{12}\.css">', html)
    (script,) = (part.strip() for part in policy.split(";") if part.strip().startswith("script-src"))
    nonce = re.search(r"'nonce-([\w-]{24})'", script)
    assert nonce is not None
    assert script == f"script-src 'nonce-{nonce[1]}' 'wasm-unsafe-eval'"
    assert "worker-src 'self' blob:" in policy
    assert len(re.findall(r"<script\b", html)) == html.count(f"<script nonce={nonce[1]}") == 2
    other = re.search(r"'nonce-([\w-]{24})'", first.get(task).headers["content-security-policy"])
    assert other is not None
    assert other[1] != nonce[1]


def test_every_response_carries_its_security_headers(service: Service, first: Visitor) -> None:
    task = first.next_task()
    for path in ("/", task, f"{task}/image", f"{task}/rendered.png", "/sign-in", "/nowhere", "/static/portal.css"):
        headers = first.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "same-origin"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "server" not in headers
        assert ("no-store" in headers["cache-control"]) == (not path.startswith("/static/"))


def test_the_image_of_a_task_comes_as_stored_and_as_a_picture(service: Service, first: Visitor) -> None:
    task = first.next_task()
    image = first.get(f"{task}/image", accept="*/*")
    assert (image.headers["content-type"], image.content[128:132]) == ("application/dicom", b"DICM")
    assert image.content == (service.workspace / "images/0.dcm").read_bytes()
    picture = first.get(f"{task}/rendered.png", accept="image/png")
    assert (picture.headers["content-type"], picture.content[:8]) == ("image/png", b"\x89PNG\r\n\x1a\n")


def test_a_worker_cannot_reach_the_task_of_another(first: Visitor, second: Visitor) -> None:
    task = first.next_task()
    assert task != second.next_task()
    for path in (task, f"{task}/image", f"{task}/rendered.png", f"{task}/granted?uri=s3://b/k&signature=x"):
        assert second.get(path).status_code == 404
    assert second.answer(task, said({"Edema": "positive"})).status_code == 404
    for action in ("decline", "stop"):
        assert second.post(f"{task}/{action}", data={"csrf": second.csrf()}).status_code == 404
    assert first.get(task).status_code == 200


TRICKS = [
    NOBODYS,
    "..",
    "%2e%2e",
    "..%2f..%2fsystem",
    "%2f",
    "a%00b",
    "';%20DROP%20TABLE%20tasks;--",
    "x" * 5000,
    "%F0%9F%98%80",
    "%0d%0aA:b",
]


@pytest.mark.parametrize("task", TRICKS)
def test_an_id_is_never_a_path(service: Service, first: Visitor, task: str) -> None:
    for part in ("", "/image", "/rendered.png", "/granted?uri=file:///etc/passwd&signature=", "/../../health"):
        status, headers, body = raw_get(service, first, f"/tasks/{task}{part}")
        assert status == 404
        assert "set-cookie" not in headers
        assert b"does not exist" in body or b"There is no page" in body


@pytest.mark.parametrize("name", ["../store.py", "..%2fstore.py", "layout.liquid", "%2e%2e%2f__main__.py", "crowd-shim.js/.."])
def test_static_files_are_a_short_list(service: Service, first: Visitor, name: str) -> None:
    assert raw_get(service, first, f"/static/{name}")[0] == 404


def raw_get(service: Service, visitor: Visitor, path: str) -> tuple[int, dict[str, str], bytes]:
    """A path as it stands: requests would tidy it up first."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
    cookie = f"groundtruth_session={visitor.session.cookies['groundtruth_session']}"
    connection.request("GET", path, headers={"Cookie": cookie, "Accept": "text/html"})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, body


def test_an_answer_needs_the_token_of_the_page(first: Visitor) -> None:
    task = first.next_task()
    body = {"answerContent": said({"Edema": "positive"})}
    for token in ("", "wrong", "é"):
        response = first.post(f"{task}/answer", json=body, headers={"X-CSRF-Token": token.encode()}, accept="application/json")
        assert (response.status_code, "X-CSRF-Token" in response.json()["error"]) == (403, True)


def test_a_request_from_another_site_is_refused(service: Service, first: Visitor) -> None:
    task = first.next_task()
    for path in (f"{task}/decline", "/sign-out", "/sign-in"):
        for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
            response = first.post(path, data={"csrf": first.csrf()}, headers=headers)
            assert response.status_code == 403
    assert first.get(task).status_code == 200


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "The answer is not JSON: Expecting value"),
        (b"{", "The answer is not JSON"),
        (b"[]", "got list"),
        (b"\xff", "not UTF-8"),
        (b'{"answer": {}}', "got keys ['answer']"),
        (b'{"answerContent": "text"}', "got keys ['answerContent']"),
        (b'{"answerContent": {}}', "got keys"),
        (b'{"answerContent": {"a": NaN}}', "NaN is not JSON"),
        (b'{"answerContent": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}", "The answer is not JSON"),
        (b'{"answerContent": {"a": ' + b"9" * 5000 + b"}}", "The answer is not JSON"),
    ],
)
def test_a_bad_body_is_refused_with_what_was_expected(first: Visitor, body: bytes, text: str) -> None:
    task = first.next_task()
    response = first.post(f"{task}/answer", data=body, headers={"X-CSRF-Token": first.csrf()}, accept="application/json")
    assert response.status_code == 400
    assert text in response.json()["error"]


def test_a_body_that_is_too_large_is_refused(first: Visitor) -> None:
    task = first.next_task()
    response = first.answer(task, {"annotation": "x" * 1_000_000})
    assert (response.status_code, response.json()["error"]) == (413, "The request body is longer than 1,000,000 bytes.")
    stream = first.post(
        f"{task}/answer",
        data=(b"x" * 100_000 for _ in range(20)),
        headers={"X-CSRF-Token": first.csrf()},
        accept="application/json",
    )
    assert stream.status_code == 413


@pytest.mark.parametrize(
    "head",
    [
        b"POST /sign-in HTTP/1.1\r\nHost: x\r\nOrigin: http://[\r\nContent-Length: 0\r\n\r\n",
        b"POST / HTTP/1.0\r\nContent-Length: 2\r\n%s\r\n{}",
        b"POST / HTTP/1.1\r\nHost: [x\r\nContent-Length: 2\r\n%s\r\n{}",
    ],
)
def test_a_malformed_head_is_refused_and_not_an_error_of_the_service(service: Service, head: bytes) -> None:
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    signed = (
        f"Authorization: AWS4-HMAC-SHA256 Credential={KEY}/{now[:8]}/us-east-1/sagemaker/aws4_request, "
        f"SignedHeaders=host;x-amz-date;x-amz-target, Signature={'0' * 64}\r\n"
        f"X-Amz-Date: {now}\r\nX-Amz-Target: SageMaker.ListWorkteams\r\n"
    )
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(head.replace(b"%s", signed.encode()))
        assert connection.recv(200).split()[1] in (b"400", b"403")


def test_whoever_sends_nothing_or_too_little_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(exchange, "BODY_SECONDS", 0.3)
    app = server.make_app(settings_for(tmp_path / "workspace"))
    protocol = http_server.protocol_with_header_timeout(0.3)
    listening = uvicorn.Server(uvicorn.Config(app, port=0, http=protocol, log_level="error"))
    thread = threading.Thread(target=listening.run)
    thread.start()
    while not listening.started:
        time.sleep(0.01)
    port = listening.servers[0].sockets[0].getsockname()[1]
    try:
        answers = []
        for sent in (b"", b"GET / HT", b"POST /sign-in HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nname"):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                connection.sendall(sent)
                answers.append(connection.recv(100)[:12])
        assert answers == [b"", b"", b"HTTP/1.1 408"]
    finally:
        listening.should_exit = True
        thread.join()


def test_an_answer_leads_to_the_next_task_and_a_second_one_changes_nothing(first: Visitor) -> None:
    task = first.next_task()
    reply = first.answer(task, said({"Edema": "positive"})).json()
    assert (reply["accepted"], reply["repeated"]) == (True, False)
    assert reply["next"].startswith("/tasks/")
    assert reply["next"] != task
    again = first.answer(task, said({"Edema": "negative"})).json()
    assert again == {"accepted": True, "repeated": True, "next": reply["next"]}
    gone = first.get(task)
    assert (gone.status_code, "Your answer is saved" in gone.text) == (410, True)


def test_a_skipped_image_does_not_come_again_and_one_put_back_does(second: Visitor) -> None:
    task = second.next_task()
    following = second.post(f"{task}/decline", data={"csrf": second.csrf()}).headers["location"]
    assert following.startswith("/tasks/")
    assert following != task
    assert second.get(task).status_code == 410
    assert second.post(f"{following}/stop", data={"csrf": second.csrf()}).headers["location"] == "/"
    assert second.get(following).status_code == 410
    assert second.next_task() == following


def test_a_page_with_an_unsent_answer_stays_good_after_signing_in_again(service: Service) -> None:
    visitor = Visitor(service.url, "reader-3")
    task = visitor.next_task()
    html = visitor.get(task).text
    token = html.split('name="task-csrf" content="')[1].split('"')[0]
    visitor.post("/sign-out", data={"csrf": visitor.csrf()})
    body = {"answerContent": said({"Edema": "negative"})}
    send = {"json": body, "headers": {"X-CSRF-Token": token}, "accept": "application/json"}
    assert visitor.post(f"{task}/answer", **send).status_code == 401
    visitor.sign_in("reader-3", PASSWORDS["reader-3"].reveal())
    assert visitor.post(f"{task}/answer", **send).json()["accepted"] is True


# ---- Hostile and broken data ------------------------------------------------------------------------------------------------


def test_text_of_a_manifest_and_of_a_job_is_never_markup(service: Service) -> None:
    payload = '"><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 | times: 7 }}'
    uri = to_uri(service.workspace / "hostile.manifest")
    line = {"source-ref": to_uri(service.workspace / "images/0.dcm"), "labels": [payload], "instructions": payload}
    manifests.write(uri, [line])
    request = job_request(service.workspace, "hostile", TaskTitle=payload, TaskDescription=payload)
    request["InputConfig"]["DataSource"]["S3DataSource"]["ManifestS3Uri"] = uri
    service.client().create_labeling_job(**request)
    service.wait_for("hostile", "InProgress")
    visitor = Visitor(service.url, "reader-1")
    for html in (visitor.get("/").text, visitor.get(visitor.next_task("hostile")).text):
        assert "<script>alert" not in html
        assert "<img src=x" not in html
        assert "{{ 7 | times: 7 }}" in html
    service.client().stop_labeling_job(LabelingJobName="hostile")


@pytest.mark.parametrize(
    ("content", "status", "text"),
    [
        (None, 404, "does not exist"),
        (b"<html>no image</html>" * 20, 415, "cannot be displayed"),
        (b"\0" * 128 + b"DICM", 415, "displayed"),
    ],
)
def test_an_image_that_is_missing_or_none_says_so(service: Service, content: bytes | None, status: int, text: str) -> None:
    name = f"broken-{status}-{len(content or b'')}"
    path = service.workspace / "images" / f"{name}.dcm"
    if content is not None:
        path.write_bytes(content)
    uri = to_uri(service.workspace / f"{name}.manifest")
    manifests.write(uri, [{"source-ref": to_uri(path), "labels": LABELS}])
    request = job_request(service.workspace, name)
    request["InputConfig"]["DataSource"]["S3DataSource"]["ManifestS3Uri"] = uri
    service.client().create_labeling_job(**request)
    service.wait_for(name, "InProgress")
    visitor = Visitor(service.url, "reader-1")
    task = visitor.next_task(name)
    response = visitor.get(f"{task}/rendered.png")
    assert (response.status_code, text in response.text) == (status, True)
    assert str(service.workspace) not in response.text
    service.client().stop_labeling_job(LabelingJobName=name)


def test_a_template_gets_only_what_the_service_may_read_and_only_through_signed_addresses(service: Service) -> None:
    template = (
        '<script src="https://assets.crowd.aws/crowd-html-elements.js"></script><crowd-form>'
        '<a id="own" href="{{ task.input.source-ref | grant_read_access }}"></a>'
        '<a id="prior" href="{{ task.input.prior | grant_read_access }}"></a>'
        '<input type="hidden" name="annotation"></crowd-form>'
    )
    (service.workspace / "links.liquid.html").write_text(template)
    uri = to_uri(service.workspace / "links.manifest")
    images = [to_uri(service.workspace / f"images/{n}.dcm") for n in (0, 1)]
    manifests.write(uri, [{"source-ref": images[0], "prior": images[1], "labels": LABELS}])
    request = job_request(
        service.workspace,
        "links",
        PreHumanTaskLambdaArn=None,
        UiConfig={"UiTemplateS3Uri": to_uri(service.workspace / "links.liquid.html")},
    )
    request["InputConfig"]["DataSource"]["S3DataSource"]["ManifestS3Uri"] = uri
    service.client().create_labeling_job(**request)
    service.wait_for("links", "InProgress")
    visitor = Visitor(service.url, "reader-1")
    task = visitor.next_task("links")
    html = visitor.get(task).text
    assert html.startswith("<!DOCTYPE html>")
    links = {name: address.replace("&amp;", "&") for name, address in re.findall(r'id="(\w+)" href="([^"]+)"', html)}
    assert links["own"] == f"{task}/image"
    prior = visitor.get(links["prior"], accept="*/*")
    assert prior.content == (service.workspace / "images/1.dcm").read_bytes()
    assert visitor.get(links["prior"].replace("1.dcm", "2.dcm")).status_code == 403
    service.client().stop_labeling_job(LabelingJobName="links")


def start_job(service: Service, name: str, *lines: dict[str, object], template: str = "") -> str:
    """Create a job with these lines, and a template of its own if one is given; return the path of reader-1's first task."""
    uri = to_uri(service.workspace / f"{name}.manifest")
    manifests.write(uri, lines)
    human: dict[str, object] = {}
    if template:
        path = service.workspace / f"{name}.liquid.html"
        path.write_text(template)
        human = {"UiConfig": {"UiTemplateS3Uri": to_uri(path)}}
    request = job_request(service.workspace, name, **human)
    request["InputConfig"]["DataSource"]["S3DataSource"]["ManifestS3Uri"] = uri
    service.client().create_labeling_job(**request)
    service.wait_for(name, "InProgress", "Failed")
    return Visitor(service.url, "reader-1").next_task(name)


def test_a_second_image_is_had_by_the_holder_of_its_task_alone(service: Service, first: Visitor, second: Visitor) -> None:
    images = [to_uri(service.workspace / f"images/{n}.dcm") for n in (0, 1)]
    line = {"source-ref": images[0], "labels": LABELS, "second_image": {"source-ref": images[1], "role": "lateral"}}
    task = start_job(service, "two-views", line)
    html = first.get(task).text
    assert f'data-second="{task}/second"' in html
    assert f"{task}/second-rendered.png" in html
    assert str(service.workspace) not in html
    assert first.get(f"{task}/second", accept="*/*").content == (service.workspace / "images/1.dcm").read_bytes()
    assert first.get(f"{task}/second-rendered.png", accept="*/*").content[:8] == b"\x89PNG\r\n\x1a\n"
    for path in ("second", "second-rendered.png"):
        assert second.get(f"{task}/{path}", accept="*/*").status_code == 404
        assert first.get(f"{first.next_task()}/{path}", accept="*/*").status_code == 404  # a task with one image
    service.client().stop_labeling_job(LabelingJobName="two-views")


def test_a_job_whose_second_image_may_not_be_read_fails_and_says_so(service: Service) -> None:
    image = to_uri(service.workspace / "images/0.dcm")
    line = {"source-ref": image, "labels": LABELS, "second_image": {"source-ref": "file:///etc/passwd"}}
    assert start_job(service, "outside", line) == ""
    reason = service.wait_for("outside", "Failed")["FailureReason"]
    assert "line 1: 'file:///etc/passwd' is outside the service's workspace" in reason


def test_an_instance_of_the_archive_is_granted_only_where_the_line_names_it(service: Service, first: Visitor) -> None:
    named, other = "-".join(["0123abcd"] * 5), "-".join(["4567ef01"] * 5)
    template = f'{{{{ task.input.image | grant_read_access }}}} {{{{ "orthanc://{other}" | grant_read_access }}}}'
    task = start_job(service, "archive", {"source": named, "labels": LABELS}, template=template)
    refused = first.get(task)
    assert (refused.status_code, "This task cannot be shown" in refused.text) == (500, True)
    assert other not in refused.text
    service.client().stop_labeling_job(LabelingJobName="archive")


def test_drafts_of_two_workers_have_different_keys_and_those_of_one_the_same(first: Visitor, second: Visitor) -> None:
    def key(visitor: Visitor, task: str) -> str:
        return visitor.get(task).text.split('name="task-draft-key" content="')[1].split('"')[0]

    task = second.next_task()
    assert key(second, task) == key(second, task)
    second.post(f"{task}/stop", data={"csrf": second.csrf()})
    again = second.next_task()
    assert key(second, again) not in (key(first, first.next_task()), "")


def test_the_page_of_another_version_is_had_through_its_job_and_is_what_its_name_says(service: Service, first: Visitor) -> None:
    script = b"document.title = 'an older page';"
    name = f"radiograph.{hashlib.sha256(script).hexdigest()[:12]}.js"
    wrong = f"radiograph.{'0' * 12}.js"
    folder = service.workspace / "worker-ui"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(gzip.compress(script))
    (folder / wrong).write_bytes(script)
    (folder / "other.js").write_bytes(script)
    names = (name, wrong, "other.js")
    template = "".join(f'<script src="{{{{ "{to_uri(folder / file)}" | grant_read_access }}}}"></script>' for file in names)
    task = start_job(
        service, "older", {"source-ref": to_uri(service.workspace / "images/0.dcm"), "labels": LABELS}, template=template
    )
    addresses = [address.replace("&amp;", "&") for address in re.findall(r'src="([^"]+)"', first.get(task).text)]
    replies = [first.get(address, accept="*/*") for address in addresses]
    assert [reply.status_code for reply in replies] == [200, 502, 415]
    assert (replies[0].content, replies[0].headers["content-type"]) == (script, "text/javascript; charset=utf-8")
    service.client().stop_labeling_job(LabelingJobName="older")


@pytest.mark.parametrize("index", [0, 1])
def test_the_files_of_the_page_travel_compressed_and_may_be_kept(service: Service, index: int) -> None:
    name = page_assets.build().names[index]
    for encoding, expected in (("gzip, br", "gzip"), ("identity", None)):
        response = requests.get(f"{service.url}/static/{name}", headers={"Accept-Encoding": encoding}, timeout=20)
        assert response.content == page_assets.content(name)
        assert response.headers.get("content-encoding") == expected
        assert response.headers["content-type"] == page_assets.media_type(name)
        assert (response.headers["vary"], "immutable" in response.headers["cache-control"]) == ("accept-encoding", True)


def test_the_log_of_a_working_day_names_nobody(service: Service) -> None:
    text = service.log.read_text()
    assert not any(word in text for word in ("reader-1", "password", "127.0.0.1", "Edema", "private."))


def test_the_job_database_is_readable_by_its_owner_alone(service: Service) -> None:
    if "GROUNDTRUTH_DATABASE_HOST" in service.environment:
        assert not (service.workspace / "groundtruth").exists()
        return
    assert oct((service.workspace / "groundtruth").stat().st_mode)[-3:] == "700"
    files = list((service.workspace / "groundtruth").glob("job-database.sqlite*"))
    assert len(files) == 3
    assert {oct(path.stat().st_mode)[-3:] for path in files} == {"600"}


def test_what_a_worker_gets_never_names_the_place_it_came_from(service: Service, first: Visitor) -> None:
    task = first.next_task()
    for text in (first.get("/").text, first.get(task).text, json.dumps(dict(first.get(f"{task}/image").headers))):
        assert str(service.workspace) not in text
        assert "file://" not in text.replace("file:// URI", "")


def test_the_static_files_may_be_kept_for_ever(first: Visitor) -> None:
    css = re.search(r'href="(/static/portal\.css\?v=[0-9a-f]{12})"', first.get("/").text)
    assert css is not None
    response = first.get(css[1])
    assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert "patient" not in response.text
    assert Path(css[1].split("?")[0]).suffix == ".css"

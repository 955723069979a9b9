"""A client of the labeling portal that acts as a browser: sign in, open tasks, load images, answer, and retry."""

from __future__ import annotations

import io
import json
import re
import threading
import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any, Self
from urllib.parse import urljoin

import requests

from dicom_workflow.errors import ServiceError
from dicom_workflow.formats.answers import Answer
from dicom_workflow.formats.labels import parse_label_list
from dicom_workflow.settings import Secret

NOT_DISPLAYED = "not-displayed"
"""Reason code of the radiograph page for an image that does not appear."""

POLL_SECONDS = 0.25
RETRY_SECONDS = 120.0


@dataclass
class ReaderSummary:
    """Counts of one reader's work."""

    reader: str
    answered: int = 0
    repeated: int = 0
    """Answers that the portal already had; they were sent again because the response was lost."""
    not_displayed: int = 0
    """Images that could not be loaded, answered with the reason code `NOT_DISPLAYED`."""
    without_truth: int = 0
    """Images that are not in the reference standard, answered without any label."""
    unanswered_labels: set[str] = field(default_factory=set)
    """Labels of the tasks that the reference standard does not have; they stay unknown."""
    retries: int = 0
    """Requests that were repeated because the portal did not answer."""
    problems: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        """Return a sentence for everything that did not go as planned; empty when all images were read."""
        found = {
            "images that could not be displayed": self.not_displayed,
            "images without labels, because they are not in the reference standard": self.without_truth,
            "answers sent again, because the response was lost": self.repeated,
        }
        notes = [f"{text}: {count}" for text, count in found.items() if count]
        if self.unanswered_labels:
            listed = ", ".join(sorted(self.unanswered_labels))
            notes.append(f"labels without an answer, because the reference standard does not have them: {listed}")
        return [f"{self.reader}: {text}." for text in (*notes, *self.problems)]


class IdleTimeout:
    """Ends the work of several readers when none of them has had a task for some time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last = time.monotonic()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End all sessions at their next request."""
        self._stopped.set()

    def check(self) -> None:
        """Raise when the sessions are to end.

        Raises
        ------
        ServiceError
            `stop` was called.
        """
        if self._stopped.is_set():
            raise ServiceError("The simulated readers were stopped.")

    def touch(self) -> None:
        """Restart the timeout: a reader had a task."""
        self._last = time.monotonic()

    @property
    def is_over(self) -> bool:
        """Whether no reader had a task within the timeout."""
        return time.monotonic() - self._last > self._seconds


class PortalSession:
    """One reader's session with the portal.

    Parameters
    ----------
    portal_url : str
        Base URL of the labeling service.
    name, password : str, Secret
        The reader's account.
    read : callable
        Returns the reader's answer for an image: its SOP Instance UID and the labels of the task → Answer.
    known : container of str
        SOP Instance UIDs in the reference standard; other images are counted.
    idle : IdleTimeout
        Shared by the readers of one call.
    bar : tqdm
        Advances with every answer.
    timeout_seconds : float
        Of each request.
    """

    def __init__(
        self,
        portal_url: str,
        name: str,
        password: Secret,
        *,
        read: Callable[[str, Sequence[str]], Answer],
        known: Container[str],
        idle: IdleTimeout,
        bar: Any,
        timeout_seconds: float,
    ) -> None:
        self._url = portal_url.rstrip("/") + "/"
        self._name, self._password, self._answer_for, self._known = name, password, read, known
        self._idle, self._bar, self._timeout_seconds = idle, bar, timeout_seconds
        self._session = requests.Session()
        self.summary = ReaderSummary(name)

    def work(self) -> ReaderSummary:
        """Answer tasks until none is left, and return the counts.

        Raises
        ------
        ServiceError
            The reader cannot sign in, or the portal does not answer for `RETRY_SECONDS`.
        """
        with self._session:
            is_first = True
            while True:
                jobs = Page.parse(self._get("")).jobs
                waiting = [job for job in jobs if job.get("data-status") in ("Initializing", "InProgress")]
                if is_first:
                    self._expect(sum(int(job["data-total"]) - int(job["data-own"]) for job in waiting))
                is_first = False
                free = [job["data-job"] for job in waiting if job.get("data-free") == "true"]
                if free:
                    for name in free:
                        self._work_on(name)
                elif not waiting or self._idle.is_over:
                    return self.summary
                else:
                    time.sleep(POLL_SECONDS)

    def _expect(self, answers: int) -> None:
        self._bar.total = (self._bar.total or 0) + answers
        self._bar.refresh()

    def _work_on(self, job: str) -> None:
        response = self._request("POST", f"jobs/{job}/next", data={"csrf": Page.parse(self._get("")).csrf})
        while "/tasks/" in response.url:
            self._idle.touch()
            if response.status_code == 410:  # the task was closed between two requests, or the response to its answer was lost
                return
            if response.status_code != 200:
                raise ServiceError(f"{response.url}: the task page was answered with status {response.status_code}.")
            following = self._answer(Page.parse(response.text))
            if not following.startswith("/tasks/"):
                return
            response = self._request("GET", following)

    def _answer(self, page: Page) -> str:
        answer = self._read(page)
        body = {"answerContent": {"annotation": json.dumps(answer.to_json())}}
        response = self._request("POST", page.answer_url, json=body, headers={"X-CSRF-Token": page.csrf})
        if response.status_code == 409:  # the job closed this object in the meantime
            self.summary.problems.append(str(response.json().get("error")))
            return ""
        if response.status_code != 200:
            raise ServiceError(f"{self._url}: an answer was refused with status {response.status_code}: {response.text[:200]}")
        reply = response.json()
        self.summary.answered += 1
        self.summary.repeated += bool(reply.get("repeated"))
        self._bar.update()
        return str(reply.get("next", ""))

    def _read(self, page: Page) -> Answer:
        from pydicom import dcmread
        from pydicom.errors import InvalidDicomError

        response = self._request("GET", page.image_url, headers={"Accept": "*/*"}) if page.image_url else None
        try:
            if response is None or response.status_code != 200:
                status = response.status_code if response is not None else "without an address"
                raise InvalidDicomError(f"the portal answered {status}")
            header = dcmread(io.BytesIO(response.content), stop_before_pixels=True, specific_tags=["SOPInstanceUID"])
            uid = str(header.SOPInstanceUID)
        except (InvalidDicomError, AttributeError, EOFError, ValueError) as error:
            self.summary.not_displayed += 1
            self.summary.problems.append(f"an image could not be read: {error}")
            return Answer(unusable=NOT_DISPLAYED)
        if uid not in self._known:
            self.summary.without_truth += 1
        answer = self._answer_for(uid, page.labels)
        if uid in self._known:
            self.summary.unanswered_labels.update(label for label in page.labels if label not in answer.labels)
        return answer

    # Cookies and redirects as in a browser; requests are repeated while the portal does not answer.

    def _get(self, path: str) -> str:
        response = self._request("GET", path)
        if response.status_code != 200:
            raise ServiceError(f"{response.url}: the page was answered with status {response.status_code}.")
        return response.text

    def _request(self, method: str, path: str, **options: Any) -> requests.Response:
        deadline, pause = time.monotonic() + RETRY_SECONDS, 0.1
        headers = {"Accept": "text/html" if "json" not in options else "application/json", **options.pop("headers", {})}
        url = urljoin(self._url, path)
        while True:
            self._idle.check()
            try:
                response = self._session.request(method, url, headers=headers, timeout=self._timeout_seconds, **options)
                problem = f"status {response.status_code}"
                if response.status_code < 500:
                    if response.status_code == 401 or "/sign-in" in response.url:
                        self._sign_in()
                        # A redirect may have turned a POST into a GET of the form: the request itself is sent again.
                        continue
                    return response
            except requests.RequestException as error:
                problem = type(error).__name__
            self._idle.touch()
            self.summary.retries += 1
            if time.monotonic() > deadline:
                raise ServiceError(f"{url}: the portal did not answer for {RETRY_SECONDS:.0f} seconds ({problem}).")
            time.sleep(pause)
            pause = min(pause * 1.5, 1.0)

    def _sign_in(self) -> None:
        form = {"name": self._name, "password": self._password.reveal()}
        response = self._session.post(
            urljoin(self._url, "sign-in"),
            data=form,
            headers={"Accept": "text/html"},
            timeout=self._timeout_seconds,
            allow_redirects=False,
        )
        if response.status_code != 303 and response.status_code < 500:
            raise ServiceError(
                f"{self._url}: reader {self._name!r} cannot sign in ({response.status_code}). "
                "Create the account with labeling.client.put_workers."
            )


class Page(HTMLParser):
    """The parts of a portal page that a reader needs: answer address, labels and image of a task, or the list of jobs."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[dict[str, str]] = []
        self.labels: tuple[str, ...] = ()
        self.answer_url = self.image_url = self.csrf = ""

    @classmethod
    def parse(cls, html: str) -> Self:
        """Return the parts of a page."""
        page = cls()
        # Scripts make up most of a task page and contain no markup of interest.
        page.feed(re.sub(r"<(script|style)\b.*?</\1>", "", html, flags=re.DOTALL | re.IGNORECASE))
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect jobs, addresses and labels from the attributes of one element."""
        given = {name: value or "" for name, value in attrs}
        if "data-job" in given:
            self.jobs.append(given)
        if tag == "meta" and given.get("name") == "task-answer-url":
            self.answer_url = given["content"]
        if (tag == "meta" and given.get("name") == "task-csrf") or (tag == "input" and given.get("name") == "csrf"):
            self.csrf = given.get("content") or given.get("value", "")
        if given.get("data-labels"):
            text = given["data-labels"]
            self.labels = parse_label_list(json.loads(text) if text.startswith(("[", '"')) else text)
        if given.get("data-image"):
            self.image_url = given["data-image"]

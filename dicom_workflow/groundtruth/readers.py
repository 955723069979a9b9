"""Simulated readers: workers of known skill who label through the portal's pages, as a browser would.

A reader knows the truth and errs at a set rate. Whether it errs on a label of an image follows from the seed, the reader's
name, the SOP Instance UID and the label alone, so neither the order of the images nor a retry changes what is said.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import re
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any, Self
from urllib.parse import urljoin

import requests

from dicom_workflow.errors import ServiceError
from dicom_workflow.records import NO_FINDING, SUPPORT_DEVICES, Answer, LabelState, Region, parse_label_list
from dicom_workflow.settings import Secret

Rate = float | Mapping[str, float]
Truth = Mapping[str, Mapping[str, bool]]
Regions = Mapping[str, Mapping[str, Sequence[Region]]]

NOT_DISPLAYED = "not-displayed"
"""Reason code of the radiograph page for an image that does not appear."""

POLL_SECONDS = 0.25
RETRY_SECONDS = 120.0


@dataclass(frozen=True)
class SimulatedReader:
    """A reader of known skill.

    `sensitivity`, `specificity` and `uncertain_rate` are probabilities, one for all labels or one per label (a label that is
    not named has the value under the empty text, else 0.9, 0.9 and 0).
    """

    name: str
    sensitivity: Rate = 0.9
    specificity: Rate = 0.9
    uncertain_rate: Rate = 0.0
    seed: int = 0

    def read(
        self,
        sop_instance_uid: str,
        labels: Sequence[str],
        truth: Mapping[str, bool],
        regions: Mapping[str, Sequence[Region]] | None = None,
    ) -> Answer:
        """Return what this reader says of one image.

        Parameters
        ----------
        sop_instance_uid : str
            Of the image.
        labels : sequence of str
            The labels of the task.
        truth : mapping of str to bool
            Label → present; a label that is missing is absent.
        regions : mapping, optional
            True places of the labels, marked by a reader who finds the label, off by up to a twentieth of the size.
        """
        states: dict[str, LabelState] = {}
        for label in labels:
            if label == NO_FINDING:
                continue
            error, doubt = self._draws(sop_instance_uid, label)
            present = bool(truth.get(label, False))
            right = error < _rate(self.sensitivity if present else self.specificity, label, 0.9)
            state = LabelState.POSITIVE if present == right else LabelState.NEGATIVE
            states[label] = LabelState.UNCERTAIN if doubt < _rate(self.uncertain_rate, label, 0.0) else state
        if NO_FINDING in labels:
            said = {state for label, state in states.items() if label != SUPPORT_DEVICES}
            states[NO_FINDING] = (
                LabelState.NEGATIVE
                if LabelState.POSITIVE in said
                else LabelState.UNCERTAIN
                if LabelState.UNCERTAIN in said
                else LabelState.POSITIVE
            )
        marked = [
            self._marked(sop_instance_uid, region)
            for label in labels
            if states[label] is LabelState.POSITIVE
            for region in (regions or {}).get(label, ())
        ]
        return Answer(labels={label: states[label] for label in labels}, regions=tuple(marked))

    def __post_init__(self) -> None:
        for name in ("sensitivity", "specificity", "uncertain_rate"):
            rate = getattr(self, name)
            for value in rate.values() if isinstance(rate, Mapping) else (rate,):
                if not 0.0 <= value <= 1.0:
                    raise ServiceError(f"expected {name} of reader {self.name!r} between 0 and 1, got {value}.")

    def _draws(self, sop_instance_uid: str, label: str) -> tuple[float, float]:
        """Two uniform numbers in [0, 1)."""
        text = json.dumps([self.seed, self.name, sop_instance_uid, label])
        digest = hashlib.sha256(text.encode()).digest()
        return tuple(int.from_bytes(digest[i : i + 7], "big") / 2**56 for i in (0, 8))  # type: ignore[return-value]

    def _marked(self, sop_instance_uid: str, region: Region) -> Region:
        xs, ys = zip(*region.points_px, strict=True)
        size = max(max(xs) - min(xs), max(ys) - min(ys), 1.0)
        dx, dy = (draw - 0.5 for draw in self._draws(sop_instance_uid, f"{region.label} place {region.points_px[0]}"))
        points = tuple(
            (round(max(0.0, x + dx * size / 10), 2), round(max(0.0, y + dy * size / 10), 2)) for x, y in region.points_px
        )
        return Region(region.label, region.shape, points)


@dataclass
class Reading:
    """What one reader did."""

    reader: str
    answered: int = 0
    repeated: int = 0
    """Answers the portal had already, sent again because its reply was lost."""
    not_displayed: int = 0
    """Images that could not be fetched or read, answered as such."""
    without_truth: int = 0
    """Images the truth table does not name, read as having nothing."""
    retries: int = 0
    """Requests sent again because the portal did not answer."""
    problems: list[str] = field(default_factory=list)


def read_all(
    portal_url: str,
    readers: Mapping[str, tuple[SimulatedReader, Secret]] | Iterable[tuple[SimulatedReader, Secret]],
    truth: Truth,
    *,
    regions: Regions | None = None,
    progress: bool = True,
    patience_seconds: float = 15.0,
    timeout_seconds: float = 60.0,
) -> list[Reading]:
    """Let readers label everything the portal has for them, each in a thread, and return what each did.

    Parameters
    ----------
    portal_url : str
        Base URL of the labeling service.
    readers : iterable of (SimulatedReader, Secret)
        Readers and the passwords of their accounts.
    truth : mapping
        SOP Instance UID → label → present.
    regions : mapping, optional
        SOP Instance UID → label → true places.
    progress : bool
        Show a bar.
    patience_seconds : float
        End when no reader of this call has had anything to do for so long, though a job is not over.
    timeout_seconds : float
        Of each request.

    Raises
    ------
    ServiceError
        A reader cannot sign in, or the portal stays away for two minutes.
    """
    from tqdm.auto import tqdm

    pairs = list(readers.values()) if isinstance(readers, Mapping) else list(readers)
    activity = _Activity(patience_seconds)
    with tqdm(desc="reading", unit="answer", disable=not progress) as bar, ThreadPoolExecutor(max(1, len(pairs))) as pool:
        browsers = [
            _Browser(portal_url, reader, password, truth, regions or {}, activity, bar, timeout_seconds)
            for reader, password in pairs
        ]
        running = [pool.submit(browser.work) for browser in browsers]
        try:
            return [future.result() for future in running]
        except BaseException:  # also Ctrl-C: the other readers must not read on
            activity.stop()
            raise


class _Activity:
    """When somebody last had something to do."""

    def __init__(self, patience_seconds: float) -> None:
        self._patience_seconds = patience_seconds
        self._last = time.monotonic()
        self._stopped = threading.Event()

    def stop(self) -> None:
        self._stopped.set()

    def check(self) -> None:
        if self._stopped.is_set():
            raise ServiceError("reading was stopped.")

    def touch(self) -> None:
        self._last = time.monotonic()

    @property
    def is_over(self) -> bool:
        return time.monotonic() - self._last > self._patience_seconds


class _Browser:
    """One reader's session."""

    def __init__(
        self,
        portal_url: str,
        reader: SimulatedReader,
        password: Secret,
        truth: Truth,
        regions: Regions,
        activity: _Activity,
        bar: Any,
        timeout_seconds: float,
    ) -> None:
        self._url = portal_url.rstrip("/") + "/"
        self._reader, self._password, self._truth, self._regions = reader, password, truth, regions
        self._activity, self._bar, self._timeout_seconds = activity, bar, timeout_seconds
        self._session = requests.Session()
        self.reading = Reading(reader.name)

    def work(self) -> Reading:
        """Answer until there is nothing left."""
        with self._session:
            for round_number in itertools.count():
                jobs = _Page.parse(self._get("")).jobs
                waiting = [job for job in jobs if job.get("data-status") in ("Initializing", "InProgress")]
                if round_number == 0:
                    self._expect(sum(int(job["data-total"]) - int(job["data-own"]) for job in waiting))
                free = [job["data-job"] for job in waiting if job.get("data-free") == "true"]
                if free:
                    for name in free:
                        self._work_on(name)
                elif not waiting or self._activity.is_over:
                    return self.reading
                else:
                    time.sleep(POLL_SECONDS)
        raise AssertionError("unreachable: the rounds do not end by themselves")

    def _expect(self, answers: int) -> None:
        self._bar.total = (self._bar.total or 0) + answers
        self._bar.refresh()

    def _work_on(self, job: str) -> None:
        response = self._request("POST", f"jobs/{job}/next", data={"csrf": _Page.parse(self._get("")).csrf})
        while "/tasks/" in response.url:
            self._activity.touch()
            if response.status_code == 410:  # the task went away between two requests, or the reply to its answer was lost
                return
            if response.status_code != 200:
                raise ServiceError(f"{response.url}: expected the page of a task, got {response.status_code}.")
            following = self._answer(_Page.parse(response.text))
            if not following.startswith("/tasks/"):
                return
            response = self._request("GET", following)

    def _answer(self, page: _Page) -> str:
        answer = self._read(page)
        body = {"answerContent": {"annotation": json.dumps(answer.to_json())}}
        response = self._request("POST", page.answer_url, json=body, headers={"X-CSRF-Token": page.csrf})
        if response.status_code == 409:  # the job closed this object in the meantime
            self.reading.problems.append(str(response.json().get("error")))
            return ""
        if response.status_code != 200:
            raise ServiceError(f"{self._url}: an answer was refused with {response.status_code}: {response.text[:200]}")
        said = response.json()
        self.reading.answered += 1
        self.reading.repeated += bool(said.get("repeated"))
        self._bar.update()
        return str(said.get("next", ""))

    def _read(self, page: _Page) -> Answer:
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
            self.reading.not_displayed += 1
            self.reading.problems.append(f"an image could not be read: {error}")
            return Answer(unusable=NOT_DISPLAYED)
        if uid not in self._truth:
            self.reading.without_truth += 1
        return self._reader.read(uid, page.labels, self._truth.get(uid, {}), self._regions.get(uid))

    # Like a browser: cookies, redirects; and like a patient person: again when nothing answers.

    def _get(self, path: str) -> str:
        response = self._request("GET", path)
        if response.status_code != 200:
            raise ServiceError(f"{response.url}: expected a page, got {response.status_code}.")
        return response.text

    def _request(self, method: str, path: str, **options: Any) -> requests.Response:
        deadline, pause = time.monotonic() + RETRY_SECONDS, 0.1
        headers = {"Accept": "text/html" if "json" not in options else "application/json", **options.pop("headers", {})}
        url = urljoin(self._url, path)
        while True:
            self._activity.check()
            try:
                response = self._session.request(method, url, headers=headers, timeout=self._timeout_seconds, **options)
                problem = f"it answers {response.status_code}"
                if response.status_code < 500:
                    if response.status_code == 401 or "/sign-in" in response.url:
                        self._sign_in()
                        # A redirect may have turned a POST into a GET of the form: the request itself is sent again.
                        continue
                    return response
            except requests.RequestException as error:
                problem = f"nothing answers ({type(error).__name__})"
            self._activity.touch()
            self.reading.retries += 1
            if time.monotonic() > deadline:
                raise ServiceError(f"{url}: the portal stayed away for {RETRY_SECONDS:.0f} seconds: {problem}.")
            time.sleep(pause)
            pause = min(pause * 1.5, 1.0)

    def _sign_in(self) -> None:
        form = {"name": self._reader.name, "password": self._password.reveal()}
        response = self._session.post(
            urljoin(self._url, "sign-in"),
            data=form,
            headers={"Accept": "text/html"},
            timeout=self._timeout_seconds,
            allow_redirects=False,
        )
        if response.status_code != 303 and response.status_code < 500:
            raise ServiceError(
                f"{self._url}: reader {self._reader.name!r} cannot sign in ({response.status_code}). "
                "Make the account with groundtruth.accounts.put_workers."
            )


class _Page(HTMLParser):
    """What a reader takes from a page: where to answer, the labels, the image; or the list of jobs."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[dict[str, str]] = []
        self.labels: tuple[str, ...] = ()
        self.answer_url = self.image_url = self.csrf = ""

    @classmethod
    def parse(cls, html: str) -> Self:
        page = cls()
        # The scripts of a task page are most of it and hold no markup of interest.
        page.feed(re.sub(r"<(script|style)\b.*?</\1>", "", html, flags=re.DOTALL | re.IGNORECASE))
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
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


def _rate(rate: Rate, label: str, default: float) -> float:
    return rate.get(label, rate.get("", default)) if isinstance(rate, Mapping) else rate

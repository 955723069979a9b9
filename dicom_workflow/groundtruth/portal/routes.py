"""The workers' portal: sign in, list the jobs of one's teams, get one task after the other, answer.

Pages are rendered on the server, with one session cookie and a CSRF token in every form. A worker can load the frames of a task
only while holding its lease, and never sees where they are stored.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, StreamingResponse

from dicom_workflow.errors import ArchiveError, DicomError, ServiceError, SettingsError, StorageError, TemplateError
from dicom_workflow.formats.object_reference import ARCHIVE_SCHEMES
from dicom_workflow.groundtruth.access import Access
from dicom_workflow.groundtruth.accounts import SESSION_SECONDS, Accounts, Session
from dicom_workflow.groundtruth.engine import Engine
from dicom_workflow.groundtruth.portal import pages
from dicom_workflow.groundtruth.portal.http import (
    MAX_ANSWER_BYTES,
    BadAnswerError,
    Refusal,
    answer_content,
    form_of,
    html_response,
    local_path,
    posted,
    refuse,
)
from dicom_workflow.groundtruth.portal.image_cache import ImageCache, StoredObject, is_missing
from dicom_workflow.groundtruth.store.database import JobDatabaseUnavailableError
from dicom_workflow.groundtruth.store.job_store import JobStore
from dicom_workflow.groundtruth.store.leases import Leases
from dicom_workflow.groundtruth.store.tables import Assignment, Job, Object
from dicom_workflow.labeling import page_assets
from dicom_workflow.labeling.tasks.protocol import Frame

COOKIE = "groundtruth_session"
MAX_FORM_BYTES = 16_384
IMAGE_POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"

_log = logging.getLogger(__name__)


class Portal:
    """The routes of the portal.

    Parameters
    ----------
    store : JobStore
        The job database.
    access : Access
        Decides which URIs a template may name.
    accounts : Accounts
        Of the workers.
    engine : Engine
        Is told about completed objects.
    images : ImageCache
        Reads the images of tasks.
    """

    def __init__(self, store: JobStore, access: Access, accounts: Accounts, engine: Engine, images: ImageCache) -> None:
        self._store = store
        self._leases = Leases(store)
        self._accounts = accounts
        self._engine = engine
        self._images = images
        self._access = access
        self._link_key = bytes.fromhex(store.meta("key"))

    def add_to(self, app: FastAPI) -> None:
        """Add the routes to an application."""
        app.add_exception_handler(Refusal, refuse)
        app.add_exception_handler(JobDatabaseUnavailableError, refuse)
        app.add_exception_handler(404, refuse)
        for path, method in (
            ("/", self._jobs_page),
            ("/sign-in", self._sign_in_page),
            ("/tasks/{task}", self._task_page),
            ("/tasks/{task}/granted", self._granted),
            ("/tasks/{task}/{route:path}", self._frame),  # the kind of task declares them
            ("/static/{name}", self._static),
        ):
            app.add_api_route(path, method, methods=["GET"], response_model=None)
        for path, action, limit in (
            ("/sign-in", self._sign_in, MAX_FORM_BYTES),
            ("/sign-out", self._sign_out, MAX_FORM_BYTES),
            ("/jobs/{job}/next", self._next_task, MAX_FORM_BYTES),
            ("/tasks/{task}/decline", self._decline, MAX_FORM_BYTES),
            ("/tasks/{task}/stop", self._stop_working, MAX_FORM_BYTES),
            ("/tasks/{task}/answer", self._answer, MAX_ANSWER_BYTES),
        ):
            app.add_api_route(path, posted(action, limit), methods=["POST"], response_model=None)

    # Signing in

    def _sign_in_page(self, request: Request) -> Response:
        """Show the sign-in form."""
        return html_response(pages.page("sign_in", "Sign in", next=local_path(request.query_params.get("next", ""))))

    def _sign_in(self, request: Request, body: bytes) -> Response:
        """Start a session."""
        form = form_of(body)
        name, following = form.get("name", ""), local_path(form.get("next", ""))
        try:
            token = self._accounts.sign_in(name, form.get("password", ""), request.client.host if request.client else "")
        except ServiceError as error:
            problem, status = str(error), 429
        else:
            if token is not None:
                response = RedirectResponse(following or "/", 303)
                secure = request.url.scheme == "https"
                response.set_cookie(COOKIE, token, SESSION_SECONDS, httponly=True, samesite="strict", secure=secure, path="/")
                return response
            problem, status = "Wrong name or password. Try again.", 403
        return html_response(pages.page("sign_in", "Sign in", problem=problem, name=name[:64], next=following), status)

    def _sign_out(self, request: Request, body: bytes) -> Response:
        """End the session."""
        self._check_form(self._session(request), body)
        self._accounts.sign_out(request.cookies.get(COOKIE, ""))
        response = RedirectResponse("/sign-in", 303)
        response.delete_cookie(COOKIE, path="/")
        return response

    # Jobs and tasks

    def _jobs_page(self, request: Request) -> Response:
        """Show a worker's jobs with their progress."""
        session = self._session(request)
        found = self._store.jobs(workteams=self._accounts.teams_of(session.worker_id))
        shown = [self._shown(job, session) for job in reversed(found)]
        notice = "That was the last image for now. Thank you." if "done" in request.query_params else None
        values = {"jobs": shown, "notice": notice, "worker": session.name, "csrf": session.csrf}
        return html_response(pages.page("jobs", "Your labeling jobs", **values))

    def _shown(self, job: Job, session: Session) -> dict[str, Any]:
        counts = self._store.counts(job.name) if job.objects else {}
        busy = counts.get("pending", 0) + counts.get("open", 0)
        free = job.status == "InProgress" and self._leases.is_free(job, session.worker_id)
        hints = {
            "Initializing": "This job is being prepared.",
            "InProgress": "There is no task for you at the moment. More may follow when the other readers are done.",
            "Stopping": "This job is being stopped.",
            "Stopped": "This job was stopped.",
            "Failed": "This job ended with an error.",
        }
        return {
            "name": job.name,
            "title": job.human["TaskTitle"],
            "description": job.human["TaskDescription"],
            "status": job.status,
            "free": free,
            "hint": hints.get(job.status, "This job is complete."),
            "total": job.objects,
            "places": job.objects - counts.get("present", 0) - counts.get("passed", 0),
            "done": job.objects - busy,
            "own": self._leases.answered_by(job.name, session.worker_id),
        }

    def _next_task(self, request: Request, body: bytes, job: str) -> Response:
        """Lease the next task of a job."""
        session = self._session(request)
        self._check_form(session, body)
        return RedirectResponse(self._next_path(job, session), 303)

    def _next_path(self, name: str, session: Session) -> str:
        job = self._store.job(name)
        if job is None or not self._on_team(job, session):
            raise Refusal(404, "Job not found", "This job does not exist or is not assigned to your team.")
        task = self._leases.lease(job, session.worker_id) if job.status == "InProgress" else None
        return f"/tasks/{task.task}" if task else "/?done"

    def _task_page(self, request: Request, task: str) -> Response:
        """Show the page of one task: the job's template rendered with this object."""
        session = self._session(request)
        held, job, found = self._held(session, task)
        frames = job.task.frames(found.line, found.task_input)
        addresses = {frame.input_key: f"/tasks/{held.task}/{frame.route}" for frame in frames if frame.input_key}
        bar = {"task": held.task, "title": job.human["TaskTitle"], "csrf": session.csrf}
        bar.update(number=found.number + 1, total=job.objects)
        try:
            html, policy = pages.task_page(
                job.template or "",
                {**(found.task_input or {}), **addresses},
                grant_read_access=lambda uri: self._grant(held, frames, uri),
                answer_url=f"/tasks/{held.task}/answer",
                csrf=session.csrf,
                draft_key=self._keyed(f"draft/{session.worker_id}/{job.reference}/{found.number}"),
                bar=bar,
            )
        except TemplateError as error:
            _log.error("job %s: the template cannot be rendered for object %d: %s", job.name, found.number, error)
            raise Refusal(500, "This task cannot be shown", "Its page has an error. Tell whoever runs the job.") from None
        return HTMLResponse(html, headers={"content-security-policy": policy})

    def _answer(self, request: Request, body: bytes, task: str) -> Response:
        """Accept the answer to a task. It is on disk before the response is sent."""
        session = self._session(request)
        if not hmac.compare_digest(request.headers.get("x-csrf-token", "").encode(), session.csrf.encode()):
            raise Refusal(403, "Request refused", "The header X-CSRF-Token is missing or wrong. Load the page again.")
        try:
            content = answer_content(body)
        except BadAnswerError as error:
            raise Refusal(400, "Invalid answer", str(error)) from None
        mine, job, _ = self._mine(session, task)
        outcome, following = self._leases.accept(mine, job, content)
        if following is None:
            self._engine.wake()
        if outcome == "closed":
            raise Refusal(409, "Too late", "This image takes no more answers: its job has ended, or the image was closed.")
        if outcome == "taken":
            raise Refusal(409, "Too late", "The time for this image ran out and another reader has it now.")
        path = f"/tasks/{following.task}" if following else "/?done"
        return JSONResponse({"accepted": True, "repeated": outcome == "repeated", "next": path})

    def _decline(self, request: Request, body: bytes, task: str) -> Response:
        """Decline a task for good, and lease the next one."""
        session = self._session(request)
        self._check_form(session, body)
        mine, job, _ = self._mine(session, task)
        self._leases.release(mine, declined=True)
        self._engine.wake()
        return RedirectResponse(self._next_path(job.name, session), 303)

    def _stop_working(self, request: Request, body: bytes, task: str) -> Response:
        """Release a task."""
        session = self._session(request)
        self._check_form(session, body)
        self._leases.release(self._mine(session, task)[0], declined=False)
        return RedirectResponse("/", 303)

    # Frames

    def _frame(self, request: Request, task: str, route: str) -> Response:
        """Return a frame of a task by the route that its kind of task declares: the stored bytes, or a PNG of it."""
        _, job, found = self._held(self._session(request), task)
        frame = next((frame for frame in job.task.frames(found.line, found.task_input) if frame.route == route), None)
        if frame is None:
            raise Refusal(404, "Not found", "This task has no such image.")
        return self._image(lambda: self._images.rendered(frame) if frame.rendered else self._images.stored(frame.uri))

    def _granted(self, request: Request, task: str) -> Response:
        """Return another object that the template of this task refers to: an image, or a script or style of the page."""
        held, _, _ = self._held(self._session(request), task)
        uri, signature = request.query_params.get("uri", ""), request.query_params.get("signature", "")
        if not hmac.compare_digest(self._signature(held, uri).encode(), signature.encode()):
            raise Refusal(403, "Not granted", "This address does not belong to this task.")
        name = uri.rpartition("/")[2]
        return self._image(lambda: self._images.asset(uri, name) if page_assets.is_name(name) else self._images.stored(uri))

    def _grant(self, task: Assignment, frames: Iterable[Frame], uri: str) -> str:
        for frame in frames:
            if frame.uri == uri and not frame.rendered:
                return f"/tasks/{task.task}/{frame.route}"
        if uri.startswith(ARCHIVE_SCHEMES):
            raise TemplateError("grant_read_access: an archive URI must be that of the manifest line.")
        self._access.check_granted(uri)
        return f"/tasks/{task.task}/granted?uri={quote(uri, safe='')}&signature={self._signature(task, uri)}"

    def _signature(self, task: Assignment, uri: str) -> str:
        return self._keyed(f"grant/{task.task}/{uri}")

    def _keyed(self, text: str) -> str:
        return hmac.new(self._link_key, text.encode("utf-8", "replace"), "sha256").hexdigest()

    def _image(self, read: Callable[[], tuple[bytes, str] | StoredObject]) -> Response:
        try:
            image = read()
        except (ArchiveError, SettingsError, StorageError) as error:
            if is_missing(error):
                raise Refusal(404, "No image", "The image of this task does not exist. Skip it and report it.") from None
            _log.warning("an image could not be read: %s", type(error).__name__)
            raise Refusal(502, "Image unavailable", "The image cannot be loaded now. Try again in a minute.") from None
        except DicomError:
            raise Refusal(415, "Not displayable", "The image of this task cannot be displayed. Skip it.") from None
        headers = {"content-security-policy": IMAGE_POLICY, "cache-control": "private, no-store"}
        if isinstance(image, StoredObject):
            headers["content-length"] = str(image.size_bytes)
            return StreamingResponse(image.blocks(), media_type=image.media_type, headers=headers)
        return Response(image[0], media_type=image[1], headers=headers)

    def _static(self, request: Request, name: str) -> Response:
        """Return a style sheet or script of the portal or of a task page."""
        if not pages.is_static(name):
            raise Refusal(404, "Not found", "There is no page at this address.")
        headers = {"cache-control": page_assets.KEEP_FOR_EVER, "vary": "accept-encoding"}
        kind = page_assets.media_type(name)
        if "gzip" not in request.headers.get("accept-encoding", ""):
            return Response(pages.static(name), media_type=kind, headers=headers)
        return Response(pages.static_zipped(name), media_type=kind, headers={**headers, "content-encoding": "gzip"})

    # Authorization

    def _session(self, request: Request) -> Session:
        token = request.cookies.get(COOKIE)
        session = self._accounts.session(token) if token else None
        if session is None:
            raise Refusal(401, "Sign in", "Your session has ended.")
        return session

    @staticmethod
    def _check_form(session: Session, body: bytes) -> None:
        if not hmac.compare_digest(form_of(body).get("csrf", "").encode(), session.csrf.encode()):
            raise Refusal(403, "Request refused", "This form did not come from a page of this service. Go back.")

    def _on_team(self, job: Job, session: Session) -> bool:
        return job.workteam.lower() in (team.lower() for team in self._accounts.teams_of(session.worker_id))

    def _mine(self, session: Session, task: str) -> tuple[Assignment, Job, Object]:
        """Return a task of this worker in any state; tasks of other workers are not found."""
        found = self._leases.task(task)
        if found is None or found.worker_id != session.worker_id:
            raise Refusal(404, "Task not found", "This task does not exist or is not yours.")
        job, item = self._store.job(found.job), self._store.object(found.job, found.number)
        if job is None or item is None or not self._on_team(job, session):
            raise Refusal(404, "Task not found", "This task does not exist or is not yours.")
        return found, job, item

    def _held(self, session: Session, task: str) -> tuple[Assignment, Job, Object]:
        """Return a task that this worker holds a lease on."""
        mine, job, item = self._mine(session, task)
        if mine.state == "answered":
            raise Refusal(410, "Already answered", "You have answered this image. Your answer is saved.")
        in_hand = mine.state == "held" and mine.expires > self._store.clock()
        if not in_hand or item.state != "open" or job.status != "InProgress":
            text = "This image was released: the time ran out, you skipped it, or the job has ended."
            raise Refusal(410, "Task released", text)
        return mine, job, item

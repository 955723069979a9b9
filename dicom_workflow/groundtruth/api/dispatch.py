"""SageMaker's JSON interface for labeling jobs and work teams, as boto3 calls it.

Nine operations of SageMaker and two of this service's own (``DicomWorkflow.PutWorker``, ``DicomWorkflow.DeleteWorker``). Every
request must be signed. The limits of the service model are checked, and those that only the documentation states.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from dicom_workflow.errors import ServiceError, StorageError
from dicom_workflow.formats.json_schema import parse_json
from dicom_workflow.groundtruth.access import Access
from dicom_workflow.groundtruth.accounts import Accounts
from dicom_workflow.groundtruth.api import labeling_jobs, sigv4, workteams
from dicom_workflow.groundtruth.api.requests import ApiError, texts
from dicom_workflow.groundtruth.engine import Engine
from dicom_workflow.groundtruth.portal.http import BodyNotSentError, BodyTooLargeError, capped_body
from dicom_workflow.groundtruth.store.database import JobDatabaseUnavailableError
from dicom_workflow.groundtruth.store.job_store import JobStore
from dicom_workflow.labeling import service_model
from dicom_workflow.settings import Settings

MAX_BODY_BYTES = 1_000_000
CONTENT_TYPE = "application/x-amz-json-1.1"

_log = logging.getLogger(__name__)


class Api:
    """Dispatches the requests of the interface.

    Parameters
    ----------
    settings : Settings
        The key pair that may sign, and the region of every ARN.
    store : JobStore
        The job database.
    access : Access
        Checks the URIs of a request.
    engine : Engine
        Is told about new and stopped jobs.
    accounts : Accounts
        Of the workers.
    """

    def __init__(self, settings: Settings, store: JobStore, access: Access, engine: Engine, accounts: Accounts) -> None:
        self._settings = settings
        self._store = store
        self._accounts = accounts
        jobs = labeling_jobs.LabelingJobOperations(store, access, settings.region, engine.wake)
        teams = workteams.WorkteamOperations(store, settings.region)
        self._operations: dict[str, Callable[[dict[str, Any], str], dict[str, Any]]] = {
            "SageMaker.CreateLabelingJob": jobs.create,
            "SageMaker.DescribeLabelingJob": jobs.describe,
            "SageMaker.ListLabelingJobs": jobs.list,
            "SageMaker.StopLabelingJob": jobs.stop,
            "SageMaker.CreateWorkteam": teams.create,
            "SageMaker.DescribeWorkteam": teams.describe,
            "SageMaker.ListWorkteams": teams.list,
            "SageMaker.UpdateWorkteam": teams.update,
            "SageMaker.DeleteWorkteam": teams.delete,
            "DicomWorkflow.PutWorker": self._put_worker,
            "DicomWorkflow.DeleteWorker": self._delete_worker,
        }

    async def handle(self, request: Request) -> Response:
        """Answer one POST to ``/``."""
        request_id = self._store.new_id()
        try:
            body = await capped_body(request, MAX_BODY_BYTES)
            headers = dict(request.headers)
            path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            answer = await run_in_threadpool(self.answer, headers, body, path)
            return _response(200, answer, request_id)
        except ApiError as error:
            content = {"__type": error.code, "message": str(error)}
            return _response(400, content, request_id, {"x-amzn-errortype": error.code})
        except JobDatabaseUnavailableError:
            content = {"__type": "ServiceUnavailable", "message": "The service cannot reach its job database now. Try again."}
            return _response(503, content, request_id, {"x-amzn-errortype": "ServiceUnavailable", "retry-after": "5"})
        except BodyTooLargeError:
            content = {"__type": "ValidationException", "message": f"The body is longer than {MAX_BODY_BYTES:,} bytes."}
            return _response(413, content, request_id, {"x-amzn-errortype": "ValidationException"})
        except BodyNotSentError as error:
            content = {"__type": "RequestTimeoutException", "message": str(error)}
            return _response(408, content, request_id, {"x-amzn-errortype": "RequestTimeoutException"})

    def answer(self, headers: Mapping[str, str], body: bytes, path: str = "/") -> dict[str, Any]:
        """Return the response to one request.

        Parameters
        ----------
        headers : Mapping
            Names in lower case.
        body : bytes
            The raw request body.
        path : str
            Path and query.

        Raises
        ------
        ApiError
            The signature or the request is invalid, or the state of a job or team forbids it.
        """
        settings = self._settings
        sigv4.check(
            headers,
            body,
            path=path,
            access_key=settings.groundtruth_access_key,
            secret_key=settings.groundtruth_secret_key,
            region=settings.region,
            now=self._store.clock(),
        )
        target = headers.get("x-amz-target", "")
        operation = self._operations.get(target)
        if operation is None:
            known = ", ".join(name.partition(".")[2] for name in self._operations)
            raise ApiError("UnknownOperationException", f"{target[:80]!r} is not supported. Supported operations: {known}.")
        try:
            request: Any = parse_json(body.decode() or "{}")
            json.dumps(request, ensure_ascii=False).encode()  # half of a surrogate pair fits in no page and no database
        except (ValueError, RecursionError):
            raise ApiError("SerializationException", "The body is not a JSON object.") from None
        if target.startswith("SageMaker."):
            _check(target.partition(".")[2], request)
        try:
            return operation(request, headers.get("host", ""))
        except StorageError as error:
            raise ApiError("ValidationException", str(error)) from None

    def _put_worker(self, request: dict[str, Any], host: str) -> dict[str, Any]:
        name, password, team = texts(request, "WorkerName", "Password", "WorkteamName")
        try:
            return {"WorkerId": self._accounts.put_worker(name, password, team)}
        except ServiceError as error:
            raise ApiError("ValidationException", str(error)) from None

    def _delete_worker(self, request: dict[str, Any], host: str) -> dict[str, Any]:
        (name,) = texts(request, "WorkerName")
        if not self._accounts.remove_worker(name):
            raise ApiError("ResourceNotFound", f"The worker {name[:64]!r} does not exist.")
        return {"Success": True}


def _response(status: int, content: Mapping[str, Any], request_id: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        json.dumps(content).encode(),
        status_code=status,
        media_type=CONTENT_TYPE,
        headers={"x-amzn-requestid": request_id, **(headers or {})},
    )


def _check(operation: str, request: object) -> None:
    """Hold a request to the service model, in AWS's words and with AWS's codes."""
    problems = service_model.problems(operation, request, file_uris=True)
    for problem in problems:
        if problem.is_type:
            raise ApiError("SerializationException", str(problem))
    if problems:
        plural = "error" if len(problems) == 1 else "errors"
        listed = "; ".join(map(str, problems))
        raise ApiError("ValidationException", f"{len(problems)} validation {plural} detected: {listed}")

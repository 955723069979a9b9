"""SageMaker's JSON interface of labeling jobs and work teams, as boto3 speaks it, over the journal.

Nine operations of SageMaker and two of this service's own (``DicomWorkflow.PutWorker``, ``DicomWorkflow.DeleteWorker``). Every
request is signed; every limit of the service model is checked, and those that only the documentation names.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from dicom_workflow.errors import ServiceError, StorageError
from dicom_workflow.groundtruth.access import Access
from dicom_workflow.groundtruth.accounts import Accounts
from dicom_workflow.groundtruth.api import labeling_jobs, sigv4, workteams
from dicom_workflow.groundtruth.api.sigv4 import ApiError
from dicom_workflow.groundtruth.engine import Engine
from dicom_workflow.groundtruth.portal.http import BodyNotSentError, BodyTooLargeError, capped_body
from dicom_workflow.groundtruth.store.database import JournalUnavailableError
from dicom_workflow.groundtruth.store.job_store import Store
from dicom_workflow.labeling import service_model
from dicom_workflow.settings import Settings

MAX_BODY_BYTES = 1_000_000
CONTENT_TYPE = "application/x-amz-json-1.1"

_log = logging.getLogger(__name__)


class Api:
    """The interface.

    Parameters
    ----------
    settings : Settings
        The key pair that may sign, and the region of every ARN.
    """

    def __init__(self, settings: Settings, store: Store, access: Access, engine: Engine, accounts: Accounts) -> None:
        self._settings = settings
        self._store = store
        self._accounts = accounts
        labeling = labeling_jobs.Jobs(store, access, settings.region, engine.wake)
        teams = workteams.Workteams(store, settings.region)
        self._operations: dict[str, Callable[[dict[str, Any], str], dict[str, Any]]] = {
            "SageMaker.CreateLabelingJob": labeling.create,
            "SageMaker.DescribeLabelingJob": labeling.describe,
            "SageMaker.ListLabelingJobs": labeling.list,
            "SageMaker.StopLabelingJob": labeling.stop,
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
        except JournalUnavailableError:
            content = {"__type": "ServiceUnavailable", "message": "The service cannot reach its journal now. Try again."}
            return _response(503, content, request_id, {"x-amzn-errortype": "ServiceUnavailable", "retry-after": "5"})
        except BodyTooLargeError:
            content = {"__type": "ValidationException", "message": f"expected a body of at most {MAX_BODY_BYTES:,} bytes."}
            return _response(413, content, request_id, {"x-amzn-errortype": "ValidationException"})
        except BodyNotSentError as error:
            content = {"__type": "RequestTimeoutException", "message": str(error)}
            return _response(408, content, request_id, {"x-amzn-errortype": "RequestTimeoutException"})

    def answer(self, headers: Mapping[str, str], body: bytes, path: str = "/") -> dict[str, Any]:
        """Return the answer to one request.

        Raises
        ------
        ApiError
            The signature, the request or the state of things does not allow it.
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
            raise ApiError("UnknownOperationException", f"expected one of {known}; this service has no {target[:80]!r}.")
        try:
            request = json.loads(body or b"{}")
        except (ValueError, RecursionError):
            raise ApiError("SerializationException", "expected a JSON object as the body.") from None
        if target.startswith("SageMaker."):
            service_model.check(target.partition(".")[2], request)
        try:
            return operation(request, headers.get("host", ""))
        except StorageError as error:
            raise ApiError("ValidationException", str(error)) from None

    def _put_worker(self, request: dict[str, Any], host: str) -> dict[str, Any]:
        name, password, team = _texts(request, "WorkerName", "Password", "WorkteamName")
        try:
            return {"WorkerId": self._accounts.put_worker(name, password, team)}
        except ServiceError as error:
            raise ApiError("ValidationException", str(error)) from None

    def _delete_worker(self, request: dict[str, Any], host: str) -> dict[str, Any]:
        (name,) = _texts(request, "WorkerName")
        if not self._accounts.remove_worker(name):
            raise ApiError("ResourceNotFound", f"there is no worker {name[:64]!r}.")
        return {"Success": True}


def _texts(request: object, *names: str) -> list[str]:
    values = [request.get(name) if isinstance(request, dict) else None for name in names]
    if not all(isinstance(value, str) for value in values):
        raise ApiError("ValidationException", f"expected {', '.join(names)} as texts.")
    return [str(value) for value in values]


def _response(status: int, content: Mapping[str, Any], request_id: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        json.dumps(content).encode(),
        status_code=status,
        media_type=CONTENT_TYPE,
        headers={"x-amzn-requestid": request_id, **(headers or {})},
    )

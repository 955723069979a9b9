"""The labeling job that an interrupted labeling step left: the next run of the step waits for it and pays for no second one.

A module of its own, because whether a second job is created must be decided in one place.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from dicom_workflow.errors import NotFoundError, ObjectNotFoundError
from dicom_workflow.labeling import jobs
from dicom_workflow.settings import Settings
from dicom_workflow.storage import Storage, to_uri


@dataclass(frozen=True)
class PendingJob:
    """A labeling job that was created and whose output was not recorded yet."""

    job: str
    attribute: str
    """Its label attribute."""
    key: str
    """See `key`."""


def key(manifest: bytes, output_uri: str, task: str) -> str:
    """Return what two runs of the step have in common when they mean the same job.

    Parameters
    ----------
    manifest : bytes
        Content of the input manifest.
    output_uri : str
        Folder that the job writes to.
    task : str
        Name of the labeling task.
    """
    return hashlib.sha256(manifest + f"{output_uri}\n{task}".encode("utf-8", "surrogatepass")).hexdigest()


def find(settings: Settings, key: str, client: Any, *, job_name: str = "") -> PendingJob | None:
    """Return the job that an interrupted run left; None where there is none, it is another one, or it is finished.

    Parameters
    ----------
    settings : Settings
        Of the workspace.
    key : str
        Of this run, see the function `key`.
    client : boto3 SageMaker client
        Of the service that is asked for the state of the job.
    job_name : str
        Only a job of this name; any when empty.

    Raises
    ------
    ServiceError
        The service does not answer, so it is not known whether the job goes on.
    LabelingError
        The service refused the question.
    """
    try:
        found = PendingJob(**json.loads(Storage(settings).read_text(_uri(settings))))
    except (ObjectNotFoundError, ValueError, TypeError):
        return None
    if found.key != key or job_name not in ("", found.job):
        return None
    try:
        return None if jobs.describe(client, found.job).finished else found
    except NotFoundError:  # the job is of another service, or of one whose database was deleted
        return None


def keep(settings: Settings, job: PendingJob) -> None:
    """Remember a job that was created."""
    Storage(settings).write_text(_uri(settings), json.dumps(asdict(job)))


def forget(settings: Settings) -> None:
    """Forget the job: it is finished."""
    Storage(settings).write_text(_uri(settings), json.dumps(None))


def _uri(settings: Settings) -> str:
    return to_uri(settings.workspace / "records" / "labeling-job.json")

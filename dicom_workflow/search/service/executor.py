"""Runs GraphQL operations over a search store, for HTTP requests and for the page in a notebook alike."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from graphql import GraphQLError

from dicom_workflow.errors import (
    ArchiveError,
    DicomError,
    InstanceNotFoundError,
    ObjectNotFoundError,
    RecordError,
    SearchStoreError,
    StorageError,
    WorkflowError,
)
from dicom_workflow.formats.json_schema import parse_json, shown
from dicom_workflow.search.service.access import Identity
from dicom_workflow.search.service.code_descriptions import code_text
from dicom_workflow.search.service.context import ConcurrencyLimit, RequestContext
from dicom_workflow.search.service.limits import Limits
from dicom_workflow.search.service.schema import make_schema
from dicom_workflow.search.service.similarity import SimilarityMap
from dicom_workflow.search.service.uploads import UploadedImage, UploadedImages
from dicom_workflow.search.store.protocol import SearchStore

log = logging.getLogger(__name__)

STORE_AWAY = "The search store does not answer. Try again in a minute; the log of the service says why."
_INSIDE = "This failed inside the service. Report the time to who runs it; the log has the kind of error."


@dataclass(frozen=True)
class Operation:
    """A GraphQL request."""

    query: str
    variables: dict[str, Any] = field(default_factory=dict)
    name: str | None = None

    @classmethod
    def parse(cls, value: object) -> Operation:
        """Return the operation of a JSON object with ``query``, and perhaps ``variables`` and ``operationName``.

        Raises
        ------
        RecordError
            Another form.
        """
        if not isinstance(value, Mapping):
            raise RecordError(f'expected {{"query": "…", "variables": {{…}}}}, got {shown(value)}.')
        query, variables, name = value.get("query"), value.get("variables"), value.get("operationName")
        if not isinstance(query, str) or not query.strip():
            raise RecordError("expected a GraphQL document as the text `query`.")
        if not isinstance(variables, dict | None) or not isinstance(name, str | None):
            raise RecordError("expected `variables` as a JSON object and `operationName` as a text, or neither.")
        return cls(query, variables or {}, name or None)

    @classmethod
    def of_body(cls, body: bytes) -> Operation:
        """Return the operation of a JSON text.

        Raises
        ------
        RecordError
            No JSON in UTF-8, or as `parse`.
        """
        try:
            return cls.parse(parse_json(body.decode("utf-8")))
        except ValueError:
            raise RecordError('expected JSON in UTF-8: {"query": "…", "variables": {…}}.') from None


class Executor:
    """The schema over one store.

    Parameters
    ----------
    store : SearchStore
    uploads : UploadedImages
        Images that were sent as queries.
    accept_upload : callable, optional
        DICOM file and who sent it → the upload; without it there is no search by an uploaded image.
    explain : callable, optional
        Image id, id of a similar image and who asks → where they are similar; `similarity.SimilarityMaps`.
    limits : Limits, optional
    code_text : callable
        ICD-10-CM code → description.
    """

    def __init__(
        self,
        store: SearchStore,
        *,
        uploads: UploadedImages | None = None,
        accept_upload: Callable[[bytes, str], UploadedImage] | None = None,
        explain: Callable[[str, str, str], SimilarityMap] | None = None,
        limits: Limits | None = None,
        code_text: Callable[[str], str] = code_text,
    ) -> None:
        self.store, self.limits = store, limits or Limits()
        self.uploads = uploads or UploadedImages(self.limits)
        self.accept_upload = accept_upload
        explaining = ConcurrencyLimit(1)  # decoding takes memory, the network all cores
        self._explain = partial(explaining.call, explain) if explain else None
        self._code_text = code_text
        self._schema = make_schema(self.limits)

    async def execute(self, operation: Operation, identity: Identity) -> dict[str, Any]:
        """Return ``data`` and ``errors`` of an operation, as JSON values.

        An error of one field leaves the others. Its message is for who asked: what came from inside the service is not in it.
        """
        context = RequestContext(
            self.store, identity, self.uploads, self._code_text, self.accept_upload, self._explain, self.limits
        )
        try:
            async with asyncio.timeout(self.limits.answer_seconds):
                result = await self._schema.execute(
                    operation.query,
                    variable_values=operation.variables,
                    operation_name=operation.name,
                    context_value=context,
                )
        except TimeoutError:
            log.warning("graphql: no answer within %g seconds", self.limits.answer_seconds)
            return {
                "data": None,
                "errors": [{"message": f"No answer within {self.limits.answer_seconds:g} seconds. Ask for less."}],
            }
        answer: dict[str, Any] = {"data": result.data}
        if result.errors:
            answer["errors"] = [_shown(error) for error in result.errors]
        return answer


def status_and_message(error: WorkflowError) -> tuple[int, str]:
    """Return the HTTP status of an error, and what may be told of it: no address and no path of the server."""
    if isinstance(error, SearchStoreError):
        log.error("the store failed: %s", error)
        return 503, STORE_AWAY
    if isinstance(error, ObjectNotFoundError | InstanceNotFoundError):
        return 404, "The file of this image is no longer where it was when it was indexed."
    if isinstance(error, StorageError | ArchiveError):
        log.error("an image cannot be read: %s", type(error).__name__)
        return 503, "The archive of the images does not answer. Try again in a minute."
    statuses = {DicomError: 422, RecordError: 400}
    return next((status for kind, status in statuses.items() if isinstance(error, kind)), 409), str(error)


def _shown(error: GraphQLError) -> dict[str, Any]:
    """Return an error for who asked; of what was unexpected the kind alone is logged, never a value or a query."""
    original = error.original_error
    formatted: dict[str, Any] = dict(error.formatted)
    formatted.pop("extensions", None)
    if original is None:
        return formatted
    if isinstance(original, WorkflowError):
        return {**formatted, "message": status_and_message(original)[1]}
    log.error("graphql: %s", type(original).__name__)
    return {**formatted, "message": _INSIDE}

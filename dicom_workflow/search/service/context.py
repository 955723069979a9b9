"""What the resolvers of one request share: the store, called in threads, and loaders that ask it once for many objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import strawberry
from starlette.concurrency import run_in_threadpool
from strawberry.dataloader import DataLoader

from dicom_workflow.search.documents import ImageDocument, ReportDocument
from dicom_workflow.search.query import MAX_FIRST, AnyOf, ReportQuery
from dicom_workflow.search.service.access import Identity
from dicom_workflow.search.service.similarity import SimilarityMap
from dicom_workflow.search.service.uploads import UploadedImage, UploadedImages
from dicom_workflow.search.store.protocol import SearchStore

Result = TypeVar("Result")

_MAX_PATIENT_REPORTS = 2000
"""Reports of the patients of one answer; more than that are not shown as earlier or later studies."""


@dataclass
class RequestContext:
    """One request's view of the service. A store blocks, so each of its calls runs in a thread."""

    store: SearchStore
    identity: Identity
    uploads: UploadedImages
    code_text: Callable[[str], str]
    """ICD-10-CM code → its description."""
    accept_upload: Callable[[bytes, str], UploadedImage] | None = None
    """DICOM file and who sent it → the upload; None where there is no model."""
    explain: Callable[[str, str, str], SimilarityMap] | None = None
    """Image id, id of a similar image and who asks → the map; None where there is no model."""
    images: DataLoader[str, ImageDocument | None] = field(init=False)
    reports: DataLoader[str, ReportDocument | None] = field(init=False)
    images_of_report: DataLoader[str, list[ImageDocument]] = field(init=False)
    images_of_patient: DataLoader[str, list[ImageDocument]] = field(init=False)
    reports_of_patient: DataLoader[str, list[ReportDocument]] = field(init=False)

    def __post_init__(self) -> None:
        self.images = DataLoader(load_fn=self._loader(self.store.images))
        self.reports = DataLoader(load_fn=self._loader(self.store.reports))
        self.images_of_report = DataLoader(load_fn=self._loader(_listed(self.store.images_of_reports)))
        self.images_of_patient = DataLoader(load_fn=self._loader(_listed(self.store.images_of_patients)))
        self.reports_of_patient = DataLoader(load_fn=self._loader(_listed(self._reports_of_patients)))

    async def call(self, function: Callable[..., Result], *arguments: Any, **named: Any) -> Result:
        """Return what a method of the store returns, without holding up other requests.

        Parameters
        ----------
        function : callable
        arguments, named : Any
            Of the function.
        """
        return await run_in_threadpool(function, *arguments, **named)

    def _loader(self, many: Callable[[list[str]], Sequence[Any]]) -> Callable[[list[str]], Any]:
        async def load(keys: list[str]) -> list[Any]:
            return list(await self.call(many, list(keys)))

        return load

    def _reports_of_patients(self, keys: Sequence[str]) -> dict[str, list[ReportDocument]]:
        found: dict[str, list[ReportDocument]] = {}
        cursor, count = "", 0
        while count < _MAX_PATIENT_REPORTS:
            query = ReportQuery(where=AnyOf("patient_key", tuple(keys)))
            page = self.store.search_reports(query, first=MAX_FIRST, cursor=cursor)
            for hit in page.hits:
                found.setdefault(hit.report.patient_key, []).append(hit.report)
            cursor, count = page.cursor, count + len(page.hits)
            if not cursor:
                break
        return found


Info = strawberry.Info[RequestContext, Any]


def _listed(by_key: Callable[[list[str]], dict[str, list[Any]]]) -> Callable[[list[str]], list[list[Any]]]:
    """Return a function that gives a list for each key, in the order of the keys; empty where there is nothing."""

    def many(keys: list[str]) -> list[list[Any]]:
        found = by_key(keys)
        return [found.get(key, []) for key in keys]

    return many

"""What the resolvers of one request share: the store, called in threads, and loaders that ask it once for many objects."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import strawberry
from starlette.concurrency import run_in_threadpool
from strawberry.dataloader import DataLoader

from dicom_workflow.errors import RecordError
from dicom_workflow.search.documents import ImageDocument, ReportDocument
from dicom_workflow.search.query import MAX_FIRST, AnyOf, ReportQuery
from dicom_workflow.search.service.access import Identity
from dicom_workflow.search.service.limits import Limits
from dicom_workflow.search.service.similarity import SimilarityMap
from dicom_workflow.search.service.uploads import UploadedImage, UploadedImages
from dicom_workflow.search.store.protocol import SearchStore

Result = TypeVar("Result")

_MAX_PATIENT_REPORTS = 2000
"""Reports of the patients of one answer; more than that are not shown as earlier or later studies."""


class ConcurrencyLimit:
    """Calls functions in threads of its own, a few at a time: a call that waits for its turn holds no thread.

    Parameters
    ----------
    most : int
        Calls at a time.
    """

    def __init__(self, most: int) -> None:
        self._turns, self._threads = anyio.CapacityLimiter(most), anyio.CapacityLimiter(most)

    @property
    def waiting(self) -> int:
        """How many calls wait for their turn."""
        return self._turns.statistics().tasks_waiting

    async def call(self, function: Callable[..., Result], *arguments: Any, **named: Any) -> Result:
        """Return what a function returns. A call that is given up ends its turn when its thread ends.

        Parameters
        ----------
        function : callable
        arguments, named : Any
            Of the function.
        """
        turn = object()
        await self._turns.acquire_on_behalf_of(turn)
        running = asyncio.ensure_future(anyio.to_thread.run_sync(partial(function, *arguments, **named), limiter=self._threads))

        def end(done: asyncio.Future[Result]) -> None:
            self._turns.release_on_behalf_of(turn)
            if not done.cancelled():
                done.exception()  # of a call that was given up nobody else asks

        running.add_done_callback(end)
        return await asyncio.shield(running)


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
    explain: Callable[[str, str, str], Awaitable[SimilarityMap]] | None = None
    """Image id, id of a similar image and who asks → the map; None where there is no model."""
    limits: Limits = field(default_factory=Limits)
    _spent: dict[str, int] = field(init=False, default_factory=dict)
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

    def spend(self, *, searches: int = 0, images: int = 0, similarity_maps: int = 0) -> None:
        """Count what one request costs, because nested fields multiply.

        Parameters
        ----------
        searches : int
            Calls of the store for similar images, cases or facets.
        images : int
            In the answer.
        similarity_maps : int

        Raises
        ------
        RecordError
            Beyond the limits of one request.
        """
        costs = (
            ("searches", searches, self.limits.searches, "similar images, cases and facets", "Nest `similar` and facets less."),
            ("images", images, self.limits.images, "images", "Ask for fewer with `k` or `first`, or nest less."),
            ("maps", similarity_maps, self.limits.similarity_maps, "similarity maps", "Ask for the others one by one."),
        )
        for name, count, most, what, step in costs:
            self._spent[name] = self._spent.get(name, 0) + count
            if count and self._spent[name] > most:
                raise RecordError(f"expected at most {most:,} {what} in one request, got more. {step}")

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

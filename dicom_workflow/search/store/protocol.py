"""What every search store does, whatever is behind it. `open_store` picks the class from the URL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dicom_workflow.search.documents import Embeddings, EmbeddingSpace, ImageDocument, ReportDocument
from dicom_workflow.search.query import Facet, ImageHits, ImageQuery, ReportPage, ReportQuery

STORE_VERSION = 2
"""Layout in PostgreSQL and OpenSearch; that of Lance is `lance_schema.LAYOUT_VERSION`. A store of another one is refused with
the command that rebuilds it."""


@dataclass(frozen=True)
class Maintenance:
    """What `maintain` did and measured on the live data.

    `recall` is recall@10 against an exact search over sampled queries: filter → share, with ``none``, and filters that leave
    30 %, 1 % and one cluster, because an index can lose hits under a narrow filter alone.
    """

    images: int
    reports: int
    embeddings: dict[str, int] = field(default_factory=dict)
    """Space → images that have an embedding there."""
    duplicate_images: int = 0
    duplicate_reports: int = 0
    recall: dict[str, float] = field(default_factory=dict)
    bytes_before: int = 0
    bytes_after: int = 0


class SearchStore(Protocol):
    """Images, their embeddings and reports. Every write is idempotent: the same document again changes nothing.

    Raises ``SearchStoreError`` where the store cannot be reached, is read-only or full, and ``RecordError`` for an unknown
    field or space.
    """

    url: str

    def upsert_images(self, images: Iterable[ImageDocument], embeddings: Embeddings | None = None) -> int:
        """Insert or replace images, and return how many.

        Embeddings that they have already stay, unless `embeddings` has new ones, which may be of any of the images. After the
        return, everything is found by other processes.
        """

    def upsert_embeddings(self, embeddings: Embeddings) -> int:
        """Set the embeddings of images that are in the store, and return how many were; the ids of others are ignored."""

    def upsert_reports(self, reports: Iterable[ReportDocument]) -> int:
        """Insert or replace reports, and return how many."""

    def delete(self, *, image_ids: Sequence[str] = (), report_ids: Sequence[str] = ()) -> int:
        """Delete images with their embeddings, and reports; return how many there were."""

    def spaces(self) -> list[EmbeddingSpace]:
        """Return all embedding spaces; the one that serves is the first."""

    def add_space(self, space: EmbeddingSpace) -> None:
        """Prepare for the embeddings of a space; the first one serves at once. A known space changes nothing."""

    def serve_space(self, space_id: str) -> None:
        """Let queries that name no space use this one."""

    def drop_space(self, space_id: str) -> None:
        """Delete the embeddings of a space that does not serve."""

    def images(self, image_ids: Sequence[str]) -> list[ImageDocument | None]:
        """Return the images in the order of the ids; None where there is none."""

    def images_of_reports(self, report_ids: Sequence[str]) -> dict[str, list[ImageDocument]]:
        """Return report id → its images, by image id."""

    def images_of_patients(self, patient_keys: Sequence[str]) -> dict[str, list[ImageDocument]]:
        """Return patient key → all images of the patient, by study date."""

    def reports(self, report_ids: Sequence[str]) -> list[ReportDocument | None]:
        """Return the reports in the order of the ids; None where there is none."""

    def scan_images(self, *, without_space: str = "") -> Iterator[ImageDocument]:
        """Return all images by id; with `without_space`, those that have no embedding in that space."""

    def scan_reports(self) -> Iterator[ReportDocument]:
        """Return all reports by id."""

    def vectors(self, image_ids: Sequence[str], space_id: str = "") -> NDArray[np.float32]:
        """Return the embeddings, shape (len(image_ids), dimensions), float32; rows of NaN where an image has none."""

    def search_reports(self, query: ReportQuery, *, first: int = 20, cursor: str = "") -> ReportPage:
        """Return one page of the reports of a query."""

    def facets(self, query: ReportQuery, fields: Sequence[str], *, size: int = 10) -> dict[str, Facet]:
        """Return the facets over all reports of a query."""

    def image_facets(self, where: object, fields: Sequence[str], *, size: int = 10) -> dict[str, Facet]:
        """Return the facets over all images that a filter (`Where` or None) leaves."""

    def similar_images(self, query: ImageQuery) -> ImageHits:
        """Return the most similar images, the query itself left out."""

    def maintain(self) -> Maintenance:
        """Compact, bring indexes up to date, and measure recall and duplicates on the live data."""

    def close(self) -> None:
        """Release connections and files."""

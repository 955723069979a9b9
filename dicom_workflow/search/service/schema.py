"""The GraphQL schema of the search service, code first: its own small part, and the published fields beside it."""

from __future__ import annotations

from collections.abc import Sequence

import strawberry
from graphql import GraphQLError
from strawberry.extensions import MaxTokensLimiter
from strawberry.file_uploads import Upload
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext

from dicom_workflow.errors import SearchError
from dicom_workflow.search.query import IMAGE_FILTERS, REPORT_FILTERS, ReportHit, ReportQuery, parse_where
from dicom_workflow.search.service import fusion
from dicom_workflow.search.service.context import Info
from dicom_workflow.search.service.evidence import excerpts
from dicom_workflow.search.service.fusion import fused
from dicom_workflow.search.service.graphql_types import (
    IndexedImage,
    RadiologyReport,
    SimilarImage,
    image_facets,
    image_query,
    report_facets,
)
from dicom_workflow.search.service.limits import Limits, SelectionLimiter, checked_first
from dicom_workflow.search.service.paging import page_of
from dicom_workflow.search.service.published_fields import PublishedQuery
from dicom_workflow.search.service.uploads import bytes_of, is_upload
from dicom_workflow.search.service.values import WHERE, EmbeddingSpace, Facet, FilterField, SearchIndex, TextSpan, Where
from dicom_workflow.search.store.text_query import parse_text


@strawberry.type(description="A report of a search, its score, and where its words matched.")
class ReportEdge:
    """A `ReportHit`."""

    node: RadiologyReport
    score: float = strawberry.field(description="Comparable within one search alone.")
    cursor: str
    highlights: list[TextSpan]


@strawberry.type
class PageInfo:
    """Where a page ends."""

    end_cursor: str | None
    has_next_page: bool


@strawberry.type(description="One page of the reports of a search.")
class ReportConnection:
    """A `ReportPage`."""

    query: strawberry.Private[ReportQuery]
    edges: list[ReportEdge]
    page_info: PageInfo
    total_count: int = strawberry.field(description="All reports that match, exactly.")

    @strawberry.field(description="Facets over all reports that match, not over this page alone.")
    async def facets(self, info: Info, fields: list[str], size: int = 10) -> list[Facet]:
        """Return the facets.

        Parameters
        ----------
        info : Info
        fields : list of str
            Of `query.REPORT_FILTERS`.
        size : int
            Values of a field.
        """
        return await report_facets(info, self.query, fields, size)


@strawberry.type(description="A report with its similar images, or an image without a report: found by text, image or both.")
class Case:
    """As `fusion.Case`."""

    score: float = strawberry.field(description="Of reciprocal rank fusion: for order alone.")
    report: RadiologyReport | None
    images: list[SimilarImage] = strawberry.field(description="Those that were compared, best first.")
    text_rank: int | None = strawberry.field(description="In the list of the text, from 1.")
    image_rank: int | None = strawberry.field(description="In the list of the image, from 1.")
    highlights: list[TextSpan]

    @classmethod
    def of(cls, case: fusion.Case, parts: list[list[str]]) -> Case:
        """Return a case with the places where words of a text, as `parse_text` returns them, stand."""
        return cls(
            score=case.score,
            report=RadiologyReport.of(case.report) if case.report else None,
            images=[SimilarImage(score=float(hit.score), image=IndexedImage.of(hit.image)) for hit in case.images],
            text_rank=case.text_rank,
            image_rank=case.image_rank,
            highlights=[TextSpan.of(found) for found in excerpts(case.report, parts)] if case.report else [],
        )


@strawberry.type(description="The best cases.")
class Cases:
    """As `fusion.Fused`."""

    hits: list[Case]
    space_id: str
    exact: bool

    @strawberry.field(description="Facets over the reports of these cases.")
    async def facets(self, info: Info, fields: list[str], size: int = 10) -> list[Facet]:
        """Return the facets.

        Parameters
        ----------
        info : Info
        fields : list of str
            Of `query.REPORT_FILTERS`.
        size : int
            Values of a field.
        """
        ids = tuple(case.report.id for case in self.hits if case.report)
        return await report_facets(info, ReportQuery(report_ids=ids), fields, size)


def _edges(hits: Sequence[tuple[ReportHit, str]], text: str) -> list[ReportEdge]:
    """Return the reports of a page; the places of a text in long reports take time, so this runs in a thread."""
    parts = parse_text(text)
    return [
        ReportEdge(
            node=RadiologyReport.of(hit.report),
            score=float(hit.score),
            cursor=cursor,
            highlights=[TextSpan.of(found) for found in excerpts(hit.report, parts)],
        )
        for hit, cursor in hits
    ]


def _case_nodes(cases: Sequence[fusion.Case], text: str) -> list[Case]:
    parts = parse_text(text)
    return [Case.of(case, parts) for case in cases]


@strawberry.type
class Query(PublishedQuery):
    """The root."""

    @strawberry.field(
        description=(
            'Reports by words ("in quotes" is a phrase), by filter, by id or like another report; all that are given have to '
            "match. Without any, all reports, the newest study first."
        )
    )
    async def reports(
        self,
        info: Info,
        text: str = "",
        where: Where | None = None,
        like: strawberry.ID | None = None,
        ids: list[strawberry.ID] | None = None,
        first: int = 20,
        after: str | None = None,
    ) -> ReportConnection:
        """Return one page.

        Parameters
        ----------
        info : Info
        text : str
            Words and phrases.
        where : Where
            By `query.REPORT_FILTERS`.
        like : ID
            A report: others with the same words.
        ids : list of ID
            These reports alone.
        first : int
            Up to `query.MAX_FIRST`.
        after : str
            A cursor.
        """
        asked = ReportQuery(
            text=text,
            where=parse_where(where, REPORT_FILTERS),
            report_ids=None if ids is None else tuple(ids),
            like=str(like or ""),
        )
        store = info.context.store
        page = await info.context.call(page_of, store, asked, checked_first(first), after or "")
        edges = await info.context.call(_edges, page.hits, text)
        end = PageInfo(end_cursor=edges[-1].cursor if edges else None, has_next_page=page.has_next)
        return ReportConnection(query=asked, edges=edges, page_info=end, total_count=page.total)

    @strawberry.field(
        description=(
            "Cases for a text and an image together: the ranks of both lists are fused (reciprocal rank fusion). `where` is "
            "about the images, `reportWhere` about the reports, and both hold for every case."
        )
    )
    async def cases(
        self,
        info: Info,
        text: str,
        image_id: strawberry.ID,
        first: int = 20,
        where: Where | None = None,
        report_where: Where | None = None,
        exclude_patient: bool = True,
    ) -> Cases:
        """Return the best cases.

        Parameters
        ----------
        info : Info
        text : str
        image_id : ID
            Of the index or of an upload.
        first : int
        where : Where
            By `query.IMAGE_FILTERS`.
        report_where : Where
            By `query.REPORT_FILTERS`.
        exclude_patient : bool
            Leave the same patient out.
        """
        info.context.spend(searches=1)
        image = image_query(info, image_id, where=parse_where(where, IMAGE_FILTERS), exclude_patient=exclude_patient)
        asked = ReportQuery(text=text, where=parse_where(report_where, REPORT_FILTERS))
        found = await info.context.call(fused, info.context.store, asked, image, checked_first(first))
        info.context.spend(images=sum(len(case.images) for case in found.cases))
        return Cases(
            hits=await info.context.call(_case_nodes, found.cases, text),
            space_id=found.space_id,
            exact=found.exact,
        )

    @strawberry.field
    async def report(self, info: Info, id: strawberry.ID) -> RadiologyReport | None:
        """Return a report."""
        found = await info.context.reports.load(id)
        return RadiologyReport.of(found) if found else None

    @strawberry.field(description="An image of the index, or an upload by its id.")
    async def image(self, info: Info, id: strawberry.ID) -> IndexedImage | None:
        """Return an image."""
        if is_upload(id):
            return IndexedImage.of(info.context.uploads.get(id, info.context.identity.subject).image, uploaded=True)
        found = await info.context.images.load(id)
        return IndexedImage.of(found) if found else None

    @strawberry.field(description="Facets over all images, or those that a filter leaves.")
    async def image_facets(
        self,
        info: Info,
        fields: list[str],
        where: Where | None = None,
        size: int = 10,
    ) -> list[Facet]:
        """Return the facets.

        Parameters
        ----------
        info : Info
        fields : list of str
        where : Where
            By `query.IMAGE_FILTERS`.
        size : int
            Values of a field.
        """
        return await image_facets(info, parse_where(where, IMAGE_FILTERS), fields, size)

    @strawberry.field
    async def index(self, info: Info) -> SearchIndex:
        """Return what can be searched for."""
        spaces = await info.context.call(info.context.store.spaces)
        served = [
            EmbeddingSpace(
                id=strawberry.ID(each.space_id),
                dimensions=each.dimensions,
                description=each.description,
                serves=number == 0,
            )
            for number, each in enumerate(spaces)
        ]
        return SearchIndex(
            spaces=served,
            image_fields=[FilterField(name=name, type=kind) for name, kind in sorted(IMAGE_FILTERS.items())],
            report_fields=[FilterField(name=name, type=kind) for name, kind in sorted(REPORT_FILTERS.items())],
            accepts_uploads=info.context.accept_upload is not None,
            explains=info.context.explain is not None,
        )


@strawberry.type
class Mutation:
    """Changes nothing in the index."""

    @strawberry.mutation(
        description=(
            "Take a DICOM file as a query: the answer is an image that can be searched with at once, and by its id for a "
            "while, by who sent it. Over HTTP as a GraphQL multipart request; POST /uploads takes the bare file."
        )
    )
    async def search_by_image(self, info: Info, image: Upload) -> IndexedImage:
        """Return the uploaded image.

        Raises
        ------
        SearchError
            There is no model.
        """
        accept = info.context.accept_upload
        if accept is None:
            raise SearchError("This service has no model, so it cannot search by an uploaded image. Start it with a model.")
        upload = await info.context.call(accept, bytes_of(image), info.context.identity.subject)
        return IndexedImage.of(upload.image, uploaded=True)


class SearchSchema(strawberry.Schema):
    """The schema; no log line of an error has a query or a value in it."""

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Log nothing here: the `Executor` logs the kind of an error."""
        del errors, execution_context


def make_schema(limits: Limits | None = None) -> SearchSchema:
    """Return the schema with limits on what one query may ask for."""
    limits = limits or Limits()
    return SearchSchema(
        Query,
        Mutation,
        config=StrawberryConfig(disable_field_suggestions=True, scalar_map={Where: WHERE}),
        extensions=[
            lambda: SelectionLimiter(limits),
            lambda: MaxTokensLimiter(max_token_count=limits.tokens),
        ],
    )

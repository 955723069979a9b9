"""The twenty published query fields and their types, as aliases of the schema's own part: their clients run unchanged.

Every argument and value may be null there, and an error in one field leaves the others of a query as they are.
"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import unquote

import strawberry

from dicom_workflow.errors import RecordError
from dicom_workflow.formats.json_schema import parse_json, shown
from dicom_workflow.search.documents import ImageDocument, Kind, ReportDocument, State
from dicom_workflow.search.query import MAX_FIRST, MAX_VALUES, ImageQuery, ReportHit, ReportQuery
from dicom_workflow.search.service.context import Info, RequestContext
from dicom_workflow.search.service.limits import checked_first, checked_k

SEARCH_SIZE = 20
SIMILAR = 30
MAX_WINDOW = 10_000
"""`listReports` goes that far; connections go on with a cursor."""


@strawberry.type(description="Published type; see IndexedImage.")
class Image:
    """An `ImageDocument`; Bucket and Key only where the file lies in S3."""

    ImageId: str | None
    ReportId: str | None
    Bucket: str | None
    Key: str | None
    Modality: str | None
    ViewPosition: str | None
    BodyPartExamined: str | None

    @classmethod
    def of(cls, image: ImageDocument) -> Image:
        """Return the published form of an image."""
        bucket, _, key = image.source.removeprefix("s3://").partition("/") if image.source.startswith("s3://") else ("",) * 3
        return cls(
            ImageId=image.image_id,
            ReportId=image.report_id or None,
            Bucket=bucket or None,
            Key=unquote(key) or None,
            Modality=image.modality or None,
            ViewPosition=image.view_position or None,
            BodyPartExamined=image.body_part or None,
        )


Images = list[Image | None] | None
Texts = list[str | None] | None


@strawberry.type(description="Published type; see RadiologyReport.")
class Report:
    """A `ReportDocument`."""

    ReportId: str | None
    Examination: str | None
    Findings: str | None
    Impression: str | None
    Indication: str | None
    Technique: str | None
    PositiveSigns: Texts
    PositiveDiagnoses: Texts
    PositiveSymptoms: Texts
    PositiveICD10CMs: Texts
    NegativeSigns: Texts
    NegativeDiagnoses: Texts
    NegativeSymptoms: Texts
    NegativeICD10CMs: Texts

    @classmethod
    def of(cls, report: ReportDocument) -> Report:
        """Return the published form of a report."""
        values: dict[str, Any] = {}
        for name, state in _STATES.items():
            values |= {f"{name}{plural}": report.concepts(state, kind) for plural, kind in _KINDS.items()}
            described = (found.code_text for found in report.findings if found.state == state and found.code)
            values[f"{name}ICD10CMs"] = list(dict.fromkeys(described))
        values |= {name: report.sections.get(name.lower()) or None for name in _SECTIONS}
        return cls(ReportId=report.report_id, **values)

    @strawberry.field
    async def Images(self, info: Info) -> Images:
        """Return its images; those of many reports are read at once."""
        found = await info.context.images_of_report.load(self.ReportId or "")
        info.context.spend(images=len(found))
        return [Image.of(image) for image in found]


_STATES: dict[str, State] = {"Positive": "positive", "Negative": "negative"}
_KINDS: dict[str, Kind] = {"Signs": "sign", "Diagnoses": "diagnosis", "Symptoms": "symptom"}
_SECTIONS = ("Examination", "Findings", "Impression", "Indication", "Technique")


@strawberry.type
class _Bucket:
    doc_count: int | None = strawberry.field(name="doc_count")
    key: str | None


def _bucket(name: str) -> Any:
    description = "Published type; see FacetValue."
    return strawberry.type(type(name, (_Bucket,), {"__doc__": description}), description=description)


_FACETS = {
    "PositiveSigns": "positive_signs",
    "PositiveDiagnoses": "positive_diagnoses",
    "PositiveSymptoms": "positive_symptoms",
    "PositiveICD10CMs": "positive_codes",
    "NegativeSigns": "negative_signs",
    "NegativeDiagnoses": "negative_diagnoses",
    "NegativeSymptoms": "negative_symptoms",
    "NegativeICD10CMs": "negative_codes",
}
"""Published type of a value → facet of `query.REPORT_FILTERS`."""
_BUCKETS = {name: _bucket(name) for name in _FACETS}


async def _buckets(info: Info, name: str, query: ReportQuery) -> list[Any]:
    info.context.spend(searches=1)
    return await info.context.call(_counted, info.context, name, query)


def _counted(context: RequestContext, name: str, query: ReportQuery) -> list[Any]:
    field = _FACETS[name]
    buckets = context.store.facets(query, [field], size=10)[field].buckets
    text = context.code_text if name.endswith("ICD10CMs") else str
    return [_BUCKETS[name](key=text(bucket.value), doc_count=bucket.count) for bucket in buckets]


def _of_all(name: str) -> Any:
    async def resolve(info: Info) -> Any:
        return await _buckets(info, name, ReportQuery())

    return _aliased(resolve, name, "reports { facets }")


def _of_text(name: str) -> Any:
    async def resolve(info: Info, input: str | None = None) -> Any:
        return await _buckets(info, name, ReportQuery(text=input)) if input and input.strip() else []

    return _aliased(resolve, name, "reports(text) { facets }")


def _of_reports(name: str) -> Any:
    async def resolve(info: Info, input: str | None = None) -> Any:
        ids = _ids(input)
        return await _buckets(info, name, ReportQuery(report_ids=ids)) if ids else []

    return _aliased(resolve, name, "reports(ids) { facets }")


def _of_similar(name: str) -> Any:
    async def resolve(info: Info, input: str | None = None) -> Any:
        return await _buckets(info, name, ReportQuery(like=input)) if input else []

    return _aliased(resolve, name, "reports(like) { facets }")


def _aliased(resolve: Any, name: str, instead: str) -> Any:
    bucket: Any = _BUCKETS[name]
    answer: Any = list[bucket | None] | None
    return strawberry.field(resolver=resolve, graphql_type=answer, deprecation_reason=f"Published; see {instead}.")


def _ids(text: str | None) -> tuple[str, ...]:
    """Return the report ids of a JSON list; the text is parsed as data and never part of a query."""
    expected = f'expected `input` as a JSON list of up to {MAX_VALUES} report ids, like ["s1", "s2"]'
    try:
        ids = parse_json(text) if text else []
    except ValueError:
        raise RecordError(f"{expected}, got {shown(text)}.") from None
    if not isinstance(ids, list) or len(ids) > MAX_VALUES or not all(isinstance(each, str) for each in ids):
        raise RecordError(f"{expected}, got {shown(ids)}.")
    return tuple(dict.fromkeys(ids))


@strawberry.type
class PublishedQuery:
    """The published fields of the root."""

    @strawberry.field(deprecation_reason="Published; see image.")
    async def getImage(self, info: Info, ImageId: str | None = None) -> Image | None:
        """Return an image."""
        found = await info.context.images.load(ImageId) if ImageId else None
        return Image.of(found) if found else None

    @strawberry.field(deprecation_reason="Published; see report { images }.")
    async def getImages(self, info: Info, ReportId: str | None = None) -> Images:
        """Return the images of a report."""
        return [Image.of(found) for found in await info.context.images_of_report.load(ReportId)] if ReportId else []

    @strawberry.field(deprecation_reason="Published; see report.")
    async def getReport(self, info: Info, ReportId: str | None = None) -> Report | None:
        """Return a report."""
        found = await info.context.reports.load(ReportId) if ReportId else None
        return Report.of(found) if found else None

    @strawberry.field(deprecation_reason="Published; see reports.")
    async def listReports(
        self,
        info: Info,
        from_: Annotated[int | None, strawberry.argument(name="from")] = 0,
        size: int | None = 10,
    ) -> list[Report | None] | None:
        """Return some reports of all.

        Parameters
        ----------
        info : Info
        from_ : int
            How many to leave out.
        size : int
            Up to `query.MAX_FIRST`.

        Raises
        ------
        RecordError
            A number out of these bounds.
        """
        start, count = from_ or 0, checked_first(10 if size is None else size)
        if not 0 <= start <= MAX_WINDOW - count:
            raise RecordError(f"expected `from` from 0 to {MAX_WINDOW - count}, got {start}. Use reports(after) to go on.")
        return [Report.of(hit.report) for hit in await info.context.call(_window, info.context, start, count)]

    @strawberry.field(deprecation_reason="Published; see reports(text).")
    async def searchReports(self, info: Info, input: str | None = None) -> list[Report | None] | None:
        """Return the best reports of a search."""
        if not (input or "").strip():
            return []
        found = await info.context.call(info.context.store.search_reports, ReportQuery(text=input or ""), first=SEARCH_SIZE)
        return [Report.of(hit.report) for hit in found.hits]

    @strawberry.field(deprecation_reason="Published; see image { similar }.")
    async def getSimilarImages(self, info: Info, ImageId: str | None = None, k: int | None = SIMILAR) -> Images:
        """Return the most similar images of other patients.

        Parameters
        ----------
        info : Info
        ImageId : str
        k : int
            Up to `query.MAX_K`.
        """
        if not ImageId:
            return []
        info.context.spend(searches=1)
        query = ImageQuery(image_id=ImageId, k=checked_k(SIMILAR if k is None else k))
        found = await info.context.call(info.context.store.similar_images, query)
        info.context.spend(images=len(found.hits))
        return [Image.of(hit.image) for hit in found.hits]

    getAllPositiveICD10CMs = _of_all("PositiveICD10CMs")
    getAllNegativeICD10CMs = _of_all("NegativeICD10CMs")
    getPositiveICD10CMs = _of_text("PositiveICD10CMs")
    getNegativeICD10CMs = _of_text("NegativeICD10CMs")
    getPositiveICD10CMsbyReports = _of_reports("PositiveICD10CMs")
    getNegativeICD10CMsbyReports = _of_reports("NegativeICD10CMs")
    getPositiveSignsbyReports = _of_reports("PositiveSigns")
    getNegativeSignsbyReports = _of_reports("NegativeSigns")
    getPositiveDiagnosesbyReports = _of_reports("PositiveDiagnoses")
    getNegativeDiagnosesbyReports = _of_reports("NegativeDiagnoses")
    getPositiveSymptomsbyReports = _of_reports("PositiveSymptoms")
    getNegativeSymptomsbyReports = _of_reports("NegativeSymptoms")
    getPositiveICD10CMsbySimilarReport = _of_similar("PositiveICD10CMs")
    getNegativeICD10CMsbySimilarReport = _of_similar("NegativeICD10CMs")


def _window(context: RequestContext, start: int, count: int) -> list[ReportHit]:
    """Return the hits from an offset on, of a store that goes on from page to page."""
    hits: list[ReportHit] = []
    cursor = ""
    while len(hits) < start + count:
        page = context.store.search_reports(ReportQuery(), first=min(MAX_FIRST, start + count - len(hits)), cursor=cursor)
        hits += page.hits
        cursor = page.cursor
        if not cursor:
            break
    return hits[start:]

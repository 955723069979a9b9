"""The GraphQL types with relations: a report and its images, an image with its report, what is similar to it, other studies."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import quote

import strawberry

from dicom_workflow.search import documents
from dicom_workflow.search.documents import ImageDocument, ReportDocument
from dicom_workflow.search.query import IMAGE_FILTERS, AnyOf, ImageHits, ImageQuery, ReportQuery, parse_where
from dicom_workflow.search.service.context import Info, RequestContext
from dicom_workflow.search.service.limits import checked_fields, checked_k, checked_size
from dicom_workflow.search.service.uploads import is_upload
from dicom_workflow.search.service.values import Facet, Finding, FindingKind, FindingState, HeatMap, LabelState, Section, Where


@strawberry.type(description="A radiology report: its text, its sections and what it states.")
class RadiologyReport:
    """A `ReportDocument`."""

    document: strawberry.Private[ReportDocument]
    id: strawberry.ID
    text: str
    study_date: str = strawberry.field(description="YYYYMMDD, or empty.")
    study_instance_uid: str
    patient_key: str = strawberry.field(description="Salted hash of the patient id: equal for one patient, tells nothing else.")
    language_model: str = strawberry.field(description="Name and version of what read the findings out of the text.")

    @classmethod
    def of(cls, report: ReportDocument) -> RadiologyReport:
        """Return the node of a report."""
        names = ("text", "study_date", "study_instance_uid", "patient_key", "language_model")
        return cls(document=report, id=strawberry.ID(report.report_id), **{name: getattr(report, name) for name in names})

    @strawberry.field(description="All sections that it has, or the one of that name.")
    def sections(self, name: str | None = None) -> list[Section]:
        """Return the sections in the order in which they are shown."""
        of = self.document.sections
        found = [(key, of[key], self.text.find(of[key])) for key in documents.SECTIONS if of.get(key) and name in (None, key)]
        return [Section(name=key, text=text, begin=begin if begin >= 0 else None) for key, text, begin in found]

    @strawberry.field(description="Every mention, in the order of the text.")
    def findings(self, state: FindingState | None = None, kind: FindingKind | None = None) -> list[Finding]:
        """Return what it states."""
        return [
            Finding.of(found, self.text)
            for found in self.document.findings
            if (state is None or found.state == state.value) and (kind is None or found.kind == kind.value)
        ]

    @strawberry.field(description="What is stated so, without repetition.")
    def concepts(self, state: FindingState, kind: FindingKind | None = None) -> list[str]:
        """Return the concepts."""
        return self.document.concepts(state.value, kind.value if kind else None)

    @strawberry.field(description="What it states of the labels of the label set.")
    def labels(self) -> list[LabelState]:
        """Return label and state."""
        return [LabelState(label=label, state=FindingState(state)) for label, state in self.document.label_states().items()]

    @strawberry.field(description="Its images; those of many reports are read at once.")
    async def images(self, info: Info) -> list[IndexedImage]:
        """Return its images."""
        found = await info.context.images_of_report.load(self.document.report_id)
        info.context.spend(images=len(found))
        return [IndexedImage.of(image) for image in found]


@strawberry.type(description="Another study of the same patient, and what was reported then.")
class Study:
    """Images and report of one study."""

    study_instance_uid: str
    study_date: str
    days: int | None = strawberry.field(description="From the image's study to this one: below 0 is earlier.")
    images: list[IndexedImage]
    report: RadiologyReport | None


@strawberry.type(description="An image of the index, or one that was uploaded as a query.")
class IndexedImage:
    """An `ImageDocument`."""

    document: strawberry.Private[ImageDocument]
    id: strawberry.ID = strawberry.field(description="SOP Instance UID; of an upload the id that POST /uploads answered.")
    uploaded: bool = strawberry.field(description="It is a query and not in the index.")
    study_instance_uid: str
    series_instance_uid: str
    report_id: str
    patient_key: str = strawberry.field(description="Salted hash of the patient id: equal for one patient, tells nothing else.")
    study_date: str = strawberry.field(description="YYYYMMDD, or empty.")
    modality: str
    view_position: str
    body_part: str
    laterality: str
    sex: str
    rows: int
    columns: int
    split: str
    labels_positive: list[str]
    labels_negative: list[str]
    labels_uncertain: list[str]

    @classmethod
    def of(cls, image: ImageDocument, *, uploaded: bool = False) -> IndexedImage:
        """Return the node of an image."""
        texts = ("study_instance_uid", "series_instance_uid", "report_id", "patient_key", "study_date", "modality", "split")
        others = ("view_position", "body_part", "laterality", "sex", "rows", "columns")
        values: dict[str, Any] = {name: getattr(image, name) for name in texts + others}
        values |= {name: list(getattr(image, name)) for name in ("labels_positive", "labels_negative", "labels_uncertain")}
        return cls(document=image, id=strawberry.ID(image.image_id), uploaded=uploaded, **values)

    @strawberry.field(description="Path of its picture: ?px=1024 for a larger one, &center=…&width=… for another window.")
    def thumbnail(self) -> str:
        """Return the path."""
        return f"/thumb/{quote(self.id, safe='')}.png"

    @strawberry.field(description="Path of its DICOM file; null of an upload.")
    def dicom(self) -> str | None:
        """Return the path."""
        return None if self.uploaded else f"/dicom/{quote(self.id, safe='')}"

    @strawberry.field
    async def report(self, info: Info) -> RadiologyReport | None:
        """Return its report."""
        found = await info.context.reports.load(self.report_id) if self.report_id else None
        return RadiologyReport.of(found) if found else None

    @strawberry.field(description="Studies of the same patient before this one, the latest first.")
    async def earlier(self, info: Info) -> list[Study]:
        """Return the earlier studies."""
        studies = await _other_studies(self.document, info)
        return _counted(info, [study for study in reversed(studies) if study.study_date < self.study_date])

    @strawberry.field(description="Studies of the same patient after this one, the earliest first.")
    async def later(self, info: Info) -> list[Study]:
        """Return the later studies."""
        studies = await _other_studies(self.document, info)
        return _counted(info, [study for study in studies if study.study_date > self.study_date])

    @strawberry.field(
        description=(
            "The k most similar images, best first. `like` and `unlike` are image ids: the query moves to these and away from "
            "those. Images below `minScore` are left out, so that there may be none that is similar enough."
        )
    )
    async def similar(
        self,
        info: Info,
        k: int = 30,
        where: Where | None = None,
        exclude_patient: bool = True,
        like: list[strawberry.ID] | None = None,
        unlike: list[strawberry.ID] | None = None,
        min_score: float | None = None,
    ) -> SimilarImages:
        """Return what is similar.

        Parameters
        ----------
        info : Info
        k : int
            Up to `query.MAX_K`.
        where : Where
            Which images to compare with, by `query.IMAGE_FILTERS`.
        exclude_patient : bool
            Leave the images of the same patient out.
        like, unlike : list of ID
            Relevance feedback.
        min_score : float
            Cosine similarity.
        """
        info.context.spend(searches=1)
        query = image_query(
            info,
            self.id,
            k=checked_k(k),
            where=parse_where(where, IMAGE_FILTERS),
            exclude_patient=exclude_patient,
            like=tuple(like or ()),
            unlike=tuple(unlike or ()),
        )
        found = await info.context.call(info.context.store.similar_images, query)
        info.context.spend(images=len(found.hits))
        return SimilarImages.of(found, min_score)

    @strawberry.field(description="How much each region adds to the similarity to another image; null without a model.")
    async def similarity_map(self, info: Info, to: strawberry.ID) -> HeatMap | None:
        """Return the map."""
        if info.context.explain is None:
            return None
        info.context.spend(similarity_maps=1)
        found = await info.context.explain(self.id, to, info.context.identity.subject)
        return HeatMap.of(found.values)


@strawberry.type(description="An image and its cosine similarity to the query, in [-1, 1].")
class SimilarImage:
    """As `query.ImageHit`."""

    score: float
    image: IndexedImage


@strawberry.type(description="What is similar to an image, best first.")
class SimilarImages:
    """As `query.ImageHits`."""

    hits: list[SimilarImage]
    space_id: str = strawberry.field(description="The embedding space in which images were compared.")
    exact: bool = strawberry.field(description="Whether every image that the filter leaves was compared.")

    @classmethod
    def of(cls, found: ImageHits, min_score: float | None = None) -> SimilarImages:
        """Return the hits of a store, without those below a score."""
        kept = [hit for hit in found.hits if min_score is None or hit.score >= min_score]
        hits = [SimilarImage(score=float(hit.score), image=IndexedImage.of(hit.image)) for hit in kept]
        return cls(hits=hits, space_id=found.space_id, exact=found.exact)

    @strawberry.field(description="Facets over the reports of these images; `index` lists the fields.")
    async def report_facets(self, info: Info, fields: list[str], size: int = 10) -> list[Facet]:
        """Return the facets of the neighbors' reports.

        Parameters
        ----------
        info : Info
        fields : list of str
            Of `query.REPORT_FILTERS`.
        size : int
            Values of a field.
        """
        ids = tuple(dict.fromkeys(hit.image.report_id for hit in self.hits if hit.image.report_id))
        return await report_facets(info, ReportQuery(report_ids=ids), fields, size)

    @strawberry.field(description="Facets over these images; `index` lists the fields.")
    async def image_facets(self, info: Info, fields: list[str], size: int = 10) -> list[Facet]:
        """Return the facets of the neighbors.

        Parameters
        ----------
        info : Info
        fields : list of str
            Of `query.IMAGE_FILTERS`.
        size : int
            Values of a field.
        """
        if not self.hits:
            return []
        where = AnyOf("image_id", tuple(hit.image.id for hit in self.hits))
        return await image_facets(info, where, fields, size)


def image_query(info: Info, image_id: str, **asked: Any) -> ImageQuery:
    """Return the query for what is similar to an image of the index, or to an upload of who asks.

    Parameters
    ----------
    info : Info
    image_id : str
    asked : Any
        Other fields of `ImageQuery`.
    """
    if not is_upload(image_id):
        return ImageQuery(image_id=image_id, **asked)
    upload = info.context.uploads.get(image_id, info.context.identity.subject)
    key = upload.image.patient_key if asked.get("exclude_patient", True) else ""
    return ImageQuery(vector=upload.vector, space_id=upload.space_id, exclude_patient_key=key, **asked)


async def report_facets(info: Info, query: ReportQuery, fields: list[str], size: int) -> list[Facet]:
    """Return the facets over the reports of a query, in the order of the fields.

    Parameters
    ----------
    info : Info
    query : ReportQuery
    fields : list of str
        Of `query.REPORT_FILTERS`.
    size : int
        Values of a field.
    """
    info.context.spend(searches=1)
    return await info.context.call(_facets, info.context, info.context.store.facets, query, fields, size)


async def image_facets(info: Info, where: object, fields: list[str], size: int) -> list[Facet]:
    """Return the facets over the images that a filter leaves, in the order of the fields.

    Parameters
    ----------
    info : Info
    where : Where or None
    fields : list of str
        Of `query.IMAGE_FILTERS`.
    size : int
        Values of a field.
    """
    info.context.spend(searches=1)
    return await info.context.call(_facets, info.context, info.context.store.image_facets, where, fields, size)


def _facets(context: RequestContext, ask: Any, about: Any, fields: list[str], size: int) -> list[Facet]:
    found = ask(about, checked_fields(fields), size=checked_size(size))
    return [Facet.of(found[name], context.code_text) for name in fields if name in found]


async def _other_studies(image: ImageDocument, info: Info) -> list[Study]:
    """Return all dated studies of the image's patient but its own, by date. A report without images is a study too."""
    if not (image.patient_key and image.study_date):
        return []
    images: dict[tuple[str, str], list[ImageDocument]] = {}
    for other in await info.context.images_of_patient.load(image.patient_key):
        images.setdefault((other.study_date, other.study_instance_uid or other.report_id), []).append(other)
    reports: dict[tuple[str, str], ReportDocument] = {}
    for report in await info.context.reports_of_patient.load(image.patient_key):
        reports.setdefault((report.study_date, report.study_instance_uid or report.report_id), report)
    own = image.study_instance_uid or image.report_id
    return [
        Study(
            study_instance_uid=key[1],
            study_date=key[0],
            days=_days(image.study_date, key[0]),
            images=[IndexedImage.of(each) for each in images.get(key, ())],
            report=RadiologyReport.of(reports[key]) if key in reports else None,
        )
        for key in sorted({*images, *reports})
        if key[0] and key[1] != own
    ]


def _counted(info: Info, studies: list[Study]) -> list[Study]:
    info.context.spend(images=sum(max(1, len(study.images)) for study in studies))
    return studies


def _days(start: str, end: str) -> int | None:
    try:
        return (datetime.strptime(end, "%Y%m%d") - datetime.strptime(start, "%Y%m%d")).days
    except ValueError:
        return None

"""The plain GraphQL types of the search service: filters, findings, sections, highlights and facets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from enum import Enum
from typing import NewType

import numpy as np
import strawberry
from numpy.typing import NDArray

from dicom_workflow.search import documents, query
from dicom_workflow.search.service.evidence import Excerpt

Where = NewType("Where", object)
WHERE = strawberry.scalar(
    name="Where",
    description=(
        'A filter as a JSON object, field → values: {"view_position": ["PA"], "study_date": {"from": "20200101"}, '
        '"not": {…}, "or": [{…}, {…}]}. All keys of one object have to match. `index` lists the fields.'
    ),
    serialize=lambda value: value,
    parse_value=lambda value: value,
)


@strawberry.enum(description="What a report says of a finding. Only the first three are about this patient now.")
class FindingState(Enum):
    """As `documents.State`."""

    positive = "positive"
    negative = "negative"
    uncertain = "uncertain"
    history = "history"
    family = "family"
    hypothetical = "hypothetical"


@strawberry.enum(description="What kind of statement a finding is.")
class FindingKind(Enum):
    """As `documents.Kind`."""

    sign = "sign"
    diagnosis = "diagnosis"
    symptom = "symptom"


@strawberry.type(description="A stretch of a report's text. Offsets count code points: text[begin:end].")
class TextSpan:
    """Of a highlight: the words that matched, and the sentence around them."""

    begin: int
    end: int
    text: str
    sentence: str
    sentence_begin: int
    sentence_end: int

    @classmethod
    def of(cls, found: Excerpt) -> TextSpan:
        """Return the span of an excerpt."""
        return cls(**dataclasses.asdict(found))


@strawberry.type(description="One mention of a finding, with the sentence that states it; offsets into the report's text.")
class Finding:
    """As `documents.Finding`."""

    concept: str
    state: FindingState
    kind: FindingKind
    code: str = strawberry.field(description="A leaf of ICD-10-CM, or empty.")
    code_text: str
    label: str = strawberry.field(description="The label of the label set that it is evidence for, or empty.")
    laterality: str
    section: str
    text: str
    begin: int
    end: int
    sentence: str
    sentence_begin: int
    sentence_end: int

    @classmethod
    def of(cls, found: documents.Finding, text: str) -> Finding:
        """Return a finding with its words out of the report."""
        return cls(
            **{name: getattr(found, name) for name in ("concept", "code", "code_text", "label", "laterality", "section")},
            **{name: getattr(found, name) for name in ("begin", "end", "sentence_begin", "sentence_end")},
            state=FindingState(found.state),
            kind=FindingKind(found.kind),
            text=text[found.begin : found.end],
            sentence=text[found.sentence_begin : found.sentence_end],
        )


@strawberry.type(description="A section of a report.")
class Section:
    """As in `documents.SECTIONS`."""

    name: str
    text: str
    begin: int | None = strawberry.field(description="Where it begins in the report's text; null where it was put together.")


@strawberry.type(description="What a report states of one label of the label set.")
class LabelState:
    """As `ReportDocument.label_states`."""

    label: str
    state: FindingState


@strawberry.type(description="A value of a field and the number of matching documents that have it.")
class FacetValue:
    """As `query.Bucket`."""

    value: str
    text: str = strawberry.field(description="For people: of a code its description, else the value.")
    count: int


@strawberry.type(description="The most frequent values of a field over all that match.")
class Facet:
    """As `query.Facet`."""

    field: str
    values: list[FacetValue]
    exact: bool

    @classmethod
    def of(cls, facet: query.Facet, code_text: Callable[[str], str]) -> Facet:
        """Return a facet with descriptions beside codes."""
        is_code = "codes" in facet.field
        texts = [code_text(bucket.value) if is_code else bucket.value for bucket in facet.buckets]
        pairs = zip(facet.buckets, texts, strict=True)
        values = [FacetValue(value=bucket.value, text=text, count=bucket.count) for bucket, text in pairs]
        return cls(field=facet.field, values=values, exact=facet.exact)


@strawberry.type(description="An embedding space: which network made the embeddings that are compared.")
class EmbeddingSpace:
    """As `documents.EmbeddingSpace`."""

    id: strawberry.ID
    dimensions: int
    description: str
    serves: bool


@strawberry.type(description="A field for filters; those of type keyword and keywords are facets too.")
class FilterField:
    """A key of `IMAGE_FILTERS` or `REPORT_FILTERS`."""

    name: str
    type: str


@strawberry.type(description="How much each region of an image adds to a similarity. It has the proportions of the image.")
class HeatMap:
    """As `similarity.SimilarityMap`."""

    rows: int
    columns: int
    values: list[float] = strawberry.field(description="Row by row, from 0 to 1: the place that adds most.")

    @classmethod
    def of(cls, values: NDArray[np.float32]) -> HeatMap:
        """Return a map of shape (rows, columns), float32 in [0, 1]."""
        return cls(rows=values.shape[0], columns=values.shape[1], values=[round(float(each), 3) for each in values.ravel()])


@strawberry.type(description="What can be searched for, and how.")
class SearchIndex:
    """The store and what the service can do."""

    spaces: list[EmbeddingSpace]
    image_fields: list[FilterField]
    report_fields: list[FilterField]
    accepts_uploads: bool = strawberry.field(description="Whether searchByImage takes an image.")
    explains: bool = strawberry.field(description="Whether similarityMap says why two images are similar.")

"""A small archive for the tests of search, and a plain reference that answers queries over it in Python."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_workflow.search.documents import Embeddings, EmbeddingSpace, Finding, ImageDocument, ReportDocument, State
from dicom_workflow.search.query import REPORT_FILTERS, And, AnyOf, Not, Or, Range, Where

DIMENSIONS = 32
SPACE = EmbeddingSpace("densenet121-a", DIMENSIONS, "first network")
NEXT_SPACE = EmbeddingSpace("densenet121-b", 16, "second network")

CONCEPTS = {
    "pneumothorax": ("diagnosis", "J93.9", "Pneumothorax"),
    "pleural effusion": ("diagnosis", "J90", "Pleural Effusion"),
    "lung opacity": ("sign", "R91.8", "Lung Opacity"),
    "cardiomegaly": ("sign", "I51.7", "Cardiomegaly"),
    "cough": ("symptom", "R05.9", ""),
    "rib fracture": ("diagnosis", "S22.39XA", "Fracture"),
}
_SENTENCES: dict[State, str] = {
    "positive": "There is {}.",
    "negative": "There is no {}.",
    "uncertain": "Possible {} cannot be excluded.",
    "history": "History of {}.",
}
_FILLERS = (
    "The mediastinum is unremarkable.",
    "Osseous structures are intact, with mild degenerative change.",
    "Lungs are well expanded.",
    "Compared with the prior radiograph, unchanged.",
    "Médiastin normal, 5 mm nodule of the left lower lobe.",
)


def make_report(
    report_id: str, stated: Sequence[tuple[str, State]], *, fillers: Sequence[str] = (), **more: str
) -> ReportDocument:
    """Return a report that states the concepts so, one sentence each."""
    text, findings = "FINDINGS: ", []
    for concept, state in stated:
        kind, code, label = CONCEPTS[concept]
        sentence = _SENTENCES[state].format(concept)
        begin = len(text) + sentence.index(concept)
        place = {
            "begin": begin,
            "end": begin + len(concept),
            "sentence_begin": len(text),
            "sentence_end": len(text) + len(sentence),
        }
        findings.append(Finding(concept, state, kind, code, f"{concept} as coded", **place, section="findings", label=label))  # type: ignore[arg-type]
        text += sentence + " "
    text += " ".join(fillers)
    sections = {"findings": text.removeprefix("FINDINGS: ")}
    return ReportDocument(report_id, text, sections=sections, findings=tuple(findings), language_model="tests 1", **more)


class Corpus:
    """Reports and images drawn with a seed; `report_values` and `image_values` are what filters and facets see of them."""

    def __init__(self, reports: int = 60, images: int = 150, seed: int = 7) -> None:
        rng = np.random.default_rng(seed)
        self.reports = [self._report(rng, number) for number in range(reports)]
        self.images = [self._image(rng, number) for number in range(images)]
        centers = rng.normal(size=(8, DIMENSIONS))
        vectors = centers[rng.integers(0, 8, images)] + 0.5 * rng.normal(size=(images, DIMENSIONS))
        self.embeddings = Embeddings.of(SPACE, self.image_ids, vectors)

    @property
    def image_ids(self) -> list[str]:
        return [image.image_id for image in self.images]

    @cached_property
    def image_by_id(self) -> dict[str, ImageDocument]:
        return {image.image_id: image for image in self.images}

    @cached_property
    def report_by_id(self) -> dict[str, ReportDocument]:
        return {report.report_id: report for report in self.reports}

    def _report(self, rng: np.random.Generator, number: int) -> ReportDocument:
        states = list(_SENTENCES)
        names = [name for name in CONCEPTS if rng.random() < 0.45]
        stated = [(name, states[int(rng.choice(4, p=[0.4, 0.35, 0.15, 0.1]))]) for name in names]
        fillers = [filler for filler in _FILLERS if rng.random() < 0.4] or [_FILLERS[0]]
        date = "" if number % 9 == 0 else f"{2015 + int(rng.integers(0, 8))}{int(rng.integers(1, 13)):02d}15"
        return make_report(
            f"report-{number:03d}", stated, fillers=fillers, study_date=date,
            patient_key=f"patient-{number // 3:02d}", study_instance_uid=f"1.2.{number}",
        )  # fmt: skip

    def _image(self, rng: np.random.Generator, number: int) -> ImageDocument:
        report = self.reports[int(rng.integers(0, len(self.reports)))]
        states = report.label_states()
        return ImageDocument(
            f"2.25.{number:04d}", study_instance_uid=report.study_instance_uid, series_instance_uid=f"1.3.{number}",
            report_id=report.report_id, patient_key=report.patient_key, study_date=report.study_date, modality="DX",
            view_position=str(rng.choice(["PA", "AP", "LATERAL", ""])), body_part="CHEST", sex="F" if number % 2 else "M",
            rows=512 + number, columns=480, sha256=f"{number:064x}", source=f"file:///images/{number}.dcm",
            split="train" if number % 5 else "test",
            codes_positive=tuple(report.codes("positive")),
            **{f"labels_{state}": _sorted(states, state) for state in ("positive", "negative", "uncertain")},
        )  # fmt: skip


def _sorted(states: dict[str, State], state: str) -> tuple[str, ...]:
    return tuple(sorted(name for name, stated in states.items() if stated == state))


def fill(store: Any, corpus: Corpus) -> None:
    """Write everything of a corpus to a store."""
    store.add_space(SPACE)
    store.upsert_reports(corpus.reports)
    store.upsert_images(corpus.images, corpus.embeddings)


def image_values(image: ImageDocument, field: str) -> list[Any]:
    """Return the values of one field of an image, as filters and facets see them."""
    value = getattr(image, field)
    return list(value) if isinstance(value, tuple) else [value] if value != "" else []


def report_values(report: ReportDocument, field: str) -> list[Any]:
    """Return the values of one field of a report, as filters and facets see them."""
    if REPORT_FILTERS[field] != "keywords":
        value = getattr(report, field)
        return [value] if value != "" else []
    state, _, what = field.partition("_")
    if what == "codes":
        return report.codes(state)  # type: ignore[arg-type]
    if what == "labels":
        return [name for name, stated in report.label_states().items() if stated == state]
    return report.concepts(state, {"signs": "sign", "diagnoses": "diagnosis", "symptoms": "symptom"}[what])  # type: ignore[arg-type]


def matches(where: Where | None, document: Any) -> bool:
    """Return whether a document matches a filter: the definition, in plain Python."""
    values = image_values if isinstance(document, ImageDocument) else report_values
    match where:
        case None:
            return True
        case AnyOf(field, wanted):
            return bool(set(values(document, field)) & set(wanted))
        case Range(field, low, high):
            return any((low is None or low <= v) and (high is None or v <= high) for v in values(document, field))
        case And(parts):
            return all(matches(part, document) for part in parts)
        case Or(parts):
            return any(matches(part, document) for part in parts)
        case Not(part):
            return not matches(part, document)
    raise AssertionError(where)


def words_of(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def has_phrase(text: str, phrase: str) -> bool:
    """Whether the words of the phrase stand one after the other in the text."""
    words, wanted = words_of(text), words_of(phrase)
    return any(words[at : at + len(wanted)] == wanted for at in range(len(words) - len(wanted) + 1))


def buckets_of(documents: Iterable[Any], field: str, size: int) -> list[tuple[str, int]]:
    """Return the most frequent values with their counts; equal counts by value."""
    values = image_values if field and documents and isinstance(next(iter(documents)), ImageDocument) else report_values
    counts = Counter(value for document in documents for value in set(values(document, field)))
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:size]


def nearest(
    vectors: NDArray[np.float32], ids: Sequence[str], query: NDArray[Any], k: int, allowed: Iterable[str]
) -> list[tuple[str, float]]:
    """Return the k ids with the greatest cosine similarity among the allowed ones, and that similarity."""
    unit = np.asarray(query, np.float64) / np.linalg.norm(query)
    scores = vectors.astype(np.float64) @ unit
    keep = set(allowed)
    order = [at for at in np.argsort(-scores, kind="stable") if ids[at] in keep]
    return [(ids[at], float(scores[at])) for at in order[:k]]


def clustered(
    rows: int, dimensions: int, *, clusters: int = 32, seed: int = 1
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return vectors (rows, dimensions), float32, unit length, all >= 0 as after a ReLU, and their clusters (rows,)."""
    rng = np.random.default_rng(seed)
    latent = max(8, dimensions // 8)
    centers = rng.normal(size=(clusters, latent))
    mixing = rng.normal(size=(latent, dimensions)) / np.sqrt(latent)
    cluster = rng.integers(0, clusters, rows)
    points = (centers[cluster] + 0.6 * rng.normal(size=(rows, latent))) @ mixing
    points = np.maximum(points + 0.05 * rng.normal(size=points.shape), 0)
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32), cluster

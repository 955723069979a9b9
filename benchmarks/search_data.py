"""Images and reports that are made for the benchmark of search, the same each time, a chunk at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dicom_workflow.search.documents import Finding, ImageDocument, ReportDocument, State

DIMENSIONS, CLUSTERS, LATENT, CHUNK = 1024, 256, 128, 1000
HELD_OUT = 10**9
"""Chunks from here on are in no index."""
CORRELATED = (11, 85, 200)
"""Clusters that the filter `corr` leaves: 1.2 % of the images."""
CONCEPTS = (
    "pneumothorax", "pleural effusion", "lung opacity", "cardiomegaly", "rib fracture", "atelectasis", "consolidation",
    "edema", "lung nodule", "lung mass", "emphysema", "scoliosis", "hiatal hernia", "granuloma", "pneumonia",
    "pleural thickening", "cough", "dyspnea", "chest pain", "fever",
)  # fmt: skip
_SYMPTOMS = CONCEPTS[16:]
_WORDS = (
    "the", "lungs", "are", "clear", "there", "is", "no", "focal", "left", "right", "lower", "upper", "lobe", "small", "large",
    "mild", "moderate", "stable", "unchanged", "prior", "heart", "size", "within", "normal", "limits", "mediastinum",
    "contours", "osseous", "structures", "intact", "degenerative", "changes", "of", "thoracic", "spine",
)  # fmt: skip


def vectors(start: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return `CHUNK` vectors (CHUNK, DIMENSIONS), float32, unit length, and their clusters (CHUNK,), the same each time."""
    fixed = np.random.default_rng(0)
    centers = fixed.normal(size=(CLUSTERS, LATENT)).astype(np.float32)
    mixing = (fixed.normal(size=(LATENT, DIMENSIONS)) / np.sqrt(LATENT)).astype(np.float32)
    rng = np.random.default_rng([1, start])
    cluster = rng.integers(0, CLUSTERS, CHUNK)
    points = (centers[cluster] + 0.6 * rng.standard_normal((CHUNK, LATENT), np.float32)) @ mixing
    points = np.maximum(points + 0.05 * rng.standard_normal(points.shape, np.float32), 0)
    return points / np.linalg.norm(points, axis=1, keepdims=True), cluster


def tags(start: int, cluster: NDArray[np.int64]) -> list[tuple[str, ...]]:
    """Return for each image of a chunk the filters that leave it."""
    share = np.random.default_rng([2, start]).random(CHUNK)
    limits = {"30 %": 0.3, "1 %": 0.01, "0.1 %": 0.001}
    chosen = [[name for name, limit in limits.items() if value < limit] for value in share]
    return [tuple(names + (["corr"] if at in CORRELATED else [])) for names, at in zip(chosen, cluster, strict=True)]


def reports(start: int) -> list[ReportDocument]:
    """Return `CHUNK` reports of about 70 words with a Zipf tail of 20,000 terms, and five findings each."""
    rng = np.random.default_rng([3, start])
    return [_report(rng, start + at) for at in range(CHUNK)]


def _report(rng: np.random.Generator, number: int) -> ReportDocument:
    text, findings = "FINDINGS: ", []
    for concept in rng.choice(len(CONCEPTS), 5, replace=False):
        name, state = CONCEPTS[concept], ("positive", "negative", "negative")[int(rng.integers(0, 3))]
        filler = " ".join(
            [_WORDS[w] for w in rng.integers(0, len(_WORDS), 9)] + [f"term{t}" for t in rng.zipf(1.3, 2) % 20_000]
        )
        sentence = f"{'No' if state == 'negative' else 'There is'} {name}, {filler}."
        begin = len(text) + sentence.index(name)
        kind = "symptom" if name in _SYMPTOMS else "sign" if concept % 2 else "diagnosis"
        places = (begin, begin + len(name), len(text), len(text) + len(sentence))
        said: State = "positive" if state == "positive" else "negative"
        findings.append(Finding(name, said, kind, f"J{concept:02d}.{number % 3}", name.title(), *places, "findings"))
        text += sentence + " "
    date = f"{2010 + number % 14}{1 + number % 12:02d}{1 + number % 28:02d}"
    return ReportDocument(
        f"report-{number}",
        text,
        f"patient-{number // 3}",
        f"1.2.{number}",
        date,
        {"findings": text[10:]},
        tuple(findings),
        "benchmark",
    )


def images_of(start: int, written: list[ReportDocument], cluster: NDArray[np.int64]) -> list[ImageDocument]:
    """Return the images of a chunk, one for each report."""
    return [
        ImageDocument(
            f"2.25.{start + at}", report.study_instance_uid, f"1.3.{start + at}", report.report_id, report.patient_key,
            report.study_date, "DX", ("PA", "AP", "LATERAL")[at % 3], "CHEST", sex="FM"[at % 2], rows=2048, columns=2048,
            sha256=f"{start + at:064x}", source=f"s3://images/{start + at}.dcm", labels_positive=tag,
            codes_positive=tuple(report.codes("positive")),
        )
        for at, (report, tag) in enumerate(zip(written, tags(start, cluster), strict=True))
    ]  # fmt: skip


def queries(count: int) -> NDArray[np.float32]:
    """Return vectors outside the index, shape (count, DIMENSIONS); every fourth is of the clusters of `corr`."""
    found, cluster = (
        np.concatenate(parts) for parts in zip(*(vectors(HELD_OUT + part * CHUNK) for part in range(8)), strict=True)
    )
    inside = np.isin(cluster, CORRELATED)
    quarter = min(count // 4, int(inside.sum()))
    return np.concatenate([found[inside][:quarter], found[~inside][: count - quarter]])


def texts(count: int) -> list[str]:
    """Questions of one to four words, some with a phrase."""
    rng = np.random.default_rng(5)
    kinds = (
        lambda: str(rng.choice(CONCEPTS)),
        lambda: f'"no {rng.choice(CONCEPTS)}"',
        lambda: f"{rng.choice(['left', 'right'])} lower lobe {rng.choice(CONCEPTS)}",
        lambda: f"{rng.choice(CONCEPTS)} term{int(rng.integers(1, 40))}",
    )
    return [kinds[number % 4]() for number in range(count)]

"""How good retrieval is: precision, average precision and NDCG of the most similar images, never of the same patient.

An image is relevant to another by the Jaccard index of their positive labels: what both have over what either has. NDCG counts
it as a grade; precision and average precision count images from `RELEVANT_FROM` on. Intervals are over resampled patients, who
bring all their queries. Three baselines need no network: any other image, any image of the same view, and, where the truth has
a source of each image, the same figures within one source: images of one source share frames, letters and exposure, so a
network that has seen nothing but those finds the label of its source.

References
----------
Järvelin, Kekäläinen 2002, ACM TOIS 20:422 (NDCG); Jaccard 1912, New Phytologist 11:37.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_workflow.errors import NothingRelevantError

RELEVANT_FROM = 0.5
"""Jaccard index from which precision counts an image as relevant: half of all labels of the two are common."""
DEPTHS = (1, 5, 10)
MEASURES = (*(f"P@{depth}" for depth in DEPTHS), "mAP@10", "NDCG@10")
RANDOM, SAME_VIEW = "random", "random of the same view"
_DEPTH = max(DEPTHS)
_DRAWS = 20
"""Random orders that the figures of a random baseline are averaged over."""
_ROWS = 256
"""Queries ranked at a time."""


@dataclass(frozen=True)
class Truth:
    """What is known of each image, in one order."""

    image_ids: tuple[str, ...]
    labels: tuple[frozenset[str], ...]
    """Positive labels; an image without any is no query and no candidate."""
    patients: tuple[str, ...]
    views: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    """Where each image comes from; empty where the truth does not say."""

    def relevance(self) -> NDArray[np.float32]:
        """Return the Jaccard index of each two images, shape (n, n), float32 in [0, 1]."""
        names = sorted(frozenset().union(*self.labels))
        has = np.array([[name in labels for name in names] for labels in self.labels], np.float32).reshape(-1, len(names))
        common = has @ has.T
        sizes = has.sum(axis=1)
        return common / np.maximum(sizes[:, None] + sizes - common, 1)

    def candidates(self, *, within_source: bool = False) -> NDArray[np.bool_]:
        """Return which image may be found for which, shape (n, n), bool: those of other patients, with a label."""
        patients = np.array(self.patients)
        allowed = patients[:, None] != patients
        allowed &= np.array([bool(labels) for labels in self.labels])
        if within_source:
            sources = np.array(self.sources)
            allowed &= sources[:, None] == sources
        return allowed


def similarities(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cosine of each two embeddings.

    Parameters
    ----------
    vectors : ndarray, shape (n, dimensions), float32
        Of any length but zero.

    Returns
    -------
    ndarray, shape (n, n), float32 in [-1, 1]
    """
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(unit @ unit.T, np.float32)


def figures_by_query(
    scores: NDArray[np.float32], relevance: NDArray[np.float32], candidates: NDArray[np.bool_]
) -> dict[str, NDArray[np.float64]]:
    """Return each measure for each query; NaN where no candidate is relevant.

    Parameters
    ----------
    scores : ndarray, shape (queries, images), float32
        The higher, the more similar.
    relevance : ndarray, shape (queries, images), float32 in [0, 1]
    candidates : ndarray, shape (queries, images), bool

    Returns
    -------
    dict of str to ndarray, shape (queries,), float64
        By the names of `MEASURES`. Average precision divides by the relevant candidates, or by 10 where there are more.
    """
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in MEASURES}
    for start in range(0, len(scores), _ROWS):
        rows = slice(start, start + _ROWS)
        for name, values in _ranked(scores[rows], relevance[rows], candidates[rows]).items():
            found[name].append(values)
    return {name: np.concatenate(parts) if parts else np.empty(0) for name, parts in found.items()}


def _ranked(
    scores: NDArray[np.float32], relevance: NDArray[np.float32], candidates: NDArray[np.bool_]
) -> dict[str, NDArray[np.float64]]:
    depth = min(_DEPTH, scores.shape[1])
    order = np.argsort(np.where(candidates, -scores, np.inf), axis=1, kind="stable")[:, :depth]
    shown = np.take_along_axis(candidates, order, 1)
    gains = np.where(shown, np.take_along_axis(relevance, order, 1), 0.0).astype(np.float64)
    hits = gains >= RELEVANT_FROM
    relevant = (candidates & (relevance >= RELEVANT_FROM)).sum(axis=1)
    known = relevant > 0
    ranks = np.arange(1, depth + 1)
    ideal = -np.sort(-np.where(candidates, relevance, 0.0), axis=1)[:, :depth]
    discounts = 1 / np.log2(ranks + 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        precise = {f"P@{k}": hits[:, :k].sum(axis=1) / k for k in DEPTHS}
        average = (hits * np.cumsum(hits, axis=1) / ranks).sum(axis=1) / np.minimum(relevant, _DEPTH)
        ndcg = (gains @ discounts) / (ideal @ discounts)
    return {name: np.where(known, values, np.nan) for name, values in {**precise, "mAP@10": average, "NDCG@10": ndcg}.items()}


@dataclass(frozen=True)
class Retrieval:
    """The figures of some methods on the same images."""

    images: int
    queries: int
    patients: int
    figures: Mapping[str, Mapping[str, Any]]
    """Method → measure → ``value`` and ``interval`` (95 %)."""
    by_label: Mapping[str, Mapping[str, float]]
    """Method → label → P@1 of the queries that have it."""
    above: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Other method → measure → by how much the first method is above it, ``value`` and ``interval``."""
    within_source: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """As `figures`, with candidates of the query's own source alone; empty where the truth has no sources."""
    own_report: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """``image to report`` and ``report to image`` → as `own_report_rank`; empty where no report or no network is known."""

    @property
    def is_above_all(self) -> bool:
        """Whether P@1 of the first method is above that of every other, with its interval."""
        found = [gain["P@1"]["interval"] for gain in self.above.values()]
        return bool(found) and all(interval is not None and interval[0] > 0 for interval in found)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"is_above_all": self.is_above_all}

    def to_markdown(self) -> str:
        """Return the figures as a table for people, with the intervals of P@1."""
        lines = [
            f"{self.queries:,} queries of {self.patients:,} patients among {self.images:,} images; never the same patient.",
            "",
            f"| | {' | '.join(MEASURES)} | P@1, 95 % interval |",
            f"| --- |{' --- |' * (len(MEASURES) + 1)}",
        ]
        named = [*self.figures.items(), *((f"within source: {name}", row) for name, row in self.within_source.items())]
        for name, row in named:
            values = " | ".join(f"{row[measure]['value']:.3f}" for measure in MEASURES)
            interval = row["P@1"]["interval"]
            lines.append(f"| {name} | {values} | {_between(interval)} |")
        if self.own_report:
            lines.append("\nBy the findings alone, the own one is above so many of the others (chance: 0.5):")
        for name, row in self.own_report.items():
            lines.append(f"- {name}: {row['value']:.3f}, 95 % interval {_between(row['interval'])}")
        return "\n".join(lines)


def _between(interval: Sequence[float] | None) -> str:
    return f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "unknown"


def evaluate(
    scores: Mapping[str, NDArray[np.float32]],
    truth: Truth,
    *,
    candidates: NDArray[np.bool_] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Retrieval:
    """Return the figures of each method, and by how much the first one is above the others and above random order.

    Parameters
    ----------
    scores : mapping of str to ndarray, shape (n, n), float32
        Method → score of each candidate (column) for each query (row), as of `similarities`.
    truth : Truth
    candidates : ndarray, shape (n, n), bool, optional
        Fewer candidates than `Truth.candidates` gives.
    resamples : int
        Of patients, for the intervals; 0 for none.
    seed : int
        Of resamples and random orders.

    Raises
    ------
    NothingRelevantError
        No query has a relevant image of another patient.
    """
    relevance, allowed = truth.relevance(), truth.candidates()
    if candidates is not None:
        allowed &= candidates
    by_query = {name: figures_by_query(each, relevance, allowed) for name, each in scores.items()}
    by_query |= _by_chance(truth, relevance, allowed, seed)
    first, *others = by_query
    known = np.isfinite(by_query[first]["P@1"])
    if not known.any():
        raise NothingRelevantError(
            "No image has a relevant image of another patient: the truth needs labels that two patients share."
        )
    weights = _weights(truth.patients, resamples, seed)
    within = {}
    if any(truth.sources):
        inside = allowed & truth.candidates(within_source=True)
        found = {name: figures_by_query(each, relevance, inside) for name, each in scores.items()}
        found |= _by_chance(truth, relevance, inside, seed)
        if np.isfinite(found[first]["P@1"]).any():
            within = {name: _summaries(each, weights) for name, each in found.items()}
    gains = {name: {each: by_query[first][each] - by_query[name][each] for each in MEASURES} for name in others}
    return Retrieval(
        images=len(truth.image_ids),
        queries=int(known.sum()),
        patients=len({patient for patient, is_known in zip(truth.patients, known, strict=True) if is_known}),
        figures={name: _summaries(each, weights) for name, each in by_query.items()},
        by_label={name: _of_labels(each["P@1"], truth) for name, each in by_query.items()},
        above={name: _summaries(each, weights) for name, each in gains.items()},
        within_source=within,
    )


def own_report_rank(
    probabilities: NDArray[np.float64],
    stated: NDArray[np.float64],
    own: NDArray[np.int64],
    patients: Sequence[str],
    *,
    from_report: bool = False,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Return how far above the reports of other patients an image finds its own report, through labels alone.

    Each report is scored by the likelihood of its labels under the image's probabilities, over that under the mean of all
    images. The value is the share of other patients' reports with a lower score: 0.5 is chance, 1 is perfect.

    Parameters
    ----------
    probabilities : ndarray, shape (images, labels), float64 in [0, 1]
        Of a network that has not seen the patient.
    stated : ndarray, shape (reports, labels), float64
        1 positive, 0 negative, NaN not said.
    own : ndarray, shape (images,), int64
        Row of each image's report.
    patients : sequence of str
        Of each image; the patient of a report is that of its images.
    from_report : bool
        The other way: how far above the images of other patients a report finds its own image.
    resamples, seed : int
        Of patients.

    Returns
    -------
    dict
        ``value`` and ``interval``.
    """
    sure = np.clip(np.asarray(probabilities, np.float64), 1e-3, 1 - 1e-3)
    mean = sure.mean(axis=0)
    positive, negative = np.nan_to_num(stated), np.nan_to_num(1 - stated)
    scores = np.log(sure / mean) @ positive.T + np.log((1 - sure) / (1 - mean)) @ negative.T
    owner = {int(report): patient for report, patient in zip(own, patients, strict=True)}
    ranks = []
    for row, patient in enumerate(patients):
        if from_report:
            others = scores[[image for image, whose in enumerate(patients) if whose != patient], own[row]]
        else:
            others = scores[row, [report for report, whose in owner.items() if whose != patient]]
        mine = scores[row, own[row]]
        ranks.append(((others < mine).sum() + (others == mine).sum() / 2) / len(others) if len(others) else np.nan)
    return _summary(np.array(ranks), _weights(patients, resamples, seed))


def _by_chance(
    truth: Truth, relevance: NDArray[np.float32], candidates: NDArray[np.bool_], seed: int
) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Return the figures of random orders, of all candidates and with those of the same view first."""
    generator = np.random.default_rng(seed)
    views = np.array(truth.views or [""] * len(truth.image_ids))
    bonus = {RANDOM: np.float32(0)} | ({SAME_VIEW: (views[:, None] == views).astype(np.float32)} if any(truth.views) else {})
    found = {}
    for name, extra in bonus.items():
        draws = [
            figures_by_query(generator.random(relevance.shape, np.float32) + extra, relevance, candidates)
            for _ in range(_DRAWS)
        ]
        found[name] = {measure: np.mean([draw[measure] for draw in draws], axis=0) for measure in MEASURES}
    return found


def _weights(patients: Sequence[str], resamples: int, seed: int) -> NDArray[np.float64]:
    """Return how often each image is in each resample of patients, shape (resamples, n), float64."""
    names, row = np.unique(np.array(patients), return_inverse=True)
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / max(1, len(names))), size=resamples)
    return np.asarray(drawn[:, row], np.float64)


def _summaries(by_query: Mapping[str, NDArray[np.float64]], weights: NDArray[np.float64]) -> dict[str, dict[str, Any]]:
    return {name: _summary(values, weights) for name, values in by_query.items()}


def _summary(values: NDArray[np.float64], weights: NDArray[np.float64]) -> dict[str, Any]:
    known = np.isfinite(values)
    value = float(values[known].mean()) if known.any() else float("nan")
    totals = weights[:, known].sum(axis=1)
    usable = totals > 0
    if not usable.any():
        return {"value": round(value, 4), "interval": None}
    means = (weights[:, known] @ values[known])[usable] / totals[usable]
    low, high = np.percentile(means, [2.5, 97.5])
    return {"value": round(value, 4), "interval": [round(float(low), 4), round(float(high), 4)]}


def _of_labels(values: NDArray[np.float64], truth: Truth) -> dict[str, float]:
    return {label: round(share, 4) for label, share in _label_means(values, truth)}


def _label_means(values: NDArray[np.float64], truth: Truth) -> Iterator[tuple[str, float]]:
    for label in sorted(frozenset().union(*truth.labels)):
        rows = np.array([label in labels for labels in truth.labels]) & np.isfinite(values)
        if rows.any():
            yield label, float(values[rows].mean())

"""The list to review: duplicates and labels that do not fit, the most certain first, as JSON lines and as a table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_workflow.search.audit.duplicates import DuplicateReport
from dicom_workflow.search.audit.labels import LabelDoubt, expected_labels
from dicom_workflow.search.documents import ImageDocument
from dicom_workflow.search.store.protocol import SearchStore
from dicom_workflow.storage import Storage, join

LEAST_SCORE = 0.7
"""Of a label against its neighbors; what is below is not listed."""
_NAMED = 5  # neighbors that a doubt names
_COLUMNS = ("what", "image_id", "other", "label", "given", "score", "evidence", "differences", "same_patient", "leaks")


@dataclass(frozen=True)
class Review:
    """What an audit found."""

    duplicates: DuplicateReport
    doubts: tuple[LabelDoubt, ...]
    labeled: int
    """Images whose labels were compared."""

    def image_ids(self) -> list[str]:
        """Return the images to look at, each once: of doubts, then the second of each pair."""
        wanted = [doubt.image_id for doubt in self.doubts] + [pair.second for pair in self.duplicates.pairs]
        return list(dict.fromkeys(wanted))

    def metrics(self) -> dict[str, Any]:
        """Return figures for a record."""
        pairs = self.duplicates.pairs
        return {
            "images_compared": self.duplicates.images,
            "images_refused": len(self.duplicates.refused),
            "duplicates": len(pairs),
            "duplicates_across_splits": sum(pair.leaks for pair in pairs),
            "duplicates_across_patients": sum(pair.same_patient is False for pair in pairs),
            "images_labeled": self.labeled,
            "labels_at_odds_with_neighbors": sum(doubt.evidence == "neighbors" for doubt in self.doubts),
            "labels_at_odds_with_report": sum(doubt.evidence == "report" for doubt in self.doubts),
        }

    def write(self, folder_uri: str, storage: Storage) -> str:
        """Write ``review.jsonl`` and ``review.csv`` into a folder and return the URI of the first.

        The JSON lines hold sentences of reports; the table does not.
        """
        pairs = [{"what": "duplicate", **pair.to_json()} for pair in self.duplicates.pairs]
        doubts = [{"what": "label", **doubt.to_json()} for doubt in self.doubts]
        uri = join(folder_uri, "review.jsonl")
        storage.write_text(uri, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in (*pairs, *doubts)))
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, _COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for line in pairs:
            differences = ", ".join(line["differences"])
            row = {**line, "image_id": line["second"], "other": line["first"], "score": line["similarity"]}
            writer.writerow({**row, "evidence": line["kind"], "differences": differences})
        writer.writerows({**line, "score": round(line["score"], 4), "other": line["neighbors"][:1]} for line in doubts)
        storage.write_text(join(folder_uri, "review.csv"), table.getvalue())
        return uri


def doubted_labels(
    store: SearchStore,
    images: Sequence[ImageDocument],
    given: Mapping[str, Mapping[str, bool]],
    patients: Mapping[str, str],
    *,
    space_id: str = "",
    least_score: float = LEAST_SCORE,
) -> tuple[list[LabelDoubt], int]:
    """Return the labels that neighbors or reports contradict, the least likely first, and how many images were compared.

    Parameters
    ----------
    store : SearchStore
    images : sequence of ImageDocument
    given : mapping
        Image id → label → whether it is positive.
    patients : mapping of str to str
        Image id → patient, where it is known better than by the store's patient key.
    space_id : str
        Empty: the space that serves.
    least_score : float
        From this score on a label is doubted because of its neighbors.

    Raises
    ------
    SearchError
        Labels of one patient only.
    """
    labeled = [image for image in images if given.get(image.image_id)]
    if not labeled:
        return [], 0
    doubts = _against_reports(store, labeled, given)
    vectors = (
        store.vectors([image.image_id for image in labeled], space_id) if store.spaces() else np.full((len(labeled), 1), np.nan)
    )
    rows = np.flatnonzero(np.isfinite(vectors).all(1))
    if len(rows):
        known = [labeled[row] for row in rows]
        owners = [patients.get(image.image_id) or image.patient_key for image in known]
        doubts += _against_neighbors(known, vectors[rows], given, owners, least_score)
    return sorted(doubts, key=lambda doubt: (-doubt.score, doubt.image_id, doubt.label)), len(labeled)


def _against_neighbors(
    images: Sequence[ImageDocument],
    vectors: NDArray[np.float32],
    given: Mapping[str, Mapping[str, bool]],
    patients: Sequence[str],
    least_score: float,
) -> list[LabelDoubt]:
    labels = sorted({label for image in images for label in given[image.image_id]})
    states = np.array([[given[image.image_id].get(label, np.nan) for label in labels] for image in images], np.float32)
    expected, neighbors = expected_labels(vectors, states, patients)
    scores = np.nan_to_num(np.abs(states - expected))
    return [
        LabelDoubt(
            image_id=images[row].image_id,
            label=labels[column],
            given="positive" if states[row, column] else "negative",
            expected=round(float(expected[row, column]), 4),
            score=round(float(scores[row, column]), 4),
            evidence="neighbors",
            neighbors=tuple(images[near].image_id for near in neighbors[row][:_NAMED] if near >= 0),
        )
        for row, column in np.argwhere(scores >= least_score)
    ]


def _against_reports(
    store: SearchStore, images: Sequence[ImageDocument], given: Mapping[str, Mapping[str, bool]]
) -> list[LabelDoubt]:
    doubts = []
    for image in images:
        for label, is_positive in given[image.image_id].items():
            if label in (image.labels_negative if is_positive else image.labels_positive):
                state = "positive" if is_positive else "negative"
                sentence = _sentence(store, image, label, "negative" if is_positive else "positive")
                doubts.append(LabelDoubt(image.image_id, label, state, float(not is_positive), 1.0, "report", (), sentence))
    return doubts


def _sentence(store: SearchStore, image: ImageDocument, label: str, state: str) -> str:
    report = store.reports([image.report_id])[0] if image.report_id else None
    found = (each for each in (report.findings if report else ()) if each.label == label and each.state == state)
    first = next(found, None)
    return report.text[first.sentence_begin : first.sentence_end] if report and first else ""

"""Labels at odds with neighbors or reports come first; neighbors are never of the same patient."""

from __future__ import annotations

import numpy as np
import pytest

from dicom_workflow.errors import SearchError
from dicom_workflow.search.audit.labels import NEIGHBORS, expected_labels


def auroc(scores: np.ndarray, is_wrong: np.ndarray) -> float:
    right, wrong = scores[~is_wrong], scores[is_wrong]
    return float((wrong[:, None] > right).mean() + 0.5 * (wrong[:, None] == right).mean())


def clusters(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Noisy features of four overlapping labels, two images a patient."""
    generator = np.random.default_rng(seed)
    truth = (generator.random((count, 4)) < [0.5, 0.3, 0.15, 0.1]).astype(np.float32)
    directions = generator.standard_normal((4, 64))
    vectors = truth @ directions + 1.5 * generator.standard_normal((count, 64))
    return vectors.astype(np.float32), truth, [str(number // 2) for number in range(count)]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_flipped_labels_are_ranked_before_right_ones(seed: int) -> None:
    vectors, truth, patients = clusters(600, seed)
    flipped = np.random.default_rng(seed + 10).random(truth.shape) < 0.05
    given = np.where(flipped, 1 - truth, truth).astype(np.float32)
    expected, _ = expected_labels(vectors, given, patients)
    assert auroc(np.abs(given - expected).ravel(), flipped.ravel()) >= 0.90


def test_neighbors_are_of_other_patients_the_nearest_first() -> None:
    vectors, given, patients = clusters(60, 3)
    _, neighbors = expected_labels(vectors, given, patients)
    assert neighbors.shape == (60, NEIGHBORS)
    assert all(patients[near] != patients[row] for row in range(60) for near in neighbors[row])


def test_what_is_not_known_is_neither_evidence_nor_doubted() -> None:
    vectors, given, patients = clusters(80, 4)
    given[:, 0] = np.nan
    given[:40, 1] = np.nan
    expected, _ = expected_labels(vectors, given, patients)
    assert np.isnan(expected[:, 0]).all()
    assert np.isfinite(expected[:, 1:]).all()


def test_two_images_of_two_patients_are_each_others_only_neighbor() -> None:
    vectors = np.eye(2, 8, dtype=np.float32)
    expected, neighbors = expected_labels(vectors, np.array([[1.0], [0.0]], np.float32), ["a", "b"])
    assert neighbors[0].tolist() == [1] + [-1] * (NEIGHBORS - 1)
    assert expected[0, 0] < expected[1, 0]


def test_labels_of_one_patient_cannot_be_compared() -> None:
    with pytest.raises(SearchError, match="two patients or more, got 1"):
        expected_labels(np.ones((3, 4), np.float32), np.ones((3, 1), np.float32), ["a", "a", "a"])

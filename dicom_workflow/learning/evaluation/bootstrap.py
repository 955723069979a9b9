"""Bootstrap intervals over patients.

Images of one patient are not independent, so patients are drawn, with replacement, and bring all their images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

_CHUNK_VALUES = 4_000_000
"""Weights held at once while resampling: 16 MB."""
_FEWEST_RESAMPLES = 20


def patient_weights(patients: Sequence[str], resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield how often each image is in each resample of patients.

    Parameters
    ----------
    patients : sequence of str
        The patient of each image.
    resamples : int
        How many times patients are drawn.
    seed : int
        The same seed, the same draws: two models are compared on the same resamples.

    Yields
    ------
    ndarray, shape (some resamples, n), float32
    """
    if not len(patients) or not resamples:
        return
    names, patient_of_row = np.unique(np.asarray(patients, dtype=object).astype(str), return_inverse=True)
    generator = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_VALUES // len(patients))
    for start in range(0, resamples, chunk):
        count = min(chunk, resamples - start)
        draws = generator.integers(0, len(names), size=(count, len(names)))
        offsets = np.arange(count)[:, None] * len(names)
        counts = np.bincount((draws + offsets).ravel(), minlength=count * len(names)).reshape(count, len(names))
        yield counts[:, patient_of_row].astype(np.float32)


def interval(values: np.ndarray) -> tuple[float, float] | None:
    """Return the 2.5th and the 97.5th percentile of resampled figures, None where too few of them are defined.

    Parameters
    ----------
    values : ndarray, shape (resamples,), float64
        NaN where a resample has no such figure.
    """
    defined = values[np.isfinite(values)]
    # With a finding in two or three patients many resamples have none of it; what is left says little.
    if len(defined) < max(_FEWEST_RESAMPLES, len(values) / 2):
        return None
    low, high = np.percentile(defined, [2.5, 97.5])
    return round(float(low), 6), round(float(high), 6)


def spread(values: np.ndarray) -> tuple[float, float] | None:
    """Return `interval`, but None where it is a point: a figure that no resample changes has an unknown spread.

    Parameters
    ----------
    values : ndarray, shape (resamples,), float64
    """
    found = interval(values)
    return found if found and found[0] < found[1] else None


def mean(values: np.ndarray) -> float:
    """Return the mean of the finite values of an array, shape (n,), float64; NaN where none is."""
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def number(value: float | np.floating[Any]) -> float | None:
    """Return a number as JSON has it: rounded to six decimals, None when it is not finite."""
    return rounded(value) if np.isfinite(value) else None


def rounded(value: float | np.floating[Any]) -> float:
    """Return a finite number rounded to six decimals, as reports keep it."""
    return round(float(value), 6)

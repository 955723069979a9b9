"""Synthetic predictions of two models on the same images: what documentation and tests of evaluation measure."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

LABELS = ("Cardiomegaly", "Edema", "Pneumothorax")
SIGNAL = {"first": (1.6, 1.2, 0.9), "second": (1.7, 1.8, 1.0)}
"""How far the scores of images with a finding lie above the others, in standard deviations."""


def write_predictions(folder: Path, images: int = 400, seed: int = 11) -> dict[str, Path]:
    """Write ``first/predictions.jsonl`` and ``second/predictions.jsonl``: seeded scores, two images of some patients."""
    generator = np.random.default_rng(seed)
    truth = generator.random((images, len(LABELS))) < (0.3, 0.25, 0.06)
    shared = generator.normal(size=truth.shape)  # what makes an image hard is hard for both
    paths = {}
    for name, signal in SIGNAL.items():
        scores = 0.7 * shared + 0.7 * generator.normal(size=truth.shape) + truth * signal
        chances = 1 / (1 + np.exp(1.2 - 1.4 * scores))
        lines = [
            {
                "source": f"image-{row}",
                "patient_id": f"patient-{row * 5 // 8}",
                "split": "test",
                "probabilities": {label: round(float(chances[row, column]), 6) for column, label in enumerate(LABELS)},
                "truth": {label: "positive" if truth[row, column] else "negative" for column, label in enumerate(LABELS)},
            }
            for row in range(images)
        ]
        paths[name] = folder / name / "predictions.jsonl"
        paths[name].parent.mkdir(parents=True, exist_ok=True)
        paths[name].write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return paths

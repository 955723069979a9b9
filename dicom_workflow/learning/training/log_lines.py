"""The lines that a training run prints, and how SageMaker reads figures out of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

METRIC_DEFINITIONS: tuple[dict[str, str], ...] = tuple(
    {"Name": name, "Regex": rf"(?:^|\s){printed}=([0-9.eE+-]+|nan);"}
    for name, printed in (
        ("train:loss", "train_loss"),
        ("validation:loss", "validation_loss"),
        ("validation:auroc", "validation_auroc"),
        ("epoch:seconds", "seconds"),
        ("test:auroc", "test_auroc"),
        ("test:auroc_low", "test_auroc_low"),
        ("test:auroc_high", "test_auroc_high"),
        ("cross_validation:auroc", "cross_validation_auroc"),
        ("cross_validation:auroc_low", "cross_validation_auroc_low"),
        ("cross_validation:auroc_high", "cross_validation_auroc_high"),
    )
)
"""What a SageMaker training job reads from the printed lines."""


def epoch_line(line: Mapping[str, Any]) -> str:
    """Return what is printed of one epoch, given its line of the history."""
    figures = (f"{name}={shown(line[name])};" for name in ("train_loss", "validation_loss", "validation_auroc"))
    return f"epoch={line['epoch']} {' '.join(figures)} seconds={line['seconds']:.1f};"


def outcome_line(report: Mapping[str, Any]) -> str:
    """Return what is printed of held-back images, given their report."""
    split, (low, high) = report["split"].replace("-", "_"), report["macro_auroc_interval"] or (None, None)
    return (
        f"{split}_auroc={shown(report['macro_auroc'])}; {split}_auroc_low={shown(low)}; {split}_auroc_high={shown(high)}; "
        f"measured against {report['measured_against']}"
    )


def finite(value: float) -> float | None:
    """Return a number as JSON has it: rounded, null when it is not finite."""
    return round(value, 6) if math.isfinite(value) else None


def shown(value: float | None) -> str:
    """Return a number as `METRIC_DEFINITIONS` read it."""
    return "nan" if value is None else f"{value:.4f}"

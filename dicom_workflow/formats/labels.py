"""Label lists: their order, their rules, and how a manifest line writes them.

Standard library only: this module ships inside the Lambda functions."""

from __future__ import annotations

from collections.abc import Iterable

from dicom_workflow.errors import RecordError
from dicom_workflow.formats.json_schema import shown

NO_FINDING = "No Finding"


SUPPORT_DEVICES = "Support Devices"


LABELS: tuple[str, ...] = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Enlarged Cardiomediastinum",
    "Fracture",
    "Lung Lesion",
    "Lung Opacity",
    "Pleural Effusion",
    "Pneumonia",
    "Pneumothorax",
    "Pleural Other",
    SUPPORT_DEVICES,
    NO_FINDING,
)
"""The fourteen labels of CheXpert and MIMIC-CXR, in the order used everywhere."""


def no_finding_conflicts(positive: Iterable[str]) -> list[str]:
    """Return the conditions that cannot be positive beside a positive "No Finding"; Support Devices may stay."""
    called = list(positive)
    return [label for label in called if label not in (NO_FINDING, SUPPORT_DEVICES)] if NO_FINDING in called else []


def parse_label_list(value: object) -> tuple[str, ...]:
    """Return the labels of a manifest line, in order.

    Parameters
    ----------
    value : object
        A list of texts, or one text with commas between the labels (the form of the published AWS sample).

    Raises
    ------
    RecordError
        Another type, an empty list, an empty label or the same label twice.
    """
    if isinstance(value, str):
        labels = tuple(part.strip() for part in value.split(","))
    elif isinstance(value, list | tuple) and all(isinstance(part, str) for part in value):
        labels = tuple(part.strip() for part in value)
    else:
        raise RecordError(f"expected 'labels' as a list of texts or one text with commas, got {shown(value)}.")
    if not labels or not all(labels):
        raise RecordError(f"expected at least one label and none of them empty, got {shown(value)}.")
    if len(set(labels)) != len(labels):
        twice = sorted({label for label in labels if labels.count(label) > 1})
        raise RecordError(f"expected each label once, got {', '.join(twice)} more than once.")
    return labels

"""Which samples a static picture shows, and where a picture is kept."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TypeVar

from matplotlib.figure import Figure

from dicom_workflow.records import LabelState
from dicom_workflow.storage import Storage
from dicom_workflow.viz.samples import Labeled, has_disagreement, labels_of

S = TypeVar("S", bound=Labeled)


def choose_samples(samples: Sequence[S], count: int, *, label: str = "") -> list[S]:
    """Return the samples that are worth a look first, at most `count`.

    Parameters
    ----------
    samples : sequence of Labeled
    count : int
    label : str
        Only samples where this label is positive. When not given, those with most labels that the readers disagree on or that
        need review come first, and among equals those with a region.
    """
    wanted = [item for item in samples if not label or item.states.get(label) == LabelState.POSITIVE]

    def weight(item: S) -> tuple[int, int]:
        return sum(has_disagreement(item, name) for name in labels_of(item)) + len(item.review), len(item.regions)

    return sorted(wanted, key=weight, reverse=True)[: max(1, count)]


def save(figure: Figure, uri: str, storage: Storage | None = None, *, dpi: int = 120) -> str:
    """Write a picture as PNG and return its URI."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    (storage or Storage()).write_bytes(uri, buffer.getvalue())
    return uri

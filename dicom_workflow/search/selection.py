"""Hits of a search become the input manifest of a labeling job, pre-annotated from the reports or from similar images.

A pre-annotation is a suggestion of `labeling.suggestions`: by default the page shows it after the reader's own first reading.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np

from dicom_workflow.errors import SearchError
from dicom_workflow.formats.labels import LabelSet
from dicom_workflow.formats.object_reference import ObjectReference
from dicom_workflow.labeling import suggestions
from dicom_workflow.search.documents import ImageDocument
from dicom_workflow.search.query import ImageQuery
from dicom_workflow.search.store.protocol import SearchStore

Origin = Literal["report", "neighbors", "none"]
"""Where pre-annotations come from."""

REPORT_PROBABILITIES = {"labels_positive": 0.95, "labels_uncertain": 0.5, "labels_negative": 0.05}
"""What a reader is shown for a label that the report calls so; a label that it does not mention gets no suggestion."""

_NEIGHBORS = 15


def manifest_entries(
    store: SearchStore,
    images: Sequence[ImageDocument],
    labels: LabelSet,
    *,
    origin: Origin = "report",
    mode: str = suggestions.AFTER_FIRST_READ,
) -> Iterator[dict[str, Any]]:
    """Yield an input manifest entry for each image, with what its report or similar images say of the labels.

    Parameters
    ----------
    store : SearchStore
        For the neighbors.
    images : sequence of ImageDocument
        In the order that the manifest is to have.
    labels : LabelSet
        The labels to choose from.
    origin : {'report', 'neighbors', 'none'}
        Where pre-annotations come from.
    mode : {'after-first-read', 'shown', 'off'}
        When the page shows them.

    Raises
    ------
    SearchError
        There is no image, or an unknown origin.
    """
    if not images:
        raise SearchError("No image was found, so there is nothing to label. Search for less, or index more images.")
    if origin not in ("report", "neighbors", "none"):
        raise SearchError(f"expected the origin of pre-annotations as report, neighbors or none, got {origin!r}.")
    references = [ObjectReference.parse(image.source) for image in images]
    entries = [{**reference.to_entry(), **labels.to_line()} for reference in references]
    if origin == "none":
        return iter(entries)
    said = {
        reference.to_source(): of_report(image) if origin == "report" else of_neighbors(store, image, labels.labels)
        for reference, image in zip(references, images, strict=True)
    }
    if not any(set(each) & set(labels.labels) for each in said.values()):
        return iter(entries)
    model = "report of the study" if origin == "report" else "similar images"
    return suggestions.with_suggestions(entries, said, mode=mode, model=model)


def of_report(image: ImageDocument) -> dict[str, float]:
    """Return label → probability of what the report of an image states."""
    return {label: share for name, share in REPORT_PROBABILITIES.items() for label in getattr(image, name)}


def of_neighbors(store: SearchStore, image: ImageDocument, labels: Sequence[str]) -> dict[str, float]:
    """Return label → share of positive images among the most similar images of other patients that know the label.

    Parameters
    ----------
    store : SearchStore
    image : ImageDocument
        One with an embedding; nothing is suggested for another.
    labels : sequence of str
    """
    if not np.isfinite(store.vectors([image.image_id])).all():
        return {}
    near = [hit.image for hit in store.similar_images(ImageQuery(image.image_id, k=_NEIGHBORS)).hits]
    return {label: share for label in labels if (share := _share(label, near)) is not None}


def _share(label: str, images: Sequence[ImageDocument]) -> float | None:
    said = [of_report(image)[label] for image in images if label in of_report(image)]
    return round(sum(said) / len(said), 4) if said else None

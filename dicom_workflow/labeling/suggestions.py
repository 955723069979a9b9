"""A model's suggestions for the images of a labeling job, written into its manifest for the worker's page.

A reader who sees a model's answer first tends to repeat it. By default the page therefore shows it after the reader's first
reading, and the answer keeps both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dicom_workflow.errors import LabelingError, ManifestError
from dicom_workflow.formats import manifests
from dicom_workflow.formats.answers import ASSISTANCE_MODES
from dicom_workflow.formats.labels import parse_label_list
from dicom_workflow.formats.object_reference import source_of
from dicom_workflow.storage import Storage

AFTER_FIRST_READ = "after-first-read"


def read_predictions(uri: str, *, storage: Storage | None = None) -> dict[str, dict[str, float]]:
    """Return source → label → probability of a ``predictions.jsonl``, as prediction with a model bundle writes it.

    Raises
    ------
    ManifestError
        A line has no source or no probabilities from 0 to 1.
    """
    predictions: dict[str, dict[str, float]] = {}
    for number, data in manifests.read(uri, storage=storage, check=manifests.any_object):
        source, given = source_of(data), data.get("probabilities")
        if not source or not isinstance(given, Mapping):
            raise ManifestError(uri, number, f"expected 'source' and 'probabilities', got keys {sorted(data)[:8]}.")
        if not all(type(value) in (int, float) and 0 <= value <= 1 for value in given.values()):  # true is no number
            raise ManifestError(uri, number, "expected probabilities as numbers from 0 to 1.")
        predictions[source] = {str(label): round(float(value), 4) for label, value in given.items()}
    return predictions


def with_suggestions(
    entries: Iterable[Mapping[str, Any]],
    predictions: Mapping[str, Mapping[str, float]],
    *,
    mode: str = AFTER_FIRST_READ,
    model: str = "",
) -> Iterator[dict[str, Any]]:
    """Yield the entries of a manifest with ``suggestions`` for the page; one without a prediction stays as it is.

    Parameters
    ----------
    entries : iterable of mappings
        Input manifest entries.
    predictions : mapping
        Source → label → probability, see `read_predictions`. Only the labels of an entry are taken.
    mode : {'after-first-read', 'shown', 'off'}
        When the page shows them; with ``off`` never, they are only kept with the answer.
    model : str
        Name of the model, kept with each answer.

    Raises
    ------
    LabelingError
        Another mode; or not one entry has a prediction, so that the two do not belong together.
    """
    if mode not in ASSISTANCE_MODES:
        raise LabelingError(f"expected the mode of suggestions as one of {', '.join(ASSISTANCE_MODES)}, got {mode!r}.")
    matched = 0
    for entry in entries:
        known = predictions.get(source_of(entry), {})
        labels = parse_label_list(entry["labels"]) if "labels" in entry else ()
        probabilities = {label: known[label] for label in labels if label in known}
        matched += bool(probabilities)
        suggested = {"suggestions": {"mode": mode, "model": model[:200], "probabilities": probabilities}}
        yield {**entry, **(suggested if probabilities else {})}
    if not matched:
        raise LabelingError("No image of the manifest has a prediction. Compare the sources of the two files.")


def suggest(
    manifest_uri: str,
    predictions_uri: str,
    target_uri: str,
    *,
    mode: str = AFTER_FIRST_READ,
    model: str = "",
    storage: Storage | None = None,
) -> str:
    """Write a manifest with a model's suggestions and return its URI; without predictions, return the one given.

    Parameters
    ----------
    manifest_uri : str
        Input manifest.
    predictions_uri : str
        ``predictions.jsonl``; empty for none.
    target_uri : str
        The manifest to write.
    mode, model
        See `with_suggestions`.
    storage : Storage, optional
        Local files and AWS's own S3 when not given.

    Raises
    ------
    ManifestError
        A line of the manifest or of the predictions is broken.
    LabelingError
        No image of the manifest has a prediction.
    """
    if not predictions_uri:
        return manifest_uri
    entries = (line.data for line in manifests.read(manifest_uri, storage=storage))
    predictions = read_predictions(predictions_uri, storage=storage)
    manifests.write(target_uri, with_suggestions(entries, predictions, mode=mode, model=model), storage=storage)
    return target_uri

"""A training channel as samples: a folder of manifests and DICOM files in, what each line says of its image out.

A channel is what a training job is given: ``train.manifest``, ``validation.manifest`` and ``test.manifest``, or one manifest
with a `split` on every line, and beside them the images that the lines name.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from dicom_workflow.errors import DatasetError, ManifestError, RecordError
from dicom_workflow.formats import manifests as manifest
from dicom_workflow.formats.answers import LabelState
from dicom_workflow.formats.labels import parse_label_list
from dicom_workflow.formats.object_reference import source_of
from dicom_workflow.formats.splits import SPLITS
from dicom_workflow.storage import to_uri

_MAKER = "Notebook 04_parse_output_manifest writes the lines, notebook 06_train_densenet puts the images beside them."


@dataclass(frozen=True)
class Sample:
    """One labeled image of a channel."""

    identifier: str
    """What its manifest line points at, see `formats.object_reference.source_of`."""
    patient_id: str
    split: str
    """``train``, ``validation`` or ``test``."""
    image: Path
    states: Mapping[str, LabelState]
    """What the consolidated answer says of each label."""
    truth: Mapping[str, LabelState] | None = None
    """What is known of each label from elsewhere; only evaluation may look at it."""
    fractions: Mapping[str, float] = field(default_factory=dict)
    """Label → share of readers who saw it, 0 to 1, where several answered; only teaching may look at it."""


@dataclass(frozen=True)
class Channel:
    """All samples of one training channel, whose patients are in one split each."""

    folder: Path
    labels: tuple[str, ...]
    samples: tuple[Sample, ...]
    problems: tuple[str, ...]
    """Lines that were left out, each with its manifest, number and reason."""
    sha256: Mapping[str, str]
    """SHA-256 of each manifest, by file name."""


def read_channel(folder: str | Path) -> Channel:
    """Return the samples of a training channel.

    Parameters
    ----------
    folder : str or Path
        Folder with ``*.manifest`` files. A line needs `patient_id`, `states` (or `labels` and `states`), `image` (a path
        relative to the folder) and a `split`, unless its file is named after the split; `truth` and `fractions` are read too.

    Returns
    -------
    Channel
        A broken line is left out and described in `problems`.

    Raises
    ------
    DatasetError
        There is no manifest or no usable line; a patient or an image is in two splits; two lines disagree on the label list; a
        line has no split; not one image is there.
    """
    folder = Path(folder)
    manifests = sorted(folder.glob("*.manifest")) if folder.is_dir() else []
    if not manifests:
        raise DatasetError(f"{folder}: expected a folder with *.manifest files, found none. {_MAKER}")
    problems: list[str] = []
    samples: list[Sample] = []
    labels: tuple[str, ...] = ()
    for path in manifests:
        uri = to_uri(path)
        split_of_file = path.stem if len(manifests) > 1 and path.stem in SPLITS else ""
        lines = _lines(uri, problems)
        for number, data in lines:
            where = f"{path.name}, line {number}"
            try:
                here = _labels_of(data)
                sample = _sample(data, folder, here, split_of_file)
            except RecordError as error:
                problems.append(f"{where}: {error}")
                continue
            labels = labels or here
            if set(here) != set(labels):
                raise DatasetError(
                    f"{where}: expected the label list of the lines before ({', '.join(labels)}), got {', '.join(here)}. "
                    "Train on the lines of one labeling job at a time."
                )
            if not sample.split:
                raise DatasetError(f"{where}: expected 'split' as one of {', '.join(SPLITS)}, got none. {_MAKER}")
            samples.append(sample)
    if not samples:
        first = f" The first: {problems[0]}" if problems else ""
        raise DatasetError(f"{folder}: expected at least one usable line, got none of {len(problems)}.{first} {_MAKER}")
    _check_disjoint(samples)
    if not any(sample.image.is_file() for sample in samples):
        raise DatasetError(
            f"{folder}: expected the images beside the manifests, found none of {len(samples)}; the first should be "
            f"{samples[0].image}. {_MAKER}"
        )
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in manifests}
    return Channel(folder=folder, labels=labels, samples=tuple(samples), problems=tuple(problems), sha256=hashes)


def _lines(uri: str, problems: list[str]) -> Iterable[manifest.Line]:
    # A split without images may well have an empty manifest; a channel without any line is refused by the caller.
    with contextlib.suppress(ManifestError):
        yield from manifest.read(
            uri, check=manifest.any_object, limits=False, on_error=lambda error: problems.append(str(error))
        )


def _labels_of(data: Mapping[str, Any]) -> tuple[str, ...]:
    states = data.get("states")
    if not isinstance(states, Mapping) or not states:
        raise RecordError(f"expected 'states' as an object of label to state, got {type(states).__name__}. {_MAKER}")
    return parse_label_list(data["labels"]) if "labels" in data else parse_label_list(list(states))


def _sample(data: Mapping[str, Any], folder: Path, labels: Sequence[str], split_of_file: str) -> Sample:
    split = str(data.get("split") or split_of_file)
    if split and split not in SPLITS:
        raise RecordError(f"expected 'split' as one of {', '.join(SPLITS)}, got {split[:40]!r}.")
    if split_of_file and split != split_of_file:
        raise RecordError(f"expected the split of this file, {split_of_file}, got {split}.")
    patient_id = data.get("patient_id")
    if not isinstance(patient_id, str) or not patient_id:
        raise RecordError("expected 'patient_id' as a text that is not empty: without it the splits may share a patient.")
    image = data.get("image")
    if not isinstance(image, str) or not image:
        raise RecordError("expected 'image' as a path relative to the manifest's folder.")
    relative = PurePosixPath(image)
    if relative.is_absolute() or ".." in relative.parts or "\0" in image:
        raise RecordError(f"expected 'image' as a path below the manifest's folder, got {image[:80]!r}.")
    truth = data.get("truth")
    return Sample(
        identifier=source_of(data) or image,
        patient_id=patient_id,
        split=split,
        image=folder / relative,
        states=_states(data["states"], labels, "states"),
        truth=_states(truth, labels, "truth") if truth else None,
        fractions=_fractions(data.get("fractions"), labels),
    )


def _fractions(value: object, labels: Sequence[str]) -> dict[str, float]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise RecordError(f"expected 'fractions' as an object of label to share, got {type(value).__name__}.")
    strange = sorted(set(map(str, value)) - set(labels))
    if strange:
        raise RecordError(f"expected only labels of the line's list in 'fractions', got {', '.join(strange)[:200]}.")
    for label, share in value.items():
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:  # NaN compares false
            raise RecordError(f"'fractions': expected a number from 0 to 1 for {label}, got {str(share)[:40]}.")
    return {label: float(share) for label, share in value.items()}


def _states(value: object, labels: Sequence[str], key: str) -> dict[str, LabelState]:
    if not isinstance(value, Mapping):
        raise RecordError(f"expected {key!r} as an object of label to state, got {type(value).__name__}.")
    strange = sorted(set(map(str, value)) - set(labels))
    if strange and key == "states":
        raise RecordError(f"expected only labels of the line's list in {key!r}, got {', '.join(strange)[:200]}.")
    try:
        return {label: LabelState(str(value.get(label, LabelState.UNKNOWN))) for label in labels}
    except ValueError as error:
        raise RecordError(f"{key!r}: expected states as {', '.join(LabelState)}: {error}.") from None


def _check_disjoint(samples: Sequence[Sample]) -> None:
    for what, key in (("patient", lambda s: s.patient_id), ("image", lambda s: str(s.image))):
        splits: dict[str, set[str]] = {}
        for sample in samples:
            splits.setdefault(key(sample), set()).add(sample.split)
        shared = sorted(name for name, where in splits.items() if len(where) > 1)
        if shared:
            shown = ", ".join(shared[:5]) + (f" and {len(shared) - 5} more" if len(shared) > 5 else "")
            raise DatasetError(
                f"expected each {what} in one split, but {shown} is in several: "
                f"{', '.join(sorted(splits[shared[0]]))}. Split by patient with assign_splits()."
            )

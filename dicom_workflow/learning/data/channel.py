"""Reading a training channel: a folder of manifests and DICOM files as samples.

A channel is what a training job is given: ``train.manifest``, ``validation.manifest`` and ``test.manifest``, or one manifest
with a `split` on every line, and beside them the images that the lines name.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from dicom_workflow.errors import DatasetError, ManifestError, RecordError
from dicom_workflow.formats import manifests
from dicom_workflow.formats.answers import LabelState
from dicom_workflow.formats.labels import RULES_KEY, LabelSet, parse_label_list
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
    """Label → consolidated state."""
    truth: Mapping[str, LabelState] | None = None
    """Label → state by the reference standard; only evaluation uses it."""
    fractions: Mapping[str, float] = field(default_factory=dict)
    """Label → share of readers who saw it, 0 to 1, where several answered; only training uses it."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """What the line says of view, sex, age in years, site and device: figures by subgroup use it."""
    readers: Mapping[str, Mapping[str, LabelState]] = field(default_factory=dict)
    """Reader (a pseudonym) → label → state; the comparison with single readers uses it."""


@dataclass(frozen=True)
class Channel:
    """All samples of one training channel; each patient is in one split."""

    folder: Path
    labels: tuple[str, ...]
    samples: tuple[Sample, ...]
    problems: tuple[str, ...]
    """Lines that were left out, each with its manifest, number and reason."""
    sha256: Mapping[str, str]
    """SHA-256 of each manifest, by file name."""
    label_set: LabelSet = field(default_factory=LabelSet)
    """Order and rules of all labels that the lines name."""
    untaught: Mapping[str, str] = field(default_factory=dict)
    """Label that was taken off `labels` → why no training image teaches it."""

    def without(self, untaught: Mapping[str, str]) -> Channel:
        """Return the channel without some labels; `untaught` says of each why no training image teaches it."""
        kept = tuple(label for label in self.labels if label not in untaught)
        return replace(self, labels=kept, untaught={**self.untaught, **untaught})


def read_channel(folder: str | Path) -> Channel:
    """Return the samples of a training channel.

    Parameters
    ----------
    folder : str or Path
        Folder with ``*.manifest`` files. A line needs `patient_id`, `states` (or `labels` and `states`), `image` (a path
        relative to the folder) and a `split`, unless its file is named after the split; `truth`, `fractions`, `attributes` and
        `readers` are read where a line has them.

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
    paths = sorted(folder.glob("*.manifest")) if folder.is_dir() else []
    if not paths:
        raise DatasetError(f"{folder}: there is no *.manifest file in this folder. {_MAKER}")
    problems: list[str] = []
    samples: list[Sample] = []
    labels: tuple[str, ...] = ()
    label_set = LabelSet()
    known: dict[str, LabelSet] = {}
    for path in paths:
        uri = to_uri(path)
        split_of_file = path.stem if len(paths) > 1 and path.stem in SPLITS else ""
        lines = _lines(uri, problems)
        for number, data in lines:
            where = f"{path.name}, line {number}"
            try:
                found = _label_set_of(data, known)
                here = found.labels
                sample = _sample(data, folder, here, split_of_file)
            except RecordError as error:
                problems.append(f"{where}: {error}")
                continue
            if not labels:
                labels, label_set = here, found
            if set(here) != set(labels):
                raise DatasetError(
                    f"{where}: the label list differs from that of the lines before ({', '.join(labels)}): "
                    f"{', '.join(here)}. "
                    "Train on the lines of one labeling job at a time."
                )
            if not sample.split:
                raise DatasetError(f"{where}: the line has no 'split': {', '.join(SPLITS)}. {_MAKER}")
            samples.append(sample)
    if not samples:
        first = f" The first: {problems[0]}" if problems else ""
        raise DatasetError(f"{folder}: none of {len(problems)} lines is usable.{first} {_MAKER}")
    _check_disjoint(samples)
    if not any(sample.image.is_file() for sample in samples):
        raise DatasetError(
            f"{folder}: none of the {len(samples)} images lies beside the manifests; the first should be "
            f"{samples[0].image}. {_MAKER}"
        )
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    return Channel(
        folder=folder,
        labels=labels,
        samples=tuple(samples),
        problems=tuple(problems),
        sha256=hashes,
        label_set=label_set,
    )


def _lines(uri: str, problems: list[str]) -> Iterable[manifests.Line]:
    # A split without images may well have an empty manifest; a channel without any line is refused by the caller.
    with contextlib.suppress(ManifestError):
        yield from manifests.read(
            uri, check=manifests.any_object, limits=False, on_error=lambda error: problems.append(str(error))
        )


def _label_set_of(data: Mapping[str, Any], known: dict[str, LabelSet]) -> LabelSet:
    """Return the label set of a line; `known` keeps those of the lines before, which are mostly the same."""
    states = data.get("states")
    if not isinstance(states, Mapping) or not states:
        raise RecordError(f"expected 'states' as an object of label to state, got {type(states).__name__}. {_MAKER}")
    given = data.get("labels", list(states))
    key = json.dumps([given, data.get(RULES_KEY)], default=str)
    if key not in known:
        known[key] = LabelSet.of_line({**data, "labels": parse_label_list(given)})
    return known[key]


def _sample(data: Mapping[str, Any], folder: Path, labels: Sequence[str], split_of_file: str) -> Sample:
    split = str(data.get("split") or split_of_file)
    if split and split not in SPLITS:
        raise RecordError(f"expected 'split' as one of {', '.join(SPLITS)}, got {split[:40]!r}.")
    if split_of_file and split != split_of_file:
        raise RecordError(f"expected the split of this file, {split_of_file}, got {split}.")
    patient_id = data.get("patient_id")
    if not isinstance(patient_id, str) or not patient_id:
        raise RecordError("'patient_id' is missing or empty: without it the splits may share a patient.")
    image = data.get("image")
    if not isinstance(image, str) or not image:
        raise RecordError("'image' is missing: a path relative to the manifest's folder.")
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
        attributes=_object(data, "attributes"),
        readers={str(name): _states(said, labels, f"readers.{name}") for name, said in _object(data, "readers").items()},
    )


def _object(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key, {})
    if not isinstance(value, Mapping):
        raise RecordError(f"expected {key!r} as an object, got {type(value).__name__}.")
    return value


def _fractions(value: object, labels: Sequence[str]) -> dict[str, float]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise RecordError(f"expected 'fractions' as an object of label to share, got {type(value).__name__}.")
    strange = sorted(set(map(str, value)) - set(labels))
    if strange:
        raise RecordError(f"'fractions' names labels that are not in the line's list: {', '.join(strange)[:200]}.")
    for label, share in value.items():
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:  # NaN compares false
            raise RecordError(f"'fractions': expected a number from 0 to 1 for {label}, got {str(share)[:40]}.")
    return {label: float(share) for label, share in value.items()}


def _states(value: object, labels: Sequence[str], key: str) -> dict[str, LabelState]:
    if not isinstance(value, Mapping):
        raise RecordError(f"expected {key!r} as an object of label to state, got {type(value).__name__}.")
    strange = sorted(set(map(str, value)) - set(labels))
    if strange and key == "states":
        raise RecordError(f"{key!r} names labels that are not in the line's list: {', '.join(strange)[:200]}.")
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
                f"each {what} may be in one split only, but {shown} is in several: "
                f"{', '.join(sorted(splits[shared[0]]))}. Split by patient with assign_splits()."
            )

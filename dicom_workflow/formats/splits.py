"""Splits: patients into train, validation and test, and long manifests into labeling jobs."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from dicom_workflow.errors import RecordError
from dicom_workflow.formats.manifests import read, write
from dicom_workflow.storage import Storage

MAX_JOB_OBJECTS = 100_000
"""Objects one labeling job takes. A manifest may be longer; `split_for_jobs` cuts it."""


SPLITS = ("train", "validation", "test")


def assign_splits(
    patients: Mapping[str, Iterable[str]],
    *,
    seed: int = 0,
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
) -> dict[str, str]:
    """Return the split of each patient: all images of one patient are in one split.

    Patients stand in a row, those with the rarest positive label first, and are dealt out in turn: each goes to the split that
    is most behind its share. So every split has its share of all patients, to within two, and of each group of patients with
    the same rarest label. The order within a group is a hash of the seed and the patient, so the same patients get the same
    splits wherever the manifest was made.

    Parameters
    ----------
    patients : mapping of str to iterable of str
        The positive labels of each patient's images, repeated once per image.
    seed : int
        Another seed, another split.
    fractions : three numbers
        Shares of patients for train, validation and test.

    Returns
    -------
    dict of str to str
        Patient → ``train``, ``validation`` or ``test``.

    Raises
    ------
    RecordError
        The fractions are not three numbers of at least 0, one of them above 0.
    """
    if len(fractions) != len(SPLITS) or min(fractions) < 0 or sum(fractions) <= 0:
        raise RecordError(f"expected three fractions of at least 0 for {', '.join(SPLITS)}, got {list(fractions)}.")
    shares = [fraction / sum(fractions) for fraction in fractions]
    positives = {patient: frozenset(labels) for patient, labels in patients.items()}
    frequency = Counter(label for labels in positives.values() for label in labels)
    groups: dict[str, list[str]] = {}
    for patient, labels in positives.items():
        rarest = min(labels, key=lambda label: (frequency[label], label)) if labels else ""
        groups.setdefault(rarest, []).append(patient)
    splits: dict[str, str] = {}
    dealt: Counter[str] = Counter()
    for rarest in sorted(groups, key=lambda label: (frequency[label] if label else len(patients), label)):
        for patient in sorted(groups[rarest], key=lambda p: hashlib.sha256(f"{seed}:{p}".encode()).digest()):
            behind = [
                (share * (len(splits) + 1) - dealt[split], share, split)
                for share, split in zip(shares, SPLITS, strict=True)
                if share > 0
            ]
            chosen = max(behind)[2]
            splits[patient] = chosen
            dealt[chosen] += 1
    return splits


def split_for_jobs(uri: str, *, storage: Storage | None = None, objects_per_job: int = MAX_JOB_OBJECTS) -> list[str]:
    """Cut a manifest into parts that one labeling job takes, and return their URIs in order.

    A manifest that is short enough is returned as it is. Parts are written beside it as ``<name>.part-001.manifest`` and so on.

    Parameters
    ----------
    uri : str
        file:// or s3:// URI of the manifest.
    storage : Storage, optional
        Where to read and write; local files and AWS's own S3 when not given.
    objects_per_job : int
        Lines of a part.

    Raises
    ------
    ManifestError
        A line is broken.
    """
    lines = sum(1 for _ in read(uri, storage=storage))
    if lines <= objects_per_job:
        return [uri]
    entries = (line.data for line in read(uri, storage=storage))
    parts = []
    for number in range(1, -(-lines // objects_per_job) + 1):
        parts.append(f"{uri.removesuffix('.manifest')}.part-{number:03d}.manifest")
        write(parts[-1], itertools.islice(entries, objects_per_job), storage=storage)
    return parts

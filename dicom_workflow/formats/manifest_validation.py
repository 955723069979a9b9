"""Validation of whole manifests: every line, and the lines against each other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dicom_workflow.errors import ManifestError, RecordError
from dicom_workflow.formats.labels import RULES_KEY, LabelSet, parse_label_list
from dicom_workflow.formats.manifests import read, write
from dicom_workflow.formats.object_reference import source_of
from dicom_workflow.storage import Storage


@dataclass(frozen=True)
class Validation:
    """The result of `validate`: number of lines, and the errors of the broken ones."""

    uri: str
    lines: int
    label_set: LabelSet
    """The labels of the first line that carries some, with their rules; empty where no line does."""
    errors: tuple[ManifestError, ...]
    """At most `max_errors` of them."""
    refused: int

    @property
    def accepted(self) -> int:
        """Number of lines that keep the contract."""
        return self.lines - self.refused

    @property
    def labels(self) -> tuple[str, ...]:
        """The label list of the lines that carry one, in the order first met."""
        return self.label_set.labels


def validate(uri: str, *, storage: Storage | None = None, max_errors: int = 100) -> Validation:
    """Read a whole manifest and return the errors of its lines.

    Beyond what `read` checks, the same source twice, and labels or rules that differ from the first ones, are errors.

    Parameters
    ----------
    uri : str
        file:// or s3:// URI of the manifest.
    storage : Storage, optional
        Where to read; local files and AWS's own S3 when not given.
    max_errors : int
        Errors that are kept; all are counted.
    """
    tally = _Tally(uri, max_errors)
    for _ in tally.good_lines(storage):
        pass
    return tally.validation()


def accept(uri: str, target_uri: str, *, storage: Storage | None = None, max_errors: int = 100) -> Validation:
    """Copy the lines of a manifest that keep the contract to another one, and return the validation of the whole.

    One broken line fails a whole labeling job, so a job gets the good lines alone.

    Parameters
    ----------
    uri : str
        file:// or s3:// URI of the manifest.
    target_uri : str
        The manifest to write.
    storage : Storage, optional
        Where to read and write; local files and AWS's own S3 when not given.
    max_errors : int
        See `validate`.

    Raises
    ------
    ManifestError
        Not one line is good; the message is that of the first.
    """
    tally = _Tally(uri, max(1, max_errors))
    try:
        write(target_uri, tally.good_lines(storage), storage=storage)
    except ManifestError:
        if tally.accepted or not tally.errors:
            raise
        raise tally.errors[0] from None
    return tally.validation()


class _Tally:
    """Counts the lines of a manifest while they are read once."""

    def __init__(self, uri: str, max_errors: int) -> None:
        self.errors: list[ManifestError] = []
        self.accepted = 0
        self._uri, self._max_errors, self._refused, self._label_set = uri, max_errors, 0, LabelSet()

    def good_lines(self, storage: Storage | None) -> Iterator[dict[str, Any]]:
        for found in _judged(self._uri, storage):
            if isinstance(found, ManifestError):
                self._refused += 1
                if len(self.errors) < self._max_errors:
                    self.errors.append(found)
            else:
                self.accepted += 1
                self._label_set = self._label_set if self._label_set.labels else LabelSet.of_line(found)
                yield found

    def validation(self) -> Validation:
        lines, errors = self.accepted + self._refused, tuple(self.errors)
        return Validation(self._uri, lines=lines, label_set=self._label_set, errors=errors, refused=self._refused)


def _judged(uri: str, storage: Storage | None) -> Iterator[dict[str, Any] | ManifestError]:
    """Each line of a manifest, or what is wrong with it."""
    broken: list[ManifestError] = []
    first_seen: dict[bytes, int] = {}
    first: dict[str, Any] = {}
    for number, data in read(uri, storage=storage, on_error=broken.append):
        yield from broken
        broken.clear()
        # Sixteen bytes of a hash instead of the text: 400,000 long URIs stay within a few tens of megabytes.
        key = hashlib.blake2b(source_of(data).encode("utf-8", "surrogatepass"), digest_size=16).digest()
        here = {**first, **{name: data.get(name) for name in ("labels", RULES_KEY) if "labels" in data}}
        if key in first_seen:
            yield ManifestError(uri, number, f"the same source stands in line {first_seen[key]} already.")
        elif problem := _other_labels(here, first):
            yield ManifestError(uri, number, problem)
        else:
            first = first or here
            yield data
        first_seen.setdefault(key, number)
    yield from broken


def _other_labels(here: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    """What is wrong with the labels of a line beside those of the first line; nearly always nothing, so that is quick."""
    if here == first or not here:
        return ""
    try:
        labels = LabelSet.of_line(here)
    except RecordError as error:
        return str(error)
    if first and set(labels.labels) != set(parse_label_list(first["labels"])):
        return f"the labels differ from those of the lines before: {', '.join(labels.labels)[:200]}."
    if first and here.get(RULES_KEY) != first.get(RULES_KEY):
        return f"the '{RULES_KEY}' differ from those of the lines before."
    return ""

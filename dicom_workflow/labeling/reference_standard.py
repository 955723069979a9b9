"""The reference standard: true labels and regions of images, for simulated readers and evaluation, never for training."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from dicom_workflow.errors import ManifestError
from dicom_workflow.formats.answers import LabelState, Region
from dicom_workflow.formats.labels import LabelSet, default_label_set
from dicom_workflow.storage import Storage

_NOT_LABELS = ("sop_instance_uid", "patient_id", "file")
"""Columns that are no label."""

_SEPARATORS = ",;\t"
"""Of a spreadsheet's CSV file: which one is written depends on the country that the program is set to."""

_Row = tuple[int, dict[str, str]]


@dataclass(frozen=True)
class ReferenceStandard:
    """The true labels of instances; for simulated readers and for evaluation, never for training.

    `positive` maps a SOP Instance UID to its positive labels; `labels` is the whole list.
    """

    labels: tuple[str, ...]
    positive: Mapping[str, frozenset[str]]

    @classmethod
    def parse(cls, text: str, uri: str = "truth", *, rules: LabelSet | None = None) -> ReferenceStandard:
        """Return the reference standard of a CSV table.

        Two forms are read: one column per label with 1 or 0, or one column ``label`` with a positive label in each row, as
        many rows per image as it has positive labels. Both have a column ``sop_instance_uid``. Columns are separated by commas,
        semicolons or tabs; empty rows, and spaces around a value, do not count.

        Parameters
        ----------
        text : str
            The table, with a header line.
        uri : str
            Where it comes from, for messages.
        rules : LabelSet, optional
            Which labels exclude each other; those of the default label set when not given.

        Raises
        ------
        ManifestError
            It is no CSV; a column is missing or comes twice; a row is too short, too long, or names no image or no label; a
            value is neither 1 nor 0; or two rows contradict each other.
        """
        columns, rows = _table(text, uri)
        if "label" in columns:
            return cls._of_findings(rows, uri, rules or default_label_set())
        labels = tuple(name for name in columns if name not in _NOT_LABELS)
        if not labels:
            raise ManifestError(uri, 1, f"expected a column 'label' or a column for each label, got only {', '.join(columns)}.")
        return cls._of_columns(rows, labels, uri)

    @classmethod
    def _of_findings(cls, rows: Iterable[_Row], uri: str, rules: LabelSet) -> ReferenceStandard:
        positive: dict[str, list[str]] = {}
        for number, row in rows:
            uid, label = row["sop_instance_uid"], row["label"]
            if not label:
                raise ManifestError(uri, number, "the row has no label. Leave out images without a positive label.")
            here = positive.setdefault(uid, [])
            excluded = [other for other in here if rules.excludes(label, other) or rules.excludes(other, label)]
            if excluded:
                message = f"{label!r} contradicts {excluded[0]!r} of an earlier row of the same image, {uid}."
                raise ManifestError(uri, number, f"{message} Remove one of the two rows.")
            here.append(label)
        # The order of first appearance; a label that stands alone comes last, as in the label sets of this package.
        order = dict.fromkeys(label for labels in positive.values() for label in labels)
        labels = tuple(sorted(order, key=lambda label: label in rules.exclusive))
        return cls(labels, {uid: frozenset(here) for uid, here in positive.items()})

    @classmethod
    def _of_columns(cls, rows: Iterable[_Row], labels: tuple[str, ...], uri: str) -> ReferenceStandard:
        positive: dict[str, frozenset[str]] = {}
        for number, row in rows:
            wrong = [label for label in labels if row[label] not in ("0", "1")]
            if wrong:
                raise ManifestError(uri, number, f"expected 1 or 0 under {wrong[0]!r}, got {row[wrong[0]]!r}.")
            uid = row["sop_instance_uid"]
            here = frozenset(label for label in labels if row[label] == "1")
            other = sorted(here ^ positive.get(uid, here))
            if other:
                message = f"{other[0]!r} has another value than in an earlier row of the same image, {uid}."
                raise ManifestError(uri, number, f"{message} Remove one of the two rows.")
            positive[uid] = here
        return cls(labels, positive)

    @classmethod
    def read(cls, uri: str, *, storage: Storage | None = None) -> ReferenceStandard | None:
        """Return the reference standard of a CSV table; None for an empty URI."""
        return cls.parse((storage or Storage()).read_text(uri), uri) if uri else None

    def check_matches(self, sop_instance_uids: Iterable[str], uri: str = "truth") -> int:
        """Return how many of the images the table has.

        Parameters
        ----------
        sop_instance_uids : iterable of str
            Of the images at hand.
        uri : str
            Where the table comes from, for the message.

        Raises
        ------
        ManifestError
            It has none of them, so that table and images do not belong together.
        """
        images = list(sop_instance_uids)
        matched = sum(uid in self.positive for uid in images)
        if images and not matched:
            message = f"the table matches 0 of {len(images)} images."
            raise ManifestError(uri, None, f"{message} Compare its 'sop_instance_uid' column with the images.")
        return matched

    def by_instance(self) -> dict[str, dict[str, bool]]:
        """Return SOP Instance UID → label → whether the label is positive, as simulated readers take it."""
        return {uid: {label: label in positive for label in self.labels} for uid, positive in self.positive.items()}

    def states_of(self, sop_instance_uid: str) -> dict[str, LabelState] | None:
        """Return label → ``positive`` or ``negative``, or None for an instance the table does not have."""
        positive = self.positive.get(sop_instance_uid)
        if positive is None:
            return None
        return {label: LabelState.POSITIVE if label in positive else LabelState.NEGATIVE for label in self.labels}


def _table(text: str, uri: str) -> tuple[list[str], Iterator[_Row]]:
    """Return the columns of a table, and its rows as line number and column → value."""
    header = text.removeprefix("\ufeff").partition("\n")[0]
    separator = max(_SEPARATORS, key=header.count)
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=None), delimiter=separator, strict=True)
    lines = _filled_lines(reader, uri)
    columns = next(lines, (1, []))[1]
    if "sop_instance_uid" not in columns:
        raise ManifestError(uri, 1, f"expected a column 'sop_instance_uid', got {columns[:8]}.")
    twice = [name for name in columns if columns.count(name) > 1]
    if twice:
        raise ManifestError(uri, 1, f"the column {twice[0]!r} comes twice. Remove one of the two.")
    return columns, _rows(lines, columns, uri)


def _filled_lines(reader: Iterator[list[str]], uri: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines that hold something; the columns that a spreadsheet adds at the right are empty and left out."""
    number = 0
    try:
        for cells in reader:
            number = reader.line_num  # type: ignore[attr-defined]
            values = [cell.strip() for cell in cells]
            while values and not values[-1]:
                values.pop()
            if values:
                yield number, values
    except csv.Error as error:
        raise ManifestError(uri, number + 1, f"the table is not CSV: {error}.") from None


def _rows(lines: Iterator[tuple[int, list[str]]], columns: list[str], uri: str) -> Iterator[_Row]:
    for number, values in lines:
        if len(values) > len(columns):
            message = f"expected {len(columns)} columns, got {len(values)}. Quote a value that has a separator in it."
            raise ManifestError(uri, number, message)
        row = dict(zip(columns, [*values, *[""] * len(columns)], strict=False))
        if not row["sop_instance_uid"]:
            raise ManifestError(uri, number, "the row names no image under 'sop_instance_uid'. Name it, or remove the row.")
        yield number, row


def read_regions(uri: str, *, storage: Storage | None = None) -> dict[str, dict[str, list[Region]]]:
    """Return SOP Instance UID → label → regions, of the ``regions.json`` beside synthetic images; empty without a URI.

    Raises
    ------
    ManifestError
        It is not JSON of that form.
    """
    if not uri:
        return {}
    try:
        data = json.loads((storage or Storage()).read_text(uri))
        found = {uid: [Region.parse(region) for region in regions] for uid, regions in data.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise ManifestError(uri, None, f"expected an object of SOP Instance UID to regions: {error}") from None
    by_label: dict[str, dict[str, list[Region]]] = {}
    for uid, regions in found.items():
        for region in regions:
            by_label.setdefault(uid, {}).setdefault(region.label, []).append(region)
    return by_label

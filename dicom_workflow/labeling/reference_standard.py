"""What is known of each image beforehand: a CSV table for simulated readers and for evaluation, never for training."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass

from dicom_workflow.errors import ManifestError
from dicom_workflow.formats.answers import LabelState, Region
from dicom_workflow.formats.labels import NO_FINDING
from dicom_workflow.storage import Storage


@dataclass(frozen=True)
class Truth:
    """What is known of each instance beforehand, for simulated readers and for evaluation; never for training.

    `positive` maps a SOP Instance UID to its positive labels; `labels` is the whole list.
    """

    labels: tuple[str, ...]
    positive: Mapping[str, frozenset[str]]

    @classmethod
    def parse(cls, text: str, uri: str = "truth") -> Truth:
        """Return the truth of a CSV table.

        Two forms are read: one column per label with 1 or 0, or one column ``label`` with the name of the only positive one.
        Both have a column ``sop_instance_uid``.

        Raises
        ------
        ManifestError
            A column is missing, or a value is neither 1 nor 0.
        """
        rows = csv.DictReader(io.StringIO(text))
        columns = list(rows.fieldnames or ())
        if "sop_instance_uid" not in columns:
            raise ManifestError(uri, 1, f"expected a column 'sop_instance_uid', got {columns[:8]}.")
        if "label" in columns:
            single = {row["sop_instance_uid"]: frozenset([row["label"].strip()]) for row in rows}
            # The order of first appearance, with "No Finding" last as in every other label list.
            order = dict.fromkeys(label for labels in single.values() for label in labels)
            return cls(tuple(sorted(order, key=lambda label: label == NO_FINDING)), single)
        labels = tuple(column for column in columns if column not in ("sop_instance_uid", "patient_id", "file"))
        positive = {}
        for number, row in enumerate(rows, start=2):
            strange = [label for label in labels if row[label] not in ("0", "1")]
            if strange:
                raise ManifestError(uri, number, f"expected 1 or 0 under {strange[0]!r}, got {row[strange[0]]!r}.")
            positive[row["sop_instance_uid"]] = frozenset(label for label in labels if row[label] == "1")
        return cls(labels, positive)

    @classmethod
    def read(cls, uri: str, *, storage: Storage | None = None) -> Truth | None:
        """Return the truth of a CSV table, or None for an empty URI: there is none then."""
        return cls.parse((storage or Storage()).read_text(uri).removeprefix("\ufeff"), uri) if uri else None

    def by_instance(self) -> dict[str, dict[str, bool]]:
        """Return SOP Instance UID → label → is it there, as simulated readers want it."""
        return {uid: {label: label in positive for label in self.labels} for uid, positive in self.positive.items()}

    def states_of(self, sop_instance_uid: str) -> dict[str, LabelState] | None:
        """Return label → ``positive`` or ``negative``, or None for an instance the table does not have."""
        there = self.positive.get(sop_instance_uid)
        if there is None:
            return None
        return {label: LabelState.POSITIVE if label in there else LabelState.NEGATIVE for label in self.labels}


def read_regions(uri: str, *, storage: Storage | None = None) -> dict[str, dict[str, list[Region]]]:
    """Return SOP Instance UID → label → where it is, of the ``regions.json`` that synthetic images have; empty without a URI.

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

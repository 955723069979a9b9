"""Which report belongs to an image: by a table of pairs, by the images a report names, by the study, by the Accession Number.

The first of these that knows a report decides. Where it knows several, as of a study with an addendum, the image takes the
newest by date, and of one day the last one read; the others stay in the index and are found by their text.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from dicom_workflow.errors import SearchError
from dicom_workflow.search.image_documents import ExaminedImage
from dicom_workflow.search.ingest.report_files import ReportFile
from dicom_workflow.storage import Storage, to_uri

_IMAGE_COLUMNS = ("sop_instance_uid", "image_id")


@dataclass
class ReportLinks:
    """The reports known in this run, by what leads to them."""

    pairs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Image id → report ids, of a table."""
    _by: dict[str, dict[str, list[str]]] = field(
        default_factory=lambda: {kind: defaultdict(list) for kind in ("image", "study", "accession")}
    )
    _order: dict[str, tuple[str, int]] = field(default_factory=dict)

    def add(self, report: ReportFile) -> None:
        """Remember a report."""
        self._order[report.report_id] = (report.study_date, len(self._order))
        keys = {
            "image": report.image_ids,
            "study": (report.study_instance_uid,),
            "accession": (report.accession_number or report.report_id,),
        }
        for kind, values in keys.items():
            for value in filter(None, values):
                if report.report_id not in self._by[kind][value]:
                    self._by[kind][value].append(report.report_id)

    @property
    def report_ids(self) -> list[str]:
        """The ids of all reports that were added, in their order."""
        return list(self._order)

    def of_image(self, image: ExaminedImage) -> tuple[str, tuple[str, ...]]:
        """Return the report of an image, empty where none is known, and the others that the same key leads to."""
        document = image.document
        found = (
            self.pairs.get(document.image_id)
            or self._by["image"].get(document.image_id)
            or self._by["study"].get(document.study_instance_uid)
            or self._by["accession"].get(image.accession_number)
            or ()
        )
        if not found:
            return "", ()
        best = max(found, key=lambda report_id: self._order.get(report_id, ("", -1)))
        return best, tuple(each for each in found if each != best)


def read_pairs(place: str, storage: Storage) -> dict[str, tuple[str, ...]]:
    """Return image id → report ids of a CSV table with the columns ``sop_instance_uid`` (or ``image_id``) and ``report_id``.

    Raises
    ------
    SearchError
        It has no such columns, or is no UTF-8 text.
    StorageError
        It cannot be read.
    """
    rows = csv.DictReader(io.StringIO(storage.read_text(to_uri(place)).removeprefix("\ufeff"), newline=""))
    columns = rows.fieldnames or []
    image = next((name for name in _IMAGE_COLUMNS if name in columns), "")
    if not image or "report_id" not in columns:
        raise SearchError(
            f"{place}: expected the columns sop_instance_uid and report_id, got {len(columns)} columns with other names. "
            "Write the names into the first line."
        )
    found: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row[image] and row["report_id"] and row["report_id"] not in found[row[image]]:
            found[row[image]].append(row["report_id"])
    return {image_id: tuple(reports) for image_id, reports in found.items() if reports}

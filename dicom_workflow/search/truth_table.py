"""Truth tables for `search evaluate`: which labels each image has, as a CSV table."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence

from dicom_workflow.errors import SearchError
from dicom_workflow.search.evaluation import Truth
from dicom_workflow.storage import Storage, to_uri

_NAMES = {
    "image": ("sop_instance_uid", "image_id"),
    "patient": ("patient_id", "patient_key", "patient"),
    "view": ("view", "view_position"),
    "source": ("source",),
}
_YES, _NO = (
    ("1", "1.0", "positive", "true", "yes"),
    ("", "0", "0.0", "-1", "-1.0", "negative", "uncertain", "unknown", "false", "no"),
)


def read_truth(place: str, storage: Storage, labels: Sequence[str] = ()) -> Truth:
    """Return the truth of a CSV table; rows without an image id are left out.

    Parameters
    ----------
    place : str
        Path or URI. Columns: ``sop_instance_uid``; ``label`` (one), ``labels`` (several, with semicolons), or one column a
        label with ``1`` or ``positive`` where it is; where known ``patient_id``, ``view`` and ``source``.
    storage : Storage
    labels : sequence of str
        The columns that are labels; when not given, all others whose values say yes or no.

    Raises
    ------
    SearchError
        A column is missing, or an image has two rows.
    StorageError
        It cannot be read.
    """
    rows = list(csv.DictReader(io.StringIO(storage.read_text(to_uri(place)).removeprefix("\ufeff"), newline="")))
    columns = list(rows[0]) if rows else []
    at = {what: next((name for name in names if name in columns), "") for what, names in _NAMES.items()}
    if not at["image"]:
        # Without a header, the first line is a patient's, so it is not shown.
        got = f"{len(columns)} columns with other names" if columns else "no rows"
        raise SearchError(f"{place}: expected a column sop_instance_uid, got {got}. Write the names into the first line.")
    rows = [row for row in rows if row[at["image"]]]
    ids = [row[at["image"]] for row in rows]
    if twice := next((image_id for image_id, number in Counter(ids).items() if number > 1), ""):
        raise SearchError(f"{place}: image {twice[:80]} has two rows. Give each image one.")
    stated = _labels(rows, columns, labels, set(at.values()), place)
    patients = tuple(row[at["patient"]] if at["patient"] else "" for row in rows)
    return Truth(
        image_ids=tuple(ids),
        labels=tuple(stated),
        patients=patients,
        views=tuple(row[at["view"]] or "" for row in rows) if at["view"] else (),
        sources=tuple(row[at["source"]] or "" for row in rows) if at["source"] else (),
    )


def _labels(
    rows: Sequence[Mapping[str, str]], columns: Sequence[str], labels: Sequence[str], taken: set[str], place: str
) -> list[frozenset[str]]:
    if "labels" in columns:
        return [frozenset(filter(None, (part.strip() for part in (row["labels"] or "").split(";")))) for row in rows]
    if "label" in columns:
        return [frozenset(filter(None, [(row["label"] or "").strip()])) for row in rows]
    says = {
        name
        for name in columns
        if name not in taken and all((row[name] or "").strip().lower() in (*_YES, *_NO) for row in rows)
    }
    wanted = list(labels) or [name for name in columns if name in says]
    if not wanted or not {*wanted} <= says:
        raise SearchError(
            f"{place}: expected a column label or labels, or columns of labels with 1 or 0, got {', '.join(columns[:8])}."
        )
    return [frozenset(name for name in wanted if (row[name] or "").strip().lower() in _YES) for row in rows]

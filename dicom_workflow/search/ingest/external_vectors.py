"""External vectors: embeddings of another network, from a file, as a space of their own.

``.npz`` with the arrays ``ids`` and ``vectors``; ``.parquet`` with the columns ``image_id`` and ``vector`` (a list of numbers);
``.csv`` with ``image_id`` and a column a number. Ids are SOP Instance UIDs.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_workflow.errors import SearchError
from dicom_workflow.search.documents import EmbeddingSpace

MAX_DIMENSIONS = 8192
_ID_COLUMNS = ("image_id", "sop_instance_uid")


@dataclass(frozen=True)
class ExternalVectors:
    """The usable vectors of a file: `vectors` has shape (len(image_ids), dimensions), float32."""

    space: EmbeddingSpace
    image_ids: tuple[str, ...]
    vectors: NDArray[np.float32]


def read_vectors(path: str | Path, refuse: Callable[[str, str], None]) -> ExternalVectors:
    """Return the vectors of a file; a row that cannot be used is refused, and the rest goes on.

    Parameters
    ----------
    path : str or Path
    refuse : callable
        ``refuse(name, reason)``.

    Raises
    ------
    SearchError
        There is no such file, it has another form, or none of its vectors can be used.
    """
    path = Path(path)
    readers = {".npz": _npz, ".parquet": _parquet, ".csv": _csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise SearchError(
            f"{path}: expected vectors as {', '.join(readers)}, got {path.suffix or 'no ending'!r}. Save them so."
        )
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        ids, rows = reader(path)
    except OSError as error:
        raise SearchError(f"{path}: the vectors cannot be read: {error.strerror or error}. Check the path.") from None
    sizes = [len(row) for row in rows]
    dimensions = max(set(sizes), key=sizes.count) if sizes else 0
    if not 2 <= dimensions <= MAX_DIMENSIONS:
        raise SearchError(f"{path}: expected vectors of 2 to {MAX_DIMENSIONS} numbers, got {len(rows)} rows of {dimensions}.")
    kept: dict[str, NDArray[np.float32]] = {}
    for number, (image_id, row) in enumerate(zip(ids, rows, strict=True), 1):
        problem = _problem(row, dimensions) or ("its id is in an earlier row too" if image_id in kept else "")
        if problem:
            refuse(f"row {number} ({image_id})", f"{problem}. Correct the row, or leave it out.")
        else:
            kept[image_id] = np.asarray(row, np.float32)
    if not kept:
        raise SearchError(f"{path}: none of {len(rows)} vectors can be used; the first: {_problem(rows[0], dimensions)}.")
    space = EmbeddingSpace(f"file:{digest}", dimensions, f"vectors of {path.name}"[:300])
    return ExternalVectors(space, tuple(kept), np.stack(list(kept.values())))


def _problem(row: Any, dimensions: int) -> str:
    if len(row) != dimensions:
        return f"expected {dimensions} numbers, as most rows have, got {len(row)}"
    with np.errstate(over="ignore"):
        values = np.asarray(row, np.float32)
    if not np.isfinite(values).all():
        return f"number {int(np.argmin(np.isfinite(values))) + 1} is not finite in 32 bits, or no number"
    if not values.any():
        return "all its numbers are zero, so it has no direction to compare"
    return ""


def _npz(path: Path) -> tuple[list[str], list[Any]]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as found:
            ids, vectors = found["ids"], found["vectors"]
    except (KeyError, ValueError, EOFError) as error:
        raise SearchError(f"{path}: expected the arrays 'ids' and 'vectors': {str(error)[:100]}.") from None
    except Exception as error:
        if type(error).__module__ != "zipfile":
            raise
        raise SearchError(f"{path}: not an .npz file: {error}.") from None
    if vectors.ndim != 2 or ids.shape != vectors.shape[:1] or vectors.dtype.kind not in "fiu":
        raise SearchError(f"{path}: expected ids (n,) and vectors (n, dimensions), got {ids.shape} and {vectors.shape}.")
    return [str(each) for each in ids], list(vectors)


def _parquet(path: Path) -> tuple[list[str], list[Any]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise SearchError("Parquet needs pyarrow. Install it with `pip install 'dicom-workflow[search]'`.") from None
    try:
        table = pyarrow.parquet.read_table(path)
        id_column = next((name for name in _ID_COLUMNS if name in table.column_names), "")
        if not id_column or "vector" not in table.column_names:
            raise SearchError(f"{path}: expected the columns image_id and vector, got {', '.join(table.column_names[:8])}.")
        return [str(each) for each in table[id_column].to_pylist()], [each or [] for each in table["vector"].to_pylist()]
    except pyarrow.ArrowException as error:
        raise SearchError(f"{path}: not a Parquet file: {str(error)[:100]}.") from None


def _csv(path: Path) -> tuple[list[str], list[Any]]:
    ids, rows = [], []
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = csv.reader(stream)
            columns = next(lines, [])
            if not columns or columns[0] not in _ID_COLUMNS:
                raise SearchError(
                    f"{path}: expected the first column image_id, got another. Write the names into the first line."
                )
            for line in lines:
                if line:
                    ids.append(line[0])
                    rows.append(_numbers(line[1:]))
    except UnicodeDecodeError:
        raise SearchError(f"{path}: expected UTF-8 text. Save it as UTF-8.") from None
    except csv.Error as error:
        raise SearchError(f"{path}, line {len(ids) + 2}: not a CSV table: {error}. Export it again.") from None
    return ids, rows


def _numbers(texts: list[str]) -> list[float]:
    """Return the numbers of a row, and not a number in place of what is none: such a row is refused."""
    numbers = []
    for text in texts:
        try:
            numbers.append(float(text))
        except ValueError:
            numbers.append(float("nan"))
    return numbers

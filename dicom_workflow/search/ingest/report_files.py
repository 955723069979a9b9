"""Radiology reports as files: JSON lines, a CSV table, a text file, a folder of any of these, or the same below an S3 prefix.

======================  ======================================================================================================
``*.jsonl``, ``.json``  an object a line, as `radiology_reports.files` reads it: an id, and a text or sections; where known
                        ``accession_number``, ``study_instance_uid``, ``patient_id``, ``study_date``, ``images`` (their UIDs)
``*.csv``               a row a report, with columns of these names; comma, semicolon or tab between them
``*.txt``               a report a file; its name without ``.txt`` is its id
======================  ======================================================================================================
"""

from __future__ import annotations

import contextlib
import csv
import datetime
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

from dicom_workflow.errors import ReportError, StorageError
from dicom_workflow.search.radiology_reports.files import SECTION_KEYS, TEXT_KEYS, report_of_line
from dicom_workflow.storage import Storage, to_path, to_uri

MAX_REPORT_BYTES = 1_000_000
"""A report is a few kilobytes; what is larger than this is something else."""
SUFFIXES = (".jsonl", ".json", ".csv", ".txt")
_MAX_FIELD = 10_000_000
_DELIMITERS = (",", ";", "\t")
_DATE = re.compile(r"([0-9]{4})[-./]?([0-9]{2})[-./]?([0-9]{2})(?:[T ].*)?", re.DOTALL)
_UID = re.compile(r"[0-9.]{1,64}")

Refuse = Callable[[str, str], None]
"""``refuse(name, reason)``: told of every report that cannot be used."""


@dataclass(frozen=True)
class ReportFile:
    """One report as it was written, and what leads from it to its images."""

    report_id: str
    text: str
    where: str
    """File and line, for messages."""
    accession_number: str = ""
    study_instance_uid: str = ""
    patient_id: str = ""
    study_date: str = ""
    image_ids: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What of it is not used, and what was expected."""


def read_reports(place: str, storage: Storage, refuse: Refuse) -> Iterator[ReportFile]:
    """Yield the reports of a file or of all files below a folder; one that cannot be used is refused, and the rest goes on.

    Parameters
    ----------
    place : str
        Path, ``file://`` or ``s3://``.
    storage : Storage
    refuse : callable

    Raises
    ------
    ReportError
        There is no such file, and no file of a known kind below such a folder.
    StorageError
        It cannot be listed.
    """
    found = _files(to_uri(place), storage)
    if not found:
        raise ReportError(f"{place}: there are no reports. Expected {', '.join('*' + each for each in SUFFIXES)}.")
    for uri in found:
        yield from reports_of(uri, storage, refuse)


def reports_of(uri: str, storage: Storage, refuse: Refuse) -> Iterator[ReportFile]:
    """Yield the reports of one file, by the kind that its name says.

    Parameters
    ----------
    uri : str
    storage : Storage
    refuse : callable
    """
    name = PurePosixPath(unquote(uri)).name
    try:
        if uri.lower().endswith((".jsonl", ".json")):
            yield from _json_lines(uri, name, storage, refuse)
        elif uri.lower().endswith(".csv"):
            yield from _table(uri, name, storage, refuse)
        else:
            text = _decoded(_limited(uri, storage))
            yield _parsed({"report_id": name.removesuffix(".txt"), "text": text}, name)
    except (ReportError, StorageError) as error:
        refuse(name, _without(name, error))


def _files(uri: str, storage: Storage) -> list[str]:
    if storage.exists(uri):
        return [uri]
    if uri.startswith("file://") and not to_path(uri).is_dir():
        return []
    return [each for each in storage.list(uri) if each.lower().endswith(SUFFIXES)]


def _json_lines(uri: str, name: str, storage: Storage, refuse: Refuse) -> Iterator[ReportFile]:
    with storage.open(uri) as stream:
        number = 0
        while line := stream.readline(MAX_REPORT_BYTES + 1):
            number += 1
            if number == 1 and line.lstrip(b"\xef\xbb\xbf \t").startswith(b"["):
                raise ReportError("expected a JSON object a line, got a JSON array. Write each of its objects on one line.")
            where = f"{name}, line {number}"
            if len(line) > MAX_REPORT_BYTES:
                refuse(where, _too_large(_rest_of_line(stream, line)))
                continue
            if not line.strip():
                continue
            try:
                yield _parsed(_object(line), where)
            except ReportError as error:
                refuse(where, _without(where, error))
        if not number:
            raise ReportError("expected a JSON object a line, got an empty file. Export the reports again.")


def _rest_of_line(stream: Any, line: bytes) -> int:
    """Read to the end of a line that is too long, without keeping it, and return its size."""
    size = len(line)
    while line and not line.endswith(b"\n"):
        line = stream.readline(MAX_REPORT_BYTES)
        size += len(line)
    return size


def _object(line: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(_decoded(line))
    except (ValueError, RecursionError):  # what stands there instead may be the text of a report, so it is not shown
        raise ReportError("expected a JSON object, got something else. Write one object a line.") from None
    if not isinstance(value, Mapping):
        raise ReportError(f"expected a JSON object, got {type(value).__name__}. Write one object a line.")
    return value


def _table(uri: str, name: str, storage: Storage, refuse: Refuse) -> Iterator[ReportFile]:
    with storage.open(uri) as stream:
        # A byte that is no UTF-8 is a fault of its row: the others go through.
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
        header = text.readline(MAX_REPORT_BYTES)
        delimiter = max(_DELIMITERS, key=header.count)
        columns = [column.strip().lower().replace(" ", "_") for column in next(csv.reader([header], delimiter=delimiter), ())]
        if not {*TEXT_KEYS, *SECTION_KEYS} & {*columns}:
            raise ReportError(
                f"expected a first line with a column 'text' or of a section ({', '.join(SECTION_KEYS)}), got {len(columns)} "
                "columns with other names. Write the names of the columns into the first line, as UTF-8 text."
            )
        rows = csv.DictReader(text, fieldnames=columns, delimiter=delimiter, strict=True)
        while True:
            try:
                row = _next_row(rows)
                if row is None:
                    return
                where = f"{name}, line {rows.line_num + 1}"
                yield _parsed(_row(row), where)
            except csv.Error as error:
                refuse(f"{name}, line {rows.line_num + 1}", f"not a row of a CSV table: {error}. Export the table again.")
            except ReportError as error:
                refuse(where, _without(where, error))


def _next_row(rows: csv.DictReader[str]) -> Mapping[Any, Any] | None:
    """Return the next row; its fields may be large, while the limit for every other table of this process stays."""
    limit = csv.field_size_limit(_MAX_FIELD)
    try:
        return next(rows, None)
    finally:
        csv.field_size_limit(limit)


def _row(row: Mapping[Any, Any]) -> Mapping[str, Any]:
    if None in row:
        raise ReportError(f"expected {len(row) - 1} columns, got more. Put fields that hold the delimiter into quotes.")
    for column, value in row.items():
        if isinstance(value, str) and any("\udc80" <= character <= "\udcff" for character in value):
            raise ReportError(f"column {column}: expected UTF-8 text. Save the table as UTF-8.")
    return row


def _limited(uri: str, storage: Storage) -> bytes:
    with storage.open(uri) as stream:
        data = stream.read(MAX_REPORT_BYTES + 1)
        if len(data) > MAX_REPORT_BYTES:
            raise ReportError(f"expected a report of at most {MAX_REPORT_BYTES:,} bytes, got more. Split it, or leave it out.")
        return data


def _too_large(size: int) -> str:
    return f"expected a report of at most {MAX_REPORT_BYTES:,} bytes, got {size:,}. Split it, or leave it out."


def _decoded(data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise ReportError(f"expected UTF-8 text, got byte {byte:#04x} at {error.start}. Save it as UTF-8.") from None
    if "\0" in text:
        raise ReportError("expected UTF-8 text, got NUL characters, as UTF-16 has. Save it as UTF-8.")
    return text


def _parsed(value: Mapping[str, Any], where: str) -> ReportFile:
    """Return the report of an object or a row.

    Raises
    ------
    ReportError
        No text, or no id.
    """
    given = {name: _text_at(value, name) for name in ("accession_number", "study_instance_uid", "patient_id")}
    report_id, text = report_of_line({name: each for name, each in value.items() if each not in (None, "")})
    if not any(character.isalnum() for character in text):
        raise ReportError(f"report {report_id}: it is empty. Expected 'text', or sections such as 'impression'.")
    if len(text.encode("utf-8", "surrogatepass")) > MAX_REPORT_BYTES:
        raise ReportError(_too_large(len(text)))
    date, notes = _date(_text_at(value, "study_date"))
    if given["study_instance_uid"] and not _UID.fullmatch(given["study_instance_uid"]):
        given["study_instance_uid"] = ""
        notes += ("study_instance_uid: expected a UID of digits and dots, at most 64 characters; it is not used.",)
    images = value.get("images") or ()
    return ReportFile(
        report_id=report_id,
        text=text,
        where=where,
        study_date=date,
        notes=notes,
        image_ids=tuple(each for each in images if isinstance(each, str)) if isinstance(images, list) else (),
        **given,
    )


def _date(text: str) -> tuple[str, tuple[str, ...]]:
    """Return a date as YYYYMMDD, or none and why; which of day and month comes first elsewhere cannot be told."""
    found = _DATE.fullmatch(text)
    if found:
        with contextlib.suppress(ValueError):
            return datetime.date(*map(int, found.groups())).strftime("%Y%m%d"), ()
    return "", ("study_date: expected YYYYMMDD or YYYY-MM-DD; the report is indexed without a date.",) if text else ()


def _text_at(value: Mapping[str, Any], name: str) -> str:
    found = value.get(name)
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    return found.strip() if isinstance(found, str) else ""


def _without(name: str, error: Exception) -> str:
    """The message without the name of the file, which stands before it already."""
    return str(error).removeprefix(name).lstrip(":, ")

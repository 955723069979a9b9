"""Manifests: JSON Lines files with one object per line: its source, its labels, and what a labeling job added.

An *input manifest* goes into a labeling job, an *output manifest* comes out of it, an *augmented manifest* carries everything a
training run needs. All three have the same shape and are read and written here, as streams, whatever their size.

References
----------
SageMaker developer guide, "Use an Input Manifest File" (limits), "Output Data" (what a job adds).
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from dicom_workflow.errors import ManifestError, RecordError
from dicom_workflow.formats.instances import Instance
from dicom_workflow.formats.json_schema import encoded, parse_json
from dicom_workflow.formats.labels import LabelSet, parse_label_list
from dicom_workflow.formats.object_reference import FILE_SCHEMES, ObjectReference
from dicom_workflow.storage import Storage

MAX_LINE_CHARACTERS = 100_000
MAX_ATTRIBUTE_CHARACTERS = 20_000
MAX_OUTPUT_CHARACTERS = 20_000_000
"""What a line may have that no job is to take: with nine answers full of outlines it is far longer than an input line."""


class Line(NamedTuple):
    """One line of a manifest: its 1-based number and its JSON object."""

    number: int
    data: dict[str, Any]


def check_entry(data: object, text_characters: int | None = None, *, limits: bool = True) -> dict[str, Any]:
    """Return the object of one line when it keeps the contract of an input manifest.

    Parameters
    ----------
    data : object
        The decoded JSON value.
    text_characters : int, optional
        Length of the line as written; measured when not given.
    limits : bool
        Hold the line to the lengths that a labeling job takes, too; what a job wrote may be longer.

    Raises
    ------
    RecordError
        Not an object; neither `source` nor `source-ref`; a key that begins with ``$``; a bad label list; a line of more
        than 100,000 or an attribute of more than 20,000 characters.
    """
    if not isinstance(data, dict):
        raise RecordError(f"expected a JSON object, got {type(data).__name__}.")
    source, reference = data.get("source"), data.get("source-ref")
    if source is None and reference is None:
        keys = sorted(data)[:8]
        raise RecordError(f"expected 'source-ref' or 'source', got keys {keys}. Write manifests with manifests.write().")
    for name, value in (("source", source), ("source-ref", reference)):
        if value is not None and (not isinstance(value, str) or not value):
            raise RecordError(f"expected '{name}' as a text that is not empty, got {type(value).__name__}.")
    if reference is not None and not reference.startswith(FILE_SCHEMES):
        raise RecordError(f"expected 'source-ref' as an s3:// or file:// URI, got {reference[:60]!r}.")
    if "labels" in data:
        parse_label_list(data["labels"])
    if strange := next((name for name in data if name.startswith("$")), ""):
        raise RecordError(f"expected attribute names that do not begin with '$', got {strange[:60]!r}.")
    if not limits:
        return data
    length = text_characters if text_characters is not None else len(json.dumps(data, ensure_ascii=False))
    if length > MAX_LINE_CHARACTERS:
        raise RecordError(f"expected at most {MAX_LINE_CHARACTERS:,} characters, got {length:,}.")
    for name, value in data.items():
        # A short line cannot hold a long attribute, so most lines are never measured.
        if length > MAX_ATTRIBUTE_CHARACTERS and len(_attribute_text(value)) > MAX_ATTRIBUTE_CHARACTERS:
            raise RecordError(f"expected at most {MAX_ATTRIBUTE_CHARACTERS:,} characters in an attribute, {name!r} has more.")
    return data


def read(
    uri: str,
    *,
    storage: Storage | None = None,
    on_error: Callable[[ManifestError], None] | None = None,
    check: Callable[[object, int], dict[str, Any]] | None = None,
    limits: bool = True,
) -> Iterator[Line]:
    """Yield the lines of a manifest, one at a time.

    Parameters
    ----------
    uri : str
        file:// or s3:// URI of a JSON Lines file, UTF-8 with or without a byte order mark, lines ended by ``\\n`` or
        ``\\r\\n``; empty lines are passed over.
    storage : Storage, optional
        Where to read; local files and AWS's own S3 when not given.
    on_error : callable, optional
        Called with each broken line, which is then left out. When not given the first broken line raises.
    check : callable
        What a line must keep; `check_entry` when not given, `any_object` for other JSON Lines files.
    limits : bool
        Hold lines to the lengths that a labeling job takes; False for what a job wrote.

    Yields
    ------
    Line
        The 1-based line number and the JSON object.

    Raises
    ------
    ManifestError
        A line is broken and `on_error` was not given, or the manifest has no line at all. A `RecordError` of `check` becomes
        one with the line number.
    """
    number = seen = 0
    most = MAX_LINE_CHARACTERS if limits else MAX_OUTPUT_CHARACTERS
    keeps = check or partial(check_entry, limits=limits)
    with (storage or Storage()).open(uri) as stream:
        # A character takes at most four bytes; the limit keeps a file without line ends out of memory.
        while raw := stream.readline(4 * most + 2):
            number += 1
            if number == 1:
                raw = raw.removeprefix(codecs.BOM_UTF8)
            try:
                if len(raw) > 4 * most and not raw.endswith(b"\n"):
                    _skip_line(stream)
                    raise RecordError(f"expected at most {most:,} characters in a line, got more.")
                line = _decode(raw, keeps)
            except RecordError as error:
                problem = ManifestError(uri, number, str(error))
                if on_error is None:
                    raise problem from None
                on_error(problem)
                seen += 1
                continue
            if line is not None:
                seen += 1
                yield Line(number, line)
    if not seen:
        raise ManifestError(uri, None, "the file is empty. A manifest has one JSON object per line.")


def any_object(data: object, text_characters: int) -> dict[str, Any]:
    """Return any JSON object as it is: the check for JSON Lines files that are not input manifests.

    Parameters
    ----------
    data : object
        The decoded JSON value.
    text_characters : int
        Not used.

    Raises
    ------
    RecordError
        Not a JSON object.
    """
    if not isinstance(data, dict):
        raise RecordError(f"expected a JSON object, got {type(data).__name__}.")
    return data


def write(
    uri: str,
    entries: Iterable[Mapping[str, Any]],
    *,
    storage: Storage | None = None,
    check: bool = True,
    limits: bool = True,
) -> int:
    """Write a manifest in one step and return how many lines it has.

    Parameters
    ----------
    uri : str
        Where; an older manifest there is replaced only when the new one is whole.
    entries : iterable of mappings
        Streamed; only one is in memory at a time.
    check : bool
        Hold each entry to the contract of an input manifest.
    limits : bool
        Hold it to the lengths that a labeling job takes, too; False for a manifest that no job is to read.

    Raises
    ------
    ManifestError
        An entry breaks the contract; nothing was written, and the message names the line it would have been.
    """
    count = 0
    with (storage or Storage()).writer(uri) as stream:
        for count, entry in enumerate(entries, start=1):
            try:
                text = json.dumps(entry, ensure_ascii=False, allow_nan=False)
                if check:
                    check_entry(dict(entry), len(text), limits=limits)
            except (RecordError, TypeError, ValueError, RecursionError) as error:
                raise ManifestError(uri, count, f"{str(error).removesuffix('.')}. Nothing was written.") from None
            stream.write(encoded(text) + b"\n")
        if not count:
            raise ManifestError(uri, None, "there is no entry to write. Nothing was written.")
    return count


def entries_for(
    instances: Iterable[Instance], labels: LabelSet | Sequence[str], *, by: str = "source"
) -> Iterator[dict[str, Any]]:
    """Yield an input manifest entry for each instance of an archive.

    The entry names the object and the labels to choose from, and nothing of the patient: a manifest travels to Lambda functions
    and workers. `dicom_workflow.labeling.output` joins the patient back by the source.

    Parameters
    ----------
    instances : iterable of Instance
        In the order the manifest is to have.
    labels : LabelSet or sequence of str
        Written into every line, with the rules of a label set.
    by : {'source', 'source-ref'}
        Point at the archive (`source`: the Orthanc id where there is one, else the DICOMweb resource path) or at the copy in
        object storage (`source-ref`: its URI).

    Raises
    ------
    RecordError
        The label list is none; or an instance cannot be named so: it has no copy, or its study or series is unknown.
    """
    label_keys = (labels if isinstance(labels, LabelSet) else LabelSet.parse(list(labels))).to_line()
    for instance in instances:
        if by == "source-ref" and not instance.uri:
            raise RecordError(f"{instance.sop_instance_uid}: it has no copy in object storage. Copy it, or use by='source'.")
        reference = ObjectReference(uri=instance.uri) if by == "source-ref" else instance.reference
        yield {**reference.to_entry(), **label_keys}


def read_instances(uri: str, *, storage: Storage | None = None) -> list[Instance]:
    """Return the instances of an ``instances.jsonl``.

    Raises
    ------
    ManifestError
        A line is not an instance.
    """
    instances = []
    for line in read(uri, storage=storage, check=any_object):
        try:
            instances.append(Instance.parse(line.data))
        except RecordError as error:
            raise ManifestError(uri, line.number, str(error)) from None
    return instances


def _decode(raw: bytes, check: Callable[[object, int], dict[str, Any]]) -> dict[str, Any] | None:
    try:
        text = raw.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        byte = raw[error.start]
        raise RecordError(f"expected UTF-8 text, got byte {byte:#04x} at {error.start}. Save it as UTF-8.") from None
    if not text:
        return None
    try:
        data = parse_json(text)
    except json.JSONDecodeError as error:
        raise RecordError(f"expected one whole JSON object, got broken JSON: {error.msg} at character {error.colno}.") from None
    except ValueError as error:
        raise RecordError(f"expected one whole JSON object, got broken JSON: {error}.") from None
    return check(data, len(text))


def _skip_line(stream: Any) -> None:
    while (rest := stream.readline(1 << 20)) and not rest.endswith(b"\n"):
        pass


def _attribute_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

"""What a manifest line points at: an object of the archive by its DICOM UIDs or its Orthanc id, or a file by its URI.

===========================================================================  ==================================================
form in a manifest                                                           points at
===========================================================================  ==================================================
``source-ref: s3://…`` or ``file://…``                                       a file in object storage
``source: <Orthanc id>``                                                     an instance of an Orthanc (the published sample)
``source: studies/<uid>/series/<uid>``                                       a series of a DICOMweb archive
``source: studies/<uid>/series/<uid>/instances/<uid>``                       an instance
``source: studies/<uid>/series/<uid>/instances/<uid>/frames/<number>``       one frame, counted from 1
===========================================================================  ==================================================

A line that has both ``source-ref`` and ``source`` points at its ``source-ref``. The worker page gets a URI in every case:
``orthanc://<Orthanc id>`` and ``dicomweb://<resource path>`` name objects of the archive, which the self-hosted labeling
service resolves.

Standard library only: this module ships inside the Lambda functions.

References
----------
PS3.18 10.1.1 (resources), PS3.5 9.1 (UIDs). SageMaker developer guide, "Use an Input Manifest File".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dicom_workflow.errors import RecordError

FILE_SCHEMES = ("s3://", "file://")
ORTHANC_SCHEME = "orthanc://"
DICOMWEB_SCHEME = "dicomweb://"
ARCHIVE_SCHEMES = (ORTHANC_SCHEME, DICOMWEB_SCHEME)
READABLE_SCHEMES = (*FILE_SCHEMES, *ARCHIVE_SCHEMES)
"""How the URI of an image begins, wherever one may stand."""

MAX_UID_CHARACTERS = 64

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_ORTHANC_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{8}){4}")
_RESOURCE_PATH = re.compile(
    r"studies/(?P<study>[^/]+)/series/(?P<series>[^/]+)(/instances/(?P<instance>[^/]+)(/frames/(?P<frame>[1-9][0-9]{0,8}))?)?"
)


@dataclass(frozen=True)
class ObjectReference:
    """A series, an instance or a frame of an archive, or a file.

    An archive finds an instance by `sop_instance_uid` alone; study and series make the search unnecessary. The Orthanc id is
    known only where the archive is an Orthanc, and then names the instance in a manifest.

    Raises
    ------
    RecordError
        A UID or the Orthanc id has another form, or nothing is referred to.
    """

    study_instance_uid: str = ""
    series_instance_uid: str = ""
    sop_instance_uid: str = ""
    frame_number: int = 0
    """Counted from 1; 0 is the whole instance."""
    orthanc_instance_id: str = ""
    uri: str = ""
    """s3:// or file:// URI of a file that is not in the archive."""

    def __post_init__(self) -> None:
        for name in ("study_instance_uid", "series_instance_uid", "sop_instance_uid"):
            if getattr(self, name):
                check_uid(getattr(self, name), name)
        if self.orthanc_instance_id and not is_orthanc_id(self.orthanc_instance_id):
            raise RecordError(
                "expected 'orthanc_instance_id' as five groups of eight hexadecimal digits, got "
                f"{self.orthanc_instance_id[:60]!r}."
            )
        if self.uri and not self.uri.startswith(FILE_SCHEMES):
            raise RecordError(f"expected an s3:// or file:// URI, got {self.uri[:60]!r}.")
        if not (self.uri or self.orthanc_instance_id or self.sop_instance_uid or self.series_instance_uid):
            raise RecordError("A reference needs a URI, an Orthanc id, a SOP Instance UID or a Series Instance UID.")

    def __str__(self) -> str:
        if self.uri or self.orthanc_instance_id:
            return self.uri or self.orthanc_instance_id
        return self.sop_instance_uid or self.series_instance_uid

    @classmethod
    def parse(cls, text: object) -> ObjectReference:
        """Return what a ``source``, a ``source-ref`` or the URI of an image refers to.

        Raises
        ------
        RecordError
            The text has none of the forms of this module.
        """
        if isinstance(text, str):
            if text.startswith(FILE_SCHEMES):
                return cls(uri=text)
            bare = text.removeprefix(ORTHANC_SCHEME)
            if is_orthanc_id(bare):
                return cls(orthanc_instance_id=bare)
            if found := _RESOURCE_PATH.fullmatch(text.removeprefix(DICOMWEB_SCHEME)):
                return cls(found["study"], found["series"], found["instance"] or "", int(found["frame"] or 0))
        raise RecordError(
            "expected an Orthanc instance id (five groups of eight hexadecimal digits), studies/<uid>/series/<uid>/instances/"
            f"<uid>, or an s3:// or file:// URI, got {str(text)[:60]!r}."
        )

    @classmethod
    def from_line(cls, line: Mapping[str, Any]) -> ObjectReference:
        """Return what a manifest line points at.

        Raises
        ------
        RecordError
            The line has neither ``source-ref`` nor ``source``, or the one that counts has another form.
        """
        key = source_key(line)
        if not key:
            raise RecordError(f"expected 'source' or 'source-ref', got keys {sorted(map(str, line))[:8]}.")
        given = line[key]
        if key == "source-ref" and not (isinstance(given, str) and given.startswith(FILE_SCHEMES)):
            raise RecordError("expected 'source-ref' as an s3:// or file:// URI. Write manifests with manifests.write().")
        if key == "source" and str(given).startswith(READABLE_SCHEMES):
            raise RecordError(f"expected 'source' as an id of the archive, got {str(given)[:60]!r}. Put a URI in 'source-ref'.")
        return cls.parse(given)

    @property
    def file_name(self) -> str:
        """Name of a copy of the instance that a manifest line alone leads to.

        ``<Orthanc id>.dcm`` where the manifest names the instance by it: a Lambda function cannot turn that id into a UID.
        ``<SOP Instance UID>.dcm`` otherwise.

        Raises
        ------
        RecordError
            The reference is a file or a whole series.
        """
        if not (self.orthanc_instance_id or self.sop_instance_uid):
            raise RecordError(f"{self}: only an instance has a copy, this is a file or a series.")
        return f"{self.orthanc_instance_id or self.sop_instance_uid}.dcm"

    def to_source(self) -> str:
        """Return the text that names the object in a manifest: URI, Orthanc id or resource path.

        Raises
        ------
        RecordError
            Neither of the first two is known, and the study or the series is unknown.
        """
        if self.uri or self.orthanc_instance_id:
            return self.uri or self.orthanc_instance_id
        if not (self.study_instance_uid and self.series_instance_uid):
            raise RecordError(f"{self}: its Study and Series Instance UIDs are unknown, so no manifest can name it.")
        path = f"studies/{self.study_instance_uid}/series/{self.series_instance_uid}"
        if self.sop_instance_uid:
            path += f"/instances/{self.sop_instance_uid}"
        return f"{path}/frames/{self.frame_number}" if self.frame_number else path

    def to_entry(self) -> dict[str, str]:
        """Return the key and text of a manifest line that points at the object."""
        return {"source-ref" if self.uri else "source": self.to_source()}

    def to_uri(self) -> str:
        """Return the URI under which a worker page asks for the object; `parse` reads it back."""
        if self.uri:
            return self.uri
        return f"{ORTHANC_SCHEME if self.orthanc_instance_id else DICOMWEB_SCHEME}{self.to_source()}"


def source_key(line: Mapping[str, Any]) -> str:
    """Return the key that says what a line points at: ``source-ref``, else ``source``, else an empty text."""
    return next((key for key in ("source-ref", "source") if line.get(key)), "")


def source_of(line: Mapping[str, Any]) -> str:
    """Return the text by which a line's object is known: its ``source-ref``, else its ``source`` (any text), else empty."""
    key = source_key(line)
    return str(line[key]) if key else ""


def is_orthanc_id(text: str) -> bool:
    """Say whether a text is an Orthanc instance id: five groups of eight hexadecimal digits."""
    return bool(_ORTHANC_ID.fullmatch(text))


def check_uid(text: object, name: str) -> str:
    """Return a text that is a UID and so may stand in a path or a URL.

    Leading zeros of a component, which the standard forbids, are let through: scanners wrote such UIDs and archives hold them.

    Raises
    ------
    RecordError
        The message names the broken rule of PS3.5 9.1.
    """
    rule = ""
    if not isinstance(text, str) or not text:
        rule = "it is empty" if text in ("", None) else "it is no text"
    elif len(text) > MAX_UID_CHARACTERS:
        rule = f"it has {len(text)} characters, {MAX_UID_CHARACTERS} are allowed"
    elif not _UID.fullmatch(text):
        rule = "its components must be digits, with single dots between them"
    if rule:
        raise RecordError(f"{name}: not a UID, because {rule}: {str(text)[:80]!r}.")
    return str(text)

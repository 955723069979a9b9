"""Instances: the lines of ``instances.jsonl``.

Standard library only: this module ships inside the Lambda functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dicom_workflow.errors import RecordError
from dicom_workflow.formats.json_schema import shown
from dicom_workflow.formats.object_reference import ObjectReference

_AGE = re.compile("[0-9]{3}[DWMY]")
_TYPE_NAMES = {str: "a text", int: "a whole number"}


@dataclass(frozen=True)
class Instance:
    """One DICOM instance in an archive: a line of ``instances.jsonl``. Its identity is its SOP Instance UID.

    `md5` is that of the whole DICOM file as the archive returns it, empty when it was not asked for.
    """

    sop_instance_uid: str
    series_instance_uid: str = ""
    study_instance_uid: str = ""
    patient_id: str = ""
    orthanc_instance_id: str = ""
    """Orthanc's own hash over patient id and UIDs, where the archive is an Orthanc: its manifests name instances by it."""
    modality: str = ""
    md5: str = ""
    size_bytes: int = 0
    uri: str = ""
    """file:// or s3:// copy of the instance, when there is one beside the archive's."""
    view_position: str = ""
    """This and the four below as the file itself says; only who looked into it knows, an archive's listing does not."""
    sex: str = ""
    age: str = ""
    """DICOM age string: ``061Y``, ``006M``."""
    manufacturer: str = ""
    photometric_interpretation: str = ""

    @classmethod
    def parse(cls, value: object) -> Instance:
        """Return the instance of one JSON object; unknown keys are ignored.

        Raises
        ------
        RecordError
            No object; no `sop_instance_uid`, or a UID or an `orthanc_instance_id` of another form; another field that is
            neither absent, null nor of its type.
        """
        if not isinstance(value, Mapping):
            raise RecordError(f"expected an instance as a JSON object, got {shown(value)}.")
        known = {name: value[name] for name in cls.__dataclass_fields__ if value.get(name) is not None}
        for name, given in known.items():
            wanted = int if name == "size_bytes" else str
            if type(given) is not wanted:
                raise RecordError(f"expected '{name}' as {_TYPE_NAMES[wanted]}, got {shown(given)}.")
        if not known.get("sop_instance_uid"):
            raise RecordError("An instance needs a 'sop_instance_uid'. Upload the files again, or list the archive.")
        instance = cls(**known)
        _ = instance.reference  # holds every id to its form
        return instance

    @property
    def reference(self) -> ObjectReference:
        """Where the instance is in its archive."""
        return ObjectReference(
            self.study_instance_uid,
            self.series_instance_uid,
            self.sop_instance_uid,
            orthanc_instance_id=self.orthanc_instance_id,
        )

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object without the empty fields."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if getattr(self, name)}


def age_in_years(text: str) -> int | None:
    """Return the whole years of a DICOM age string, ``061Y``, ``006M``, ``003W`` or ``010D``; None for another text.

    References
    ----------
    PS3.5 6.2, value representation AS.
    """
    if not _AGE.fullmatch(text):
        return None
    in_a_year = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}[text[-1]]
    return int(int(text[:-1]) / in_a_year)


def instances_by_source(instances: Iterable[Instance]) -> dict[str, Instance]:
    """Return the instances by each text with which a manifest line may name one.

    Those are its Orthanc id, its resource path, and the URI of its copy.
    """
    found: dict[str, Instance] = {}
    for instance in instances:
        if instance.orthanc_instance_id:
            found[instance.orthanc_instance_id] = instance
        if instance.study_instance_uid and instance.series_instance_uid:
            uids = ObjectReference(instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid)
            found[uids.to_source()] = instance
        if instance.uri:
            found[instance.uri] = instance
    return found

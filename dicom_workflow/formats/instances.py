"""Instances: the lines of ``instances.jsonl``.

Standard library only: this module ships inside the Lambda functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dicom_workflow.errors import RecordError
from dicom_workflow.formats.ground_truth import _mapping
from dicom_workflow.formats.json_schema import shown
from dicom_workflow.formats.object_reference import is_orthanc_id

_TYPE_NAMES = {str: "a text", int: "a whole number"}
@dataclass(frozen=True)
class Instance:
    """One DICOM instance in an archive: a line of ``instances.jsonl``.

    `orthanc_instance_id` is Orthanc's own hash (SHA-1 over patient id and the three UIDs), never a UID. `md5` is that of the
    whole DICOM file as stored, empty when it was not asked for.
    """

    orthanc_instance_id: str
    patient_id: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    sop_instance_uid: str = ""
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
            No object, no `orthanc_instance_id`, or one that is not five groups of eight hexadecimal digits; another field
            that is neither absent, null nor of its type.
        """
        data = _mapping(value, "an instance")
        known = {name: data[name] for name in cls.__dataclass_fields__ if data.get(name) is not None}
        identifier = str(known.get("orthanc_instance_id", ""))
        if not is_orthanc_id(identifier):
            raise RecordError(
                f"expected 'orthanc_instance_id' as five groups of eight hexadecimal digits, got {shown(identifier)}."
            )
        for name, given in known.items():
            wanted = type(cls.__dataclass_fields__[name].default) if name != "orthanc_instance_id" else str
            if type(given) is not wanted:
                raise RecordError(f"expected '{name}' as {_TYPE_NAMES[wanted]}, got {shown(given)}.")
        return cls(**known)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object without the empty fields."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if getattr(self, name)}



"""From a DICOM file to what the search index holds of it: identity, place and what filters and facets need."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from dicom_workflow.dicom.element_values import text_of
from dicom_workflow.dicom.inspection import NON_IMAGE_MODALITIES, Inspection, inspect
from dicom_workflow.dicom.reading import located, read_header
from dicom_workflow.errors import UnsupportedPixelsError
from dicom_workflow.search.documents import ImageDocument
from dicom_workflow.search.patient_keys import PatientKeys

_CODE, _DATE = re.compile(r"[A-Z0-9 _]{1,16}"), re.compile(r"[0-9]{8}")
_MAX_ACCESSION = 64


@dataclass(frozen=True)
class ExaminedImage:
    """A DICOM file that can be indexed, and what leads from it to its report."""

    document: ImageDocument
    accession_number: str = ""


def examine(path: Path, source: str, keys: PatientKeys) -> ExaminedImage:
    """Return what the index holds of a DICOM file, without decoding its pixels.

    Parameters
    ----------
    path : Path
        DICOM Part 10 file.
    source : str
        What a manifest line says of it.
    keys : PatientKeys
        For the patient key; the patient id is not kept.

    Raises
    ------
    NotDicomError, TruncatedDicomError, DicomError
        As `inspection.inspect`; the message begins with the path.
    UnsupportedPixelsError
        More than one frame, color, or an object that is no image.
    """
    with located(str(path)):
        found = _inspected(path)
        if found.frames > 1:
            raise UnsupportedPixelsError(f"expected one frame, got {found.frames}. Index its frames as files of their own.")
        if found.samples > 1:
            raise UnsupportedPixelsError(
                f"expected a gray image, got {found.samples} samples a pixel. Export it as MONOCHROME2, or leave it out."
            )
        if found.modality in NON_IMAGE_MODALITIES:
            raise _no_image(found.modality)
        header = read_header(path)
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    instance = found.to_instance("")
    document = ImageDocument(
        image_id=found.sop_instance_uid,
        study_instance_uid=found.study_instance_uid,
        series_instance_uid=found.series_instance_uid,
        patient_key=keys.key(found.patient_id),
        study_date=_date_of(header),
        modality=_code(found.modality),
        view_position=instance.view_position,
        body_part=_code(text_of(header, "BodyPartExamined")),
        laterality=_code(text_of(header, "ImageLaterality") or text_of(header, "Laterality")),
        sex=instance.sex,
        rows=found.rows,
        columns=found.columns,
        sha256=sha256,
        source=source,
    )
    accession = text_of(header, "AccessionNumber").strip()
    return ExaminedImage(document, accession if accession.isprintable() and len(accession) <= _MAX_ACCESSION else "")


def _inspected(path: Path) -> Inspection:
    try:
        return inspect(path)
    except UnsupportedPixelsError:
        modality = _code(text_of(read_header(path), "Modality"))
        if modality in NON_IMAGE_MODALITIES:
            raise _no_image(modality) from None
        raise


def _no_image(modality: str) -> UnsupportedPixelsError:
    advice = "Export its text, and give it as a report (--reports)." if modality == "SR" else "Leave it out."
    return UnsupportedPixelsError(f"expected an image, got an object of modality {modality}. {advice}")


def _code(text: str) -> str:
    """Return a code string, or nothing where the text is none: it comes from outside."""
    text = text.strip()
    return text if _CODE.fullmatch(text) else ""


def _date_of(header: Dataset) -> str:
    """Return the date of the study, else of the image, as YYYYMMDD; files of before 1993 have dots in it (PS3.5 6.2)."""
    for keyword in ("StudyDate", "AcquisitionDate", "ContentDate"):
        date = text_of(header, keyword).replace(".", "").strip()
        if _DATE.fullmatch(date):
            return date
    return ""

"""Whether a DICOM file is fit to be stored in an archive, judged without decoding a pixel.

An archive that accepts a file has not said that its pixels are all there, and a malformed file can end the archive's process:
so every file is inspected before it is sent. The file is read in blocks, whatever its size.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from pydicom.datadict import tag_for_keyword

from dicom_workflow.dicom.element_values import decode_numbers, decode_text, name_of_tag
from dicom_workflow.dicom.element_walker import TRANSFER_SYNTAX, FileElements, walk
from dicom_workflow.errors import DicomError, TruncatedDicomError, UnsupportedPixelsError
from dicom_workflow.formats.instances import Instance

MAX_PIXEL_BYTES = 4 * 1024**3

NON_IMAGE_MODALITIES = frozenset(
    """ANN ASMT AU CFM DMS DOC ECG EPS FID HD IOL KER KO LEN M3D OAM OPM OPR OPV OSS PLAN POS PR REG RESP RTINTENT RTPLAN RTRAD
    RTRECORD RTSEGANN RTSTRUCT RWV SEG SMR SR SRF STAIN TEXTUREMAP VA""".split()  # noqa: SIM905 - a table of 40 codes
)
"""Modalities of objects without an image to read: non-acquisition modalities, PS3.16 CID 32."""

_UID_BYTES = 64
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_CODE_STRING, _SEX, _AGE_STRING = (re.compile(form) for form in (r"[A-Z0-9 _]{1,16}", "[FMO]", "[0-9]{3}[DWMY]"))
_IDENTITY = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_TAGS = {
    keyword: tag_for_keyword(keyword) or 0
    for keyword in (
        *_IDENTITY, "SpecificCharacterSet", "PatientID", "Modality", "Manufacturer", "PatientSex", "PatientAge",
        "ViewPosition", "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns", "BitsAllocated",
    )
}  # fmt: skip


@dataclass(frozen=True)
class Inspection:
    """The elements of one DICOM file that was found fit to be stored.

    `frames`, `rows` and `columns` are as declared; `pixel_bytes` is the size of the pixel data element as it lies in the file
    (compressed where `transfer_syntax_uid` is a compressed one).
    """

    patient_id: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    modality: str
    photometric_interpretation: str
    rows: int
    columns: int
    frames: int
    samples: int
    bits_allocated: int
    pixel_bytes: int
    size_bytes: int
    view_position: str = ""
    sex: str = ""
    age: str = ""
    manufacturer: str = ""

    def to_instance(self, md5: str) -> Instance:
        """Return the record of this file, with the MD5 of its bytes; attributes that break their VR's form are left out."""
        return Instance(
            patient_id=self.patient_id,
            study_instance_uid=self.study_instance_uid,
            series_instance_uid=self.series_instance_uid,
            sop_instance_uid=self.sop_instance_uid,
            modality=self.modality,
            md5=md5,
            size_bytes=self.size_bytes,
            view_position=_matching(_CODE_STRING, self.view_position),
            sex=_matching(_SEX, self.sex),
            age=_matching(_AGE_STRING, self.age),
            manufacturer=" ".join(self.manufacturer.split())[:64] if self.manufacturer.isprintable() else "",
            photometric_interpretation=_matching(_CODE_STRING, self.photometric_interpretation),
        )


def md5_of(source: str | Path | bytes | memoryview) -> str:
    """Return the MD5 of a whole file, read in blocks, or of its content; a checksum against damage, no proof of origin."""
    if isinstance(source, str | Path):
        with Path(source).open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    return hashlib.md5(source, usedforsecurity=False).hexdigest()


def inspect(source: str | Path | bytes) -> Inspection:
    """Return the declared attributes of a DICOM file that is fit to be stored.

    Parameters
    ----------
    source : str, Path or bytes
        A DICOM file (PS3.10), or its content. A file is read in blocks: its size costs no memory.

    Returns
    -------
    Inspection

    Raises
    ------
    NotDicomError
        No DICOM prefix, or no transfer syntax.
    TruncatedDicomError
        The file ends before its own lengths, or the pixel data are shorter than the declared image.
    UnsupportedPixelsError
        No pixel data, no image size, or a size above `MAX_PIXEL_BYTES`.
    DicomError
        A UID is missing or breaks a rule of PS3.5 9.1, or the elements break one of PS3.5 7; the message names the element.
    OSError
        The file cannot be read.

    References
    ----------
    PS3.10 7.1 (file meta), PS3.5 7.1 (elements), 7.5 (sequences), A.4 (encapsulated pixel data), PS3.3 C.7.6.3 (image pixel).
    """
    found = walk(source, _TAGS.values())
    _check_uid(TRANSFER_SYNTAX, found.transfer_syntax_uid)
    for keyword in _IDENTITY:
        _check_uid(_TAGS[keyword], _text(found, keyword))
    inspection = Inspection(
        patient_id=_text(found, "PatientID"),
        study_instance_uid=_text(found, "StudyInstanceUID"),
        series_instance_uid=_text(found, "SeriesInstanceUID"),
        sop_instance_uid=_text(found, "SOPInstanceUID"),
        transfer_syntax_uid=found.transfer_syntax_uid,
        modality=_text(found, "Modality"),
        photometric_interpretation=_text(found, "PhotometricInterpretation"),
        rows=_integer(found, "Rows", 0),
        columns=_integer(found, "Columns", 0),
        frames=_frames(found),
        samples=_integer(found, "SamplesPerPixel", 1),
        bits_allocated=_integer(found, "BitsAllocated", 8),
        pixel_bytes=found.pixel_bytes,
        size_bytes=found.size_bytes,
        view_position=_text(found, "ViewPosition"),
        sex=_text(found, "PatientSex"),
        age=_text(found, "PatientAge"),
        manufacturer=_text(found, "Manufacturer"),
    )
    _check_pixels(inspection, found)
    return inspection


def _check_uid(tag: int, uid: str) -> None:
    """Name the rule of PS3.5 9.1 that a UID breaks. Leading zeros of a component are common and harmless."""
    if _UID.fullmatch(uid) and len(uid) <= _UID_BYTES:
        return
    name = name_of_tag(tag)
    if not uid:
        raise DicomError(f"{name} is missing.")
    if len(uid) > _UID_BYTES:
        raise DicomError(f"{name} has {len(uid)} characters; a UID has at most {_UID_BYTES} (PS3.5 9.1): {uid[:_UID_BYTES]!r}…")
    strange = re.search(r"[^0-9.]", uid)
    if strange:
        raise DicomError(f"{name} contains {strange[0]!r}; a UID consists of digits and dots (PS3.5 9.1): {uid!r}.")
    raise DicomError(f"{name} has an empty component; a UID has digits before and after each dot (PS3.5 9.1): {uid!r}.")


def _check_pixels(declared: Inspection, found: FileElements) -> None:
    """Hold the declared size of the image against the pixel data that are there."""
    rows, columns, frames = declared.rows, declared.columns, declared.frames
    samples, bits = declared.samples, declared.bits_allocated
    if found.pixel_bytes < 0:
        raise UnsupportedPixelsError("the file has no pixel data: it is a DICOM file without an image.")
    for keyword in ("Rows", "Columns"):
        if not found.values.get(_TAGS[keyword], ("", b""))[1]:
            raise UnsupportedPixelsError(f"{name_of_tag(_TAGS[keyword])} is missing, without which the pixels cannot be read.")
    if not rows or not columns:
        raise UnsupportedPixelsError(f"expected an image of at least one pixel, got {rows} rows and {columns} columns.")
    if declared.photometric_interpretation == "YBR_FULL_422" and not found.encapsulated:
        samples = 2  # two of three samples are stored (PS3.3 C.7.6.3.1.2)
    expected = (rows * columns * samples * frames * bits + 7) // 8
    # The frames of a compressed image are never decoded all at once.
    if expected // (frames if found.encapsulated else 1) > MAX_PIXEL_BYTES:
        raise UnsupportedPixelsError(
            f"expected an image of at most {MAX_PIXEL_BYTES:,} bytes, got {frames} frames of {rows} x {columns} "
            f"with {samples} samples of {bits} bits: {expected:,} bytes."
        )
    needed = 1 if found.encapsulated else expected
    if found.pixel_bytes < needed:
        raise TruncatedDicomError(
            f"expected {needed:,} bytes of pixel data or more for {frames} frames of {rows} x {columns} with {samples} samples "
            f"of {bits} bits, got {found.pixel_bytes:,}. Fetch the file again from where it came."
        )


def _frames(found: FileElements) -> int:
    text = _text(found, "NumberOfFrames")
    try:
        return max(1, int(text or 1))
    except ValueError:
        raise UnsupportedPixelsError(f"expected a whole number of frames, got {text[:16]!r}.") from None


def _integer(found: FileElements, keyword: str, default: int) -> int:
    """Return one integer of the Image Pixel module, whose VR should be US."""
    vr, raw = found.values.get(_TAGS[keyword], ("", b""))
    if not raw:
        return default
    if vr in ("", "US") and len(raw) == 2:
        return int.from_bytes(raw, "big" if found.big_endian else "little")
    vr = "US" if vr in ("", "UN") else vr
    size = {"US": 2, "SS": 2, "UL": 4, "SL": 4}.get(vr, len(raw))
    numbers = decode_numbers(raw, vr, big_endian=found.big_endian)
    if len(numbers) != 1 or len(raw) != size or not numbers[0].is_integer() or numbers[0] < 0:
        name = name_of_tag(_TAGS[keyword])
        raise DicomError(f"{name}: expected one whole number in 2 bytes (VR US), got {len(raw)} bytes (VR {vr}).")
    return int(numbers[0])


def _text(found: FileElements, keyword: str) -> str:
    _, character_set = found.values.get(_TAGS["SpecificCharacterSet"], ("", b""))
    return decode_text(found.values.get(_TAGS[keyword], ("", b""))[1], character_set)


def _matching(pattern: re.Pattern[str], text: str) -> str:
    return text if pattern.fullmatch(text) else ""

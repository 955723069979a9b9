"""Is this file fit to be sent to an archive? Looked at without decoding a pixel.

Sending first and seeing what happens is not safe: a malformed file can end the archive's process (200 nested sequences are
enough), and an archive that accepts a file has not said that its pixels are all there. So the elements are walked here: one
loop, no recursion, no native code, about a tenth of a millisecond for a radiograph.
"""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydicom.charset import default_encoding, python_encoding
from pydicom.datadict import dictionary_VR

from dicom_workflow.errors import DicomError, NotDicomError, TruncatedDicomError, UnsupportedPixelsError
from dicom_workflow.formats.instances import Instance

MAX_SEQUENCE_DEPTH = 32
MAX_PIXEL_BYTES = 4 * 1024**3
MAX_INFLATED_BYTES = 512 * 1024**2
_INFLATED_PIECE_BYTES = 1 << 20

DEFLATED = "1.2.840.10008.1.2.1.99"
_IMPLICIT = "1.2.840.10008.1.2"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"

_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_PIXEL_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_LONG_FORM = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_VR = re.compile(rb"[A-Z]{2}")
_UID = re.compile(r"[0-9.]{1,64}")
_CODE_STRING, _SEX, _AGE_STRING = (re.compile(form) for form in (r"[A-Z0-9 _]{1,16}", "[FMO]", "[0-9]{3}[DWMY]"))
_TEXT_TAGS = {
    0x00080005: "character_set",
    0x00080016: "sop_class_uid",
    0x00080018: "sop_instance_uid",
    0x00080060: "modality",
    0x00080070: "manufacturer",
    0x00100020: "patient_id",
    0x00100040: "sex",
    0x00101010: "age",
    0x00185101: "view_position",
    0x0020000D: "study_instance_uid",
    0x0020000E: "series_instance_uid",
    0x00280004: "photometric_interpretation",
    0x00280008: "frames",
}
_NUMBER_TAGS = {0x00280002: "samples", 0x00280010: "rows", 0x00280011: "columns", 0x00280100: "bits_allocated"}
_OTHER_FORMATS = (
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"%PDF", "a PDF document"),
    (b"\x1f\x8b", "a gzip file"),
    (b"<", "HTML or XML"),
    (b"{", "JSON"),
    (b"[", "JSON"),
)


@dataclass(frozen=True)
class Inspection:
    """What the elements of one DICOM file say, found fit to be stored.

    `frames`, `rows` and `columns` are as declared; `pixel_bytes` is what the pixel data element really holds (compressed
    where `transfer_syntax_uid` is a compressed one).
    """

    patient_id: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
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
        """Return the record of this file, with the MD5 of its bytes; what is not of its element's form is left out of it."""
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


def md5_of(data: bytes | memoryview) -> str:
    """Return the MD5 of a whole file: what archives keep, a check against damage and no seal against anybody."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def inspect(source: str | Path | bytes) -> Inspection:
    """Return what a DICOM file declares, once it is certain that it may be sent.

    Parameters
    ----------
    source : path or bytes
        A DICOM file (PS3.10), or its content.

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
        A UID is missing or is none; sequences nested deeper than `MAX_SEQUENCE_DEPTH`; an encoding nobody wrote on purpose.

    References
    ----------
    PS3.10 7.1 (file meta), PS3.5 7.1 (elements), 7.5 (sequences), A.4 (encapsulated pixel data), PS3.3 C.7.6.3 (image pixel).
    """
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    if data[128:132] != b"DICM":
        raise NotDicomError(f"expected a DICOM file ('DICM' at byte 128), got {_looks_like(data)}.")
    meta, start = _read_meta(data)
    syntax = meta.get(0x00020010, b"").rstrip(b"\0 ").decode("ascii", "replace")
    if not _UID.fullmatch(syntax):
        raise NotDicomError("expected a Transfer Syntax UID (0002,0010) in the file meta information, found none.")
    body = data
    if syntax == DEFLATED:
        check_deflated(data)  # several files at once are looked at: none may take the memory before it is refused
        body, start = _inflate(data[start:]), 0
    found = _walk(body, start, implicit=syntax == _IMPLICIT, big_endian=syntax == _BIG_ENDIAN)
    return _judge(found, syntax, len(data))


class _Found:
    """What the walk gathers from the top level of the data set."""

    def __init__(self) -> None:
        self.texts: dict[str, bytes] = {}
        self.numbers: dict[str, int] = {}
        self.pixel_bytes = -1
        self.encapsulated = False


def _looks_like(data: bytes) -> str:
    if not data:
        return "an empty file"
    start = data.lstrip()[:8]
    for prefix, name in _OTHER_FORMATS:
        if start.startswith(prefix):
            return name
    return f"{len(data)} bytes beginning with {data[:8].hex(' ')}"


def _read_meta(data: bytes) -> tuple[dict[int, bytes], int]:
    """The file meta information is explicit little endian whatever follows (PS3.10 7.1)."""
    found: dict[int, bytes] = {}
    position = 132
    while data[position : position + 2] == b"\x02\x00":
        tag, length, value = _explicit(data, position, "<")[:3]
        if length == _UNDEFINED or value + length > len(data):
            raise _truncated(tag, position, length, len(data) - value)
        found[tag] = data[value : value + length]
        position = value + length
    return found, position


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        body = inflater.decompress(data)
    except zlib.error as error:
        raise TruncatedDicomError(f"expected a deflated data set, got data that cannot be inflated ({error}).") from None
    if not inflater.eof:
        raise TruncatedDicomError("expected a complete deflated data set; the file ends inside it.")
    return body


def check_deflated(data: bytes) -> None:
    """Refuse a DICOM file whose deflated data set grows above `MAX_INFLATED_BYTES`; no more than a piece of it is kept.

    Anything else passes, also what is broken: whoever reads it next says how.

    Raises
    ------
    UnsupportedPixelsError
        It grows above.
    """
    try:
        meta, start = _read_meta(data)
    except DicomError:
        return
    if data[128:132] != b"DICM" or meta.get(0x00020010, b"").rstrip(b"\0 ") != DEFLATED.encode():
        return
    inflater, waiting, size = zlib.decompressobj(-zlib.MAX_WBITS), data[start:], 0
    while waiting and not inflater.eof and size <= MAX_INFLATED_BYTES:  # behind its end lies a byte of padding (PS3.5 A.5)
        try:
            size += len(inflater.decompress(waiting, _INFLATED_PIECE_BYTES))
        except zlib.error:
            return
        waiting = inflater.unconsumed_tail
    if size > MAX_INFLATED_BYTES:
        raise UnsupportedPixelsError(f"expected a deflated data set of at most {MAX_INFLATED_BYTES:,} bytes, got more.")


def _explicit(data: bytes, position: int, order: str) -> tuple[int, int, int, bytes]:
    """Return tag, length, where the value starts, and VR."""
    try:
        group, element, vr, length = struct.unpack_from(order + "HH2sH", data, position)
        tag = group << 16 | element
        if group == 0xFFFE:
            return tag, struct.unpack_from(order + "L", data, position + 4)[0], position + 8, b""
        if vr in _LONG_FORM:
            return tag, struct.unpack_from(order + "L", data, position + 8)[0], position + 12, vr
    except struct.error:
        raise _truncated(0, position, 8, len(data) - position) from None
    if not _VR.fullmatch(vr):
        raise DicomError(f"expected two capital letters as VR of {_name(tag)} at byte {position}, got {vr.hex(' ')}.")
    return tag, length, position + 8, vr


def _implicit(data: bytes, position: int, order: str) -> tuple[int, int, int, bytes]:
    try:
        group, element, length = struct.unpack_from("<HHL", data, position)
    except struct.error:
        raise _truncated(0, position, 8, len(data) - position) from None
    return group << 16 | element, length, position + 8, b""


_Header = Callable[[bytes, int, str], tuple[int, int, int, bytes]]


def _walk(data: bytes, position: int, *, implicit: bool, big_endian: bool) -> _Found:
    """Visit every element; enter sequences with a stack of (end or None, header reader), never by recursion."""
    found = _Found()
    order = ">" if big_endian else "<"
    header: _Header = _implicit if implicit else _explicit
    size = len(data)
    stack: list[tuple[int | None, _Header]] = []
    while True:
        while stack and stack[-1][0] is not None and position >= stack[-1][0]:
            header = stack.pop()[1]
        if position >= size:
            break
        if not stack and found.pixel_bytes >= 0 and not any(data[position : position + 65536]):
            break  # zeros after the pixel data: files padded to a block size, which every reader accepts
        tag, length, value, vr = header(data, position, order)
        if tag in (_ITEM_END, _SEQUENCE_END):
            if not stack:
                raise DicomError(f"expected an element at byte {position}, got the end of a sequence that never began.")
            header = stack.pop()[1]
            position = value
            continue
        if length == _UNDEFINED and tag in _PIXEL_TAGS and not stack:
            found.pixel_bytes, position = _fragments(data, value, order)
            found.encapsulated = True
            continue
        if length != _UNDEFINED and value + length > size:
            raise _truncated(tag, position, length, size - value)
        if tag == _ITEM or _is_sequence(data, tag, length, value, vr):
            if len(stack) >= 2 * MAX_SEQUENCE_DEPTH:
                raise DicomError(f"expected sequences nested at most {MAX_SEQUENCE_DEPTH} deep, got more at byte {position}.")
            stack.append((None if length == _UNDEFINED else value + length, header))
            if vr == b"UN":
                header = _implicit  # PS3.5 6.2.2 note 2: a sequence written as UN is implicit little endian inside
            position = value
            continue
        if length == _UNDEFINED:
            raise DicomError(f"expected a length for {_name(tag)} at byte {position}, got an undefined one.")
        if not stack:
            _keep(found, data, tag, length, value, order)
        position = value + length
    if any(end is None for end, _ in stack):
        raise TruncatedDicomError(f"expected the end of {_name(0)} sequences, but the file ends at byte {size}.")
    return found


def _is_sequence(data: bytes, tag: int, length: int, value: int, vr: bytes) -> bool:
    if vr == b"SQ":
        return True
    if vr not in (b"", b"UN"):
        return False
    if length == _UNDEFINED:
        return True
    if length < 8 or data[value : value + 4] != b"\xfe\xff\x00\xe0":
        return False
    if tag >> 16 & 1:
        return _is_item_list(data, value, value + length)  # private: nobody says that it is a sequence, so it has to fit
    try:
        return dictionary_VR(tag) == "SQ"
    except KeyError:
        return False


def _is_item_list(data: bytes, position: int, end: int) -> bool:
    while position + 8 <= end:
        tag, length, value, _ = _implicit(data, position, "<")
        if tag != _ITEM or length == _UNDEFINED:
            return tag == _ITEM
        position = value + length
    return position == end


def _keep(found: _Found, data: bytes, tag: int, length: int, value: int, order: str) -> None:
    if tag in _TEXT_TAGS:
        found.texts[_TEXT_TAGS[tag]] = data[value : value + length]
    elif tag in _NUMBER_TAGS and length >= 2:
        found.numbers[_NUMBER_TAGS[tag]] = struct.unpack_from(order + "H", data, value)[0]
    elif tag in _PIXEL_TAGS:
        found.pixel_bytes = length


def _fragments(data: bytes, position: int, order: str) -> tuple[int, int]:
    """Return the bytes in the fragments of encapsulated pixel data, offset table left out, and where they end."""
    total, first = 0, True
    while True:
        tag, length, value, _ = _implicit(data, position, order)
        if tag == _SEQUENCE_END:
            return total, value
        if tag != _ITEM:
            raise DicomError(f"expected a fragment of pixel data at byte {position}, got {_name(tag)}.")
        if value + length > len(data):
            raise _truncated(0x7FE00010, position, length, len(data) - value)
        total += 0 if first else length
        first = False
        position = value + length


def _judge(found: _Found, syntax: str, size_bytes: int) -> Inspection:
    texts = {name: _text(found, name) for name in _TEXT_TAGS.values()}
    for name in ("study_instance_uid", "series_instance_uid", "sop_instance_uid"):
        if not _UID.fullmatch(texts[name]):
            got = f"{texts[name][:64]!r}" if texts[name] else "none"
            raise DicomError(f"expected a {name.replace('_', ' ').replace('uid', 'UID')} of digits and dots, got {got}.")
    rows, columns = found.numbers.get("rows", 0), found.numbers.get("columns", 0)
    samples, bits = found.numbers.get("samples", 1), found.numbers.get("bits_allocated", 8)
    try:
        frames = max(1, int(texts["frames"] or 1))
    except ValueError:
        raise UnsupportedPixelsError(f"expected a whole number of frames, got {texts['frames'][:16]!r}.") from None
    if found.pixel_bytes < 0:
        raise UnsupportedPixelsError("expected pixel data, found none: this is a DICOM file without an image.")
    if not rows or not columns:
        raise UnsupportedPixelsError(f"expected an image of at least one pixel, got {rows} rows and {columns} columns.")
    if texts["photometric_interpretation"] == "YBR_FULL_422" and not found.encapsulated:
        samples = 2  # two of three samples are stored (PS3.3 C.7.6.3.1.2)
    expected = (rows * columns * samples * frames * bits + 7) // 8
    if expected > MAX_PIXEL_BYTES:
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
    return Inspection(
        patient_id=texts["patient_id"],
        study_instance_uid=texts["study_instance_uid"],
        series_instance_uid=texts["series_instance_uid"],
        sop_instance_uid=texts["sop_instance_uid"],
        sop_class_uid=texts["sop_class_uid"],
        transfer_syntax_uid=syntax,
        modality=texts["modality"],
        photometric_interpretation=texts["photometric_interpretation"],
        rows=rows,
        columns=columns,
        frames=frames,
        samples=found.numbers.get("samples", 1),
        bits_allocated=bits,
        pixel_bytes=found.pixel_bytes,
        size_bytes=size_bytes,
        view_position=texts["view_position"],
        sex=texts["sex"],
        age=texts["age"],
        manufacturer=texts["manufacturer"],
    )


def _matching(pattern: re.Pattern[str], text: str) -> str:
    return text if pattern.fullmatch(text) else ""


def _text(found: _Found, name: str) -> str:
    raw = found.texts.get(name, b"").strip(b"\0 ")
    if raw.isascii() and b"\x1b" not in raw:
        return raw.decode("ascii")
    declared = found.texts.get("character_set", b"").decode("ascii", "replace").split("\\")
    term = declared[-1 if b"\x1b" in raw else 0].strip("\0 ")  # escape sequences switch to what is named after the first
    return raw.decode(python_encoding.get(term, default_encoding), "replace").strip("\0 ")


def _name(tag: int) -> str:
    return f"({tag >> 16:04x},{tag & 0xFFFF:04x})"


def _truncated(tag: int, position: int, length: int, left: int) -> TruncatedDicomError:
    return TruncatedDicomError(
        f"expected {length:,} bytes for element {_name(tag)} at byte {position}, but only {max(0, left):,} are left. "
        "Fetch the file again from where it came."
    )

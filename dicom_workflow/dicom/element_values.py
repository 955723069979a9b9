"""Text and numbers of DICOM elements, decoded from their bytes in whatever value representation they were written.

pydicom decodes by the value representation alone and raises where the bytes do not fit it. Files of real archives write a
window as US, UT or FD and patient IDs in any repertoire of the standard; the values below are the same for all of them.

References: PS3.3 C.12.1.1.2 (Specific Character Set), PS3.5 6.1 (character repertoires), 6.2 (value representations).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

_BINARY = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "FL": "f", "FD": "d", "OF": "f", "OD": "d", "SV": "q", "UV": "Q"}
_DECIMAL = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
_MAX_NUMBERS = 64

# Repertoires by the number in their defined term: ISO_IR 100 and ISO 2022 IR 100 are the same one.
_STAND_ALONE = {"192": "utf-8", "GB18030": "gb18030", "GBK": "gbk"}
_G1_OF_TERM = {
    "13": "katakana", "100": "iso8859_1", "101": "iso8859_2", "109": "iso8859_3", "110": "iso8859_4", "144": "iso8859_5",
    "127": "iso8859_6", "126": "iso8859_7", "138": "iso8859_8", "148": "iso8859_9", "166": "iso8859_11", "203": "iso8859_15",
    "149": "euc_kr", "58": "gb2312",
}  # fmt: skip
_G1_OF_ESCAPE = {
    b"-A": "iso8859_1", b"-B": "iso8859_2", b"-C": "iso8859_3", b"-D": "iso8859_4", b"-L": "iso8859_5", b"-G": "iso8859_6",
    b"-F": "iso8859_7", b"-H": "iso8859_8", b"-M": "iso8859_9", b"-T": "iso8859_11", b"-b": "iso8859_15", b")I": "katakana",
    b"$)C": "euc_kr", b"$)A": "gb2312",
}  # fmt: skip
_G0_OF_ESCAPE = {
    b"(B": "ascii", b"(J": "ascii", b"(I": "katakana", b"$@": "jis x 0208", b"$B": "jis x 0208", b"$(B": "jis x 0208",
    b"$(D": "jis x 0212", b"$(C": "euc_kr", b"$A": "gb2312", b"$(A": "gb2312",
}  # fmt: skip
_PIECES = re.compile(rb"\x1b[\x20-\x2f]+[\x30-\x7e]|[\t\n\f\r]+|[^\x1b\t\n\f\r]+|\x1b")
_HALVES = re.compile(rb"[\x21-\x7e]+|[\x80-\xff]+|[\x00-\x20\x7f]+")


def decode_text(raw: bytes, character_set: bytes | str = b"") -> str:
    """Return the text of an element, without the padding around it.

    Parameters
    ----------
    raw : bytes
        Value of the element.
    character_set : bytes or str
        Value of Specific Character Set (0008,0005) of the same data set; values are separated by backslashes.

    Returns
    -------
    str
        Escape sequences are followed, not kept. Bytes that are no character of their repertoire become ``\\xNN``, so that
        different values stay different.

    References
    ----------
    PS3.3 C.12.1.1.2; PS3.5 6.1.2.4 and 6.1.2.5 (code extension: escape sequences, reset at control characters).
    """
    raw = raw.strip(b"\0 ")
    if raw.isascii() and b"\x1b" not in raw:
        return raw.decode("ascii")
    declared = character_set.decode("ascii", "replace") if isinstance(character_set, bytes) else character_set
    terms = [_repertoire(term) for term in declared.split("\\")]
    alone = next((_STAND_ALONE[term] for term in terms if term in _STAND_ALONE), "")
    if not alone and terms[0] == "13" and b"\x1b" not in raw:
        alone = "shift_jis"  # which some writers mean: the katakana of IR 13 lie in it where they lie in IR 13
    if alone:
        return raw.decode(alone, "backslashreplace").strip("\0 ")
    # Some writers leave out the escape sequence of the one repertoire that they declare. Bytes above 127 without any declared
    # repertoire are read as Latin 1, as pydicom and Orthanc do.
    initial = g0, g1 = "ascii", next((_G1_OF_TERM[term] for term in terms if term in _G1_OF_TERM), "iso8859_1")
    text = []
    for piece in _PIECES.findall(raw):
        escape = piece[1:] if piece.startswith(b"\x1b") else b""
        if escape in _G0_OF_ESCAPE:
            g0 = _G0_OF_ESCAPE[escape]
        elif escape in _G1_OF_ESCAPE:
            g1 = _G1_OF_ESCAPE[escape]
        elif piece[0] in b"\t\n\f\r":
            g0, g1 = initial
            text.append(piece.decode("ascii"))
        else:
            text.extend(_decoded(half, g0, g1) for half in _HALVES.findall(piece))
    return "".join(text).strip("\0 ")


def _repertoire(term: str) -> str:
    """Return what tells a repertoire apart: "100" of "ISO_IR 100" and of "ISO 2022 IR 100", however they are punctuated."""
    compact = re.sub(r"[^A-Z0-9]", "", term.upper())
    return re.sub(r"^(ISO)?(2022)?(IR)?", "", compact) if compact not in ("UTF8", "ISOIR") else "192"


def _decoded(half: bytes, g0: str, g1: str) -> str:
    """Decode bytes that are all below 128 (repertoire `g0`) or all above (`g1`)."""
    repertoire = g1 if half[0] >= 0x80 else g0 if 0x21 <= half[0] <= 0x7E else "ascii"
    high = bytes(byte | 0x80 for byte in half)
    if repertoire == "katakana":
        return "".join(bytes((byte,)).decode("shift_jis", "backslashreplace") for byte in high)
    if repertoire == "jis x 0208":
        return high.decode("euc_jp", "backslashreplace")
    if repertoire == "jis x 0212":
        return b"".join(b"\x8f" + high[at : at + 2] for at in range(0, len(high), 2)).decode("euc_jp", "backslashreplace")
    if repertoire in ("euc_kr", "gb2312"):
        return high.decode(repertoire, "backslashreplace")
    return half.decode(repertoire, "backslashreplace")


def decode_numbers(raw: bytes, vr: str, *, big_endian: bool = False) -> list[float]:
    """Return the numbers of an element; text that is no decimal number is NaN.

    Parameters
    ----------
    raw : bytes
        Value of the element.
    vr : str
        Value representation that the bytes are written in.
    big_endian : bool
        Byte order of a binary value representation.

    Returns
    -------
    list of float
        At most 64. Of a binary value whose length is no multiple of the number's size the rest is left out.

    References
    ----------
    PS3.5 6.2.
    """
    code = _BINARY.get(vr)
    if code is None:
        text = raw.replace(b"\0", b" ").strip().decode("ascii", "replace")
        return [_decimal(part) for part in text.split("\\")[:_MAX_NUMBERS]] if text else []
    size = struct.calcsize("=" + code)
    count = min(len(raw) // size, _MAX_NUMBERS)
    return [float(number) for number in struct.unpack_from(f"{'>' if big_endian else '<'}{count}{code}", raw)]


def _decimal(text: str) -> float:
    return float(text) if _DECIMAL.fullmatch(text) else float("nan")


@dataclass(frozen=True)
class _Raw:
    """One element of a pydicom data set as its bytes, or as the numbers that it was given in memory."""

    vr: str
    data: bytes
    big_endian: bool = False


def _raw_of(dataset: Dataset, keyword: str) -> _Raw | Sequence[object] | None:
    tag = tag_for_keyword(keyword)
    if tag is None or tag not in dataset:
        return None
    element = dataset.get_item(tag)
    if isinstance(element, RawDataElement):
        vr = element.VR if element.VR and element.VR != "UN" else dictionary_VR(tag).split(" ")[0]
        return _Raw(str(vr), element.value or b"", not element.is_little_endian)
    value = element.value
    if isinstance(value, bytes):
        return _Raw(str(element.VR), value, dataset.original_encoding[1] is False)
    return list(value) if isinstance(value, list | tuple | MultiValue) else [] if value is None else [value]


def numbers_of(dataset: Dataset, keyword: str) -> list[float]:
    """Return the numbers of an element of a data set in whatever value representation it is written; [] without it.

    Never raises: text that is no number is NaN, and of an element of a wrong length the whole numbers in it are returned.
    """
    found = _raw_of(dataset, keyword)
    if found is None:
        return []
    if isinstance(found, _Raw):
        return decode_numbers(found.data, found.vr, big_endian=found.big_endian)
    return [number for value in found for number in _numbers_of_value(value)]


def _numbers_of_value(value: object) -> Iterator[float]:
    if isinstance(value, int | float):
        yield float(value)
    else:
        yield from (_decimal(part) for part in str(value).split("\\") if str(value).strip())


def text_of(dataset: Dataset, keyword: str) -> str:
    """Return the text of an element of a data set in whatever value representation it is written; empty without it."""
    found = _raw_of(dataset, keyword)
    if isinstance(found, _Raw):
        return decode_text(found.data)
    return "\\".join(str(value) for value in found or ()).strip()


def integer_of(dataset: Dataset, keyword: str) -> int | None:
    """Return the one integer of an element whose value representation is US, SS, UL or SL; None for anything else.

    An element of a wrong length, such as 3 bytes of US, is ignored: it holds no value that could be read twice alike.
    """
    found = _raw_of(dataset, keyword)
    if isinstance(found, _Raw):
        size = {"US": 2, "SS": 2, "UL": 4, "SL": 4}.get(found.vr)
        if size is None or len(found.data) != size:
            return None
    numbers = numbers_of(dataset, keyword)
    return int(numbers[0]) if len(numbers) == 1 and numbers[0].is_integer() else None


def name_of_tag(tag: int) -> str:
    """Return how messages name an element: its keyword, where it has one, and its tag, as in "Rows (0028,0010)"."""
    keyword = keyword_for_tag(tag)
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", keyword)
    return f"{words} ({tag >> 16:04X},{tag & 0xFFFF:04X})".strip()

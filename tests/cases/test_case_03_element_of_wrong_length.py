"""Case 03: an element whose length or text does not fit its value representation: named, or that element ignored."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from support.archive import dicom
from support.cases import case_folder

from dicom_workflow.dicom import pixels
from dicom_workflow.dicom.inspection import inspect
from dicom_workflow.dicom.reading import read_dataset
from dicom_workflow.errors import DicomError
from dicom_workflow.learning.data.images import decode

PIXELS = struct.pack("<HH", 0x7FE0, 0x0010)
BARE = ("BytesLengthException", "struct.error", "ValueError", "TypeError", "OverflowError", "KeyError")


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def with_element(tag: int, vr: bytes, value: bytes) -> bytes:
    """A file of 16 x 16 pixels with one more element, or with another in the place of one that it has."""
    data = dicom()
    start = data.find(struct.pack("<HH", tag >> 16, tag & 0xFFFF), 132)
    if start >= 0:
        length = struct.unpack_from("<H", data, start + 6)[0]
        return data[:start] + element(tag, vr, value) + data[start + 8 + length :]
    at = data.index(PIXELS)
    return data[:at] + element(tag, vr, value) + data[at:]


IGNORED = [
    (0x00280120, b"US", b"\1\2\3"),
    (0x00280120, b"FD", b"-2000 "),
    (0x00280121, b"US", b"\1"),
    (0x00281050, b"FD", b"2048 "),
    (0x00281050, b"US", b"\1"),
    (0x00281051, b"DS", b"wide"),
    (0x00281052, b"FD", b"-1024"),
    (0x00281053, b"FL", b"1.0"),
    (0x00189327, b"FD", b"text in FD"),
    (0x00080018 + 0x100000, b"US", b"\1\2\3"),
]


@pytest.mark.parametrize(("tag", "vr", "value"), IGNORED, ids=str)
def test_an_element_that_the_image_can_do_without_is_ignored(tag: int, vr: bytes, value: bytes) -> None:
    data = with_element(tag, vr, value)
    assert inspect(data).rows == 16
    np.testing.assert_array_equal(decode(data, 16), decode(dicom(), 16))


NEEDED = [
    (0x00280010, b"US", b"\x10\0\0", "Rows"),
    (0x00280011, b"US", b"\x10", "Columns"),
    (0x00280100, b"US", b"\x08\0\0", "Bits Allocated"),
    (0x00280002, b"FD", b"one", "Samples Per Pixel|Samples per Pixel"),
]


@pytest.mark.parametrize(("tag", "vr", "value", "name"), NEEDED, ids=str)
def test_an_element_that_the_image_needs_is_named(tag: int, vr: bytes, value: bytes, name: str) -> None:
    with pytest.raises(DicomError, match=name) as refusal:
        inspect(with_element(tag, vr, value))
    assert not any(bare in str(refusal.value) for bare in BARE)
    with pytest.raises(DicomError) as refusal:
        decode(with_element(tag, vr, value), 16)
    assert not str(refusal.value).endswith(BARE)


OTHER_FORMS = [
    (0x00280010, b"DS", b"16", r"Rows \(0028,0010\): expected one whole number \(VR US\), got '16' \(VR DS\)"),
    (0x00280011, b"US", b"\x10\0\x10\0", r"Columns \(0028,0011\): expected one whole number \(VR US\), got \[16, 16\]"),
    (0x00280101, b"US", b"", r"Bits Stored \(0028,0101\): expected one whole number \(VR US\), got an empty element"),
    (0x00280008, b"IS", b"one ", r"expected one frame, got one"),
    (0x00280008, b"IS", b"-1", r"expected one frame, got -1"),
]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("tag", "vr", "value", "reason"), OTHER_FORMS, ids=str)
def test_the_reason_says_what_was_expected_and_found(tag: int, vr: bytes, value: bytes, reason: str) -> None:
    with pytest.raises(DicomError, match=reason):
        decode(with_element(tag, vr, value), 16)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("length", [0, 1, 3, 5, 7])
@pytest.mark.parametrize("vr", [b"US", b"SS", b"UL", b"FL", b"FD", b"AT", b"DS", b"IS", b"CS", b"UI", b"SH"])
def test_any_element_of_any_length_is_an_outcome(vr: bytes, length: int) -> None:
    """Group 0028 and the UIDs, one after the other: the image is read, or a reason is given in words."""
    for tag in (0x00080016, 0x00080018, 0x00280002, 0x00280004, 0x00280008, 0x00280010, 0x00280101, 0x00280102, 0x00280103,
                0x00280120, 0x00281050, 0x00281054, 0x00281056, 0x00283010, 0x20500020):  # fmt: skip
        data = with_element(tag, vr, b"\x01" * length)
        for read in (inspect, lambda given: decode(given, 16), lambda given: pixels.to_png(read_dataset(given))):
            try:
                read(data)
            except DicomError as error:
                assert not str(error).strip(". ").endswith(BARE)


def test_the_collected_files() -> None:
    folder = case_folder("03-element-of-wrong-length")
    for name in ("good1", "padding-3-bytes"):
        assert inspect(folder / f"{name}.dcm").rows == 64
        assert float(pixels.to_display(read_dataset(folder / f"{name}.dcm")).mean()) == pytest.approx(0.459, abs=1e-3)

"""Case 20: an Icon Image Sequence whose pixel data are compressed."""

from __future__ import annotations

import struct

import pytest
from support.archive import dataset, dicom, to_bytes
from support.cases import case_folder

from dicom_workflow.dicom import pixels
from dicom_workflow.dicom.inspection import inspect
from dicom_workflow.dicom.reading import read_dataset
from dicom_workflow.errors import TruncatedDicomError

PIXELS = struct.pack("<HH", 0x7FE0, 0x0010)
ITEM, ITEM_END, END = (struct.pack("<HH", 0xFFFE, element) for element in (0xE000, 0xE00D, 0xE0DD))
UNDEFINED = b"\xff\xff\xff\xff"


def fragments(vr: bytes = b"OB", tag: bytes = PIXELS) -> bytes:
    held = ITEM + struct.pack("<L", 0) + ITEM + struct.pack("<L", 6) + b"\xff\xd8\xff\xfe\xff\xd9" + END + bytes(4)
    return tag + vr + b"\0\0" + UNDEFINED + held


def sequence(content: bytes, *, undefined: bool) -> bytes:
    length = (lambda inside: UNDEFINED) if undefined else (lambda inside: struct.pack("<L", len(inside)))
    item = ITEM + length(content) + content + (ITEM_END + bytes(4) if undefined else b"")
    return struct.pack("<HH2sH", 0x0088, 0x0200, b"SQ", 0) + length(item) + item + (END + bytes(4) if undefined else b"")


@pytest.mark.parametrize("undefined", [True, False], ids=["undefined length", "defined length"])
@pytest.mark.parametrize("content", [
    fragments(), fragments(b"OW"), fragments(tag=struct.pack("<HH", 0x0009, 0x1010)), sequence(fragments(), undefined=True),
], ids=["OB", "OW", "private", "nested"])  # fmt: skip
def test_it_is_stored_and_shown(content: bytes, undefined: bool) -> None:
    data = dicom()
    at = data.index(PIXELS)
    with_icon = data[:at] + sequence(content, undefined=undefined) + data[at:]
    assert inspect(with_icon).pixel_bytes == 256
    assert (pixels.to_display(read_dataset(with_icon)) == pixels.to_display(read_dataset(data))).all()


@pytest.mark.parametrize("undefined", [True, False], ids=["undefined length", "defined length"])
@pytest.mark.parametrize("content", [fragments(), struct.pack("<HH2sH2s", 9, 0x1011, b"LO", 2, b"ab"),
                                     struct.pack("<HHL2s", 9, 0x1011, 2, b"ab")],
                         ids=["compressed", "explicit", "implicit"])  # fmt: skip
def test_a_sequence_written_as_un_is_read_whichever_way_it_is_written_inside(content: bytes, undefined: bool) -> None:
    """PS3.5 6.2.2 note 2 asks for implicit VR; writers that copy an explicit sequence leave it explicit."""
    data = dicom()
    at = data.index(PIXELS)
    private = sequence(content, undefined=undefined)
    private = struct.pack("<HH2s", 9, 0x1010, b"UN") + private[6:]
    changed = data[:at] + private + data[at:]
    assert inspect(changed).pixel_bytes == 256
    assert (pixels.to_display(read_dataset(changed)) == pixels.to_display(read_dataset(data))).all()


def test_an_icon_alone_is_no_image_and_a_cut_icon_is_named() -> None:
    made = dataset()
    made.PatientComments = "x" * 20
    data = to_bytes(made)
    at = data.index(PIXELS)
    with pytest.raises(TruncatedDicomError):
        inspect(data[:at] + sequence(fragments(), undefined=True)[:-30])


def test_the_collected_file() -> None:
    path = case_folder("20-icon-image") / "icon-jpeg-explicit.dcm"
    assert inspect(path).rows == 64
    assert float(pixels.to_display(read_dataset(path)).mean()) == pytest.approx(0.459, abs=1e-3)

"""Case 28: a window, a rescale or a padding value in another value representation than the standard's: the same tensor."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from pydicom.uid import ExplicitVRBigEndian
from support.pixels import dataset_of, file_bytes

from dicom_workflow.dicom import pixels
from dicom_workflow.learning.data.images import decode

VALUES = np.arange(64 * 64).reshape(64, 64)
LONG = (b"UT", b"UC", b"UN", b"OB", b"OW", b"OD", b"OF", b"SV", b"UV")
PIXELS = struct.pack("<HH", 0x7FE0, 0x0010)


def encoded(vr: bytes, numbers: tuple[float, ...]) -> bytes:
    code = {
        b"US": "H",
        b"SS": "h",
        b"UL": "L",
        b"SL": "l",
        b"FL": "f",
        b"FD": "d",
        b"SV": "q",
        b"UV": "Q",
        b"OD": "d",
        b"OF": "f",
    }
    if vr in code:
        kind = float if code[vr] in "fd" else int
        return b"".join(struct.pack("<" + code[vr], kind(number)) for number in numbers)
    text = "\\".join(f"{number:g}" for number in numbers).encode()
    return text + b" " * (len(text) % 2)


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    return head + (struct.pack("<HL", 0, len(value)) if vr in LONG else struct.pack("<H", len(value))) + value


def with_elements(*elements: bytes) -> bytes:
    data = file_bytes(dataset_of(VALUES))
    at = data.index(PIXELS)
    return data[:at] + b"".join(elements) + data[at:]


VRS = [b"DS", b"US", b"SS", b"UL", b"SL", b"FL", b"FD", b"SV", b"UV", b"UT", b"LO", b"SH", b"LT", b"IS", b"CS", b"UN", b"OB",
       b"UC", b"ST"]  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("vr", VRS)
@pytest.mark.parametrize("numbers", [(2048,), (2048, 100)], ids=["one", "two"])
def test_a_window_gives_the_same_tensor(vr: bytes, numbers: tuple[float, ...]) -> None:
    widths = tuple(1024 for _ in numbers)
    plain = decode(file_bytes(dataset_of(VALUES, WindowCenter=list(numbers), WindowWidth=list(widths))), 48)
    found = decode(
        with_elements(element(0x00281050, vr, encoded(vr, numbers)), element(0x00281051, vr, encoded(vr, widths))), 48
    )
    np.testing.assert_array_equal(found, plain)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("vr", VRS)
def test_a_rescale_gives_the_same_tensor(vr: bytes) -> None:
    window = element(0x00281050, b"DS", b"4096"), element(0x00281051, b"DS", b"2048")
    rescale = element(0x00281052, vr, encoded(vr, (100,))), element(0x00281053, vr, encoded(vr, (2,)))
    plain = decode(
        file_bytes(dataset_of(VALUES, WindowCenter=4096, WindowWidth=2048, RescaleIntercept=100, RescaleSlope=2)), 48
    )
    np.testing.assert_array_equal(decode(with_elements(*window, *rescale), 48), plain)


@pytest.mark.parametrize("vr", [b"US", b"SS", b"UL", b"SL"])
def test_a_padding_value_gives_the_same_tensor(vr: bytes) -> None:
    plain = decode(file_bytes(dataset_of(VALUES, PixelPaddingValue=4095)), 48)
    np.testing.assert_array_equal(decode(with_elements(element(0x00280120, vr, encoded(vr, (4095,)))), 48), plain)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("vr", [b"CS", b"LO", b"UT", b"OB", b"UN", b"SH"])
def test_a_function_and_a_shape_give_the_same_tensor(vr: bytes) -> None:
    window = element(0x00281050, b"DS", b"2048"), element(0x00281051, b"DS", b"2048")
    function, shape = element(0x00281056, vr, b"SIGMOID "), element(0x20500020, vr, b"INVERSE ")
    plain = dataset_of(VALUES, WindowCenter=2048, WindowWidth=2048, VOILUTFunction="SIGMOID", PresentationLUTShape="INVERSE")
    np.testing.assert_array_equal(decode(with_elements(*window, function, shape), 48), decode(file_bytes(plain), 48))


@pytest.mark.parametrize("text", [b"2048,5", b"1_000", b"nan", b"inf ", b"0x10", b"--", b"\xff\xfe"])
def test_text_that_is_no_decimal_number_is_no_window(text: bytes) -> None:
    """As on the page: without a usable window the percentiles set the range."""
    odd = with_elements(element(0x00281050, b"UT", text + b" " * (len(text) % 2)), element(0x00281051, b"UT", b"1024"))
    np.testing.assert_array_equal(decode(odd, 48), decode(file_bytes(dataset_of(VALUES)), 48))


def test_the_byte_order_of_a_number_is_that_of_the_data_set() -> None:
    dataset = dataset_of(VALUES)
    dataset.add_new("WindowCenter", "US", 2048)
    dataset.add_new("WindowWidth", "FD", 1024.0)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    dataset.PixelData = VALUES.astype(">u2").tobytes()
    plain = decode(file_bytes(dataset_of(VALUES, WindowCenter=2048, WindowWidth=1024)), 48)
    np.testing.assert_array_equal(decode(file_bytes(dataset), 48), plain)
    np.testing.assert_array_equal(pixels.to_model_input(dataset, size_px=48).astype(np.float16), plain)

"""Reading files of any size and in any state: little memory, and an error of the package for whatever is wrong."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.uid import ExplicitVRBigEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless
from support.archive import to_bytes
from support.cases import case_folder
from support.pixels import compressed, dataset_of, file_bytes

from dicom_workflow.dicom import element_walker, pixels, reading
from dicom_workflow.dicom.decoding import read_frame, stored_values
from dicom_workflow.dicom.element_walker import walk
from dicom_workflow.dicom.inspection import inspect, md5_of
from dicom_workflow.dicom.reading import read_dataset
from dicom_workflow.errors import DicomError, UnsupportedPixelsError, WorkflowError

VALUES = np.arange(64 * 48).reshape(64, 48)


def two_gigabytes(path: Path) -> Path:
    """Write 1,000 frames of 1,024 x 1,024 pixels; a sparse file, of which nothing but the header takes space."""
    made = dataset_of(np.zeros((1, 1)), Rows=1024, Columns=1024, NumberOfFrames=1000)
    made.StudyInstanceUID, made.SeriesInstanceUID, made.PatientID, made.Modality = "1.2.4", "1.2.5", "P1", "XA"
    data = file_bytes(made)
    length = 1000 * 1024 * 1024 * 2
    with path.open("wb") as file:
        file.write(data[:-6] + length.to_bytes(4, "little"))
        file.truncate(len(data) - 2 + length)
    return path


PEAK = """
import resource, sys
from pathlib import Path
from dicom_workflow.dicom import inspection, decoding, pixels, reading
from dicom_workflow.errors import UnsupportedPixelsError

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
path = Path(sys.argv[1])
assert inspection.inspect(path).frames == 1000
assert decoding.read_frame(path, 999).values.shape == (1024, 1024)
try:
    pixels.to_display(reading.read_dataset(path))
except UnsupportedPixelsError as error:
    assert "expected one frame, got 1000" in str(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_file_of_two_gigabytes_is_inspected_and_read_frame_by_frame_in_little_memory(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PEAK, two_gigabytes(tmp_path / "large.dcm")]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(found.stdout) <= 100, f"{found.stdout} MB"


def test_the_md5_of_a_file_is_that_of_its_content(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"content" * 100_000)
    assert md5_of(tmp_path / "one") == md5_of(b"content" * 100_000) == md5_of(memoryview(b"content" * 100_000))


def test_a_file_of_too_many_elements_is_refused_before_anybody_parses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = b"".join(b"\x09\x00" + (0x1000 + number).to_bytes(2, "little") + b"LO\0\0" for number in range(2_000))
    data = file_bytes(dataset_of(VALUES))
    at = data.index(b"\xe0\x7f\x10\x00")
    data = data[:at] + empty + data[at:]
    assert read_dataset(data).Rows == 64
    monkeypatch.setattr(reading, "_MAX_ELEMENTS", 1_000)
    with pytest.raises(UnsupportedPixelsError, match="more than 1,000 elements or fragments"):
        read_dataset(data)
    with pytest.raises(UnsupportedPixelsError, match="more than 1,000 elements"):
        walk(data, max_elements=1_000)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    for read in (inspect, read_dataset):
        outcome: list[Exception] = []

        def one(read: Any = read, outcome: list[Exception] = outcome) -> None:
            try:
                read(tmp_path / "pipe")
            except DicomError as error:
                outcome.append(error)

        thread = threading.Thread(target=one, daemon=True)
        thread.start()
        thread.join(10)
        assert "a pipe, socket or device" in str(outcome[0])


class PanicException(BaseException):
    """What a decoder written in Rust raises."""


PanicException.__module__ = "pyo3_runtime"


@pytest.mark.parametrize(("raised", "said"), [
    (KeyError("x"), "nothing is known of 'x'"), (MemoryError(), "not enough memory"), (PanicException("index"), "index"),
    (RecursionError("too deep"), "too deep"), (OSError(5, "broken"), "broken"), (StopIteration(), "its parser stopped"),
], ids=lambda value: type(value).__name__)  # fmt: skip
def test_whatever_a_parser_raises_is_an_error_of_the_one_file(raised: BaseException, said: str) -> None:
    with (
        pytest.raises(DicomError, match=f"one.dcm: it cannot be read: .*{said}"),
        reading.errors_named("one.dcm", "it cannot be read"),
    ):
        raise raised


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), SystemExit(1), WorkflowError("own")])
def test_ctrl_c_the_end_and_own_errors_pass(raised: BaseException) -> None:
    with pytest.raises(type(raised)), reading.errors_named("one.dcm", "it cannot be read"):
        raise raised


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("syntax", ["", RLELossless, JPEG2000Lossless, JPEGLSLossless], ids=str)
def test_a_damaged_file_is_read_or_is_an_error_of_the_package(tmp_path: Path, syntax: str) -> None:
    dataset = dataset_of(VALUES, PixelPaddingValue=0, WindowCenter=2048, WindowWidth=1000)
    good = file_bytes(compressed(dataset, syntax) if syntax else dataset)
    generator, path = random.Random(7), tmp_path / "one.dcm"
    for _ in range(250):
        data = bytearray(good)
        for _ in range(generator.randint(1, 8)):
            data[generator.randrange(128, min(len(data), 1200))] = generator.randrange(256)
        path.write_bytes(data)
        for read in (lambda: pixels.to_model_input(read_dataset(path), size_px=16), lambda: read_frame(path, 0)):
            try:
                read()
            except DicomError as error:
                assert len(str(error)) > 30


def test_frames_of_every_compression_are_those_of_the_whole_image(tmp_path: Path) -> None:
    for syntax in (RLELossless, JPEG2000Lossless, JPEGLSLossless):
        made = compressed(dataset_of(VALUES), syntax)
        (tmp_path / "one.dcm").write_bytes(file_bytes(made))
        np.testing.assert_array_equal(read_frame(tmp_path / "one.dcm").values, VALUES)


def test_a_frame_whose_code_stream_is_larger_than_its_header_is_refused(tmp_path: Path) -> None:
    made = compressed(dataset_of(VALUES), JPEG2000Lossless)
    made.Rows = 16
    (tmp_path / "one.dcm").write_bytes(file_bytes(made))
    with pytest.raises(UnsupportedPixelsError, match=r"code stream of 16 rows × 48 columns with one component"):
        read_frame(tmp_path / "one.dcm")


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_the_collected_files_that_panic_overflow_or_never_end() -> None:
    """A panic of the RLE decoder, a table of 65,535 bits, an element of an impossible length, millions of empty elements."""
    folder = case_folder("34-decoders")
    for name in ("rle-panic", "lut-0074", "len-0022", "inspect-cpu-50"):
        with pytest.raises(DicomError):
            pixels.to_model_input(read_dataset(folder / f"{name}.dcm"), size_px=16)
    assert element_walker.MAX_ELEMENTS > reading._MAX_ELEMENTS


@pytest.mark.parametrize("vr", ["OB", "OW"])
def test_pixels_of_eight_bits_in_a_big_endian_file_lie_in_words_or_in_bytes(tmp_path: Path, vr: str) -> None:
    values = np.arange(24, dtype=np.uint8).reshape(4, 6)
    made = dataset_of(values, bits=8)
    # A word is written with its high byte first, so that bytes in words come in swapped pairs (PS3.5 D).
    made.PixelData = values.tobytes() if vr == "OB" else values.view("<u2").astype(">u2").tobytes()
    made["PixelData"].VR = vr
    path = tmp_path / "big-endian.dcm"
    path.write_bytes(to_bytes(made, ExplicitVRBigEndian))

    assert stored_values(reading.read_dataset(path)).tolist() == values.tolist()
    assert read_frame(path, 0).values.tolist() == values.tolist()

"""Inspection: what may be sent to an archive, and why not the rest."""

from __future__ import annotations

import random
import struct
import threading
import zlib
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian, JPEG2000Lossless
from support.archive import dataset, dicom, to_bytes

from dicom_workflow.dicom import element_walker
from dicom_workflow.dicom.inspection import inspect
from dicom_workflow.errors import DicomError, NotDicomError, TruncatedDicomError, UnsupportedPixelsError

PIXELS = struct.pack("<HH", 0x7FE0, 0x0010)


def nested(depth: int, *, tag: tuple[int, int] = (0x0008, 0x1140), vr: bytes = b"SQ", undefined: bool = True) -> bytes:
    """Sequences in sequences, as explicit VR little endian elements (implicit inside, where the VR is UN)."""
    inside = b""
    for level in range(depth):
        item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF if undefined else len(inside)) + inside
        if undefined:
            item += struct.pack("<HHL", 0xFFFE, 0xE00D, 0) + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
        length = 0xFFFFFFFF if undefined else len(item)
        if vr == b"UN" and level < depth - 1:
            inside = struct.pack("<HHL", *tag, length) + item
        else:
            inside = struct.pack("<HH2sxxL", *tag, vr, length) + item
    return inside


def with_element(element: bytes, data: bytes | None = None) -> bytes:
    """A good file with one more element before its pixel data."""
    data = data or dicom()
    at = data.index(PIXELS)
    return data[:at] + element + data[at:]


def test_a_good_file_says_what_it_is() -> None:
    found = inspect(dicom(3))
    assert (found.rows, found.columns, found.frames, found.samples, found.bits_allocated) == (16, 16, 1, 1, 8)
    assert found.sop_instance_uid == "1.2.826.0.1.99.3.3"
    assert found.modality == "DX"
    assert found.pixel_bytes == 256
    assert found.to_instance("m").md5 == "m"


def test_view_sex_age_and_device_go_into_the_record_and_what_is_of_another_form_does_not() -> None:
    said = {"ViewPosition": "PA", "PatientSex": "F", "PatientAge": "061Y", "Manufacturer": "Acme  Röntgen"}
    made = dataset(3)
    made.SpecificCharacterSet = "ISO_IR 192"
    for name, value in said.items():
        setattr(made, name, value)
    record = inspect(to_bytes(made)).to_instance("")
    assert (record.view_position, record.sex, record.age) == ("PA", "F", "061Y")
    assert (record.manufacturer, record.photometric_interpretation) == ("Acme Röntgen", "MONOCHROME2")
    strange = [(0x00185101, b"CS", b"Doe^Jane"), (0x00100040, b"CS", b"unknown "), (0x00101010, b"AS", b"61 years")]
    data = dicom(3)
    for tag, vr, value in strange:
        data = with_element(struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value, data)
    record = inspect(data).to_instance("")
    assert (record.view_position, record.sex, record.age, record.manufacturer) == ("", "", "", "")


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_every_native_transfer_syntax_is_read(syntax: pydicom.uid.UID) -> None:
    made = dataset()
    data = to_bytes(made, syntax) if syntax != ExplicitVRBigEndian else big_endian(made)
    found = inspect(data)
    assert (found.transfer_syntax_uid, found.rows, found.pixel_bytes) == (syntax, 16, 256)


def big_endian(made: pydicom.Dataset) -> bytes:
    made["PixelData"].VR = "OB"
    return to_bytes(made, ExplicitVRBigEndian)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "an empty file"),
        (b"<html><body>Sign in</body></html>", "HTML"),
        (b'{"Message": "no"}', "JSON"),
        (b"\x89PNG\r\n\x1a\n" + bytes(200), "a PNG image"),
        (b"PK\x03\x04" + bytes(200), "a ZIP archive"),
        (bytes(range(200)), "200 bytes beginning with 00 01 02"),
    ],
)
def test_what_is_not_dicom_is_named(data: bytes, said: str) -> None:
    with pytest.raises(NotDicomError, match=said):
        inspect(data)


def test_dicom_prefix_alone_is_not_enough() -> None:
    with pytest.raises(NotDicomError, match="Transfer Syntax UID"):
        inspect(bytes(128) + b"DICM" + bytes(50))


def test_no_file_cut_short_is_accepted_wherever_it_ends() -> None:
    data = dicom()
    for end in range(len(data)):
        with pytest.raises(DicomError):
            inspect(data[:end])


def test_pixel_data_shorter_than_the_image_are_truncated() -> None:
    made = dataset()
    made.Rows = 17
    with pytest.raises(TruncatedDicomError, match=r"expected 272 bytes of pixel data or more .* got 256"):
        inspect(to_bytes(made))


def test_zeros_after_the_pixel_data_are_padding() -> None:
    assert inspect(dicom() + bytes(2048)).pixel_bytes == 256


def test_compressed_pixel_data_need_their_end() -> None:
    made = dataset()
    made.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51" + bytes(60)])
    made["PixelData"].is_undefined_length = True
    data = to_bytes(made, JPEG2000Lossless)
    assert inspect(data).pixel_bytes == 64
    for end in (-1, -8, -20, -70):
        with pytest.raises(TruncatedDicomError):
            inspect(data[:end])


def test_a_file_without_an_image_is_refused() -> None:
    made = dataset()
    del made.PixelData
    with pytest.raises(UnsupportedPixelsError, match="without an image"):
        inspect(to_bytes(made))


@pytest.mark.parametrize(("name", "value", "said"), [("Rows", 0, "0 rows"), ("Columns", 0, "0 columns")])
def test_an_image_without_pixels_is_refused(name: str, value: int, said: str) -> None:
    made = dataset()
    setattr(made, name, value)
    with pytest.raises(UnsupportedPixelsError, match=said):
        inspect(to_bytes(made))


def test_an_absurd_size_is_refused_before_memory_is_allocated() -> None:
    made = dataset()
    made.Rows = made.Columns = 65535
    made.NumberOfFrames = 99999999
    with pytest.raises(UnsupportedPixelsError, match="at most 4,294,967,296 bytes"):
        inspect(to_bytes(made))


@pytest.mark.parametrize("name", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_a_missing_uid_is_named(name: str) -> None:
    made = dataset()
    value = str(made[name].value).encode()
    with pytest.raises(DicomError, match=r"(Study|Series|SOP) Instance UID \(00\d\d,00\w\w\) is missing"):
        inspect(to_bytes(made).replace(value, b" " * len(value)))


@pytest.mark.parametrize("undefined", [True, False], ids=["undefined length", "defined length"])
@pytest.mark.parametrize(("tag", "vr"), [((0x0008, 0x1140), b"SQ"), ((0x0008, 0x1140), b"UN"), ((0x0009, 0x1001), b"UN")])
def test_sequences_nested_deeper_than_32_are_refused(tag: tuple[int, int], vr: bytes, undefined: bool) -> None:
    """Two hundred of them end the process of Orthanc 1.10."""
    assert inspect(with_element(nested(32, tag=tag, vr=vr, undefined=undefined))).rows == 16
    with pytest.raises(DicomError, match="nested more than 32 deep"):
        inspect(with_element(nested(33, tag=tag, vr=vr, undefined=undefined)))
    with pytest.raises(DicomError, match="nested more than 32 deep"):
        inspect(with_element(nested(2_000 if undefined else 200, tag=tag, vr=vr, undefined=undefined)))


def test_bytes_that_only_look_like_a_sequence_are_left_alone() -> None:
    value = struct.pack("<HHL", 0xFFFE, 0xE000, 99) + bytes(8)
    assert inspect(with_element(struct.pack("<HH2sxxL", 0x0009, 0x1001, b"UN", len(value)) + value)).rows == 16


def test_a_deflate_bomb_is_not_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(element_walker, "MAX_INFLATED_BYTES", 100_000)
    data = to_bytes(dataset(), DeflatedExplicitVRLittleEndian)
    start = 144 + struct.unpack_from("<L", data, 140)[0]  # as the group length of the file meta information says
    squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = data[:start] + squeeze.compress(bytes(10_000_000)) + squeeze.flush()
    with pytest.raises(UnsupportedPixelsError, match="grows above 100,000 bytes"):
        inspect(bomb)


@pytest.mark.parametrize("padding", [b"", b"\0\0"])
def test_inflating_a_file_of_several_pieces_has_an_end_whatever_pads_it(
    monkeypatch: pytest.MonkeyPatch, padding: bytes
) -> None:
    monkeypatch.setattr(element_walker, "_INFLATED_PIECE_BYTES", 100)
    data = to_bytes(dataset(), DeflatedExplicitVRLittleEndian) + padding
    found: list[int] = []
    inspecting = threading.Thread(target=lambda: found.append(inspect(data).rows), daemon=True)
    inspecting.start()
    inspecting.join(10)
    assert found == [16]


def test_damaged_files_are_accepted_or_refused_and_never_anything_else() -> None:
    random_ = random.Random(5)
    good = [dicom(), to_bytes(dataset(), ImplicitVRLittleEndian), with_element(nested(3)), big_endian(dataset())]
    for _ in range(4000):
        data = bytearray(random_.choice(good))
        for _ in range(random_.randint(1, 6)):
            data[random_.randrange(132, len(data))] = random_.randrange(256)
        try:
            inspect(bytes(data))
        except DicomError as error:
            assert len(str(error)) > 20


def test_a_patient_id_in_another_script_is_read_in_its_character_set() -> None:
    made = dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    made.PatientID = "Größe-7"
    assert inspect(to_bytes(made)).patient_id == "Größe-7"


@pytest.mark.real_data
def test_real_files_say_what_pydicom_reads(sample_data: Path) -> None:
    paths = sorted((sample_data / "radiographs").glob("*.dcm"))
    assert paths
    for path in paths[:40]:
        found, read = inspect(path), pydicom.dcmread(path, stop_before_pixels=True)
        assert (found.rows, found.columns, found.bits_allocated) == (read.Rows, read.Columns, read.BitsAllocated)
        assert (found.patient_id, found.sop_instance_uid) == (read.PatientID, read.SOPInstanceUID)
        assert found.transfer_syntax_uid == read.file_meta.TransferSyntaxUID
        assert found.size_bytes == path.stat().st_size


@pytest.mark.real_data
def test_files_of_every_kind_are_accepted_or_refused_with_a_reason(sample_data: Path) -> None:
    refused = {}
    paths = sorted((sample_data / "dicom_variety").glob("*.dcm"))
    for path in paths:
        try:
            inspect(path)
        except DicomError as error:
            refused[path.name] = type(error)
    assert refused.pop("emri_small_jpeg_2k_lossless_too_short.dcm") is TruncatedDicomError
    assert len(paths) - len(refused) >= 65


@pytest.mark.real_data
def test_view_sex_age_and_device_of_real_files_are_what_pydicom_reads(sample_data: Path) -> None:
    fields = {
        "view_position": "ViewPosition",
        "sex": "PatientSex",
        "age": "PatientAge",
        "manufacturer": "Manufacturer",
        "photometric_interpretation": "PhotometricInterpretation",
    }
    different = set()
    for path in sorted(sample_data.rglob("*.dcm")):
        try:
            record = inspect(path).to_instance("")
        except DicomError:
            continue
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(fields.values()))
        said = {name: str(header.get(tag) or "") for name, tag in fields.items()}
        different |= {(name, text) for name, text in said.items() if text != getattr(record, name)}
    assert different <= {("age", "62")}, "years without their Y are no age string"

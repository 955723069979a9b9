"""Case 02: images in a private or unknown transfer syntax among others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import UID
from support.archive import dataset, dicom, to_bytes
from support.cases import case_folder

from dicom_workflow.archive import download, upload
from dicom_workflow.archive.folder import FolderArchive
from dicom_workflow.dicom.decoding import read_frame
from dicom_workflow.dicom.inspection import inspect
from dicom_workflow.errors import UnsupportedPixelsError
from dicom_workflow.learning.data.images import decode

SYNTAXES = {
    "1.2.840.10008.1.2.4.110": "JPEG XL, which pydicom does not know",
    "1.2.840.113845.1.2.1": "private, of one vendor",
    "1.2.840.10008.1.2.4.102": "MPEG-4, a video",
    "1.2.3.4": "nobody's",
}


def in_syntax(uid: str) -> bytes:
    made = dataset(1)
    made.PixelData = encapsulate([b"\xff\x0a" + bytes(30)])
    made["PixelData"].is_undefined_length = True
    data = to_bytes(made, UID("1.2.840.10008.1.2.4.90"))
    old, new = b"1.2.840.10008.1.2.4.90", uid.encode().ljust(22, b"\0")
    assert len(new) in (22, 23)
    return data.replace(b"\x02\x00\x10\x00UI\x16\x00" + old, b"\x02\x00\x10\x00UI" + bytes([len(new) + len(new) % 2, 0]) + new
                        + b"\0" * (len(new) % 2))  # fmt: skip


@pytest.mark.parametrize("uid", SYNTAXES)
def test_the_reason_names_the_syntax_and_that_nothing_here_decodes_it(tmp_path: Path, uid: str) -> None:
    path = tmp_path / "one.dcm"
    path.write_bytes(in_syntax(uid))
    assert inspect(path).transfer_syntax_uid == uid
    with pytest.raises(UnsupportedPixelsError, match=rf"no installed decoder reads .*{uid}") as refusal:
        decode(path, 32)
    assert "ValueError" not in str(refusal.value)
    with pytest.raises(UnsupportedPixelsError, match=rf"no installed decoder reads .*{uid}"):
        read_frame(path)


def test_a_data_set_that_is_not_in_explicit_vr_is_refused_with_its_syntax() -> None:
    made = to_bytes(dataset(), UID("1.2.840.10008.1.2"))
    private = b"1.2.840.113619.5.2"
    data = made.replace(
        b"\x02\x00\x10\x00UI\x12\x001.2.840.10008.1.2\0", b"\x02\x00\x10\x00UI\x12\x00" + private.ljust(18, b"\0")
    )
    with pytest.raises(UnsupportedPixelsError, match=r"the transfer syntax 1\.2\.840\.113619\.5\.2 is private or unknown"):
        inspect(data)


def test_the_batch_and_the_thumbnails_go_on(tmp_path: Path) -> None:
    for number, data in enumerate((in_syntax("1.2.840.113845.1.2.1"), dicom(2), dicom(3))):
        (tmp_path / f"{number}.dcm").write_bytes(data)
    archive = FolderArchive(tmp_path / "archive")
    report = upload.upload(sorted(tmp_path.glob("*.dcm")), archive, progress=False)
    assert report.counts == {"stored": 3}
    shown = download.thumbnails(archive, report.instances)
    assert len(shown) == 2
    assert all(isinstance(image, np.ndarray) for _, image in shown)


def test_the_collected_files() -> None:
    folder = case_folder("02-unknown-transfer-syntax")
    assert decode(folder / "good1.dcm", 32).mean() > 0.1
    for name, uid in (("jpegxl", "1.2.840.10008.1.2.4.110"), ("merge-xray-113845", "1.2.840.113845.1.2.1")):
        assert inspect(folder / f"{name}.dcm").transfer_syntax_uid == uid
        with pytest.raises(UnsupportedPixelsError, match=uid):
            decode(folder / f"{name}.dcm", 32)

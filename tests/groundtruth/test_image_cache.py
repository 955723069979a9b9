"""Frames of tasks: any frame of a file, color where the task allows it, and never a whole file in memory."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from support.groundtruth import radiograph, settings_for

from dicom_workflow.errors import ObjectNotFoundError, StorageError, UnsupportedPixelsError
from dicom_workflow.groundtruth.access import Access
from dicom_workflow.groundtruth.portal import image_cache
from dicom_workflow.groundtruth.portal.image_cache import ImageCache
from dicom_workflow.labeling.tasks.protocol import Frame
from dicom_workflow.storage import Storage, to_uri


class FarStorage(Storage):
    """s3:// from a folder; every read is counted, and none may take more than a block."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder, self.opened = folder, 0

    def open(self, uri: str):  # type: ignore[no-untyped-def]
        self.opened += 1
        return super().open(to_uri(self.folder / uri.rpartition("/")[2]))

    def read_bytes(self, uri: str) -> bytes:
        raise AssertionError("a whole file must not be read")


@pytest.fixture
def far(tmp_path: Path) -> FarStorage:
    (tmp_path / "far").mkdir()
    return FarStorage(tmp_path / "far")


@pytest.fixture
def cache(tmp_path: Path, far: FarStorage) -> ImageCache:
    settings = settings_for(tmp_path / "workspace")
    return ImageCache(settings, Access(settings, far))


def write(path: Path, values: np.ndarray, **elements: object) -> None:
    """An instance of these stored values: (rows, columns), (frames, rows, columns) or (frames, rows, columns, samples)."""
    dataset: Dataset = dcmread(io.BytesIO(radiograph(0)[1]))
    frames = values if values.ndim > 2 else values[None]
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.Rows, dataset.Columns = frames.shape[1:3]
    if len(frames) > 1:
        dataset.NumberOfFrames = len(frames)
    if frames.ndim == 4:
        dataset.SamplesPerPixel, dataset.PlanarConfiguration, dataset.PhotometricInterpretation = 3, 0, "RGB"
    dataset.PixelData = values.tobytes()
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)


def shown(cache: ImageCache, frame: Frame) -> np.ndarray:
    data, kind = cache.rendered(frame)
    assert kind == "image/png"
    return np.asarray(Image.open(io.BytesIO(data)))


def test_each_frame_of_a_gray_file_is_shown_by_its_index(cache: ImageCache, far: FarStorage) -> None:
    values = np.arange(3 * 4 * 6, dtype=np.uint8).reshape(3, 4, 6)
    write(far.folder / "cine.dcm", values, WindowCenter=128, WindowWidth=256)
    for index in range(3):
        assert np.array_equal(shown(cache, Frame("x", "s3://b/cine.dcm", rendered=True, index=index)), values[index])
    assert far.opened == 1
    with pytest.raises(UnsupportedPixelsError, match="from 0 to 2, got 3"):
        cache.rendered(Frame("x", "s3://b/cine.dcm", rendered=True, index=3))


def test_the_window_of_the_frame_itself_is_used(cache: ImageCache, far: FarStorage) -> None:
    """An enhanced image has one for each frame (PS3.3 C.7.6.16.2.10)."""

    def group(center: int) -> Dataset:
        item, inner = Dataset(), Dataset()
        inner.WindowCenter, inner.WindowWidth = center, 2
        item.FrameVOILUTSequence = [inner]
        return item

    values = np.array([[[10, 90]], [[10, 90]]], np.uint8)
    write(far.folder / "enhanced.dcm", values, PerFrameFunctionalGroupsSequence=[group(50), group(5)])
    assert shown(cache, Frame("x", "s3://b/enhanced.dcm", rendered=True, index=0)).tolist() == [[0, 255]]
    assert shown(cache, Frame("x", "s3://b/enhanced.dcm", rendered=True, index=1)).tolist() == [[255, 255]]


def test_color_is_shown_where_the_task_allows_it_and_refused_elsewhere(cache: ImageCache, far: FarStorage) -> None:
    values = np.random.default_rng(1).integers(0, 256, (2, 4, 6, 3), np.uint8)
    write(far.folder / "slide.dcm", values)
    frame = Frame("tile", "s3://b/slide.dcm", rendered=True, index=1, color=True)
    assert np.array_equal(shown(cache, frame), values[1])
    with pytest.raises(UnsupportedPixelsError, match="the image is in color"):
        cache.rendered(Frame("tile", "s3://b/slide.dcm", rendered=True, index=1))


def test_a_file_goes_through_in_blocks_and_its_copy_is_private(
    cache: ImageCache, far: FarStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_cache, "BLOCK_BYTES", 1000)
    data = radiograph(1, side=64)[1]
    (far.folder / "a.dcm").write_bytes(data)
    stored = cache.stored("s3://b/a.dcm")
    assert (stored.media_type, stored.size_bytes) == ("application/dicom", len(data))
    blocks = list(stored.blocks())
    assert (max(map(len, blocks)), b"".join(blocks)) == (1000, data)
    (copy,) = (tmp_path / "workspace/groundtruth/images").iterdir()
    assert oct(copy.stat().st_mode & 0o777) == "0o600"
    assert oct(copy.parent.stat().st_mode & 0o777) == "0o700"


def test_the_oldest_copies_go_first_and_one_being_sent_is_sent_whole(
    cache: ImageCache, far: FarStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {name: radiograph(number, side=32)[1] for number, name in enumerate("abc")}
    for name, data in files.items():
        (far.folder / name).write_bytes(data)
    monkeypatch.setattr(image_cache, "DISK_BYTES", 2 * len(files["a"]) + 10)
    sending = cache.stored("s3://x/a")
    for name in "bc":
        assert b"".join(cache.stored(f"s3://x/{name}").blocks()) == files[name]
    copies = list((tmp_path / "workspace/groundtruth/images").iterdir())
    assert (len(copies), far.opened) == (2, 3)
    assert b"".join(sending.blocks()) == files["a"]
    assert b"".join(cache.stored("s3://x/c").blocks()) == files["c"]
    assert far.opened == 3


def test_several_workers_at_once_fetch_one_file_once(cache: ImageCache, far: FarStorage) -> None:
    data = radiograph(1, side=64)[1]
    (far.folder / "a.dcm").write_bytes(data)
    start, got = threading.Barrier(8), []

    def ask() -> None:
        start.wait()
        got.append(b"".join(cache.stored("s3://b/a.dcm").blocks()))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (got, far.opened) == ([data] * 8, 1)


def test_what_a_copy_left_half_done_is_gone_and_the_next_request_tries_again(
    cache: ImageCache, far: FarStorage, tmp_path: Path
) -> None:
    with pytest.raises(ObjectNotFoundError):
        cache.stored("s3://b/late.dcm")
    assert list((tmp_path / "workspace/groundtruth/images").iterdir()) == []
    (far.folder / "late.dcm").write_bytes(radiograph(1)[1])
    stored = cache.stored("s3://b/late.dcm")
    assert stored.media_type == "application/dicom"
    assert b"".join(stored.blocks()) == radiograph(1)[1]


def test_a_file_of_the_workspace_is_used_where_it_is(cache: ImageCache, tmp_path: Path) -> None:
    path = tmp_path / "workspace" / "images" / "a.dcm"
    path.parent.mkdir(parents=True)
    path.write_bytes(radiograph(1)[1])
    assert b"".join(cache.stored(to_uri(path)).blocks()) == path.read_bytes()
    assert not (tmp_path / "workspace/groundtruth/images").exists()
    with pytest.raises(ObjectNotFoundError, match="is not a file"):
        cache.stored(to_uri(path.parent))
    with pytest.raises(StorageError, match="outside the service's workspace"):
        cache.stored("file:///etc/passwd")

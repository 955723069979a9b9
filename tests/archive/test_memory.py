"""A file of hundreds of megabytes passes through upload, read-back and download in pieces: memory does not grow with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.archive import dataset

from dicom_workflow.archive.orthanc_process import OrthancServer, find_dicomweb_plugin, find_orthanc

FILE_BYTES = int(os.environ.get("LARGE_FILE_BYTES", 512 << 20))
MAX_GROWTH_BYTES = 100 << 20
FRAME_PX = 1024

pytestmark = [
    pytest.mark.orthanc,
    pytest.mark.skipif(not find_orthanc(), reason="there is no Orthanc here"),
]

SCRIPT = """
import json, resource, sys, threading
from pathlib import Path
from dicom_workflow.archive import open_archive
from dicom_workflow.archive.download import copy_to, retrieve
from dicom_workflow.archive.upload import upload
from dicom_workflow.settings import Secret, Settings
from dicom_workflow.storage import Storage, to_uri

kind, url, user, password, small, large, out = sys.argv[1:]
address = {f"{kind}_url": url, f"{kind}_user": user, f"{kind}_password": Secret(password)} if url else {}
archive = open_archive(Settings(Path(out), archive=kind, timeout_seconds=600, **address))
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
figures = {}

def run(name, file):
    report = upload([file], archive, progress=False)
    assert report.counts == {"stored": 1}, report.to_json()
    figures[name] = [peak()]
    (instance,) = report.instances
    assert len(archive.retrieve_frames(instance.reference, [2])[0]) > 1000
    figures[name].append(peak())
    assert retrieve([instance], archive, Path(out) / "retrieved", progress=False).counts == {"retrieved": 1}
    assert not copy_to(to_uri(Path(out) / "copies"), [instance], archive, Storage(), progress=False).refused
    figures[name].append(peak())

run("small", small)  # everything is imported and every code path was taken once
run("large", large)
print(json.dumps(figures))
"""


def write_sparse(path: Path, size_bytes: int, number: int) -> Path:
    """Write a multi-frame file whose pixel data, all zeros, take no space on the disk."""
    made = dataset(number)
    made.Rows = made.Columns = FRAME_PX
    frames = size_bytes // FRAME_PX**2
    made.NumberOfFrames = frames
    del made.PixelData
    made.save_as(path, enforce_file_format=True)
    with path.open("r+b") as stream:
        stream.seek(0, 2)
        stream.write(b"\xe0\x7f\x10\x00OB\0\0" + (frames * FRAME_PX**2).to_bytes(4, "little"))
        stream.truncate(stream.tell() + frames * FRAME_PX**2)
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancServer]:
    with OrthancServer(tmp_path_factory.mktemp("orthanc"), {"StorageCompression": False}) as running:
        yield running


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["orthanc", "dicomweb", "folder"])
def test_memory_does_not_grow_with_the_file(kind: str, server: OrthancServer, tmp_path: Path) -> None:
    if kind == "dicomweb" and not find_dicomweb_plugin():
        pytest.skip("Orthanc has no DICOMweb plugin here")
    url = {"orthanc": server.url, "dicomweb": server.dicomweb_url, "folder": ""}[kind]
    number = 2 * len(kind)
    small = write_sparse(tmp_path / "small.dcm", 8 << 20, number)
    large = write_sparse(tmp_path / "large.dcm", FILE_BYTES, number + 1)
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, kind, url, server.user, server.password.reveal(), small, large, tmp_path / "out"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    figures = json.loads(ended.stdout)
    growth = figures["large"][-1] - figures["small"][-1]
    print(f"{kind}: {FILE_BYTES / 1e6:.0f} MB raise the peak by {growth / 1e6:.0f} MB to {figures['large'][-1] / 1e6:.0f} MB")
    assert growth <= MAX_GROWTH_BYTES, figures

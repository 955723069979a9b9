"""How fast is an upload that reads everything back, against the loop that everybody writes first and that checks nothing?

    python benchmarks/upload.py
    python benchmarks/upload.py --data folder --rounds 9

Both sides send the same files, each time to a fresh Orthanc with the same configuration, in turns, on this machine. They do so
over loopback (round trip 0), where client and server share the processors and nothing ever waits, and with a network's round
trip between them (`link.py`), where an archive is in real life: 2 ms for another building, 20 ms for a cloud region. Ratios are
medians over the rounds of (naive ÷ ours) seconds; what else runs on the machine while this does makes them smaller.

`upload_ratio` is that of the longest round trip, and `upload_ratios` has them all. Over loopback the ratio has a ceiling:
storing costs Orthanc itself `server_cpu_ms` of processor time per file whoever sends it, so on two processors no client can be
more than about twice as fast as one request at a time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import requests
from capacity.link import link
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from dicom_workflow.archive.orthanc import OrthancArchive
from dicom_workflow.archive.orthanc_process import OrthancServer
from dicom_workflow.archive.upload import upload
from dicom_workflow.archive.upload_report import UploadReport

ROOT_UID = "1.2.826.0.1.3680043.10.1338.77"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of DICOM files (default: seeded images of 0.6 MB)")
    parser.add_argument("--files", type=int, default=160, help="how many seeded images")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--round-trips-ms", type=float, nargs="+", default=[0.0, 2.0, 20.0], help="0 is loopback itself")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = sorted(options.data.rglob("*.dcm")) if options.data else make_images(folder / "images", options.files)
        results = {}
        for round_trip_ms in sorted(options.round_trips_ms):
            where = f"{round_trip_ms:g} ms"
            sides: dict[str, Callable[[OrthancServer, str], object]] = {
                "naive": lambda server, url: naive(files, server, url),
                "ours": lambda server, url: ours(files, server, url, options.workers),
            }
            seconds: dict[str, list[float]] = {"naive": [], "ours": []}
            server_cpu: dict[str, list[float]] = {"naive": [], "ours": []}
            for number in range(options.rounds):
                for side in ("naive", "ours") if number % 2 == 0 else ("ours", "naive"):
                    # Folders are kept until the end: a file system that has just deleted is slow to create.
                    taken, cpu = measure(sides[side], folder / f"{where}-{number}-{side}", round_trip_ms, len(files))
                    seconds[side].append(taken)
                    server_cpu[side].append(cpu)
                print(f"{where} {number + 1}: naive {seconds['naive'][-1]:.2f} s, ours {seconds['ours'][-1]:.2f} s", flush=True)
            ratios = [slow / fast for slow, fast in zip(seconds["naive"], seconds["ours"], strict=True)]
            results[f"{round_trip_ms:g}"] = {
                "ratio": round(statistics.median(ratios), 2),
                "ratios": [round(ratio, 2) for ratio in ratios],
                "naive_seconds": round(statistics.median(seconds["naive"]), 3),
                "ours_seconds": round(statistics.median(seconds["ours"]), 3),
                "server_cpu_ms": {
                    side: round(1000 * statistics.median(values) / len(files), 2) for side, values in server_cpu.items()
                },
            }
        size_bytes = sum(path.stat().st_size for path in files)
    summary = {
        "upload_ratio": list(results.values())[-1]["ratio"],
        "round_trip_ms": max(options.round_trips_ms),
        "upload_ratios": {round_trip_ms: result["ratio"] for round_trip_ms, result in results.items()},
        "files": len(files),
        "bytes": size_bytes,
        "workers": options.workers,
        "rounds": options.rounds,
        "processors": os.cpu_count(),
        "verification": UploadReport.verification,
        "naive_verification": "none",
        "by_round_trip_ms": results,
    }
    print(json.dumps(summary))


def naive(files: list[Path], server: OrthancServer, url: str) -> None:
    """The loop that everybody writes first. It looks at no answer."""
    for path in files:
        with path.open("rb") as stream:
            requests.post(f"{url}/instances", data=stream.read(), auth=(server.user, server.password.reveal()), timeout=60)


def ours(files: list[Path], server: OrthancServer, url: str, workers: int) -> None:
    archive = OrthancArchive(url, user=server.user, password=server.password)
    with contextlib.closing(archive):
        report = upload(files, archive, workers=workers, progress=False)
    assert report.ok and len(report.instances) == len(files), report.counts


def measure(
    side: Callable[[OrthancServer, str], object], folder: Path, round_trip_ms: float, expected: int
) -> tuple[float, float]:
    """Return seconds and the server's processor seconds of one side against a fresh Orthanc, once all files are there."""
    with OrthancServer(folder) as server, network(server, round_trip_ms) as url:
        auth = (server.user, server.password.reveal())
        requests.get(f"{url}/system", auth=auth, timeout=60).raise_for_status()
        before = processor_seconds(server.pid)
        started = time.perf_counter()
        side(server, url)
        taken = time.perf_counter() - started
        cpu = processor_seconds(server.pid) - before
        stored = requests.get(f"{server.url}/statistics", auth=auth, timeout=60).json()["CountInstances"]
        assert stored == expected, f"expected {expected} instances in the archive, got {stored}"
    return taken, cpu


@contextlib.contextmanager
def network(server: OrthancServer, round_trip_ms: float) -> Iterator[str]:
    if not round_trip_ms:
        yield server.url
        return
    with link(int(server.url.rpartition(":")[2]), round_trip_ms) as port:
        yield f"http://127.0.0.1:{port}"


def processor_seconds(pid: int) -> float:
    """User and system time of a process (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def make_images(folder: Path, count: int) -> list[Path]:
    """Write seeded images of the size of a small radiograph, two to a study."""
    folder.mkdir()
    random = np.random.default_rng(20)
    for number in range(count):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
        dataset.SOPInstanceUID = f"{ROOT_UID}.{number}"
        dataset.StudyInstanceUID = f"{ROOT_UID}.1.{number // 2}"
        dataset.SeriesInstanceUID = f"{ROOT_UID}.2.{number // 2}"
        dataset.PatientID = f"BENCH-{number // 4:04}"
        dataset.Modality = "DX"
        dataset.Rows = dataset.Columns = 768
        dataset.SamplesPerPixel = 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit = 7
        dataset.PixelRepresentation = 0
        dataset.PixelData = random.integers(0, 256, 768 * 768, dtype=np.uint8).tobytes()
        dataset.save_as(folder / f"{number:04}.dcm", enforce_file_format=True)
    return sorted(folder.glob("*.dcm"))


if __name__ == "__main__":
    main()

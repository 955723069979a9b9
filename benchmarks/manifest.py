"""Write, validate and parse a manifest of 400,000 lines, the size of MIMIC-CXR; compare the reading with pandas.

    python benchmarks/manifest.py [--lines 400000]

The last line is one JSON object. `peak_mb` is the largest resident memory of the process that wrote, validated and parsed;
`ratio_to_pandas` is our lines per second, every line checked, over those of `pandas.read_json(lines=True)`, which checks
nothing; `pandas_peak_mb` is what pandas needed in a process of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from dicom_workflow.formats import manifest_validation, manifests
from dicom_workflow.formats.instances import Instance
from dicom_workflow.formats.labels import load_label_set
from dicom_workflow.storage import to_uri

LABELS = load_label_set("chest").labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=400_000)
    lines = parser.parse_args().lines
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "input.manifest"
        spawn = multiprocessing.get_context("spawn")
        with spawn.Pool(1, maxtasksperchild=1) as pool:
            ours = pool.apply(_ours, (path, lines))
            pandas = pool.apply(_pandas, (path,))
    print(
        json.dumps(
            {
                "benchmark": "manifest",
                **ours,
                "pandas_lines_per_second": round(lines / pandas["seconds"]),
                "pandas_peak_mb": pandas["peak_mb"],
                "ratio_to_pandas": round(ours["lines_per_second"] * pandas["seconds"] / lines, 2),
            }
        )
    )


def _ours(path: Path, lines: int) -> dict[str, Any]:
    uri = to_uri(path)
    start = time.perf_counter()
    written = manifests.write(uri, manifests.entries_for(map(_instance, range(lines)), LABELS))
    after_write = time.perf_counter()
    found = manifest_validation.validate(uri)
    after_validate = time.perf_counter()
    parsed = sum(1 for _ in manifests.read(uri))
    end = time.perf_counter()
    assert written == found.accepted == parsed == lines, (written, found, parsed)
    return {
        "lines": parsed,
        "megabytes": round(path.stat().st_size / 1e6, 1),
        "write_seconds": round(after_write - start, 2),
        "validate_seconds": round(after_validate - after_write, 2),
        "parse_seconds": round(end - after_validate, 2),
        "lines_per_second": round(lines / (end - after_validate)),
        "peak_mb": _peak_mb(),
    }


def _pandas(path: Path) -> dict[str, Any]:
    import pandas

    start = time.perf_counter()
    frame = pandas.read_json(path, lines=True)
    seconds = time.perf_counter() - start
    assert len(frame)
    return {"seconds": seconds, "peak_mb": _peak_mb()}


def _instance(number: int) -> Instance:
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    orthanc_id = "-".join(digest[start : start + 8] for start in range(0, 40, 8))
    return Instance(f"2.25.{number}", orthanc_instance_id=orthanc_id)


def _peak_mb() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


if __name__ == "__main__":
    main()

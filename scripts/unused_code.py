"""List code that nothing uses: vulture over the package, the scripts, the benchmarks and the cells of the notebooks.

    python scripts/unused_code.py

A name that only another program uses stands in KNOWN with the reason. The exit code is 1 when anything else is found, or when
a name of KNOWN is used by now.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from vulture import Vulture

ROOT = Path(__file__).resolve().parents[1]
PATHS = ("dicom_workflow", "source", "scripts", "benchmarks")

# Name → who uses it.
KNOWN: dict[str, str] = {
    "codes_positive": "a field of images to filter by, whose name stands in queries",
    "scan_reports": "for users who take their reports out of a store; tests count with it that none is lost or doubled",
    "plant_duplicates": "tests of the audit, and whoever tries it on an archive of their own",
    "rescaled": "the modality transformation alone, for users who need the unit; held to the standard by tests",
    "_repr_png_": "IPython shows a picture with it",
    "handle_starttag": "html.parser calls it",
    "formatter_class": "an attribute of argparse.ArgumentParser",
    "row_factory": "an attribute of sqlite3.Connection",
    "create_system": "an attribute of zipfile.ZipInfo",
    "external_attr": "an attribute of zipfile.ZipInfo",
    "context_depth_limit": "a limit of liquid.Environment",
    "loop_iteration_limit": "a limit of liquid.Environment",
    "output_stream_limit": "a limit of liquid.Environment",
    "local_namespace_limit": "a limit of liquid.Environment",
    "intra_op_num_threads": "an attribute of onnxruntime.SessionOptions",
    "log_severity_level": "an attribute of onnxruntime.SessionOptions",
    "benchmark": "an attribute of torch.backends.cudnn",
    "_size": "an attribute of PIL.Image.Image",
    "disabled": "an attribute of ipywidgets.Button",
    "_close_loops": "atexit calls it",
    "on_validate": "strawberry calls it",
    "pre_execution_errors": "an attribute of strawberry.types.ExecutionContext",
    "traceback": "the third argument of __exit__",
    "split_for_jobs": "whoever has more than 100,000 objects; the labeling service's message names it",
    "viewport": "a field of the answer format",
    "active_seconds": "a field of the answer format, and a column of the table of readers",
    "clicks": "a column of the table of readers",
    "trust_env": "an attribute of requests.Session",
    "max_redirects": "an attribute of requests.Session",
    "retrieve_frames": "part of the archive protocol: frames of large images are asked for one by one",
    "delete_instance": "part of the archive protocol: what was stored by mistake can be removed",
    "predict_channel": "documented in docs/evaluation.md: predictions of any bundle",
    "read_batch": "documented in docs/deploy.md: the predictions of a batch transform",
    "compress_type": "an attribute of zipfile.ZipInfo",
    "mean_queue": "tests compare the simulation with queueing theory",
    "mean_wait": "tests compare the simulation with queueing theory",
    "answers_per_hour": "tests compare the simulation with the readers' rate",
    "redirect_slashes": "an attribute of starlette.routing.Router",
}
RECORDS = ("learning/evaluation/report.py",)  # fields of a JSON file, read and written by their names
SCHEMA = tuple(f"search/service/{name}.py" for name in ("published_fields", "schema", "graphql_types", "values"))
"""Types of GraphQL: clients ask for their fields by name."""
DISPATCHED = ("_fn_",)  # methods that aws/stacks/template_evaluator.py finds by the name of a CloudFormation function


def cells_of(folder: Path) -> str:
    """Return the code of all notebooks of a folder as one program."""
    notebooks = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.ipynb"))]
    cells = (cell for notebook in notebooks for cell in notebook["cells"] if cell["cell_type"] == "code")
    return "\n".join("".join(cell["source"]) for cell in cells)


def is_dicom_keyword(name: str) -> bool:
    """Say whether a name is an attribute of a pydicom Dataset, which is written to a file by being set."""
    from pydicom.datadict import tag_for_keyword

    return tag_for_keyword(name) is not None or name.startswith("MediaStorage")


def main() -> int:
    vulture = Vulture()
    with tempfile.TemporaryDirectory() as folder:
        cells = Path(folder, "cells.py")
        cells.write_text(cells_of(ROOT / "notebooks"), encoding="utf-8")
        vulture.scavenge([*(str(ROOT / path) for path in PATHS), str(cells)])
        # Variables that a notebook shows are not our business.
        found = [item for item in vulture.get_unused_code(min_confidence=60) if Path(item.filename) != cells]
    unknown = [item for item in found if item.name not in KNOWN and not is_dicom_keyword(item.name)]
    unknown = [item for item in unknown if not item.name.startswith(DISPATCHED)]
    unknown = [item for item in unknown if not (item.typ == "variable" and str(item.filename).endswith(RECORDS))]
    unknown = [item for item in unknown if not (item.typ in ("variable", "method") and str(item.filename).endswith(SCHEMA))]
    for item in unknown:
        print(item.get_report())
    for name in sorted(KNOWN.keys() - {item.name for item in found}):
        print(f"{Path(__file__).name}: {name!r} is used by now: remove it from KNOWN")
    stale = KNOWN.keys() - {item.name for item in found}
    print(f"unused code: {len(unknown)} names, {len(found) - len(unknown)} explained")
    return int(bool(unknown or stale))


if __name__ == "__main__":
    sys.exit(main())

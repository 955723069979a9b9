"""How good the trained models are: on phantoms, whose truth is known, and on real radiographs beside the reference recipe.

    python benchmarks/quality.py                                        # both; the last line is JSON
    python benchmarks/quality.py --only-synthetic --patients 300        # smaller, to try it
    python benchmarks/quality.py --initial ~/dicom-workflow/runs/latest/model/model --figure quality.png --flag size_px=160

The radiographs' networks start from the phantoms' network: that is trained first, unless a bundle is given with --initial.
Both train with `source/monai_dicom.py`, as a user would. Every draw has a seed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import quality_radiographs
import quality_synthetic


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only-synthetic", action="store_true", help="leave the radiographs out")
    parser.add_argument("--data", type=Path, help="radiographs and labels.csv; from DICOM_WORKFLOW_SAMPLE_DATA when not given")
    parser.add_argument("--initial", type=Path, metavar="BUNDLE", help="for the radiographs, instead of training on phantoms")
    parser.add_argument("--patients", type=int, default=quality_synthetic.PATIENTS, help="of the phantoms; 1.6 images each")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--flag", type=flag, action="append", default=[], metavar="NAME=VALUE", help="for the script")
    parser.add_argument("--folder", type=Path, help="new folder to keep everything in, the bundle too: phantoms/training/model")
    parser.add_argument("--figure", type=Path, metavar="PNG", help="draw the comparison on radiographs")
    chosen = parser.parse_args()
    sample_data = os.environ.get("DICOM_WORKFLOW_SAMPLE_DATA")
    data = chosen.data or (Path(sample_data) / "radiographs" if sample_data else None)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.folder or temporary
        phantoms, radiographs, initial = Path(folder, "phantoms"), Path(folder, "radiographs"), chosen.initial
        flags = dict(chosen.flag)  # of the radiographs' training, or of the phantoms' where that is all
        if initial is None or chosen.only_synthetic:
            mine = flags if chosen.only_synthetic else {}
            found["synthetic"] = quality_synthetic.measure(phantoms, patients=chosen.patients, seed=chosen.seed, flags=mine)
            initial = phantoms / "training" / "model"
        if data is None and not chosen.only_synthetic:
            print("radiographs: left out; set DICOM_WORKFLOW_SAMPLE_DATA or give --data")
        elif data is not None and not chosen.only_synthetic:
            found["radiographs"] = quality_radiographs.measure(
                data, radiographs, initial=initial, seed=chosen.seed, flags=flags
            )
            if chosen.figure:
                quality_radiographs.figure(found["radiographs"], chosen.figure)
    holds = all(all(each["holds"].values()) for each in found.values())
    print(json.dumps({"benchmark": "quality", **found, "holds": holds}))


def flag(text: str) -> tuple[str, str]:
    """Return name and value of a setting of the training script."""
    name, _, value = text.partition("=")
    if not name or not value:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    return name, value


if __name__ == "__main__":
    main()

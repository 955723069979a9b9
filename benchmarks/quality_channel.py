"""Training channels for the quality benchmarks: manifest lines whose labels are all known."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def line(source: str, patient: str, split: str, image: Path, labels: Sequence[str], positive: Sequence[str]) -> dict[str, Any]:
    """Return one line of a training manifest; what is not positive is negative, and the states are the truth."""
    states = {label: "positive" if label in positive else "negative" for label in labels}
    return {
        "source": source,
        "labels": list(labels),
        "patient_id": patient,
        "states": states,
        "truth": states,
        "split": split,
        "image": image.as_posix(),
    }


def write(folder: Path, lines: Sequence[Mapping[str, Any]], images: Path | None = None) -> None:
    """Write the manifest of a channel; its images are there already, or lie in the folder `images`."""
    folder.mkdir(parents=True, exist_ok=True)
    if images is not None:
        (folder / "images").symlink_to(images.resolve())
    (folder / "train.manifest").write_text("".join(json.dumps(each) + "\n" for each in lines), encoding="utf-8")


def show(text: str) -> None:
    """Print a line of the training script."""
    print(f"  {text}", flush=True)

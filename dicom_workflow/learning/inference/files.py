"""Predicting a folder of DICOM files: one line per image, a bad file named, and a Structured Report of each where wanted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dicom_workflow.dicom import pixels
from dicom_workflow.errors import LearningError, WorkflowError
from dicom_workflow.learning.data.images import decode
from dicom_workflow.learning.inference.predict import predict_images, to_prediction
from dicom_workflow.learning.model.bundle import Bundle
from dicom_workflow.storage import Storage, to_uri

_AT_A_TIME = 64
"""Images decoded before they go through the network together."""


@dataclass(frozen=True)
class Predicted:
    """What a model said of some files."""

    path: Path
    """``predictions.jsonl``: a line per usable file, each with its `file` and `inference.to_prediction`."""
    lines: tuple[Mapping[str, Any], ...]
    refused: Mapping[str, str] = field(default_factory=dict)
    """File → why it could not be used."""

    def refusals(self) -> list[str]:
        """Return a sentence on how many files there were, and a line for each that could not be used."""
        total = len(self.lines) + len(self.refused)
        whole = f"{len(self.lines):,} of {total:,} files predicted"
        return [whole, *(f"refused: {reason}" for reason in self.refused.values())]

    def metrics(self) -> dict[str, Any]:
        """Return the figures for a record."""
        reports = sum("report" in line for line in self.lines)
        return {"images_predicted": len(self.lines), "images_refused": len(self.refused), "reports_written": reports}


def predict_files(
    bundle: Bundle,
    files: Sequence[str | Path],
    output: str | Path,
    *,
    reports: str | Path | None = None,
    progress: bool = True,
) -> Predicted:
    """Predict DICOM files and write what the model said of them.

    Parameters
    ----------
    bundle : Bundle
    files : sequence of str or Path
        DICOM files; a folder stands for every file below it, in the order of their names.
    output : str or Path
        The file that gets a line per image; it is written whole or not at all.
    reports : str or Path, optional
        Folder that gets a DICOM Structured Report of each image.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    Predicted
        A file that cannot be used is in `refused`, and the others go on.

    Raises
    ------
    LearningError
        There is no file at all, or not one can be used.
    """
    from pydicom.uid import generate_uid
    from tqdm import tqdm

    paths = list(_paths(files))
    refused: dict[str, str] = {}
    lines: list[dict[str, Any]] = []
    run_uid = str(generate_uid())
    with tqdm(total=len(paths), desc="predicting", unit="image", disable=not progress) as bar:
        for start in range(0, len(paths), _AT_A_TIME):
            some = paths[start : start + _AT_A_TIME]
            for path, scores in _scored(bundle, some, refused):
                line = {"file": str(path), **to_prediction(bundle, scores)}
                if reports is not None:
                    try:
                        line["report"] = str(_report(bundle, path, line, Path(reports), run_uid, len(lines) + 1))
                    except WorkflowError as error:
                        refused[str(path)] = str(error)
                        continue
                lines.append(line)
            bar.update(len(some))
    if not lines:
        reason = f" The first: {next(iter(refused.values()))}" if refused else ""
        raise LearningError(f"expected at least one usable DICOM file, got none of {len(paths)}.{reason}")
    with Storage().writer(to_uri(output)) as stream:
        for line in lines:
            # A file's name need not be UTF-8; its odd bytes become escapes, which JSON reads back as they were.
            text = json.dumps(line, ensure_ascii=False, allow_nan=False)
            stream.write(text.encode("utf-8", "backslashreplace") + b"\n")
    return Predicted(Path(output), tuple(lines), refused)


def _paths(files: Sequence[str | Path]) -> Iterator[Path]:
    for path in map(Path, files):
        yield from sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]


def _scored(bundle: Bundle, paths: Sequence[Path], refused: dict[str, str]) -> Iterator[tuple[Path, np.ndarray]]:
    """Yield each usable file with its probabilities; the others are put into `refused`."""
    images, usable = [], []
    for path in paths:
        try:
            images.append(decode(path, bundle.size_px, bundle.preprocessing_version))
            usable.append(path)
        except (WorkflowError, OSError) as error:
            refused[str(path)] = str(error)
    if images:
        yield from zip(usable, predict_images(bundle, np.stack(images)), strict=True)


def _report(bundle: Bundle, path: Path, prediction: Mapping[str, Any], folder: Path, run_uid: str, number: int) -> Path:
    from dicom_workflow.learning.inference import structured_report

    image = pixels.read_dataset(path)
    return structured_report.write_report(bundle, image, prediction, folder, run_uid=run_uid, number=number)

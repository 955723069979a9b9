"""Small DICOM files with reports, an untrained bundle, and one ingest of them into a real store."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.uid import generate_uid
from support.archive import dataset
from support.learning import LABELS, tiny_bundle

from dicom_workflow.learning.model import bundle as bundles
from dicom_workflow.pipeline import search_steps
from dicom_workflow.pipeline.search_steps import Indexed, IndexRequest
from dicom_workflow.search.documents import ImageDocument, ReportDocument
from dicom_workflow.search.store import SearchStore, open_store
from dicom_workflow.settings import Settings

REPORT = "FINDINGS: Small left pleural effusion. No pneumothorax.\nIMPRESSION: Left pleural effusion."


def write_image(path: Path, number: int, *, patient: str = "P1", accession: str = "", side: int = 24, **elements: Any) -> str:
    """Write a radiograph whose pixels follow from its number, and return its SOP Instance UID."""
    made = dataset(number, size_px=side, patient_id=patient)
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.99.3.{number}"
    made.StudyInstanceUID = elements.pop("StudyInstanceUID", generate_uid(entropy_srcs=["study", str(number)]))
    made.AccessionNumber = accession
    made.StudyDate = "20240305"
    made.PixelData = np.random.default_rng(elements.pop("seed", number)).integers(0, 255, (side, side), np.uint8).tobytes()
    for name, value in elements.items():
        setattr(made, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path, enforce_file_format=True)
    return str(made.SOPInstanceUID)


def write_images(folder: Path, count: int, *, first: int = 0) -> list[str]:
    """Write images of one patient each, with the Accession Number ``A<number>``, and return their UIDs."""
    return [
        write_image(folder / f"{number:03}.dcm", number, patient=f"P{number}", accession=f"A{number}")
        for number in range(first, first + count)
    ]


def write_reports(path: Path, reports: Sequence[Mapping[str, Any]]) -> Path:
    """Write reports as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(each) + "\n" for each in reports), encoding="utf-8")
    return path


def write_bundle(folder: Path, **rest: Any) -> Path:
    """Save an untrained bundle."""
    return bundles.save(replace(tiny_bundle(LABELS, mode="multi-label"), **rest), folder)


class IndexFolder:
    """A store, in a folder unless another URL is given, filled again and again by `pipeline.search_steps.index`."""

    def __init__(self, folder: Path, url: str = "", **settings: Any) -> None:
        self.url, self.model = url or str(folder / "index"), str(write_bundle(folder / "bundle"))
        self.settings = Settings(workspace=folder / "workspace", archive="folder", **settings)

    def index(self, source: str | Path = "", **request: Any) -> Indexed:
        """Index with the bundle of this folder, unless another model is given."""
        asked = IndexRequest(**{"source": str(source), "model": self.model if source else "", "workers": 1, **request})
        return search_steps.index(self.url, self.settings, asked, progress=False)

    def store(self) -> contextlib.closing[SearchStore]:
        """Return the store, to be closed at the end of a `with` block."""
        return contextlib.closing(open_store(self.url))

    def images(self) -> dict[str, ImageDocument]:
        """Return all images of the index by id."""
        with self.store() as store:
            return {each.image_id: each for each in store.scan_images()}

    def reports(self) -> dict[str, ReportDocument]:
        """Return all reports of the index by id."""
        with self.store() as store:
            return {each.report_id: each for each in store.scan_reports()}


def reasons(found: Indexed, item: str = "") -> dict[str, str]:
    """Return name → reason of every entry of an ingest's report."""
    return {entry.name: entry.reason for entry in found.report.entries if item in ("", entry.item)}

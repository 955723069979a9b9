"""The collections that `retrieval.py` judges on, with what is known of each image, and the channel that one network learns."""

from __future__ import annotations

import csv
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import torch
from numpy.typing import NDArray

from dicom_workflow.formats.labels import default_label_set
from dicom_workflow.learning.data.images import decode
from dicom_workflow.search.evaluation import Truth
from dicom_workflow.search.radiology_reports import read_report
from dicom_workflow.synthetic import dataset

CHEST = default_label_set().labels
CLASSES = ("class COVID-19", "class No Finding", "class Pneumonia")
FEWEST_PATIENTS = 3
"""Of a cause that a network is taught."""
SAME_EXPOSURE = 0.93
"""Correlation of thumbnails of 24 x 24 pixels from which two images of two collections count as one patient's."""
STATES = {"positive": 1.0, "negative": 0.0}


@dataclass(frozen=True)
class Images:
    """The images of a folder with what is known of them, in one order."""

    name: str
    files: tuple[Path, ...]
    patients: tuple[str, ...]
    learned: tuple[Mapping[str, str], ...]
    """Label → state that a network learns; a label that is missing is unknown."""
    judged: Mapping[str, tuple[frozenset[str], ...]]
    """Name of a truth → positive labels of each image."""
    views: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    reports: tuple[str, ...] = ()
    """Report id of each image."""

    def truth(self, name: str, patients: Sequence[str] = ()) -> Truth:
        """Return a truth; `patients` stand for the images' own where given."""
        ids = tuple(path.name for path in self.files)
        return Truth(ids, self.judged[name], tuple(patients) or self.patients, self.views, self.sources)


def radiographs(folder: Path) -> Images:
    """Return the 167 radiographs; COVID-19 comes from another collection than the rest.

    An image without a finding teaches that each of the fourteen findings is negative.
    """
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    learned = []
    for row in rows:
        states = {name: "positive" if name == f"class {row['label']}" else "negative" for name in CLASSES}
        if row["label"] == "No Finding":
            states |= {label: "positive" if label == "No Finding" else "negative" for label in CHEST}
            del states["Support Devices"]  # which may stand beside it
        elif row["label"] == "Pneumonia":
            states["Pneumonia"] = "positive"
        learned.append(states)
    files = tuple(folder / row["file"] for row in rows)
    return Images(
        name="radiographs",
        files=files,
        patients=tuple(row["patient_id"] for row in rows),
        learned=tuple(learned),
        judged={"label": tuple(frozenset([row["label"]]) for row in rows)},
        views=tuple(_view(path) for path in files),
        sources=tuple("Cohen" if row["label"] == "COVID-19" else "NIH" for row in rows),
    )


def pairs(folder: Path) -> Images:
    """Return the radiographs with reports; a network learns the findings that the reports state, and the cause.

    What a report does not speak of is learned as negative, as the CheXpert labels do it.
    """
    with (folder / "pairs.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    with (folder / "reports.jsonl").open(encoding="utf-8") as stream:
        reports = {line["report_id"]: line["text"] for line in map(json.loads, stream)}
    states = [dict(read_report(reports[row["report_id"]], report_id=row["report_id"]).label_states()) for row in rows]
    found = sorted({label for each in states for label in each})
    patients_of: dict[str, set[str]] = {}
    for row in rows:
        patients_of.setdefault(row["finding"], set()).add(row["patient_id"])
    causes = sorted(name for name, those in patients_of.items() if name and len(those) >= FEWEST_PATIENTS)
    learned = []
    for each, row in zip(states, rows, strict=True):
        mine = {label: str(each.get(label, "negative")) for label in found}
        if cause := row["finding"]:
            other = "class Pneumonia" if cause not in ("COVID-19", "No Finding") else f"class {cause}"
            mine |= {name: "positive" if name == other else "negative" for name in CLASSES}
            mine |= {f"cause {name}": "positive" if name == cause else "negative" for name in causes if name != "COVID-19"}
        learned.append(mine)
    return Images(
        name="pairs",
        files=tuple(folder / row["file"] for row in rows),
        patients=tuple(row["patient_id"] for row in rows),
        learned=tuple(learned),
        judged={
            "cause": tuple(frozenset(filter(None, [row["finding"]])) for row in rows),
            "findings": tuple(frozenset(label for label, state in each.items() if state == "positive") for each in states),
        },
        views=tuple(row["view"] for row in rows),
        reports=tuple(row["report_id"] for row in rows),
    )


def phantoms(folder: Path, *, patients: int, seed: int, size_px: int) -> Images:
    """Return new phantoms and the findings planted in them."""
    from pydicom.uid import ExplicitVRLittleEndian

    made = dataset.make_dataset(
        folder, patients=patients, seed=seed, size_px=size_px, transfer_syntaxes=[ExplicitVRLittleEndian], progress=False
    )
    return Images(
        name="phantoms",
        files=made.paths,
        patients=tuple(made.patient_id.values()),
        learned=tuple(dict.fromkeys(made.positive[uid], "positive") for uid in made.patient_id),
        judged={"planted findings": tuple(made.positive[uid] for uid in made.patient_id)},
        views=tuple(_view(path) for path in made.paths),
    )


def _view(path: Path) -> str:
    return str(pydicom.dcmread(path, stop_before_pixels=True).get("ViewPosition") or "")


def labels_of(collections: Sequence[Images]) -> list[str]:
    """Return every label that an image of the collections teaches, in one order."""
    return sorted({label for images in collections for states in images.learned for label in states})


def targets(images: Images, labels: Sequence[str]) -> NDArray[np.float64]:
    """Return 1 positive, 0 negative and NaN unknown of each image and label."""
    return np.array([[STATES.get(states.get(label, ""), np.nan) for label in labels] for states in images.learned])


@functools.lru_cache(maxsize=4)
def decoded(files: tuple[Path, ...], size_px: int) -> NDArray[np.float16]:
    """Return model inputs, shape (n, 1, size_px, size_px)."""
    return np.stack([decode(path, size_px) for path in files])


def joined_patients(collections: Sequence[Images]) -> list[str]:
    """Return the patient of each image of all collections; patients who share an exposure across collections become one."""
    images = torch.from_numpy(np.concatenate([decoded(each.files, 96) for each in collections]).astype(np.float32))
    small = torch.nn.functional.adaptive_avg_pool2d(images, 24).flatten(1).numpy()
    small -= small.mean(axis=1, keepdims=True)
    small /= np.linalg.norm(small, axis=1, keepdims=True)
    alike = small @ small.T >= SAME_EXPOSURE
    number = np.repeat(np.arange(len(collections)), [len(each.files) for each in collections])
    patients = [patient for each in collections for patient in each.patients]
    for first, second in np.argwhere(np.triu(alike & (number[:, None] != number))):
        gone, kept = patients[second], patients[first]
        patients = [kept if patient == gone else patient for patient in patients]
    return patients

"""A folder of chest phantoms as valid DICOM, with the truth beside it: data that anybody may have, to try everything on.

Most instances are Digital X-Ray images for presentation. What that IOD forbids and archives hold nevertheless (signed values,
a rescale other than identity, no window) comes as Computed Radiography images, so that every file is valid as what it says.
"""

from __future__ import annotations

import csv
import json
import multiprocessing
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)
from tqdm.auto import tqdm

from dicom_workflow import __version__
from dicom_workflow.archive import phantom
from dicom_workflow.records import LABELS, Region

TRUTH_FILE, REGIONS_FILE = "truth.csv", "regions.json"

TRANSFER_SYNTAXES: tuple[str, ...] = (
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless, JPEGLSLossless, JPEG2000Lossless,
)  # fmt: skip
"""What the files are written in by turns; any part of it may be asked for."""

_BITS = (8, 10, 12, 14, 16)
_STUDIES_PER_PATIENT = (0.55, 0.30, 0.15)  # one, two or three
_WORTH_A_PROCESS = 24  # images; below that a second process costs more than it saves


@dataclass(frozen=True)
class Planned:
    """One image before it is drawn: everything about it that chance decides, small enough to send to another process."""

    number: int
    seed: int
    patient: int
    study: int
    positive: frozenset[str]
    anatomy: phantom.Anatomy
    bits: int
    monochrome1: bool
    signed: bool
    windowed: bool
    transfer_syntax: str
    sex: str
    study_date: date

    @property
    def computed(self) -> bool:
        """Whether it has to be a CR instance because the DX IOD forbids its pixels."""
        return self.signed or not self.windowed

    @property
    def patient_id(self) -> str:
        """Synthetic at first sight."""
        return f"PHANTOM-{self.seed}-{self.patient:04d}"

    def uid(self, *what: object) -> str:
        """Return a UID that depends on nothing but the seed and its arguments."""
        return str(generate_uid(entropy_srcs=["dicom-workflow phantom", str(self.seed), *map(str, what)]))

    @property
    def sop_instance_uid(self) -> str:
        """The instance's own."""
        return self.uid("instance", self.number)


@dataclass(frozen=True)
class Truth:
    """What `make_dataset` wrote."""

    labels: tuple[str, ...]
    positive: dict[str, frozenset[str]]
    """SOP Instance UID -> its positive labels."""
    patient_id: dict[str, str]
    regions: dict[str, tuple[Region, ...]]
    paths: tuple[Path, ...]
    """The DICOM files, in the order of the table."""


def make_dataset(
    folder: str | Path,
    *,
    patients: int,
    seed: int,
    size_px: int = 512,
    labels: Sequence[str] = LABELS,
    transfer_syntaxes: Sequence[str] = TRANSFER_SYNTAXES,
    processes: int | None = None,
    progress: bool = True,
) -> Truth:
    """Write chest phantoms of `patients` patients as DICOM files, and what is planted in each.

    Parameters
    ----------
    folder : str or Path
        Gets one folder per patient with ``<number>.dcm`` files, ``truth.csv`` (sop_instance_uid, patient_id and one column of
        1 or 0 per label) and ``regions.json`` (SOP Instance UID -> regions in image pixels, corner origin).
    patients : int
        Each has one to three studies of one image; about 1.6 images per patient.
    seed : int
        The same seed and arguments give the same files, UIDs included.
    size_px : int
        Rows and columns.
    labels : sequence of str
        The columns of the truth, a part of the fourteen; only these are planted.
    transfer_syntaxes : sequence of str
        UIDs, used by turns.
    processes : int, optional
        Two for more than a few images unless said otherwise; the files do not depend on it.
    progress : bool
        Show a progress bar.

    Raises
    ------
    ValueError
        No patient, a label or transfer syntax that cannot be made, or an image too small to show anything.
    """
    _check(patients, size_px, labels, transfer_syntaxes)
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    plans = plan(patients=patients, seed=seed, labels=labels, transfer_syntaxes=transfer_syntaxes)
    workers = processes or (2 if len(plans) >= _WORTH_A_PROCESS else 1)
    jobs = [(item, size_px, str(root)) for item in plans]
    regions: dict[str, tuple[Region, ...]] = {}
    paths = []
    with ExitStack() as stack:
        drawn: Iterator[tuple[str, tuple[Region, ...]]]
        if workers == 1:
            drawn = map(_write, jobs)
        else:
            # spawn: a fork of a process with threads (a notebook, torch) may hang.
            pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
            drawn = stack.enter_context(pool).map(_write, jobs, chunksize=4)
        bar = tqdm(zip(plans, drawn, strict=True), total=len(plans), desc="chest phantoms", unit="image", disable=not progress)
        for item, (path, marked) in bar:
            paths.append(Path(path))
            regions[item.sop_instance_uid] = marked
    truth = Truth(
        labels=tuple(labels),
        positive={item.sop_instance_uid: item.positive for item in plans},
        patient_id={item.sop_instance_uid: item.patient_id for item in plans},
        regions=regions,
        paths=tuple(paths),
    )
    _write_truth(root, truth)
    return truth


def _check(patients: int, size_px: int, labels: Sequence[str], transfer_syntaxes: Sequence[str]) -> None:
    if patients < 1:
        raise ValueError(f"expected at least one patient, got {patients}.")
    if size_px < 64:
        raise ValueError(f"expected images of at least 64 pixels, got size_px={size_px}.")
    unknown = sorted(set(labels) - set(LABELS))
    if unknown or not labels:
        raise ValueError(f"expected labels among records.LABELS, got {', '.join(map(repr, unknown)) or 'none'}.")
    strange = [uid for uid in transfer_syntaxes if uid not in TRANSFER_SYNTAXES]
    if strange or not transfer_syntaxes:
        raise ValueError(f"expected transfer syntaxes among synthetic.TRANSFER_SYNTAXES, got {strange or 'none'}.")


def plan(
    *, patients: int, seed: int, labels: Collection[str] = LABELS, transfer_syntaxes: Sequence[str] = TRANSFER_SYNTAXES
) -> list[Planned]:
    """Return what is to be drawn, patient by patient; nothing is drawn yet."""
    plans: list[Planned] = []
    for patient in range(1, patients + 1):
        rng = np.random.default_rng([seed, 0, patient])
        built = _patient(rng)
        first_day = date(2020, 1, 1) + timedelta(days=int(rng.integers(0, 1500)))
        for study in range(1, 2 + int(rng.choice(len(_STUDIES_PER_PATIENT), p=_STUDIES_PER_PATIENT))):
            number = len(plans) + 1
            signed = bool(rng.random() < 0.12)
            plans.append(
                Planned(
                    number=number,
                    seed=seed,
                    patient=patient,
                    study=study,
                    positive=phantom.choose(rng, labels),
                    anatomy=_day(built, rng, study),
                    bits=_BITS[number % len(_BITS)],
                    monochrome1=bool(rng.random() < 0.2),
                    signed=signed,
                    windowed=bool(signed or rng.random() < 0.88),
                    transfer_syntax=str(transfer_syntaxes[int(rng.integers(len(transfer_syntaxes)))]),
                    sex="F" if built.female else "M",
                    study_date=first_day + timedelta(days=40 * (study - 1)),
                )
            )
    return plans


def _patient(rng: np.random.Generator) -> phantom.Anatomy:
    """One person: what stays the same from study to study."""
    stout = float(np.clip(rng.normal(0, 1), -1.6, 2.0))
    return phantom.Anatomy(
        width=float(np.clip(0.98 + 0.02 * stout + rng.normal(0, 0.02), 0.92, 1.04)),
        height=float(np.clip(0.99 - 0.015 * stout + rng.normal(0, 0.02), 0.93, 1.05)),
        depth_cm=float(np.clip(19.2 + 1.5 * stout, 16.5, 22.5)),
        female=bool(rng.random() < 0.5),
        age_years=int(np.clip(rng.normal(56, 16), 18, 88)),
        heart_ratio=float(np.clip(rng.normal(0.435, 0.025), 0.38, 0.485)),
        mediastinum_cm=float(rng.uniform(2.4, 3.0)),
    )


def _day(built: phantom.Anatomy, rng: np.random.Generator, study: int) -> phantom.Anatomy:
    """The same person in one study: breathing, position and exposure differ."""
    ap_view = bool(rng.random() < 0.3)
    breath = float(rng.normal(0, 0.5)) - (0.7 if ap_view else 0.0)
    return replace(
        built,
        center_cm=(float(rng.normal(0, 0.35)), float(rng.normal(0, 0.4))),
        ap_view=ap_view,
        heart_ratio=min(0.49, built.heart_ratio + (0.012 if ap_view else 0.0)),
        shift_cm=float(np.clip(rng.normal(0, 0.2), -0.4, 0.4)),
        dome_cm=(26.6 + breath + float(rng.normal(0, 0.25)), 27.9 + breath + float(rng.normal(0, 0.25))),
        upper_vessels=float(rng.uniform(0.5, 0.7)),
        exposure=float(rng.uniform(0.7, 1.4)),
        noise=float(rng.uniform(0.8, 1.3)),
        texture_seed=int(rng.integers(2**31)) + study,
    )


def _write(job: tuple[Planned, int, str]) -> tuple[str, tuple[Region, ...]]:
    item, size_px, root = job
    chest, regions = phantom.compose_with(item.anatomy, item.positive, size_px, item.anatomy.texture_seed)
    dataset = to_dataset(item, phantom.expose(chest))
    path = Path(root) / item.patient_id / f"{item.number:05d}.dcm"
    path.parent.mkdir(exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return str(path), tuple(regions)


def to_dataset(item: Planned, image: NDArray[np.float32]) -> FileDataset:
    """Return the instance of one drawn image.

    Parameters
    ----------
    item : Planned
        Who, when and how it is stored.
    image : ndarray, shape (rows, columns), float32 in [0, 1]
        0 is black.
    """
    meta = FileMetaDataset()
    sop_class = UID(ComputedRadiographyImageStorage if item.computed else DigitalXRayImageStorageForPresentation)
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = UID(item.sop_instance_uid)
    native = UID(ImplicitVRLittleEndian) if item.transfer_syntax == ImplicitVRLittleEndian else UID(ExplicitVRLittleEndian)
    meta.TransferSyntaxUID = native
    dataset = FileDataset("", Dataset(), file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = item.sop_instance_uid
    _describe(dataset, item)
    _describe_image(dataset, item)
    _store_pixels(dataset, item, image)
    if item.transfer_syntax not in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        dataset.compress(item.transfer_syntax, generate_instance_uid=False)
    return dataset


def _describe(dataset: Dataset, item: Planned) -> None:
    """Patient, study, series and equipment."""
    age = item.anatomy.age_years
    day = item.study_date
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName = f"Phantom^Seed {item.seed} No {item.patient}"
    dataset.PatientID = item.patient_id
    dataset.PatientBirthDate = date(day.year - age, 1, 1).strftime("%Y%m%d")
    dataset.PatientSex = item.sex
    dataset.PatientAge = f"{age:03d}Y"
    dataset.PatientComments = "Synthetic image, no patient."
    dataset.StudyInstanceUID = item.uid("study", item.patient, item.study)
    dataset.SeriesInstanceUID = item.uid("series", item.patient, item.study)
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = day.strftime("%Y%m%d")
    clock = f"{8 + item.number % 10:02d}{item.number * 7 % 60:02d}00"
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = clock
    dataset.StudyID = str(item.study)
    dataset.AccessionNumber = f"P{item.seed}N{item.number}"[:16]
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = "Chest phantom"
    dataset.SeriesDescription = "Chest " + ("AP" if item.anatomy.ap_view else "PA")
    dataset.SeriesNumber, dataset.InstanceNumber = 1, 1
    dataset.Modality = "CR" if item.computed else "DX"
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = "AP" if item.anatomy.ap_view else "PA"
    dataset.Manufacturer = "dicom-workflow"
    dataset.ManufacturerModelName = "chest phantom"
    dataset.DeviceSerialNumber = str(item.seed)
    dataset.SoftwareVersions = __version__


def _describe_image(dataset: Dataset, item: Planned) -> None:
    """What the CR or DX image modules ask for."""
    dataset.PatientOrientation = ["L", "F"]
    dataset.ImageType = ["DERIVED", "PRIMARY", ""]
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    dataset.ImageComments = "Synthetic"
    if item.computed:
        dataset.ImageType = ["DERIVED", "PRIMARY"]
        return
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.ImageLaterality = "U"
    dataset.AnatomicRegionSequence = DicomSequence([_code("51185008", "Thorax")])
    view = ("399348003", "antero-posterior") if item.anatomy.ap_view else ("272479007", "postero-anterior")
    dataset.ViewCodeSequence = DicomSequence([_code(*view)])
    dataset.PositionerType = ""
    dataset.AcquisitionContextSequence = DicomSequence([])
    dataset.DetectorType = "DIRECT"
    dataset.DetectorConfiguration = "AREA"
    dataset.DetectorDescription = "None: computed thickness"
    dataset.PixelIntensityRelationship = "LOG"


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item


def _store_pixels(dataset: Dataset, item: Planned, image: NDArray[np.float32]) -> None:
    """Put [0, 1] into a part of the range of stored values, as detectors do; the window says which part."""
    bits, top = item.bits, 2**item.bits - 1
    low, high = (0.0, float(top)) if bits == 8 else (0.06 * top, 0.90 * top)
    shown = 1.0 - image if item.monochrome1 else image
    stored: NDArray[Any] = np.rint(low + shown * (high - low))
    offset = 2 ** (bits - 1) if item.signed else 0
    kind = f"{'i' if item.signed else 'u'}{1 if bits == 8 else 2}"
    spacing = phantom.FIELD_CM * 10 / image.shape[0]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if item.monochrome1 else "MONOCHROME2"
    dataset.Rows, dataset.Columns = image.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 if bits == 8 else 16, bits, bits - 1
    dataset.PixelRepresentation = int(item.signed)
    dataset.ImagerPixelSpacing = [round(spacing, 5)] * 2
    if item.signed:  # centered on 0 in the file, moved back and scaled by the rescale
        dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = offset * 2, 2, "US"
        low, high = low * 2, high * 2
    elif not item.computed:
        dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    if not item.computed:
        dataset.PresentationLUTShape = "INVERSE" if item.monochrome1 else "IDENTITY"
        dataset.PixelIntensityRelationshipSign = -1 if item.monochrome1 else 1
    if item.windowed:
        # LINEAR: the first value shown black is c - 0.5 - (w - 1) / 2, the last one white w - 1 further (C.11.2.1.2.1).
        dataset.WindowCenter, dataset.WindowWidth = round((low + high) / 2 + 0.5, 1), round(high - low + 1, 1)
    dataset.PixelData = (stored - offset).astype(f"<{kind}").tobytes()
    dataset["PixelData"].VR = "OB" if bits == 8 and item.transfer_syntax != ImplicitVRLittleEndian else "OW"


def _write_truth(root: Path, truth: Truth) -> None:
    with (root / TRUTH_FILE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["sop_instance_uid", "patient_id", *truth.labels])
        for uid, positive in truth.positive.items():
            writer.writerow([uid, truth.patient_id[uid], *(int(label in positive) for label in truth.labels)])
    regions = {uid: [region.to_json() for region in marked] for uid, marked in truth.regions.items()}
    (root / REGIONS_FILE).write_text(json.dumps(regions, indent=0) + "\n", encoding="utf-8")

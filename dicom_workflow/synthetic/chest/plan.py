"""The random plan of a phantom data set: patients, studies, labels and encodings, before any image is drawn."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from dicom_workflow.synthetic.chest.conditions import LABELS, choose
from dicom_workflow.synthetic.chest.thickness import Anatomy

TRANSFER_SYNTAXES: tuple[str, ...] = (
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless, JPEGLSLossless, JPEG2000Lossless,
)  # fmt: skip
"""Transfer syntaxes that phantoms can be written in."""

_BITS = (8, 10, 12, 14, 16)
_STUDIES_PER_PATIENT = (0.55, 0.30, 0.15)  # one, two or three


@dataclass(frozen=True)
class Planned:
    """One image before it is drawn: every random choice about it, small enough to send to another process."""

    number: int
    seed: int
    patient: int
    study: int
    positive: frozenset[str]
    anatomy: Anatomy
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
        """A Patient ID that names the image as synthetic."""
        return f"PHANTOM-{self.seed}-{self.patient:04d}"

    def uid(self, *what: object) -> str:
        """Return a UID that depends on nothing but the seed and its arguments."""
        return str(generate_uid(entropy_srcs=["dicom-workflow phantom", str(self.seed), *map(str, what)]))

    def path_under(self, root: Path) -> Path:
        """Return the path of its file."""
        return root / "images" / self.patient_id / f"{self.number:05d}.dcm"

    @property
    def sop_instance_uid(self) -> str:
        """SOP Instance UID."""
        return self.uid("instance", self.number)


def plan(
    *, patients: int, seed: int, labels: Collection[str] = LABELS, transfer_syntaxes: Sequence[str] = TRANSFER_SYNTAXES
) -> list[Planned]:
    """Return the images to draw, patient by patient; nothing is drawn yet.

    Parameters
    ----------
    patients, seed : int
        How many patients, and the seed of everything that chance decides.
    labels : collection of str
        Labels of the chest label set that may be planted.
    transfer_syntaxes : sequence of str
        UIDs among `TRANSFER_SYNTAXES`, one of which is drawn for each image.
    """
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
                    positive=choose(rng, labels),
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


def _patient(rng: np.random.Generator) -> Anatomy:
    """One person: what stays the same from study to study."""
    stout = float(np.clip(rng.normal(0, 1), -1.6, 2.0))
    return Anatomy(
        width=float(np.clip(0.98 + 0.02 * stout + rng.normal(0, 0.02), 0.92, 1.04)),
        height=float(np.clip(0.99 - 0.015 * stout + rng.normal(0, 0.02), 0.93, 1.05)),
        depth_cm=float(np.clip(19.2 + 1.5 * stout, 16.5, 22.5)),
        female=bool(rng.random() < 0.5),
        age_years=int(np.clip(rng.normal(56, 16), 18, 88)),
        heart_ratio=float(np.clip(rng.normal(0.435, 0.025), 0.38, 0.485)),
        mediastinum_cm=float(rng.uniform(2.4, 3.0)),
    )


def _day(built: Anatomy, rng: np.random.Generator, study: int) -> Anatomy:
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

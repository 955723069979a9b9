"""The thirteen conditions, planted into a phantom so that each shows its own sign.

Every label marks the sign planted here and nothing that follows from it: "Lung Opacity" is one ill-defined focal haze, and a
consolidation or a pneumonia does not make it positive. That keeps the fourteen columns of the truth independent enough for
each to be learned and scored by itself. What comes together in the clinic (`AFFINITY`) comes together more often here too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from dicom_workflow.formats.answers import Region
from dicom_workflow.formats.labels import load_label_set
from dicom_workflow.synthetic.chest.anatomy import compose
from dicom_workflow.synthetic.chest.signs import PLANTERS, Sides
from dicom_workflow.synthetic.chest.thickness import Anatomy, Box, Chest, RibBreak

LABELS = load_label_set("chest").labels
"""The labels that a phantom can show: all of the chest label set."""

NO_FINDING, SUPPORT_DEVICES = "No Finding", "Support Devices"

AFFINITY: Mapping[tuple[str, str], float] = {
    ("Edema", "Cardiomegaly"): 2.0,
    ("Edema", "Pleural Effusion"): 2.0,
    ("Cardiomegaly", "Pleural Effusion"): 1.5,
    ("Pneumonia", "Pleural Effusion"): 1.4,
    ("Atelectasis", "Pleural Effusion"): 1.4,
    ("Pneumonia", "Consolidation"): 1.5,
    ("Fracture", "Pneumothorax"): 1.7,
    # A faint haze inside a dense one, or a nodule behind it, is invisible: such pairs are planted rarely.
    ("Lung Opacity", "Edema"): 0.25,
    ("Lung Opacity", "Pneumonia"): 0.25,
    ("Lung Opacity", "Consolidation"): 0.35,
    ("Lung Opacity", "Atelectasis"): 0.5,
    ("Lung Lesion", "Edema"): 0.35,
    ("Lung Lesion", "Pneumonia"): 0.25,
    ("Lung Lesion", "Consolidation"): 0.5,
    ("Lung Lesion", "Lung Opacity"): 0.5,
    ("Fracture", "Edema"): 0.5,
    ("Fracture", "Pneumonia"): 0.5,
    ("Fracture", "Pleural Other"): 0.4,
}
"""How much likelier the one becomes when the other is there, in either order."""

_HOW_MANY = (0.17, 0.23, 0.25, 0.22, 0.13)  # one to five conditions on an image that has any
_NORMAL, _DEVICES = 0.22, 0.28


def choose(rng: np.random.Generator, labels: Collection[str] = LABELS) -> frozenset[str]:
    """Return the positive labels of one image: "No Finding", or one to five conditions; devices may join either.

    Each of `labels` becomes positive in about a fifth to a quarter of many images.
    """
    devices = {SUPPORT_DEVICES} if SUPPORT_DEVICES in labels and rng.random() < _DEVICES else set()
    open_ = [label for label in LABELS if label in labels and label not in (NO_FINDING, SUPPORT_DEVICES)]
    normal = rng.random() < _NORMAL
    if not open_ or normal:
        return frozenset(devices | ({NO_FINDING} if NO_FINDING in labels else set()))
    count = min(int(rng.choice(len(_HOW_MANY), p=_HOW_MANY)) + 1, len(open_))
    chosen: list[str] = []
    while len(chosen) < count:
        weights = np.array([np.prod([AFFINITY.get((a, b), AFFINITY.get((b, a), 1.0)) for b in chosen]) for a in open_])
        chosen.append(open_.pop(int(rng.choice(len(open_), p=weights / weights.sum()))))
    return frozenset(devices | set(chosen))


def compose_with(anatomy: Anatomy, positive: Collection[str], size_px: int, seed: int) -> tuple[Chest, list[Region]]:
    """Return the phantom of `anatomy` with the conditions planted, and where each of them is.

    Parameters
    ----------
    anatomy : Anatomy
        Of a healthy chest; what the conditions change in it is changed here.
    positive : collection of str
        Positive labels.
    size_px : int
        Side of the image.
    seed : int
        Of everything random about the conditions.

    Returns
    -------
    (Chest, list of Region)
        To be exposed; rectangles in image pixels, corner origin, one or more for every positive condition.
    """
    rng = np.random.default_rng([seed, 3])
    first = int(rng.choice((-1, 1)))
    sides = Sides(effusion=first, collapse=-first, air=-first, consolidation=first)
    if not {"Pleural Effusion", "Pneumothorax"} & set(positive):
        sides = replace(sides, consolidation=int(rng.choice((-1, 1))))
    anatomy = _shaped(anatomy, positive, sides, rng)
    chest = compose(anatomy, size_px)
    regions: list[Region] = []
    for label, plant in PLANTERS.items():
        if label in positive:
            regions += [_rectangle(chest, label, box) for box in plant(chest, sides, rng)]
    order = {label: i for i, label in enumerate(LABELS)}
    return chest, sorted(regions, key=lambda region: order[region.label])


def _rectangle(chest: Chest, label: str, box: Box) -> Region:
    x0, y0 = chest.to_px((box[0], box[1]))
    x1, y1 = chest.to_px((box[2], box[3]))
    limit = float(chest.size_px)
    left, right = sorted(min(max(x, 0.0), limit) for x in (x0, x1))
    top, bottom = sorted(min(max(y, 0.0), limit) for y in (y0, y1))
    return Region(label, "rectangle", ((round(left, 1), round(top, 1)), (round(right, 1), round(bottom, 1))))


def _shaped(anatomy: Anatomy, positive: Collection[str], sides: Sides, rng: np.random.Generator) -> Anatomy:
    """Apply the conditions that change the shape of the chest rather than what is in it."""
    if "Cardiomegaly" in positive:
        anatomy = replace(anatomy, heart_ratio=float(rng.uniform(0.575, 0.68)))
    if "Enlarged Cardiomediastinum" in positive:
        anatomy = replace(anatomy, mediastinum_cm=float(rng.uniform(4.4, 5.6)))
    if "Edema" in positive:
        anatomy = replace(anatomy, upper_vessels=float(rng.uniform(1.5, 1.9)))
    if "Atelectasis" in positive:
        right, left = anatomy.dome_cm
        lift = float(rng.uniform(3.0, 4.6))
        domes = (right - lift, left) if sides.collapse < 0 else (right, left - lift)
        anatomy = replace(anatomy, dome_cm=domes, shift_cm=anatomy.shift_cm + sides.collapse * float(rng.uniform(0.8, 1.5)))
    if "Fracture" in positive:
        side, first, at = int(rng.choice((-1, 1))), int(rng.integers(2, 5)), float(rng.uniform(0.58, 0.82))
        breaks = tuple(
            RibBreak(side, rib, at + float(rng.normal(0, 0.03)), float(rng.uniform(0.85, 1.25)), bool(rng.random() < 0.75))
            for rib in range(first, first + int(rng.integers(4, 6)))
        )
        anatomy = replace(anatomy, breaks=breaks)
    return anatomy

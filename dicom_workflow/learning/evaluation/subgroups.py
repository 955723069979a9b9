"""For whom a model works: figures by view, sex, age, site, maker of the device and photometric interpretation.

Of a patient nothing else is read, and ages only as bands. Sites and makers are free text: those with few patients are pooled,
so that a name that stands in one patient's file alone never reaches a report.

References
----------
PS3.3 C.7.1.1 (sex), C.7.2.2 (age), C.7.5.1 (manufacturer, institution), C.8.11.5 and C.8.1.2 (view position), C.7.6.3.1.2
(photometric interpretation); PS3.5 6.2 (AS and DA).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dicom_workflow.learning.evaluation.bootstrap import mean, number, patient_weights, spread
from dicom_workflow.learning.evaluation.curves import Steps

FIELDS = ("view_position", "sex", "age_band", "site", "manufacturer", "photometric_interpretation")
UNKNOWN, OTHER = "unknown", "other"
FEWEST = 5
"""Positive and negative images that a label of a group needs for an AUROC, and patients that a free text needs for a name."""

_VIEWS = {"AP", "PA", "LL", "RL", "LLD", "RLD", "LLO", "RLO", "LATERAL"}
_SEXES = {"F": "female", "M": "male", "O": "other", "FEMALE": "female", "MALE": "male", "OTHER": "other"}
_PHOTOMETRIC = {"MONOCHROME1", "MONOCHROME2"}
_BANDS = ((18, "0-17"), (40, "18-39"), (60, "40-59"), (80, "60-79"), (130, "80 and over"))
_AGE = re.compile(r"(\d{1,3})([DWMY]?)")
_DATE = re.compile(r"\d{8}")
_TAGS = {
    "view_position": "ViewPosition",
    "sex": "PatientSex",
    "site": "InstitutionName",
    "manufacturer": "Manufacturer",
    "photometric_interpretation": "PhotometricInterpretation",
}


def read_groups(line: Mapping[str, Any], image: str | Path | None = None) -> dict[str, str]:
    """Return which group of each of `FIELDS` an image is in.

    Parameters
    ----------
    line : mapping
        Manifest line: ``view_position``, ``sex``, ``age`` (years), ``site``, ``manufacturer`` and
        ``photometric_interpretation`` are looked at, in the line itself, then in its ``attributes``, then in the header.
    image : path, optional
        DICOM file; only its header is read, and a file that cannot be read says nothing.

    Returns
    -------
    dict of str to str
        `UNKNOWN` where neither says, `OTHER` where what is said is no view, sex or interpretation that there is.
    """
    header = _header(image) if image is not None else {}
    attributes = line.get("attributes")
    known = {**(attributes if isinstance(attributes, Mapping) else {}), **line}
    said = {name: str(known.get(name) or header.get(tag) or "") for name, tag in _TAGS.items()}
    age = known.get("age") if known.get("age") is not None else header.get("PatientAge")
    return {
        "view_position": _one_of(said["view_position"], {view: view for view in _VIEWS}),
        "sex": _one_of(said["sex"], _SEXES),
        "age_band": _age_band(age, header),
        "site": _text(said["site"]),
        "manufacturer": _text(said["manufacturer"]),
        "photometric_interpretation": _one_of(said["photometric_interpretation"], {name: name for name in _PHOTOMETRIC}),
    }


def by_subgroup(
    targets: np.ndarray,
    scores: np.ndarray,
    groups: Sequence[Mapping[str, str]],
    *,
    labels: Sequence[str],
    patients: Sequence[str],
    resamples: int = 500,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Return the AUROC of each group of each field that splits the images.

    Parameters
    ----------
    targets, scores : ndarray, shape (n, labels)
    groups : sequence of mapping
        From `read_groups`, one per image.
    labels, patients : sequence of str
    resamples, seed : int
        Intervals resample the patients of a group.

    Returns
    -------
    dict
        Field → group → `images`, `patients`, `macro_auroc` and `macro_auroc_interval` over the labels that this group can
        measure, `labels_measured` (how many), and `labels`: label → `auroc`, `auroc_interval` (both null with fewer than
        `FEWEST` positive or negative images), `positives`, `negatives`. A field in which all images are alike is left out.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in FIELDS:
        values = [str(each.get(name, UNKNOWN)) for each in groups]
        if name in ("site", "manufacturer"):
            values = _pooled(values, patients)
        if len(set(values)) < 2:
            continue
        order = sorted(set(values), key=lambda value: (value in (UNKNOWN, OTHER), value))
        found[name] = {}
        for value in order:
            rows = np.array([row for row, here in enumerate(values) if here == value])
            who = [patients[row] for row in rows]
            found[name][value] = _group(targets[rows], scores[rows], labels, who, resamples, seed)
    return found


def _group(
    targets: np.ndarray, scores: np.ndarray, labels: Sequence[str], patients: Sequence[str], resamples: int, seed: int
) -> dict[str, Any]:
    counts = [(int((targets[:, c] == 1).sum()), int((targets[:, c] == 0).sum())) for c in range(len(labels))]
    columns = [column for column, both in enumerate(counts) if min(both) >= FEWEST]
    values = {c: float(Steps.of(targets[:, c], scores[:, c]).auroc()[0]) for c in columns}
    parts = [
        [Steps.of(targets[:, c], scores[:, c], weights).auroc() for c in columns]
        for weights in patient_weights(patients, resamples if columns else 0, seed)
    ]
    drawn = np.concatenate([np.array(part) for part in parts], axis=1) if parts else np.empty((len(columns), 0))
    intervals = {column: spread(drawn[row]) for row, column in enumerate(columns)}
    return {
        "images": len(targets),
        "patients": len(set(patients)),
        "macro_auroc": number(np.mean(list(values.values()))) if values else None,
        "macro_auroc_interval": spread(np.array([mean(column) for column in drawn.T])) if columns else None,
        "labels_measured": len(columns),
        "labels": {
            label: {
                "auroc": number(values[column]) if column in values else None,
                "auroc_interval": intervals.get(column),
                "positives": counts[column][0],
                "negatives": counts[column][1],
            }
            for column, label in enumerate(labels)
        },
    }


def _header(image: str | Path) -> dict[str, str]:
    import pydicom
    from pydicom.errors import InvalidDicomError

    tags = [*_TAGS.values(), "PatientAge", "PatientBirthDate", "StudyDate"]
    try:
        dataset = pydicom.dcmread(image, stop_before_pixels=True, specific_tags=tags)
        return {tag: str(dataset.get(tag) or "") for tag in tags}
    except (InvalidDicomError, OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, NotImplementedError):
        return {}  # the image itself was decoded and judged; without its header it is in the group "unknown"


def _one_of(text: str, known: Mapping[str, str]) -> str:
    word = text.strip().upper()
    return known.get(word, OTHER) if word else UNKNOWN


def _text(text: str) -> str:
    plain = "".join(" " if unicodedata.category(character)[0] in "CZ" else character for character in text)
    return " ".join(plain.split())[:64] or UNKNOWN


def _age_band(age: object, header: Mapping[str, str]) -> str:
    years = _years(age, header)
    return UNKNOWN if years is None else next((name for end, name in _BANDS if years < end), UNKNOWN)


def _years(age: object, header: Mapping[str, str]) -> float | None:
    if isinstance(age, int | float) and not isinstance(age, bool):
        return float(age) if age >= 0 else None
    match = _AGE.fullmatch(str(age or "").strip().upper())
    if match:
        return int(match[1]) / {"D": 365.25, "W": 52.18, "M": 12.0}.get(match[2], 1.0)
    born, studied = header.get("PatientBirthDate", ""), header.get("StudyDate", "")
    if _DATE.fullmatch(born) and _DATE.fullmatch(studied) and born <= studied:
        return (int(studied) - int(born)) // 10_000  # as dates are written, the birthday included
    return None


def _pooled(values: Iterable[str], patients: Sequence[str]) -> list[str]:
    values = list(values)
    patients_of = Counter(value for value, _ in set(zip(values, patients, strict=True)))
    return [value if value == UNKNOWN or patients_of[value] >= FEWEST else OTHER for value in values]

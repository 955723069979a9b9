"""Written reports of chest phantoms: what is planted, in a radiologist's many words, with what is denied, doubted or past.

The wordings are in ``report_wordings.tsv`` and know nothing of the lexicon that reads reports. Each report says of some labels
that they are present or absent, of a few that they are possible; its indication asks and remembers, which is no finding.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydicom
from tqdm.auto import tqdm

from dicom_workflow.errors import RecordError
from dicom_workflow.formats.answers import Region
from dicom_workflow.formats.labels import default_label_set
from dicom_workflow.synthetic.dataset import REGIONS_FILE, TRUTH_FILE

REPORTS_FILE, STATED_FILE = "reports.jsonl", "stated.json"

Stated = Literal["positive", "negative", "uncertain"]

_TAGS = ["SOPInstanceUID", "StudyInstanceUID", "StudyDate", "PatientID", "PatientAge", "PatientSex", "ViewPosition", "Rows"]
_NO_FINDING, _DEVICES = "No Finding", "Support Devices"
_SAID_ABSENT, _DOUBTED_PRESENT, _DOUBTED_ABSENT = 0.55, 0.07, 0.04
"""Shares of labels: absent ones that the report denies, and present and absent ones that it calls possible."""
_MONTHS = ("January", "March", "April", "June", "August", "October", "December")


@dataclass(frozen=True)
class WrittenReport:
    """A report, and what it states of which label; labels that it does not mention are not in `stated`."""

    report_id: str
    study_instance_uid: str
    patient_id: str
    study_date: str
    text: str
    stated: Mapping[str, Stated] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the line of the reports file: the report as an information system would send it."""
        names = ("report_id", "study_instance_uid", "patient_id", "study_date", "text")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Case:
    """What a report is written of: one study, its positive labels and where they are."""

    study_instance_uid: str
    patient_id: str
    study_date: str = ""
    age_years: int = 50
    sex: str = ""
    view_position: str = "PA"
    positive: frozenset[str] = frozenset()
    places: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Label → side (``left``, ``right``, ``bilateral``) and zone (``upper``, ``mid``, ``lower``)."""


def write_reports(folder: str | Path, *, seed: int, progress: bool = True) -> tuple[WrittenReport, ...]:
    """Write a report for each study of a folder of chest phantoms, and what each states.

    Parameters
    ----------
    folder : str or Path
        Where `make_dataset` wrote ``images``, ``truth.csv`` and ``regions.json``. Gets ``reports.jsonl``, one JSON object a
        line (report_id, study_instance_uid, patient_id, study_date as YYYYMMDD, text), and ``stated.json``, report id → label
        → state.
    seed : int
        The same seed and images give the same reports.
    progress : bool
        Show a progress bar.

    Raises
    ------
    RecordError
        The folder holds no phantoms.
    """
    root = Path(folder)
    cases = _cases(root, progress)
    reports = tuple(write_report(case, seed=[seed, 7, number]) for number, case in enumerate(cases))
    lines = (json.dumps(report.to_json(), ensure_ascii=False) for report in reports)
    (root / REPORTS_FILE).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    stated = {report.report_id: dict(report.stated) for report in reports}
    (root / STATED_FILE).write_text(json.dumps(stated, indent=0) + "\n", encoding="utf-8")
    return reports


def write_report(case: Case, *, seed: int | Sequence[int]) -> WrittenReport:
    """Return the report of one case; the same seed gives the same words."""
    return _Writer(case, np.random.default_rng(seed)).report()


def _cases(root: Path, progress: bool) -> list[Case]:
    try:
        with (root / TRUTH_FILE).open(newline="", encoding="utf-8") as file:
            rows = {row["sop_instance_uid"]: row for row in csv.DictReader(file)}
        regions = json.loads((root / REGIONS_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecordError(
            f"{root}: expected a folder of chest phantoms with {TRUTH_FILE} and {REGIONS_FILE}, but {error.filename} is "
            "missing. Make one with make_dataset."
        ) from None
    labels = default_label_set().labels
    cases = []
    for path in tqdm(sorted((root / "images").rglob("*.dcm")), desc="written reports", unit="report", disable=not progress):
        image = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
        uid = str(image.SOPInstanceUID)
        row = rows.get(uid, {})
        marked: dict[str, list[Region]] = {}
        for region in map(Region.parse, regions.get(uid, ())):
            marked.setdefault(region.label, []).append(region)
        cases.append(
            Case(
                study_instance_uid=str(image.StudyInstanceUID),
                patient_id=str(image.PatientID),
                study_date=str(image.get("StudyDate", "")),
                age_years=int(str(image.get("PatientAge", "050Y"))[:3]),
                sex=str(image.get("PatientSex", "")),
                view_position=str(image.get("ViewPosition", "PA")),
                positive=frozenset(label for label in labels if row.get(label) == "1"),
                places={label: _place(found, float(image.Rows)) for label, found in marked.items()},
            )
        )
    return cases


def _place(regions: Sequence[Region], size_px: float) -> tuple[str, str]:
    """Return side and zone; the patient's right is on the left of the image."""
    points = np.array([np.mean(region.points_px, axis=0) for region in regions]) / size_px
    sides = {"right" if x < 0.5 else "left" for x in points[:, 0]}
    height = float(points[:, 1].mean())
    zone = "upper" if height < 0.4 else "mid" if height < 0.55 else "lower"
    return ("bilateral" if len(sides) > 1 else sides.pop()), zone


@cache
def _wordings() -> Mapping[tuple[str, str], tuple[str, ...]]:
    text = resources.files(__package__).joinpath("report_wordings.tsv").read_text(encoding="utf-8")
    found: dict[tuple[str, str], list[str]] = {}
    for row in csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE):
        found.setdefault((row["label"], row["use"]), []).append(row["wording"])
    return {key: tuple(values) for key, values in found.items()}


class _Writer:
    """Writes one report."""

    def __init__(self, case: Case, rng: np.random.Generator) -> None:
        self._case, self._rng = case, rng
        self._stated: dict[str, Stated] = {}

    def report(self) -> WrittenReport:
        findings, main = self._findings()
        impression = self._impression(main)
        text = self._laid_out(findings, impression)
        case = self._case
        return WrittenReport(
            report_id=f"R{case.study_instance_uid.rpartition('.')[2][-12:]}",
            study_instance_uid=case.study_instance_uid,
            patient_id=case.patient_id,
            study_date=case.study_date,
            text=text,
            stated={**self._stated, **self._no_finding()},
        )

    def _findings(self) -> tuple[list[str], list[str]]:
        """Return the sentences of the findings, and the labels that are present."""
        sentences, present, denied = [], [], []
        for label in default_label_set().labels:
            if label == _NO_FINDING:
                continue
            here = label in self._case.positive
            draw = self._rng.random()
            if draw < (_DOUBTED_PRESENT if here else _DOUBTED_ABSENT) and label != _DEVICES:
                self._stated[label] = "uncertain"
                sentences.append(self._said("*", "uncertain", a=self._name(label)))
            elif here:
                self._stated[label] = "positive"
                present.append(label)
                sentences.append(self._said(label, "positive"))
            elif draw < _SAID_ABSENT or (label == "Pneumothorax" and draw < 0.8):
                self._stated[label] = "negative"
                denied.append(label)
        sentences += self._denials(denied)
        fillers = [self._said("*", "filler") for _ in range(int(self._rng.integers(0, 3)))]
        sentences += fillers
        order = self._rng.permutation(len(sentences))
        return [sentences[at] for at in order], present

    def _denials(self, labels: list[str]) -> list[str]:
        """Return sentences that deny labels, one by one and in lists."""
        left = [labels[at] for at in self._rng.permutation(len(labels))]
        sentences = []
        while left:
            count = min(int(self._rng.integers(1, 4)), len(left))
            group, left = left[:count], left[count:]
            names = [self._name(label) for label in group]
            if count == 1:
                sentences.append(self._said(group[0], "negative"))
            elif count == 2:
                sentences.append(self._said("*", "list of two", a=names[0], b=names[1]))
            else:
                sentences.append(self._said("*", "list of three", a=names[0], b=names[1], c=names[2]))
        return sentences

    def _impression(self, present: list[str]) -> list[str]:
        if not present and "uncertain" not in self._stated.values():
            return [self._said("*", "normal")]
        if present == [_DEVICES] and "uncertain" not in self._stated.values():
            return [self._said("*", "device normal")]
        told = [label for label in present if self._rng.random() < 0.6]
        sentences = [self._said(label, "positive") for label in told]
        if self._rng.random() < 0.35 or not sentences:
            sentences.append(self._said("*", "advice"))
        return sentences

    def _no_finding(self) -> dict[str, Stated]:
        others = {state for label, state in self._stated.items() if label != _DEVICES}
        if "positive" in others:
            return {_NO_FINDING: "negative"}
        return {_NO_FINDING: "uncertain" if "uncertain" in others else "positive"}

    def _indication(self) -> list[str]:
        labels = [label for label in default_label_set().labels if label not in (_NO_FINDING, _DEVICES)]
        sentences = [self._said("*", "complaint")]
        if self._rng.random() < 0.4:
            sentences.append(self._said("*", "question", a=self._name(str(self._rng.choice(labels)))))
        if self._rng.random() < 0.35:
            sentences.append(self._said("*", "history", a=self._name(str(self._rng.choice(labels)))))
        if self._rng.random() < 0.12:
            sentences.append(self._said("*", "family"))
        return sentences

    def _laid_out(self, findings: list[str], impression: list[str]) -> str:
        """Put the sections into one of the layouts that hospitals use, some without any heading."""
        history = " ".join(self._indication())
        body, end = " ".join(findings), " ".join(impression)
        listed = "\n".join(f"{number}. {sentence}" for number, sentence in enumerate(impression, start=1))
        exam, technique, comparison = (self._said("*", use) for use in ("examination", "technique", "comparison"))
        layouts = (
            f"EXAMINATION: {exam}\n\nINDICATION: {history}\n\nTECHNIQUE: {technique}\n\nCOMPARISON: {comparison}\n\n"
            f"FINDINGS: {body}\n\nIMPRESSION:\n{listed}",
            f"Clinical history: {history}\nComparison: {comparison}\nFindings: {body}\nConclusion: {end}",
            f"{exam}\n\nReason for exam: {history}\n\nReport:\n{body}\n\nOpinion: {end}",
            f"IMPRESSION:\n{listed}\n\nFINDINGS:\n{body}\n\nHISTORY:\n{history}",
            f"indication: {history} technique: {technique} findings: {body} impression: {end}",
            f"{body} {end}",
            f"FINDINGS\n{body}\n\nIMPRESSION\n{end}\n\nINDICATION\n{history}",
            f"{technique} {body}\n\nImpression: {end}",
        )
        return layouts[int(self._rng.integers(len(layouts)))]

    def _name(self, label: str) -> str:
        return self._drawn(label, "name")

    def _drawn(self, label: str, use: str) -> str:
        wordings = _wordings()[label, use]
        return wordings[int(self._rng.integers(len(wordings)))]

    def _said(self, label: str, use: str, **names: str) -> str:
        """Return one wording with its blanks filled."""
        case, rng = self._case, self._rng
        side, zone = case.places.get(label, ("right" if rng.random() < 0.5 else "left", "lower"))
        size = str(rng.choice(("small", "moderate", "large")))
        blanks = {
            "side": side,
            "Side": side.capitalize(),
            "at": "on both sides" if side == "bilateral" else f"on the {side}",
            "zone": f"{zone} zones of both lungs" if side == "bilateral" else f"{side} {zone} zone",
            "size": size,
            "Size": size.capitalize(),
            "mm": str(rng.integers(8, 30)),
            "cm": f"{rng.uniform(1.1, 4.9):.1f}",
            "ratio": f"{rng.uniform(0.57, 0.68):.2f}",
            "rib": f"{rng.integers(4, 9)}th",
            "age": str(case.age_years),
            "sex": {"F": "female", "M": "male"}.get(case.sex, "patient"),
            "view": case.view_position or "PA",
            "years": str(rng.integers(2, 9)),
            "year": str(rng.integers(2009, 2019)),
            "month": str(rng.choice(_MONTHS)),
        }
        blanks |= names | {name.upper(): text[0].upper() + text[1:] for name, text in names.items()}
        return self._drawn(label, use).format(**blanks)

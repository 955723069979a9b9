"""How well and how fast reports are read: against people's MeSH coding of the Indiana reports, which no rule was written for.

A finding counts as present in a report where the coders gave its heading, and as read where our engine states it positive at
least once in findings or impression; what a report calls possible counts as absent (``uncertain_counts`` gives the other
reading). Wordings and rules were written with the even lines of the file in view and never with the odd ones, so ``odd`` is the
figure to expect elsewhere. The macro F1 is over findings that occur in the truth. The coders' work is of reports, not of
mentions, and leaves out what they thought minor.

    DICOM_WORKFLOW_SAMPLE_DATA=../shared/data python benchmarks/radiology_reports.py
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_workflow.search.documents import ReportDocument
from dicom_workflow.search.radiology_reports import read_report
from dicom_workflow.search.radiology_reports.files import report_of_line
from dicom_workflow.search.radiology_reports.local_nlp import statements

TARGET_REPORTS_PER_S = 500
Heading = Sequence[str]
"""``Nodule/lung/upper lobe/right`` as its parts in lower case: what, then where and how."""

_BONES = ("spine", "thoracic vertebrae", "lumbar vertebrae", "cervical vertebrae")


@dataclass(frozen=True)
class Target:
    """A finding: its concepts in our lexicon, and which MeSH headings say that it is there."""

    concepts: tuple[str, ...]
    says: Callable[[Heading], bool]


def _any(*names: str) -> Callable[[Heading], bool]:
    return lambda heading: heading[0] in names


def _aorta(heading: Heading) -> bool:
    return any(part.startswith("aorta") for part in heading)


TARGETS: Mapping[str, Target] = {
    "cardiomegaly": Target(
        ("cardiomegaly",), lambda h: h[0] == "cardiomegaly" or (h[0] == "cardiac shadow" and "enlarged" in h)
    ),
    "pleural effusion": Target(("pleural effusion",), _any("pleural effusion", "hemopneumothorax")),
    "pneumothorax": Target(("pneumothorax", "tension pneumothorax"), _any("pneumothorax", "hemopneumothorax")),
    "atelectasis": Target(("atelectasis",), _any("pulmonary atelectasis")),
    "opacity": Target(
        ("lung opacity", "infiltrate", "consolidation", "nodular opacity"),
        lambda h: (
            h[0] in ("opacity", "infiltrate", "airspace disease", "consolidation")
            or (h[0] == "density" and any(part.startswith("lung") for part in h))
        ),
    ),
    "pulmonary edema": Target(("pulmonary edema",), _any("pulmonary edema")),
    "vascular congestion": Target(("pulmonary vascular congestion",), _any("pulmonary congestion")),
    "pneumonia": Target(("pneumonia", "aspiration pneumonia"), _any("pneumonia")),
    "nodule": Target(("lung nodule",), _any("nodule")),
    "mass": Target(("lung mass", "mediastinal mass"), _any("mass")),
    "granuloma": Target(
        ("granuloma", "granulomatous disease"), _any("calcified granuloma", "granuloma", "granulomatous disease")
    ),
    "emphysema or COPD": Target(
        ("emphysema", "COPD"),
        _any("emphysema", "pulmonary emphysema", "bullous emphysema", "pulmonary disease, chronic obstructive"),
    ),
    "hyperinflation": Target(("hyperinflation",), lambda h: h[0] == "lung" and "hyperdistention" in h),
    "hypoinflation": Target(("hypoinflation",), lambda h: h[0] == "lung" and "hypoinflation" in h),
    "scar or fibrosis": Target(("scarring", "pulmonary fibrosis"), _any("cicatrix", "fibrosis", "pulmonary fibrosis")),
    "fracture": Target(
        ("fracture", "rib fracture", "clavicle fracture", "vertebral compression fracture", "humerus fracture"),
        _any("fractures, bone"),
    ),
    "degenerative spine": Target(
        ("degenerative spine disease", "osteophyte"),
        lambda h: h[0] in ("spondylosis", "osteophyte") or (h[0] in _BONES and "degenerative" in h),
    ),
    "scoliosis": Target(("scoliosis",), _any("scoliosis")),
    "hernia": Target(("hiatal hernia",), lambda h: h[0].startswith("hernia")),
    "tortuous aorta": Target(("tortuous aorta",), lambda h: _aorta(h[:1]) and "tortuous" in h),
    "atherosclerosis": Target(
        ("aortic atherosclerosis",), lambda h: h[0] == "atherosclerosis" or (h[0] == "calcinosis" and _aorta(h))
    ),
}
"""The 21 findings: those that are frequent in the collection, with the eight of ChestX-ray8 among them."""


@dataclass(frozen=True)
class Counts:
    """Reports by truth and reading, for one finding."""

    both: int
    read_only: int
    truth_only: int

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN); 0 where there is neither truth nor reading."""
        return 2 * self.both / max(1, 2 * self.both + self.read_only + self.truth_only)


Read = tuple[int, ReportDocument, list[Heading]]
"""Number of the line, from 0; what was read; what the coders gave."""


def read_all(path: Path) -> tuple[list[Read], float]:
    """Return the reports with their headings, and how many were read in a second of processor time."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    texts = [(number, line, report_of_line(line)[1]) for number, line in enumerate(lines) if _has_text(line)]
    read_report("No pneumothorax.", report_id="warm")  # loads the lexicon
    statements.cache_clear()
    begin = time.process_time()
    documents = [read_report(text, report_id=line["report_id"]) for _, line, text in texts]
    seconds = time.process_time() - begin
    reads = [(number, document, _headings(line)) for document, (number, line, _) in zip(documents, texts, strict=True)]
    return reads, len(texts) / seconds


def _has_text(line: Mapping[str, Any]) -> bool:
    return bool(line.get("findings") or line.get("impression"))


def _headings(line: Mapping[str, Any]) -> list[Heading]:
    return [[part.strip().lower() for part in heading.split("/")] for heading in line["mesh_major"]]


def half(reads: Sequence[Read], odd: int) -> list[Read]:
    """Return the reports of the even lines (0) or the odd ones (1)."""
    return [read for read in reads if read[0] % 2 == odd]


def score(reads: Sequence[Read], *, uncertain_counts: bool = False) -> dict[str, Counts]:
    """Return finding → counts; reports that the coders left out ("No Indexing") are left out here too."""
    states = {"positive", "uncertain"} if uncertain_counts else {"positive"}
    found = {name: [0, 0, 0] for name in TARGETS}
    for _, document, headings in reads:
        if any(heading[0] == "no indexing" for heading in headings):
            continue
        stated = {finding.concept for finding in document.findings if finding.state in states}
        for name, target in TARGETS.items():
            truth, read = any(map(target.says, headings)), not stated.isdisjoint(target.concepts)
            found[name][0] += truth and read
            found[name][1] += read and not truth
            found[name][2] += truth and not read
    return {name: Counts(*numbers) for name, numbers in found.items()}


def micro_f1(counts: Mapping[str, Counts]) -> float:
    """Return F1 over all pairs of report and finding."""
    every = counts.values()
    return Counts(sum(c.both for c in every), sum(c.read_only for c in every), sum(c.truth_only for c in every)).f1


def macro_f1(counts: Mapping[str, Counts]) -> float:
    """Return the mean F1 of the findings that occur in the truth."""
    present = [each.f1 for each in counts.values() if each.both + each.truth_only]
    return sum(present) / len(present)


def measure(path: Path) -> dict[str, Any]:
    """Return the figures of the last line."""
    reads, per_second = read_all(path)
    figures: dict[str, Any] = {"reports": len(reads)}
    for name, part in (("all", reads), ("even", half(reads, 0)), ("odd", half(reads, 1))):
        counts, lenient = score(part), score(part, uncertain_counts=True)
        figures[name] = {"micro_f1": round(micro_f1(counts), 4), "macro_f1": round(macro_f1(counts), 4)}
        figures[name]["uncertain_counts"] = [round(micro_f1(lenient), 4), round(macro_f1(lenient), 4)]
    for name, each in score(reads).items():
        print(f"{name:22} F1 {each.f1:.3f}   {each.both:4} right, {each.read_only:3} too many, {each.truth_only:3} missed")
    figures |= {"micro_f1": figures["all"]["micro_f1"], "macro_f1": figures["all"]["macro_f1"]}
    figures |= {"reports_per_s": round(per_second), "ratio_target": round(per_second / TARGET_REPORTS_PER_S, 2)}
    print(f"{per_second:,.0f} reports a second of one core, {per_second / TARGET_REPORTS_PER_S:.1f} times the target.")
    return figures


def main() -> int:
    """Print the table and, last, the figures as JSON."""
    data = os.environ.get("DICOM_WORKFLOW_SAMPLE_DATA", "../shared/data")
    path = Path(data, "reports", "indiana_reports.jsonl")
    if not path.is_file():
        print(f"{path}: expected the Indiana reports. Set DICOM_WORKFLOW_SAMPLE_DATA to the folder that holds them.")
        return 1
    print(json.dumps(measure(path)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

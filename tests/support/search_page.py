"""Phantoms with written reports in a real store, for the tests of the search page: the same for the web page and the widget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from support.learning import LABELS, tiny_bundle

from dicom_workflow.dicom.reading import read_header
from dicom_workflow.learning.data.images import decode
from dicom_workflow.search.documents import Embeddings, Finding, ImageDocument, Kind, ReportDocument, State
from dicom_workflow.search.embeddings import Embedder
from dicom_workflow.search.store.protocol import SearchStore
from dicom_workflow.search.whitening import Whitening
from dicom_workflow.synthetic.dataset import Phantoms, make_dataset

SIZE_PX, DIMENSIONS = 96, 32
CONCEPTS: dict[str, tuple[str, Kind, str]] = {
    "Atelectasis": ("atelectasis", "diagnosis", "J98.11"),
    "Cardiomegaly": ("cardiomegaly", "sign", "I51.7"),
    "Consolidation": ("consolidation", "sign", "R91.8"),
    "Edema": ("pulmonary edema", "diagnosis", "J81.0"),
    "Fracture": ("rib fracture", "diagnosis", "S22.39XA"),
    "Lung Lesion": ("nodule", "sign", "R91.1"),
    "Lung Opacity": ("opacity", "sign", "R91.8"),
    "Pleural Effusion": ("pleural effusion", "diagnosis", "J90"),
    "Pneumonia": ("pneumonia", "diagnosis", "J18.9"),
    "Pneumothorax": ("pneumothorax", "diagnosis", "J93.9"),
}
_CENTRAL = ("Cardiomegaly", "Edema")  # not of one side
_DENIED = ("Pneumothorax", "Pleural Effusion", "Pneumonia")

PAYLOADS = (
    "<script>window.__owned = 1</script>",
    "<img src=x onerror='window.__owned = 1'>",
    "<svg onload=window.__owned=1>",
    "<iframe srcdoc='<script>parent.__owned = 1</script>'></iframe>",
    '"><b id=planted>bold</b>',
    "' onmouseover='window.__owned=1' x='",
    "<a href=javascript:window.__owned=1 id=planted>here</a>",
    "<details open ontoggle=window.__owned=1>",
    "</textarea><script>window.__owned = 1</script>",
    "<math><mtext><table><mglyph><style><img src=x onerror=window.__owned=1>",
    "{{constructor.constructor('window.__owned = 1')()}} ${window.__owned = 1}",
    "<template><b id=planted></b></template><object data=javascript:window.__owned=1></object>",
)
"""Texts that would make nodes, or run, if any of them were taken for HTML or for code."""


@dataclass(frozen=True)
class Archive:
    """What the store of `fill` holds."""

    images: tuple[ImageDocument, ...]
    reports: tuple[ReportDocument, ...]
    labels: dict[str, tuple[str, ...]]
    """Image id → planted findings."""

    def with_label(self, label: str) -> list[ReportDocument]:
        """Return the reports that state the finding as present."""
        return [report for report in self.reports if report.label_states().get(label) == "positive"]


class _Writer:
    """Writes a report sentence by sentence and remembers where each finding stands."""

    def __init__(self) -> None:
        self.text = ""
        self.findings: list[Finding] = []
        self.sections: dict[str, str] = {}
        self._section, self._begin = "", 0

    def section(self, name: str) -> None:
        self.end()
        self.text += f"{name.upper()}: "
        self._section, self._begin = name, len(self.text)

    def end(self) -> None:
        if self._section:
            self.sections[self._section] = self.text[self._begin :].strip()
            self.text = self.text.rstrip() + "\n"

    def say(self, sentence: str, label: str = "", state: State = "positive", side: str = "") -> None:
        begin = len(self.text)
        self.text += sentence + " "
        if not label:
            return
        concept, kind, code = CONCEPTS[label]
        at = begin + sentence.lower().index(concept)
        place = {"begin": at, "end": at + len(concept), "sentence_begin": begin, "sentence_end": begin + len(sentence)}
        more = {"section": self._section, "label": label, "laterality": side}
        self.findings.append(Finding(concept, state, kind, code, f"{concept} (as coded)", **place, **more))


def write_report(report_id: str, labels: Sequence[str], number: int, **more: str) -> ReportDocument:
    """Return a report that states the findings, denies one that is absent and doubts another."""
    known = [label for label in labels if label in CONCEPTS]
    absent = [label for label in _DENIED if label not in known]
    writer = _Writer()
    writer.section("indication")
    writer.say("Cough and fever 🤒 for a week.")  # a character of two UTF-16 units before everything that is marked
    writer.section("findings")
    for label in known:
        side = "" if label in _CENTRAL else ("left", "right")[number % 2]
        writer.say(f"There is {CONCEPTS[label][0]}{side and f' on the {side}'}.", label, side=side)
    for label in absent[:2]:
        writer.say(f"No {CONCEPTS[label][0]}.", label, "negative")
    writer.say("The osseous structures are intact.")
    writer.section("impression")
    summary = ", ".join(CONCEPTS[label][0] for label in known).capitalize()
    writer.say(f"{summary}." if known else "No acute cardiopulmonary disease.")
    if number % 3 == 0 and absent:
        writer.say(f"Possible {CONCEPTS[absent[-1]][0]} cannot be excluded.", absent[-1], "uncertain")
    writer.end()
    return ReportDocument(
        report_id, writer.text, sections=writer.sections, findings=tuple(writer.findings), language_model="tests", **more
    )


@cache
def phantoms(folder: str, patients: int = 20) -> Phantoms:
    """Return phantoms in a folder, made once."""
    return make_dataset(folder, patients=patients, seed=7, size_px=256, progress=False, processes=1)


def documents(folder: Path, patients: int = 20) -> Archive:
    """Return the images and reports of phantoms."""
    made = phantoms(str(folder), patients)
    images, reports, labels = [], [], {}
    for number, path in enumerate(made.paths):
        header = read_header(path)
        uid = str(header.SOPInstanceUID)
        planted = tuple(made.positive[uid])
        key = {"patient_key": f"key-{made.patient_id[uid]}", "study_date": str(header.StudyDate)}
        report = write_report(f"report-{number:03d}", planted, number, study_instance_uid=str(header.StudyInstanceUID), **key)
        stated = report.label_states()
        by_state = {state: tuple(name for name, said in stated.items() if said == state) for state in set(stated.values())}
        images.append(
            ImageDocument(
                uid,
                study_instance_uid=str(header.StudyInstanceUID),
                report_id=report.report_id,
                modality=str(header.Modality),
                view_position=str(header.get("ViewPosition", "")) or "PA",
                body_part="CHEST",
                sex=("F", "M")[number % 2],
                rows=int(header.Rows),
                columns=int(header.Columns),
                source=Path(path).as_uri(),
                labels_positive=by_state.get("positive", ()),
                labels_negative=by_state.get("negative", ()),
                labels_uncertain=by_state.get("uncertain", ()),
                **key,
            )
        )
        reports.append(report)
        labels[uid] = planted
    return Archive(tuple(images), tuple(reports), labels)


def network(folder: Path) -> Embedder:
    """Return a seeded, untrained network; its features lie close together, so the mean of those in the folder is taken off."""
    bundle = replace(tiny_bundle(LABELS, mode="multi-label"), size_px=SIZE_PX)
    return Embedder(bundle, Whitening.load(folder))


@cache
def _vectors(folder: Path, images: tuple[ImageDocument, ...]) -> NDArray[np.float32]:
    """Return the embeddings of the images, shape (n, DIMENSIONS), after writing their mean into the folder."""
    plain = network(folder / "nothing here")
    files = [Path(image.source.removeprefix("file://")) for image in images]
    features = plain.of_images(np.stack([decode(file, SIZE_PX, plain.bundle.preprocessing_version) for file in files]))
    shortened = np.random.default_rng(11).normal(size=(features.shape[1], DIMENSIONS)).astype(np.float32)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    whitening = Whitening(unit.mean(axis=0), shortened)
    whitening.save(folder)
    return whitening.apply(features)


def fill(store: SearchStore, folder: Path, patients: int = 20) -> Archive:
    """Write phantoms and their reports into a store."""
    archive = documents(folder, patients)
    ids = [image.image_id for image in archive.images]
    vectors = _vectors(folder, archive.images)
    space = network(folder).space
    store.add_space(space)
    store.upsert_images(archive.images, Embeddings.of(space, ids, vectors))
    store.upsert_reports(archive.reports)
    return archive


def hostile(store: SearchStore, archive: Archive) -> list[str]:
    """Add a report for each of `PAYLOADS`, with the payload in every text that the page shows, and return their ids."""
    reports, images = [], []
    for number, payload in enumerate(PAYLOADS):
        base, image = archive.reports[number], archive.images[number]
        text = f"FINDINGS: {payload} hostile words.\nIMPRESSION: {payload}"
        report_id = f"hostile-{number:02d} {payload}"
        place = {"begin": 10, "end": 10 + len(payload), "sentence_begin": 10, "sentence_end": 10 + len(payload) + 15}
        found = Finding(payload, "positive", "sign", "R91.8", payload, section="findings", label=payload, **place)
        sections = {"findings": f"{payload} hostile words.", "impression": payload}
        newest = {"report_id": report_id, "study_date": "29990101"}
        reports.append(replace(base, text=text, sections=sections, findings=(found,), **newest))
        shown = {"body_part": payload, "view_position": payload, "labels_positive": (payload,)}
        images.append(replace(image, image_id=f"hostile-image-{number}", **newest, **shown))
    vectors = np.random.default_rng(3).normal(size=(len(images), DIMENSIONS))
    store.upsert_images(images, Embeddings.of(store.spaces()[0], [image.image_id for image in images], vectors))
    store.upsert_reports(reports)
    return [report.report_id for report in reports]

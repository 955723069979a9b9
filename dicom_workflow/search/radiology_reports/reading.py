"""From the text of a report to a `ReportDocument`: what it states of which finding, and where."""

from __future__ import annotations

import bisect
import re
from collections.abc import Mapping, Sequence
from typing import Any

from dicom_workflow.errors import ReportError
from dicom_workflow.formats.json_schema import shown
from dicom_workflow.search.documents import SECTIONS, Finding, Kind, ReportDocument, State
from dicom_workflow.search.radiology_reports.comprehend_medical import ReportNLP
from dicom_workflow.search.radiology_reports.context import subject_of
from dicom_workflow.search.radiology_reports.lexicon import Concept, concepts_of
from dicom_workflow.search.radiology_reports.local_nlp import LocalNLP
from dicom_workflow.search.radiology_reports.sections import IMAGE_SECTIONS, Section, outline, split_sections

MAX_CHARACTERS = 1_000_000
"""Of one report. A longer text is no report but, for example, a whole export in one file."""

_NO_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
"""Control characters, and halves of surrogate pairs, which UTF-8 cannot hold."""

_RADIOLOGY_CODES = re.compile(
    r"A1[5-9]|A41|B59|C34|C38|C45|C7[78]|C8[1-9]|D86|E04|E84|I[0-9]|J[0-9]|K22|K44|K56|K66|K80|M[0-9]|N20|P2[2-9]|Q2[0-9]"
    r"|Q3[0-4]|Q43|Q6[78]|Q76|Q79|R0[0-9]|R1[16]|R22|R4[12]|R5[0-9]|R6[03]|R9[13]|S[1-6]|T14|T17|T79|T8[0-9]|U07|Z4[5-9]|Z9"
)
"""Codes that a chest report can state; others that a service may infer, "other vitreous opacities", are left out."""


def read_report(
    text: str,
    *,
    report_id: str,
    nlp: ReportNLP | None = None,
    patient_key: str = "",
    study_instance_uid: str = "",
    study_date: str = "",
) -> ReportDocument:
    """Return a report with what it states, each finding with its sentence.

    What the indication, the history and the discussion name is no finding of this image: it becomes ``history``, or stays
    ``hypothetical``, ``family`` or ``negative``, and is evidence for no label.

    Parameters
    ----------
    text : str
        The report, with or without headings; English.
    report_id : str
        Its id.
    nlp : ReportNLP, optional
        What finds the conditions; the local engine when not given.
    patient_key, study_instance_uid, study_date : str
        As in `ReportDocument`.

    Control characters become spaces, so offsets hold.

    Raises
    ------
    ReportError
        The text is empty, too long or not text, or the service does not answer.
    """
    text = checked_text(text, report_id)
    engine = nlp or LocalNLP()
    answer = engine.infer_icd10_cm(Text=text)
    sections = split_sections(text)
    reader = _Reader(text, sections)
    return ReportDocument(
        report_id=report_id,
        text=text,
        patient_key=patient_key,
        study_instance_uid=study_instance_uid,
        study_date=study_date,
        sections=_texts(text, sections),
        findings=tuple(finding for entity in answer["Entities"] if (finding := reader.finding(entity)) is not None),
        language_model=str(getattr(engine, "model_version", "") or answer.get("ModelVersion", "")),
    )


def compose_text(sections: Mapping[str, str]) -> str:
    """Return one text of a report whose sections are given one by one, each under its heading."""
    known = [name for name in SECTIONS if sections.get(name, "").strip()]
    return "\n\n".join(f"{name.upper()}: {sections[name].strip()}" for name in known)


def checked_text(text: object, report_id: str) -> str:
    """Return the text with a space for each character that is none, so that every store can hold it.

    Raises
    ------
    ReportError
        It is empty, too long or not text.
    """
    if not isinstance(text, str):
        raise ReportError(f"report {shown(report_id)}: expected its text, got {type(text).__name__}. Give a JSON string.")
    if not any(character.isalnum() for character in text):
        raise ReportError(
            f"report {shown(report_id)}: the text is empty. Leave the report out, or export it again with its text."
        )
    if len(text) > MAX_CHARACTERS:
        raise ReportError(
            f"report {shown(report_id)}: expected at most {MAX_CHARACTERS:,} characters, got {len(text):,}. "
            "Give one report at a time."
        )
    return _NO_TEXT.sub(" ", text)


def _texts(text: str, sections: Sequence[Section]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name in SECTIONS:
        bodies = [text[section.begin : section.end] for section in sections if section.name == name]
        if bodies:
            joined[name] = "\n".join(bodies)
    return joined


class _Reader:
    """Turns the entities of one text into findings."""

    def __init__(self, text: str, sections: Sequence[Section]) -> None:
        self._text = text
        self._sentences = outline(text)
        self._described = any(section.headed and section.name in IMAGE_SECTIONS for section in sections)
        self._begins = [begin for _, begin, _ in self._sentences]
        self._given: set[tuple[int, int, str]] = set()

    def finding(self, entity: Mapping[str, Any]) -> Finding | None:
        """Return the finding of an entity; None for a time, a code outside of radiology, or text between the sections."""
        at = bisect.bisect_right(self._begins, entity["BeginOffset"]) - 1
        known = _known(entity, self._concept(entity))
        if entity.get("Type") == "TIME_EXPRESSION" or at < 0 or known is None:
            return None
        section, begin, end = self._sentences[at]
        if entity["EndOffset"] > max(end, entity["BeginOffset"]):
            end = entity["EndOffset"]
        name, kind, code, code_text, label = known
        state = _state(entity)
        if not self._of_image(section, begin, end):
            asked: State = "hypothetical" if section.name == "indication" else "history"
            state, label = {"positive": "history", "uncertain": asked}.get(state, state), ""
        return Finding(
            concept=name,
            state=state,
            kind=kind,
            code=code,
            code_text=code_text,
            begin=entity["BeginOffset"],
            end=entity["EndOffset"],
            sentence_begin=begin,
            sentence_end=end,
            section=section.name,
            laterality=_side(entity),
            label=label,
        )

    def _concept(self, entity: Mapping[str, Any]) -> Concept | None:
        """Return what the words of an entity name; two entities over the same words are two concepts where there are two."""
        begin, end, code = entity["BeginOffset"], entity["EndOffset"], _code(entity)
        concepts = concepts_of(self._text[begin:end].lower(), code)
        if not concepts:
            return None
        concept = next((item for item in concepts if (begin, end, item.name) not in self._given), concepts[0])
        self._given.add((begin, end, concept.name))
        return concept

    def _of_image(self, section: Section, begin: int, end: int) -> bool:
        """Whether a sentence describes the image; without headings, that is told by its words."""
        if section.name in IMAGE_SECTIONS:
            return section.headed or subject_of(self._text[begin:end]) != "patient"
        if section.name != "indication" or self._described or begin == section.begin:
            return False
        return subject_of(self._text[begin:end]) == "image"  # "PMH: asthma. Bilateral opacities.", and no other heading


def _best(entity: Mapping[str, Any]) -> Mapping[str, Any]:
    return max(entity.get("ICD10CMConcepts") or ({},), key=lambda item: item.get("Score", 0.0))


def _code(entity: Mapping[str, Any]) -> str:
    return str(_best(entity).get("Code", ""))


def _known(entity: Mapping[str, Any], concept: Concept | None) -> tuple[str, Kind, str, str, str] | None:
    if concept is not None:
        return concept.name, concept.kind, concept.code, concept.code_text, concept.label
    code = _code(entity)
    if not _RADIOLOGY_CODES.match(code):
        return None
    traits = {trait.get("Name") for trait in entity.get("Traits", ())}
    kind: Kind = "symptom" if "SYMPTOM" in traits else "diagnosis" if "DIAGNOSIS" in traits else "sign"
    return str(entity.get("Text", "")).lower(), kind, code, str(_best(entity).get("Description", "")), ""


def _state(entity: Mapping[str, Any]) -> State:
    traits = {trait.get("Name") for trait in entity.get("Traits", ())}
    if "PERTAINS_TO_FAMILY" in traits:
        return "family"
    if "HYPOTHETICAL" in traits:
        return "hypothetical"
    if any(item.get("Type") == "TIME_TO_DX_NAME" for item in entity.get("Attributes", ())):
        return "history"
    if "NEGATION" in traits:
        return "negative"
    return "uncertain" if "LOW_CONFIDENCE" in traits else "positive"


_SIDES = (
    ("bilateral", re.compile(r"bilat|both|bibas|biapical|bihilar|b/l")),
    ("left", re.compile(r"left|lingul|lt?\Z|l[lu]l\Z")),
    ("right", re.compile(r"right|rt?\Z|r[lmu]l\Z")),
)


def _side(entity: Mapping[str, Any]) -> str:
    words = [str(item.get("Text", "")).lower() for item in entity.get("Attributes", ()) if item.get("Type") == "DIRECTION"]
    sides = {side for side, pattern in _SIDES for word in words if pattern.match(word)}
    return "bilateral" if len(sides) > 1 else next(iter(sides), "")

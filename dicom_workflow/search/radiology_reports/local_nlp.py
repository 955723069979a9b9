"""The local engine: it answers as Comprehend Medical's InferICD10CM does, without a network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from dicom_workflow.search.documents import State
from dicom_workflow.search.radiology_reports.context import find_triggers, state_of
from dicom_workflow.search.radiology_reports.lexicon import LEXICON_VERSION, Concept, find_mentions
from dicom_workflow.search.radiology_reports.modifiers import Modifier, modifiers_of
from dicom_workflow.search.radiology_reports.phrases import tokens_of
from dicom_workflow.search.radiology_reports.sections import outline

MODEL_VERSION = f"dicom-workflow.radiology-reports.{LEXICON_VERSION}"

_TRAITS = {
    "negative": ("NEGATION",),
    "uncertain": ("LOW_CONFIDENCE",),
    "family": ("PERTAINS_TO_FAMILY",),
    "hypothetical": ("HYPOTHETICAL",),
}
_SCORE = {"uncertain": 0.5}


@dataclass(frozen=True)
class Statement:
    """One finding of a sentence; offsets are those of the sentence."""

    concept: Concept
    state: State
    begin: int
    end: int
    modifiers: tuple[Modifier, ...]
    history: tuple[int, int] | None = None
    """Where the words are that make it history."""


@lru_cache(maxsize=65_536)
def statements(sentence: str) -> tuple[Statement, ...]:
    """Return what a sentence states. Reports repeat their sentences, so the last ones are remembered."""
    tokens = tokens_of(sentence)
    mentions = find_mentions(tokens)
    if not mentions:
        return ()
    triggers = find_triggers(tokens)
    stated = []
    for mention in mentions:
        state, by = state_of(mention, triggers)
        stated.append(
            Statement(
                concept=mention.concept,
                state=state,
                begin=tokens[mention.first].begin,
                end=tokens[mention.last].end,
                modifiers=tuple(modifiers_of(mention, mentions, tokens)),
                history=(tokens[by.first].begin, tokens[by.last].end) if by and state == "history" else None,
            )
        )
    return tuple(stated)


class LocalNLP:
    """The engine of this package, called like ``boto3.client("comprehendmedical")``."""

    model_version = MODEL_VERSION

    def infer_icd10_cm(self, *, Text: str) -> dict[str, Any]:
        """Return the findings of a text in the form of InferICD10CM; a text may have any length.

        History has no trait there: it is an attribute TIME_TO_DX_NAME, whose text is, for example, "history of".
        """
        entities: list[dict[str, Any]] = []
        for _, begin, end in outline(Text):
            for statement in statements(Text[begin:end]):
                entities.append(_entity(len(entities), statement, begin, Text))
        return {"Entities": entities, "ModelVersion": self.model_version}


def _entity(number: int, statement: Statement, shift: int, text: str) -> dict[str, Any]:
    score = _SCORE.get(statement.state, 0.95)
    begin, end = statement.begin + shift, statement.end + shift
    traits = (statement.concept.kind.upper(), *_TRAITS.get(statement.state, ()))
    attributes = [
        _attribute(item.kind, item.begin + shift, item.end + shift, text, index)
        for index, item in enumerate(statement.modifiers)
    ]
    if statement.history:
        first, last = (at + shift for at in statement.history)
        attributes.append(_attribute("TIME_TO_DX_NAME", first, last, text, len(attributes)))
    return {
        "Id": number,
        "Text": text[begin:end],
        "Category": "MEDICAL_CONDITION",
        "Type": "DX_NAME",
        "Score": score,
        "BeginOffset": begin,
        "EndOffset": end,
        "Attributes": attributes,
        "Traits": [{"Name": name, "Score": score} for name in traits],
        "ICD10CMConcepts": [
            {"Description": statement.concept.code_text, "Code": statement.concept.code, "Score": score},
        ],
    }


def _attribute(kind: str, begin: int, end: int, text: str, number: int) -> dict[str, Any]:
    return {
        "Type": kind,
        "Score": 0.9,
        "RelationshipScore": 0.9,
        "RelationshipType": "SYSTEM_ORGAN_SITE" if kind == "SYSTEM_ORGAN_SITE" else "OVERLAP",
        "Id": number,
        "BeginOffset": begin,
        "EndOffset": end,
        "Text": text[begin:end],
        "Traits": [],
        "Category": "TIME_EXPRESSION" if kind == "TIME_TO_DX_NAME" else "DX_NAME",
    }

"""The lexicon and the phrases of context, as data: codes, labels and patterns that can be read."""

from __future__ import annotations

import warnings

import pytest

from dicom_workflow.formats.labels import load_label_set
from dicom_workflow.search.documents import KINDS
from dicom_workflow.search.radiology_reports.lexicon import Concept, concepts, find_mentions, table
from dicom_workflow.search.radiology_reports.phrases import PhraseIndex, tokens_of
from dicom_workflow.search.radiology_reports.reading import _RADIOLOGY_CODES

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # its own way to read its tables
    import simple_icd_10_cm as icd

NAMED = [concept for name, concept in concepts().items() if name != "-"]


@pytest.mark.parametrize("concept", NAMED, ids=lambda concept: concept.name)
def test_each_code_is_a_leaf_of_icd10cm_with_its_text(concept: Concept) -> None:
    assert icd.is_valid_item(concept.code), concept.code
    assert icd.is_leaf(concept.code), concept.code
    assert icd.get_description(concept.code) == concept.code_text


def test_kinds_and_labels_are_those_of_the_contract() -> None:
    labels = {"", *load_label_set("chest").labels}
    assert {concept.kind for concept in NAMED} <= set(KINDS)
    assert {concept.label for concept in NAMED} <= labels


def test_each_label_but_no_finding_has_a_concept() -> None:
    assert {concept.label for concept in NAMED} - {""} == set(load_label_set("chest").labels) - {"No Finding"}


def test_names_are_given_once() -> None:
    names = [row["concept"] for row in table("lexicon.tsv")]
    assert len(names) == len(set(names))
    assert len(names) >= 150


def test_each_code_of_the_lexicon_is_one_of_radiology_and_an_eye_disease_is_not() -> None:
    assert [concept.code for concept in NAMED if not _RADIOLOGY_CODES.match(concept.code)] == []
    assert not _RADIOLOGY_CODES.match("H43.399")  # other vitreous opacities


def test_opacity_is_not_coded_as_pneumonia() -> None:
    assert concepts()["lung opacity"].code == concepts()["consolidation"].code == "R91.8"


@pytest.mark.parametrize("concept", NAMED, ids=lambda concept: concept.name)
def test_the_first_wording_of_a_concept_finds_it(concept: Concept) -> None:
    row = next(row for row in table("lexicon.tsv") if row["concept"] == concept.name)
    words = [
        part.strip("[]").split("|")[0].replace("*", "")
        for part in row["patterns"].split(";")[0].split()
        if part != "~" and not part.startswith("[")
    ]
    assert concept.name in [mention.concept.name for mention in find_mentions(tokens_of(" ".join(words)))]


@pytest.mark.parametrize("pattern", ["", "~ lung", "lung ~", "[the] lung"])
def test_a_pattern_without_a_word_at_its_ends_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="expected a word"):
        PhraseIndex([(pattern, "x")])


def test_no_wording_holds_a_negation_that_would_be_read_twice() -> None:
    """The negation of a sentence is found on its own: "the mediastinum is not widened" would become positive."""
    wordings = [wording for row in table("lexicon.tsv") for wording in f"{row['patterns']};{row['normal']}".split(";")]
    assert [wording for wording in wordings if {"not", "never"} & {*wording.split()}] == []

"""What a report states: sections, sentences, and each finding with its state, side, sentence and offsets."""

from __future__ import annotations

import pytest

from dicom_workflow.errors import ReportError
from dicom_workflow.search.documents import ReportDocument
from dicom_workflow.search.radiology_reports import compose_text, read_report
from dicom_workflow.search.radiology_reports.sections import split_sections
from dicom_workflow.search.radiology_reports.sentences import split_sentences


def states(text: str) -> dict[str, str]:
    """Return concept → state of the last mention."""
    return {found.concept: found.state for found in read(text).findings}


def read(text: str) -> ReportDocument:
    return read_report(text, report_id="R1")


def sentences(text: str) -> list[str]:
    return [text[begin:end] for begin, end in split_sentences(text)]


def test_sections_come_in_any_order_and_case() -> None:
    text = "impression: Normal chest.\n\nFINDINGS\nNo effusion.\n\nClinical History: cough\nTechnique: PA."
    found = [(section.name, text[section.begin : section.end]) for section in split_sections(text)]
    assert found == [
        ("impression", "Normal chest."),
        ("findings", "No effusion."),
        ("indication", "cough"),
        ("technique", "PA."),
    ]


def test_a_text_without_headings_is_findings() -> None:
    assert dict(read("Left pleural effusion. No pneumothorax.").sections) == {
        "findings": "Left pleural effusion. No pneumothorax."
    }


def test_text_before_the_first_heading_is_findings_where_there_are_no_others() -> None:
    assert dict(read("The heart is enlarged.\n\nImpression: Cardiomegaly.").sections) == {
        "findings": "The heart is enlarged.",
        "impression": "Cardiomegaly.",
    }
    assert list(read("Chest PA\n\nFINDINGS: Normal.").sections) == ["examination", "findings"]


def test_sentences_keep_decimals_abbreviations_and_list_numbers() -> None:
    text = "1. A 1.4 cm nodule was seen by Dr. Smith at 10.30 a.m. today. 2. No effusion.\n- Clear lungs\n- No edema"
    assert sentences(text) == [
        "A 1.4 cm nodule was seen by Dr. Smith at 10.30 a.m. today.",
        "No effusion.",
        "Clear lungs",
        "No edema",
    ]


def test_sentences_without_a_space_between_them_are_two() -> None:
    assert sentences("Increased atelectasis.Catheter in place.<BR>No effusion") == [
        "Increased atelectasis.",
        "Catheter in place.",
        "No effusion",
    ]


def test_the_cough_of_the_indication_is_no_finding() -> None:
    text = "INDICATION: Cough, rule out pneumonia. History of effusion.\nFINDINGS: Lungs are clear."
    assert states(text) == {
        "cough": "history",
        "pneumonia": "hypothetical",
        "pleural effusion": "history",
        "lung opacity": "negative",
    }
    assert read(text).label_states() == {"Lung Opacity": "negative", "No Finding": "positive"}


@pytest.mark.parametrize(
    ("sentence", "concept", "state"),
    [
        ("There is a small left pleural effusion.", "pleural effusion", "positive"),
        ("No focal consolidation, pneumothorax, or pleural effusion.", "pleural effusion", "negative"),
        ("No pneumothorax, but there is an effusion.", "pleural effusion", "positive"),
        ("No pneumothorax, the heart is enlarged.", "cardiomegaly", "positive"),
        ("Cardiomegaly without effusion.", "cardiomegaly", "positive"),
        ("The heart is not enlarged.", "cardiomegaly", "negative"),
        ("Heart size is normal.", "cardiomegaly", "negative"),
        ("Heart size is not normal.", "cardiomegaly", "positive"),
        ("Pleural effusion or pneumothorax is not seen.", "pleural effusion", "negative"),
        ("The effusion has resolved.", "pleural effusion", "negative"),
        ("No change in the left effusion.", "pleural effusion", "positive"),
        ("No opacity to suggest pneumonia.", "pneumonia", "negative"),
        ("Opacity may represent atelectasis.", "atelectasis", "uncertain"),
        ("Opacity may represent atelectasis.", "lung opacity", "positive"),
        ("Pneumonia cannot be excluded.", "pneumonia", "uncertain"),
        ("Atelectasis versus infiltrate.", "infiltrate", "uncertain"),
        ("Opacity consistent with pneumonia.", "pneumonia", "positive"),
        ("Father with lung cancer.", "lung cancer", "family"),
        ("Follow-up is recommended to exclude a mass.", "lung mass", "hypothetical"),
        ("If there is concern for rib fracture, get rib views.", "rib fracture", "hypothetical"),
        ("Patient with a history of pneumonia.", "pneumonia", "history"),
        ("History of cough without fever.", "fever", "negative"),
        ("Heart: Enlarged", "cardiomegaly", "positive"),
        ("The heart is not enlarged and mediastinal contours are normal.", "cardiomegaly", "negative"),
        ("The heart is not enlarged and mediastinal contours are normal.", "enlarged mediastinum", "negative"),
        ("No effusion and heart size is normal.", "cardiomegaly", "negative"),
        ("Heart size is not within normal limits.", "cardiomegaly", "positive"),
        ("Pneumothorax: none", "pneumothorax", "negative"),
        ("Catheter fracture at the clavicle.", "central venous catheter", "positive"),
    ],
)
def test_the_state_of_a_finding(sentence: str, concept: str, state: str) -> None:
    assert states(sentence)[concept] == state


def test_words_of_another_meaning_are_no_finding() -> None:
    assert "fracture" not in states("Catheter fracture at the clavicle.")
    assert "pleural effusion" not in states("Small pericardial effusion.")


@pytest.mark.parametrize(
    ("sentence", "side"),
    [
        ("Left pleural effusion.", "left"),
        ("Effusion on the right.", "right"),
        ("Bibasilar atelectasis.", "bilateral"),
        ("Right and left pleural effusion.", "bilateral"),
        ("Right effusion, left pneumothorax.", "right"),
        ("Opacity in the lingula.", "left"),
        ("Pleural effusion.", ""),
    ],
)
def test_the_side_of_a_finding(sentence: str, side: str) -> None:
    assert read(sentence).findings[0].laterality == side


def test_offsets_slice_back_to_the_words_and_their_sentence() -> None:
    report = read("IMPRESSION:\n1. Ünchanged – mild cardiomegaly.\n2. No 🫁 effusion.")
    cut = [(report.text[f.begin : f.end], report.text[f.sentence_begin : f.sentence_end]) for f in report.findings]
    assert cut == [("cardiomegaly", "Ünchanged – mild cardiomegaly."), ("effusion", "No 🫁 effusion.")]


def test_structured_reports_name_an_organ_a_line() -> None:
    text = "FINDINGS:\nLungs: Clear\nPleura: No effusion\nHeart: Enlarged\nBones: No fracture"
    assert states(text) == {
        "lung opacity": "negative",
        "pleural effusion": "negative",
        "cardiomegaly": "positive",
        "fracture": "negative",
    }


def test_history_and_laboratory_mixed_into_a_text_are_no_findings_of_the_image() -> None:
    text = (
        "A 56-year-old patient with heart failure presented with fever and cough. RT-PCR for COVID-19 was positive. "
        "Her husband had pneumonia. The chest radiograph shows bilateral opacities in the lower zones."
    )
    report = read(text)
    assert report.concepts("positive") == ["lung opacity"]
    assert report.label_states() == {"Lung Opacity": "positive", "No Finding": "negative"}


def test_a_history_heading_in_the_middle_of_a_text_does_not_hide_the_image() -> None:
    text = "Patient presented with a cough. PMH: asthma. Bilateral areas of opacification in the lower zones."
    assert {found.concept: found.state for found in read(text).findings} == {
        "cough": "history",
        "asthma": "history",
        "lung opacity": "positive",
    }


def test_units_are_no_tubes() -> None:
    assert read("Procalcitonin 2.37 ng/mL, normal < 0.1 ng/mL.").findings == ()


def test_no_finding_follows_the_rule_of_the_label_set() -> None:
    assert read("No acute cardiopulmonary abnormality. Pacemaker in place.").label_states()["No Finding"] == "positive"
    assert read("Possible pneumonia.").label_states()["No Finding"] == "uncertain"
    assert read("No effusion. Large pneumothorax.").label_states()["No Finding"] == "negative"
    assert read("The patient was rotated.").label_states() == {}


def test_sections_given_one_by_one_are_put_together() -> None:
    text = compose_text({"impression": "Normal.", "findings": " Clear lungs. ", "indication": ""})
    assert text == "FINDINGS: Clear lungs.\n\nIMPRESSION: Normal."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the text is empty"),
        (" \n. ", "the text is empty"),
        ("a" * 5_000_000, "expected at most 1,000,000 characters, got 5,000,000"),
        (b"No effusion.", "expected its text, got bytes"),
        (None, "expected its text, got NoneType"),
    ],
)
def test_what_is_no_report_is_refused(text: str, message: str) -> None:
    with pytest.raises(ReportError, match=message):
        read_report(text, report_id="R1")


def test_control_characters_and_halves_of_characters_become_spaces() -> None:
    report = read("No\x00effusion.\ud800 Cardiomegaly.\x1b[0m")
    assert report.text.encode() == b"No effusion.  Cardiomegaly. [0m"
    assert [(found.concept, found.state) for found in report.findings] == [
        ("pleural effusion", "negative"),
        ("cardiomegaly", "positive"),
    ]


def test_html_stays_text() -> None:
    report = read("<p>No <b>effusion</b>.<br>Heart is enlarged</p><script>alert(1)</script>")
    assert "<script>" in report.text
    assert {found.concept: found.state for found in report.findings} == {
        "pleural effusion": "negative",
        "cardiomegaly": "positive",
    }

"""Comprehend Medical's contract: the local engine answers in its form, and the service is interchangeable with it."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.stub import Stubber

from dicom_workflow.errors import ReportError
from dicom_workflow.labeling.service_model import problems
from dicom_workflow.search.radiology_reports import ComprehendMedical, LocalNLP, read_report
from dicom_workflow.search.radiology_reports.comprehend_medical import MAX_REQUEST_CHARACTERS

TEXT = (
    "INDICATION: History of pneumonia, rule out effusion. Mother had lung cancer.\n\nFINDINGS: Stable left lower lobe opacity, "
    "which may represent atelectasis. No pneumothorax. Heart size is normal. Nodular opacity in the right apex."
    "\n\nIMPRESSION: Cough."
)


def client() -> Any:
    return boto3.client("comprehendmedical", region_name="us-east-1", aws_access_key_id="fake", aws_secret_access_key="fake")


def test_the_local_answer_has_the_form_of_the_service_model() -> None:
    answer = LocalNLP().infer_icd10_cm(Text=TEXT)
    assert len(answer["Entities"]) >= 9
    assert problems("InferICD10CM", answer, service="comprehendmedical", side="output") == []
    traits = {trait["Name"] for entity in answer["Entities"] for trait in entity["Traits"]}
    assert {"NEGATION", "LOW_CONFIDENCE", "HYPOTHETICAL", "PERTAINS_TO_FAMILY", "SIGN", "DIAGNOSIS", "SYMPTOM"} <= traits
    attributes = {item["Type"] for entity in answer["Entities"] for item in entity["Attributes"]}
    assert {"ACUITY", "DIRECTION", "SYSTEM_ORGAN_SITE", "TIME_TO_DX_NAME"} <= attributes
    for entity in answer["Entities"]:
        for item in (entity, *entity["Attributes"]):
            assert TEXT[item["BeginOffset"] : item["EndOffset"]] == item["Text"]


def test_botocore_accepts_the_local_answer_and_the_report_is_read_alike_through_the_service() -> None:
    service = client()
    with Stubber(service) as stubber:
        stubber.add_response("infer_icd10_cm", LocalNLP().infer_icd10_cm(Text=TEXT), {"Text": TEXT})
        through = read_report(TEXT, report_id="a", nlp=ComprehendMedical(service))
    local = read_report(TEXT, report_id="a")
    assert through.findings == local.findings
    assert through.language_model.startswith("comprehendmedical.InferICD10CM.")


def test_the_model_check_refuses_another_name_of_a_trait() -> None:
    answer = LocalNLP().infer_icd10_cm(Text="Cardiomegaly.")
    answer["Entities"][0]["Traits"][0]["Name"] = "NEGATED"
    assert "enum value set" in problems("InferICD10CM", answer, service="comprehendmedical", side="output")[0].constraint


def entity(text: str, word: str, code: str, *traits: str, score: float = 0.9) -> dict[str, Any]:
    begin = text.index(word)
    return {
        "Id": 0, "Text": word, "Category": "MEDICAL_CONDITION", "Type": "DX_NAME", "Score": score, "BeginOffset": begin,
        "EndOffset": begin + len(word), "Attributes": [], "Traits": [{"Name": name, "Score": score} for name in traits],
        "ICD10CMConcepts": [{"Description": "of the service", "Code": code, "Score": score}],
    }  # fmt: skip


class Answers:
    """A client that answers as it was told, and remembers what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.asked = list(answers), []  # type: ignore[var-annotated]

    def infer_icd10_cm(self, *, Text: str) -> dict[str, Any]:
        self.asked.append(Text)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_codes_outside_of_radiology_are_left_out_and_unknown_words_keep_the_code_of_the_service() -> None:
    text = "FINDINGS: Vitreous haze. Ectopic thymus. Opacities."
    answer = {
        "Entities": [
            entity(text, "Vitreous haze", "H43.399", "SIGN"),
            entity(text, "Ectopic thymus", "Q34.8", "DIAGNOSIS"),
            entity(text, "Opacities", "H43.399", "SIGN"),
        ]
    }
    found = read_report(text, report_id="a", nlp=Answers(answer)).findings
    assert [(item.concept, item.code, item.kind) for item in found] == [
        ("ectopic thymus", "Q34.8", "diagnosis"),
        ("lung opacity", "R91.8", "sign"),
    ]


def test_long_texts_go_in_parts_and_come_back_with_their_own_offsets() -> None:
    text = "No effusion is seen in this view of the chest. " * 600
    service = Answers()
    service.infer_icd10_cm = LocalNLP().infer_icd10_cm  # type: ignore[method-assign]
    asked: list[str] = []

    class Counting:
        def infer_icd10_cm(self, *, Text: str) -> dict[str, Any]:
            asked.append(Text)
            return LocalNLP().infer_icd10_cm(Text=Text)

    whole = ComprehendMedical(Counting()).infer_icd10_cm(Text=text)
    assert len(asked) == 3
    assert all(len(part) <= MAX_REQUEST_CHARACTERS for part in asked)
    assert [item["Id"] for item in whole["Entities"]] == list(range(600))
    assert {text[item["BeginOffset"] : item["EndOffset"]] for item in whole["Entities"]} == {"effusion"}


@pytest.mark.parametrize("code", ["InternalServerException", "ServiceUnavailableException", "TooManyRequestsException"])
def test_a_busy_service_is_asked_again(code: str) -> None:
    service, waited = client(), []
    with Stubber(service) as stubber:
        stubber.add_client_error("infer_icd10_cm", code)
        stubber.add_response("infer_icd10_cm", {"Entities": []})
        answer = ComprehendMedical(service, wait=waited.append).infer_icd10_cm(Text="No effusion.")
    assert (answer["Entities"], waited) == ([], [1.0])


@pytest.mark.parametrize(
    "code", ["InvalidRequestException", "InvalidEncodingException", "TextSizeLimitExceededException", "AccessDeniedException"]
)
def test_a_refusal_is_an_error_with_the_next_step_and_without_the_text(code: str) -> None:
    service = client()
    with Stubber(service) as stubber:
        stubber.add_client_error("infer_icd10_cm", code, "text with Smith in it")
        with pytest.raises(ReportError, match=rf"refused a report \({code}\)\. \w+") as refused:
            ComprehendMedical(service).infer_icd10_cm(Text="Mr. Smith has an effusion.")
    assert "Smith" not in str(refused.value)


def test_a_service_that_never_answers_ends_with_advice() -> None:
    broken = Answers(*[EndpointConnectionError(endpoint_url="https://x") for _ in range(3)])
    with pytest.raises(ReportError, match=r"did not answer in 3 attempts \(EndpointConnectionError\).*local engine"):
        ComprehendMedical(broken, attempts=3, wait=lambda _: None).infer_icd10_cm(Text="x")


def test_an_answer_of_another_form_is_refused() -> None:
    with pytest.raises(ReportError, match="does not have the published form"):
        ComprehendMedical(Answers({"entities": []})).infer_icd10_cm(Text="x")

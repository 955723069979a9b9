"""Amazon Comprehend Medical's InferICD10CM as the interface between reports and what reads them.

The local engine and ``boto3.client("comprehendmedical")`` both are a `ReportNLP`. `ComprehendMedical` wraps the service: texts
of any length, one answer for the whole text, errors that are worth another try.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from dicom_workflow.errors import ReportError
from dicom_workflow.labeling.service_model import problems
from dicom_workflow.search.radiology_reports.sentences import split_sentences

MAX_REQUEST_CHARACTERS = 10_000
"""Of one request to the service (InferICD10CM, member Text)."""

_AGAIN = frozenset(
    ("InternalServerException", "ServiceUnavailableException", "TooManyRequestsException", "ThrottlingException")
)
_ADVICE = {
    "InvalidRequestException": "Check the region and that the text is not empty.",
    "InvalidEncodingException": "Write the report as UTF-8.",
    "TextSizeLimitExceededException": "This is an error of the program: texts are sent in parts of 10,000 characters.",
    "AccessDeniedException": "Allow comprehendmedical:InferICD10CM to this role.",
}


class ReportNLP(Protocol):
    """What finds the conditions of a text: the local engine, or a client of the service."""

    def infer_icd10_cm(self, *, Text: str) -> Mapping[str, Any]:
        """Return the answer of InferICD10CM for a text; offsets count code points."""


class ComprehendMedical:
    """The service behind the same interface, for texts of any length.

    Parameters
    ----------
    client : object, optional
        ``boto3.client("comprehendmedical")``, which is made where it is not given.
    attempts : int
        How often a request is sent in all, where the service is busy or broken.
    wait : callable
        Sleeps for some seconds.
    """

    def __init__(
        self, client: ReportNLP | None = None, *, attempts: int = 5, wait: Callable[[float], None] = time.sleep
    ) -> None:
        if client is None:
            import boto3
            from botocore.config import Config

            settings = Config(connect_timeout=10, read_timeout=60, retries={"max_attempts": 0})
            client = boto3.client("comprehendmedical", config=settings)
        self._client, self._attempts, self._wait = client, attempts, wait
        self.model_version = "comprehendmedical.InferICD10CM"

    def infer_icd10_cm(self, *, Text: str) -> dict[str, Any]:
        """Return one answer for the whole text, whose offsets are those of the whole text.

        Raises
        ------
        ReportError
            The service refuses the text, does not answer, or its answer does not have the published form.
        """
        entities: list[dict[str, Any]] = []
        for begin, end in parts_of(Text):
            answer = self._ask(Text[begin:end])
            wrong = problems("InferICD10CM", answer, service="comprehendmedical", side="output")
            if wrong:
                raise ReportError(f"The answer of Comprehend Medical does not have the published form: {wrong[0].constraint}.")
            self.model_version = f"comprehendmedical.InferICD10CM.{answer.get('ModelVersion', 'unknown')}"
            entities += [_shifted(entity, begin, len(entities) + at) for at, entity in enumerate(answer["Entities"])]
        return {"Entities": entities, "ModelVersion": self.model_version}

    def _ask(self, text: str) -> Mapping[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        for attempt in range(1, self._attempts + 1):
            try:
                return self._client.infer_icd10_cm(Text=text)
            except ClientError as error:
                code = str(error.response.get("Error", {}).get("Code", ""))
                if code not in _AGAIN:
                    advice = _ADVICE.get(code, "See the service's documentation of InferICD10CM.")
                    raise ReportError(f"Comprehend Medical refused a report ({code}). {advice}") from None
                problem = code
            except BotoCoreError as error:
                problem = type(error).__name__
            if attempt < self._attempts:
                self._wait(min(0.5 * 2**attempt, 20.0))
        raise ReportError(
            f"Comprehend Medical did not answer in {self._attempts} attempts ({problem}). Try again later, or read the reports "
            "with the local engine."
        )


def parts_of(text: str, limit: int = MAX_REQUEST_CHARACTERS) -> Iterator[tuple[int, int]]:
    """Yield the offsets of parts of at most `limit` characters that end with a sentence; a longer sentence is cut.

    Parts without a letter or digit are left out, because the service refuses an empty text.
    """
    begin = end = 0
    for first, last in split_sentences(text):
        if last - begin > limit:
            if end > begin:
                yield begin, end
            begin = first
        while last - begin > limit:
            yield begin, begin + limit
            begin += limit
        end = last
    if text[begin:end].strip():
        yield begin, end


def _shifted(entity: Mapping[str, Any], shift: int, number: int) -> dict[str, Any]:
    attributes = [_moved(item, shift) for item in entity.get("Attributes", ())]
    return {**_moved(entity, shift), "Id": number, "Attributes": attributes}


def _moved(item: Mapping[str, Any], shift: int) -> dict[str, Any]:
    return {**item, "BeginOffset": item["BeginOffset"] + shift, "EndOffset": item["EndOffset"] + shift}

"""The body of a worker's answer: held to its form before anything is kept."""

from __future__ import annotations

import json
from typing import Any

from dicom_workflow.errors import AnswerError

MAX_ANSWER_BYTES = 1_000_000
EXPECTED = 'expected {"answerContent": {"<name>": <value>, …}} as JSON'


class BadAnswerError(AnswerError):
    """The body is not the answer of a worker's page."""


def answer_content(body: bytes) -> str:
    """Return the ``answerContent`` of a body as JSON text, in ASCII and in one spelling.

    What the answer says is not looked at: that belongs to the job's template and its consolidation.

    Raises
    ------
    BadAnswerError
        Not UTF-8, not JSON, not an object, or without an object that is not empty under ``answerContent``.
    """
    try:
        data = json.loads(body.decode("utf-8"), parse_constant=_refuse)
    except UnicodeDecodeError:
        raise BadAnswerError(f"{EXPECTED}, got bytes that are not UTF-8.") from None
    except (ValueError, RecursionError) as error:
        raise BadAnswerError(f"{EXPECTED}, got something that cannot be read: {str(error)[:120]}.") from None
    if not isinstance(data, dict):
        raise BadAnswerError(f"{EXPECTED}, got {type(data).__name__}.")
    content = data.get("answerContent")
    if not isinstance(content, dict) or not content:
        raise BadAnswerError(f"{EXPECTED}, got keys {[key[:40] for key in list(data)[:8]]}.")
    return json.dumps(content)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")

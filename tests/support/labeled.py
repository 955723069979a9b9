"""Lines of output manifests, as labeling jobs write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dicom_workflow.storage import to_uri

ONE = "502b0a4b-5cb43965-7f092716-bd6fe6d6-4f7fc3ce"


TWO = "af163634-5f8009c8-a941f2a2-4d108bea-119181b5"


METADATA = {
    "type": "groundtruth/custom",
    "job-name": "chest",
    "human-annotated": "yes",
    "creation-date": "2026-11-21T17:42:26.177000",
}


def answer(worker: str, **states: str) -> dict[str, Any]:
    content = json.dumps({"annotation": json.dumps({"labels": states})})
    return {"workerId": worker, "annotationData": {"content": content}}


def write_lines(path: Path, *lines: object) -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return to_uri(path)


def consolidated(source: str, state: str) -> dict[str, Any]:
    vote = {"state": state, "confidence": 1.0, "votes": {"positive": 3, "negative": 0, "uncertain": 0}}
    value = {"labels": {"Edema": vote}, "annotationsFromAllWorkers": [answer("w", Edema=state)]}
    return {"source": source, "findings": value, "findings-metadata": METADATA}

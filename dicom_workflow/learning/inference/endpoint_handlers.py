"""The four handlers of SageMaker's PyTorch serving: load a bundle, read a request, predict, write the answer."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from dicom_workflow.errors import DicomError, LearningError
from dicom_workflow.learning.data.images import decode
from dicom_workflow.learning.inference.predict import predict_images, to_prediction
from dicom_workflow.learning.model import bundle as bundles
from dicom_workflow.learning.model.bundle import Bundle

CONTENT_TYPES = ("application/dicom", "application/json")


ANSWER_TYPES = ("application/json", "application/jsonlines")


MAX_INSTANCES = 64
"""Images one request may hold: an endpoint has a minute to answer."""


def model_fn(model_dir: str, context: Any = None) -> Bundle:
    """Return the bundle of an endpoint's model folder."""
    return bundles.load(model_dir, device="auto" if torch.cuda.is_available() else "cpu")


def input_fn(body: bytes | str, content_type: str, context: Any = None) -> list[bytes]:
    """Return the DICOM files of one request.

    Parameters
    ----------
    body : bytes or str
        One DICOM file (``application/dicom``), or ``{"instances": ["<base64 of a DICOM file>", …]}`` (``application/json``).
    content_type : str

    Raises
    ------
    LearningError
        Another content type, or a body that is not what its content type says.
    """
    kind = content_type.split(";")[0].strip().lower()
    if kind == "application/dicom":
        return [body.encode("latin-1") if isinstance(body, str) else bytes(body)]
    if kind != "application/json":
        raise LearningError(f"expected content type application/dicom or application/json, got {kind[:60]!r}.")
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        raise LearningError("the body is not JSON.") from None
    instances = request.get("instances") if isinstance(request, Mapping) else None
    if not isinstance(instances, list) or not instances or not all(isinstance(item, str) for item in instances):
        raise LearningError('expected {"instances": ["<base64 of a DICOM file>", …]} with at least one text.')
    if len(instances) > MAX_INSTANCES:
        raise LearningError(f"expected at most {MAX_INSTANCES} instances in a request, got {len(instances)}.")
    try:
        return [base64.b64decode(item, validate=True) for item in instances]
    except (binascii.Error, ValueError) as error:
        raise LearningError(f"the instances are not base64: {error}.") from None


def predict_fn(data: Sequence[bytes], model: Bundle, context: Any = None) -> list[dict[str, Any]]:
    """Return one prediction per DICOM file, in order, or ``{"error": …}`` for a file that cannot be used.

    Parameters
    ----------
    data : sequence of bytes
        DICOM files, from `input_fn`.
    model : Bundle
        From `model_fn`.
    context : optional
        Passed by SageMaker; not used.

    Returns
    -------
    list of dict
        `predict.to_prediction`, with `calibrated` and the `bundle` that made it: an answer may be kept without its endpoint.

    Raises
    ------
    LearningError
        Not one of the files can be used.
    """
    results: list[dict[str, Any]] = []
    images: list[np.ndarray] = []
    for content in data:
        try:
            images.append(decode(content, model.size_px, model.preprocessing_version))
            results.append({})
        except DicomError as error:
            results.append({"error": str(error)})
    if not images:
        raise LearningError(f"none of {len(data)} DICOM files is usable: {results[0]['error'] if results else ''}")
    scores = iter(predict_images(model, np.stack(images)))
    made_by = {"calibrated": model.is_calibrated, "bundle": model.identifier}
    return [result or {**to_prediction(model, next(scores)), **made_by} for result in results]


def output_fn(prediction: Sequence[Mapping[str, Any]], accept: str = "application/json", context: Any = None) -> str:
    """Return predictions as JSON text: ``{"predictions": […]}``, or one object per line for ``application/jsonlines``.

    Parameters
    ----------
    prediction : sequence of mapping
        From `predict_fn`.
    accept : str
        The request's Accept header.
    context : optional
        Passed by SageMaker; not used.
    """
    if answer_type(accept) == "application/json":
        return json.dumps({"predictions": list(prediction)}, ensure_ascii=False, allow_nan=False)
    return "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in prediction)


def answer_type(accept: str) -> str:
    """Return the content type of an answer to a request with this Accept header.

    Raises
    ------
    LearningError
        It names nothing that can be answered.
    """
    kinds = {part.split(";")[0].strip().lower() for part in (accept or "").split(",")}
    if kinds & {"application/json", "application/*", "*/*", ""}:
        return "application/json"
    if "application/jsonlines" in kinds:
        return "application/jsonlines"
    raise LearningError(f"expected to answer application/json or application/jsonlines, was asked for {accept[:60]!r}.")

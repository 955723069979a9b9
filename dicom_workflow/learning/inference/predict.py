"""Predicting with a model bundle: images in, one probability per label out; for notebooks, manifests and endpoints.

`model_fn`, `input_fn`, `predict_fn` and `output_fn` are the four handlers that SageMaker's PyTorch serving calls.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dicom_workflow.errors import DicomError, LearningError
from dicom_workflow.formats.labels import default_label_set
from dicom_workflow.learning.data.images import Sample, decode, load_images, read_channel
from dicom_workflow.learning.evaluation.no_finding import consistent
from dicom_workflow.learning.model import bundle as bundles
from dicom_workflow.learning.model.bundle import Bundle
from dicom_workflow.learning.model.network import logits_of, probabilities
from dicom_workflow.storage import Storage, to_uri

CONTENT_TYPES = ("application/dicom", "application/json")
ANSWER_TYPES = ("application/json", "application/jsonlines")
MAX_INSTANCES = 64
"""Images one request may hold: an endpoint has a minute to answer."""


def predict(bundle: Bundle, datasets: Iterable[Any], *, batch_size: int = 16) -> list[dict[str, float]]:
    """Return the probability of each label for each image.

    Parameters
    ----------
    bundle : Bundle
    datasets : iterable of pydicom.Dataset, path or bytes
        DICOM instances.
    batch_size : int
        Images per pass through the network.

    Returns
    -------
    list of dict
        Label → probability, in the bundle's order of labels.

    Raises
    ------
    DicomError
        An image cannot be used.
    """
    images = [decode(dataset, bundle.size_px, bundle.preprocessing_version) for dataset in datasets]
    if not images:
        return []
    scores = predict_images(bundle, np.stack(images), batch_size=batch_size)
    return [to_record(bundle, row) for row in scores]


def predict_images(bundle: Bundle, images: np.ndarray, *, batch_size: int = 16, precision: str = "float32") -> np.ndarray:
    """Return probabilities, shape (N, labels), float32, of decoded images, shape (N, 1, size_px, size_px) in [0, 1]."""
    if not len(images):
        return np.empty((0, len(bundle.labels)), dtype=np.float32)
    if images.shape[1:] != (1, bundle.size_px, bundle.size_px):
        raise LearningError(f"expected images of shape (N, 1, {bundle.size_px}, {bundle.size_px}), got {images.shape}.")
    logits = logits_of(
        bundle.network, images, mean=bundle.input_mean, std=bundle.input_std, batch_size=batch_size, precision=precision
    )
    if bundle.is_calibrated:
        logits = torch.from_numpy(bundle.calibration.apply(logits.numpy(), bundle.labels))
    scores: np.ndarray = probabilities(logits, bundle.mode).numpy()
    return scores


def to_record(bundle: Bundle, scores: np.ndarray) -> dict[str, float]:
    """Return one row of probabilities by label."""
    return {label: round(float(score), 6) for label, score in zip(bundle.labels, scores, strict=True)}


def to_prediction(bundle: Bundle, scores: np.ndarray) -> dict[str, Any]:
    """Return what one image's probabilities mean.

    Returns
    -------
    dict
        `probabilities` by label; `positive`, the labels at or above their threshold (in mode single-label, the most probable
        one); `no_finding_conflicts`, the positive conditions that contradict a positive "No Finding"; `consistent`, the labels
        that stay positive when `consistency.RULE` is applied.
    """
    if bundle.mode == "single-label":
        positive = [bundle.labels[int(np.argmax(scores))]]
    else:
        positive = [label for label, score in zip(bundle.labels, scores, strict=True) if score >= bundle.thresholds[label]]
    return {
        "probabilities": to_record(bundle, scores),
        "positive": positive,
        "no_finding_conflicts": default_label_set().conflicts(positive),
        "consistent": consistent(positive),
    }


def write_predictions(path: str | Path, bundle: Bundle, samples: Sequence[Sample], scores: np.ndarray) -> Path:
    """Write ``predictions.jsonl``: one line per sample with its source, patient, split, states, truth and `to_prediction`."""
    with Storage().writer(to_uri(path)) as stream:
        for sample, row in zip(samples, scores, strict=True):
            line = {
                "source": sample.identifier,
                "image": sample.image.name,
                "patient_id": sample.patient_id,
                "split": sample.split,
                **to_prediction(bundle, row),
                "states": dict(sample.states),
                **({"truth": dict(sample.truth)} if sample.truth else {}),
            }
            # Half a character in a manifest, such as "\ud800", stays the escape it was.
            text = json.dumps(line, ensure_ascii=False, allow_nan=False)
            stream.write(text.encode("utf-8", "backslashreplace") + b"\n")
    return Path(path)


def predict_channel(
    bundle: Bundle,
    channel: str | Path,
    output: str | Path,
    *,
    splits: Sequence[str] = ("test",),
    workers: int = 2,
    progress: bool = True,
    cache_dir: str | Path | None = None,
    cache_gb: float = 20.0,
) -> tuple[Path, tuple[str, ...]]:
    """Predict every image of some splits of a training channel.

    Parameters
    ----------
    bundle : Bundle
    channel : str or Path
        Folder of `dataset.read_channel`.
    output : str or Path
        The file to write.
    splits : sequence of str
    workers, progress, cache_dir, cache_gb
        See `dataset.load_images`; with the cache of a training run of the same image size nothing is decoded again.

    Returns
    -------
    Path
        ``predictions.jsonl``, see `write_predictions`.
    tuple of str
        Images that were left out, each with its path and reason.
    """
    samples = [sample for sample in read_channel(channel).samples if sample.split in splits]
    loaded = load_images(
        samples,
        size_px=bundle.size_px,
        workers=workers,
        progress=progress,
        version=bundle.preprocessing_version,
        cache_dir=cache_dir,
        cache_gb=cache_gb,
    )
    scores = predict_images(bundle, loaded.images)
    return write_predictions(output, bundle, loaded.samples, scores), loaded.problems


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
        raise LearningError("expected a JSON body, got something else.") from None
    instances = request.get("instances") if isinstance(request, Mapping) else None
    if not isinstance(instances, list) or not instances or not all(isinstance(item, str) for item in instances):
        raise LearningError('expected {"instances": ["<base64 of a DICOM file>", …]} with at least one text.')
    if len(instances) > MAX_INSTANCES:
        raise LearningError(f"expected at most {MAX_INSTANCES} instances in a request, got {len(instances)}.")
    try:
        return [base64.b64decode(item, validate=True) for item in instances]
    except (binascii.Error, ValueError) as error:
        raise LearningError(f"expected instances in base64: {error}.") from None


def predict_fn(data: Sequence[bytes], model: Bundle, context: Any = None) -> list[dict[str, Any]]:
    """Return one prediction per DICOM file, in order, or ``{"error": …}`` for a file that cannot be used.

    A prediction is `to_prediction`, with `calibrated` and the `bundle` that made it: an answer is kept without its endpoint.

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
        raise LearningError(f"expected at least one usable DICOM file of {len(data)}: {results[0]['error'] if results else ''}")
    scores = iter(predict_images(model, np.stack(images)))
    made_by = {"calibrated": model.is_calibrated, "bundle": model.identifier}
    return [result or {**to_prediction(model, next(scores)), **made_by} for result in results]


def output_fn(prediction: Sequence[Mapping[str, Any]], accept: str = "application/json", context: Any = None) -> str:
    """Return predictions as JSON text: ``{"predictions": […]}``, or one object per line for ``application/jsonlines``."""
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

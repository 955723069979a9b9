"""Export of a bundle as one ONNX file: normalization, network, calibration and activation.

Input ``image``, float32 (batch, channels, size, size) in [0, 1], as `dicom.pixels.to_model_input` gives it. Outputs ``logits``
and ``probabilities``, float32 (batch, labels). The metadata of the file say labels, size, thresholds and the rest.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dicom_workflow.errors import LearningError
from dicom_workflow.learning.model.bundle import Bundle
from dicom_workflow.learning.model.network import normalize, probabilities
from dicom_workflow.storage import write_atomically

TOLERANCE = 1e-4
"""Largest difference in probability to the torch network."""
_INSTALL = "pip install 'onnx>=1.17,<2' 'onnxscript>=0.5,<1' 'onnxruntime>=1.20,<2'"


class _WithEnds(nn.Module):
    """The network with normalization before it, and calibration and activation behind it."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        self.network = bundle.network
        self.mean, self.std, self.mode = bundle.input_mean, bundle.input_std, bundle.mode
        scales, offsets = bundle.calibration.scales, bundle.calibration.offsets
        self.register_buffer("scale", torch.tensor([scales.get(label, 1.0) for label in bundle.labels]))
        self.register_buffer("offset", torch.tensor([offsets.get(label, 0.0) for label in bundle.labels]))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(normalize(image, self.mean, self.std))  # (B, labels)
        return logits, probabilities(logits * self.scale + self.offset, self.mode)


def export(bundle: Bundle, path: str | Path) -> Path:
    """Write a bundle as an ONNX file, and return its path.

    The file is written only when onnxruntime answers with it as torch does, to `TOLERANCE`, for one and for three images.

    Raises
    ------
    LearningError
        A package is missing, or the answers differ.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise LearningError(f"ONNX: the package {error.name} is not installed. Install it with `{_INSTALL}`.") from None
    model = _WithEnds(bundle).to("cpu").eval()
    example = torch.zeros(2, bundle.channels, bundle.size_px, bundle.size_px)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), _quiet("torch.onnx", "onnxscript", "onnx_ir"):
        warnings.simplefilter("ignore")  # deprecations inside the exporter are not this project's
        program = torch.onnx.export(
            model,
            (example,),
            input_names=["image"],
            output_names=["logits", "probabilities"],
            dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
            dynamo=True,
            optimize=False,  # onnxruntime does it when it loads, in a tenth of the time
            verbose=False,
        )
    assert program is not None  # noqa: S101  it is, with dynamo
    proto = program.model_proto
    description = bundle.describe()
    onnx.helper.set_model_props(
        proto,
        {
            "labels": json.dumps(list(bundle.labels)),
            "untaught": json.dumps(dict(bundle.untaught)),
            "mode": bundle.mode,
            "size_px": str(bundle.size_px),
            "preprocessing": json.dumps(description["preprocessing"]),
            "normalization": "inside the graph",
            "thresholds": json.dumps(dict(bundle.thresholds)),
            "calibration": json.dumps(description["calibration"]),
            "bundle": bundle.identifier,
        },
    )
    onnx.checker.check_model(proto, full_check=True)
    content = proto.SerializeToString()
    generator = np.random.default_rng(0)
    for count in (1, 3):
        images = generator.random((count, bundle.channels, bundle.size_px, bundle.size_px), dtype=np.float32)
        difference = largest_difference(bundle, content, images)
        if not difference <= TOLERANCE:
            raise LearningError(f"ONNX: expected torch's probabilities to {TOLERANCE}, got a difference of {difference:.2g}.")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
    return path


def largest_difference(bundle: Bundle, content: bytes | str | Path, images: np.ndarray) -> float:
    """Return the largest difference between the probabilities of an ONNX file and those of `predict.predict_images`.

    Parameters
    ----------
    bundle : Bundle
    content : bytes or path
        The ONNX file.
    images : ndarray, shape (n, channels, size_px, size_px), float32 in [0, 1]
    """
    import onnxruntime

    from dicom_workflow.learning.inference.predict import predict_images

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    data = content if isinstance(content, bytes) else Path(content).read_bytes()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    [answers] = session.run(["probabilities"], {"image": images.astype(np.float32)})
    return float(np.abs(answers - predict_images(bundle, images)).max())


@contextlib.contextmanager
def _quiet(*names: str) -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)

"""A SageMaker endpoint over a model bundle: DICOM in, probabilities out.

As a program it is the entry of our own inference container, whose ENTRYPOINT is ``["python", "inference.py"]``: SageMaker adds
the argument ``serve`` and says the rest in the environment. Imported, it has the four handlers that a PyTorch serving toolkit
calls from ``code/inference.py`` of the model archive. The code itself is in `dicom_workflow.learning`, as notebooks use it.
"""

import os
import sys
from collections.abc import Mapping

from dicom_workflow.learning.inference import server
from dicom_workflow.learning.inference.endpoint_handlers import input_fn, model_fn, output_fn, predict_fn

__all__ = ["input_fn", "model_fn", "output_fn", "predict_fn"]


def main(environ: Mapping[str, str]) -> int:
    """Serve the model of this container until it is stopped."""
    usual = server.Limits()
    limits = server.Limits(
        # A batch transform says how much it will send at a time, and that much must fit.
        waiting=max(usual.waiting, int(environ.get("SAGEMAKER_MAX_CONCURRENT_TRANSFORMS") or 0)),
        max_body_mb=int(environ.get("SAGEMAKER_MAX_PAYLOAD_IN_MB") or usual.max_body_mb),
    )
    port = int(environ.get("SAGEMAKER_BIND_TO_PORT") or 8080)
    return server.run(environ.get("SM_MODEL_DIR") or "/opt/ml/model", host="0.0.0.0", port=port, limits=limits)  # noqa: S104


if __name__ == "__main__":
    sys.exit(main(os.environ))

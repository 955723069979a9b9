"""Handlers of a SageMaker endpoint over a model bundle: DICOM in, probabilities out.

SageMaker's PyTorch serving imports this file from ``code/inference.py`` of the model archive and calls the four functions; the
code itself is in `dicom_workflow.learning.inference`, the same that notebooks use.
"""

from dicom_workflow.learning.inference import input_fn, model_fn, output_fn, predict_fn

__all__ = ["input_fn", "model_fn", "output_fn", "predict_fn"]

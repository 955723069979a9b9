"""How good a model is, and for whom: figures with intervals, thresholds, subgroups, single readers, another model.

A package and not one file, because it holds several nouns: `curves` (one label's ROC and precision-recall steps), `bootstrap`
(intervals over patients), `reliability` (are the probabilities true), `thresholds` (chosen on validation images only),
`report` (the object of ``evaluation.json``), `subgroups`, `readers`, `comparison` (two models on the same images),
`predictions` (``predictions.jsonl`` read back) and `cases` (single images worth a look). What changes predictions, calibration,
is part of a model and stands beside this package in `learning.calibration`.

Nothing here imports torch: notebooks and figures read a run's results in a second.
"""

from dicom_workflow.learning.evaluation.comparison import Comparison, compare, compare_predictions, delong
from dicom_workflow.learning.evaluation.curves import (
    Band,
    auroc,
    average_precision,
    macro_auroc,
    precision_recall_band,
    roc_band,
)
from dicom_workflow.learning.evaluation.example_cases import OUTCOMES, Case, choose_cases
from dicom_workflow.learning.evaluation.predictions import Predictions, read_predictions
from dicom_workflow.learning.evaluation.reader_comparison import against_readers, read_readers
from dicom_workflow.learning.evaluation.reliability import brier, expected_calibration_error, reliability_bins
from dicom_workflow.learning.evaluation.report import EVALUATION_SCHEMA, RESAMPLES, evaluate, summarize
from dicom_workflow.learning.evaluation.subgroups import by_subgroup, read_groups
from dicom_workflow.learning.evaluation.thresholds import Rule, choose_threshold, choose_thresholds

__all__ = [
    "EVALUATION_SCHEMA",
    "OUTCOMES",
    "RESAMPLES",
    "Band",
    "Case",
    "Comparison",
    "Predictions",
    "Rule",
    "against_readers",
    "auroc",
    "average_precision",
    "brier",
    "by_subgroup",
    "choose_cases",
    "choose_threshold",
    "choose_thresholds",
    "compare",
    "compare_predictions",
    "delong",
    "evaluate",
    "expected_calibration_error",
    "macro_auroc",
    "precision_recall_band",
    "read_groups",
    "read_predictions",
    "read_readers",
    "reliability_bins",
    "roc_band",
    "summarize",
]

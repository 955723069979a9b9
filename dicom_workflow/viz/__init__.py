"""Pictures: functions that return a Figure, live views of what is running, and the browser of labeled samples.

Nothing here shows or saves by itself, needs a screen or changes matplotlib's global state: a notebook shows what its cell
returns, a script writes ``figure.savefig(path)``. Colours are told apart by readers with any colour vision, and black is kept
for radiographs.
"""

from dicom_workflow.viz.accuracy import precision_recall_figure, reliability_figure, roc_figure, subgroup_figure
from dicom_workflow.viz.charts import (
    agreement_figure,
    auroc_figure,
    label_counts_figure,
    labeling_progress,
)
from dicom_workflow.viz.choice import choose_samples
from dicom_workflow.viz.contact_sheets import manifest_figure, sheet, upload_figure
from dicom_workflow.viz.live import LiveFigure, LiveLabeling, LiveTraining
from dicom_workflow.viz.predicted import predicted_figure
from dicom_workflow.viz.saliency import case_figure, right_and_wrong_figure, saliency_figure
from dicom_workflow.viz.sample_browser import SampleBrowser
from dicom_workflow.viz.samples import Sample, has_disagreement, sample_figure, samples_figure
from dicom_workflow.viz.style import Picture, save
from dicom_workflow.viz.thresholds import operating_points_figure, readers_figure
from dicom_workflow.viz.training import training_figure

__all__ = [
    "LiveFigure",
    "LiveLabeling",
    "LiveTraining",
    "Picture",
    "Sample",
    "SampleBrowser",
    "agreement_figure",
    "auroc_figure",
    "case_figure",
    "choose_samples",
    "has_disagreement",
    "label_counts_figure",
    "labeling_progress",
    "manifest_figure",
    "operating_points_figure",
    "precision_recall_figure",
    "predicted_figure",
    "readers_figure",
    "reliability_figure",
    "right_and_wrong_figure",
    "roc_figure",
    "saliency_figure",
    "sample_figure",
    "samples_figure",
    "save",
    "sheet",
    "subgroup_figure",
    "training_figure",
    "upload_figure",
]

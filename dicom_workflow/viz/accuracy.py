"""Figures of accuracy: ROC and precision-recall curves with their bands, reliability, and subgroups."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from dicom_workflow.learning.evaluation.bootstrap import spread
from dicom_workflow.learning.evaluation.curves import Band, precision_recall_band, roc_band
from dicom_workflow.learning.evaluation.predictions import Predictions
from dicom_workflow.learning.evaluation.report import Evaluation, Figures, ReaderComparison, ReliabilityBin
from dicom_workflow.viz.style import BLACK, BLUE, GREY, LIGHT, ORANGE, SKY, STYLE, VERMILLION, Picture, in_label_order, plain

_COLUMNS = 5


@matplotlib.rc_context(STYLE)
def roc_figure(
    predictions: Predictions, *, against: str = "", readers: Sequence[ReaderComparison] = (), resamples: int = 300
) -> Figure:
    """Return the ROC curve of each label with its 95 % band over resampled patients, and single readers as points.

    Parameters
    ----------
    predictions : Predictions
        From `learning.evaluation.predictions.read_predictions`.
    against : {'truth', 'states', ''}
        What counts as true; the truth if there is one.
    readers : sequence of ReaderComparison
        `Evaluation.readers`; those with a sensitivity and a specificity against the truth are drawn.
    resamples : int
        For the band; 0 draws none.
    """

    def mark(axes: Axes, label: str, band: Band) -> None:
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=(0, (1, 2)))
        for reader in readers:
            said = reader.labels.get(label)
            if said and said.sensitivity is not None and said.specificity is not None:
                axes.plot(1 - said.specificity, said.sensitivity, "D", color=VERMILLION, markersize=4.5, clip_on=False)

    handles = [Line2D([], [], color=GREY, linestyle=(0, (1, 2)), label="chance")]
    if any(said.sensitivity is not None for reader in readers for said in reader.labels.values()):
        handles.append(Line2D([], [], color=VERMILLION, marker="D", linestyle="", markersize=4.5, label="single reader"))
    return _curves(
        predictions, against, resamples, roc_band, mark, handles,
        name="ROC curves: AUROC", x="1 − specificity", y="sensitivity",
    )  # fmt: skip


@matplotlib.rc_context(STYLE)
def precision_recall_figure(predictions: Predictions, *, against: str = "", resamples: int = 300) -> Figure:
    """Return the precision-recall curve of each label with its 95 % band over resampled patients.

    Parameters
    ----------
    predictions : Predictions
        From `learning.evaluation.predictions.read_predictions`.
    against : {'truth', 'states', ''}
        What counts as true; the truth if there is one.
    resamples : int
        For the band; 0 draws none.
    """

    def mark(axes: Axes, label: str, band: Band) -> None:
        share = band.positives / (band.positives + band.negatives)
        axes.axhline(share, color=GREY, linewidth=1, linestyle=(0, (1, 2)))

    handles = [Line2D([], [], color=GREY, linestyle=(0, (1, 2)), label="chance: the share of positive images")]
    return _curves(
        predictions, against, resamples, precision_recall_band, mark, handles,
        name="Precision-recall curves: average precision", x="recall (sensitivity)", y="precision",
    )  # fmt: skip


@matplotlib.rc_context(STYLE)
def reliability_figure(figures: Figures) -> Figure:
    """Return the observed share of each label over its predicted probability, before and after calibration.

    Parameters
    ----------
    figures : Figures
        `Evaluation.figures`.
    """
    per_label = figures.labels
    labels = [label for label in in_label_order(per_label) if per_label[label].reliability]
    after, before = (
        [value for label in labels if (value := getattr(per_label[label], name)) is not None]
        for name in ("ece", "ece_uncalibrated")
    )
    headline = f"Calibration error {np.mean(after):.3f}, mean over labels" if after else "No label has a known image"
    headline += f" (before calibration {np.mean(before):.3f})" if before else ""
    figure, panels = _panels(headline, labels)
    for axes, label in zip(panels, labels, strict=True):
        report = per_label[label]
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=(0, (1, 2)))
        if old := report.reliability_uncalibrated:
            axes.plot(*_points(old), "o-", color=ORANGE, markersize=3.5, linewidth=1, markerfacecolor="white")
        x, y = _points(report.reliability)
        reach = np.abs(np.array([each.observed_interval for each in report.reliability]).T - y)
        axes.errorbar(
            x, y, yerr=reach, fmt="o-", color=BLUE, ecolor=SKY, elinewidth=2.5, markersize=4, linewidth=1.2, clip_on=False
        )
        was = report.ece_uncalibrated
        axes.set_title(f"{plain(label, 26)}\nerror {'' if was is None else f'{was:.3f} → '}{report.ece:.3f}", fontsize=8)
    _name_axes(panels, "mean predicted probability", "share of positive images")
    handles: list[Any] = [Line2D([], [], color=GREY, linestyle=(0, (1, 2)), label="true probabilities")]
    if before:
        handles.append(Line2D([], [], color=ORANGE, marker="o", markerfacecolor="white", label="before calibration"))
    handles.append(Line2D([], [], color=BLUE, marker="o", label="after calibration" if before else "predicted"))
    handles.append(Patch(color=SKY, label="95 % interval of a bin"))
    figure.legend(handles=handles, loc="outside lower right", ncols=4, fontsize=8.5)
    return figure


@matplotlib.rc_context(STYLE)
def subgroup_figure(evaluation: Evaluation) -> Figure:
    """Return the mean AUROC of each subgroup with its interval, one below the other, and that of all images as a line."""
    subgroups, overall = evaluation.subgroups, evaluation.figures.macro_auroc
    overall_interval = evaluation.figures.macro_auroc_interval
    count = sum(len(groups) for groups in subgroups.values())
    headline = f"Mean AUROC in {count} subgroups" if count else "No subgroups are known of these images"
    if overall is not None:
        headline += f"; all images {overall:.3f}"
    rows = count + 1.6 * len(subgroups)
    figure = Picture(10.0, max(2.4, 0.29 * rows + 1.0), headline)
    axes = figure.subplots()
    shown = [group for groups in subgroups.values() for group in groups.values() if group.macro_auroc is not None]
    lows = [group.macro_auroc_interval[0] if group.macro_auroc_interval else group.macro_auroc for group in shown]
    left = max(0.0, math.floor(10 * min([0.5, *lows, *(overall_interval or ())])) / 10 - 0.02)
    figures_at, patients_at, images_at = (1 + (1 - left) * share for share in (0.03, 0.47, 0.62))
    if overall_interval is not None:
        axes.axvspan(*overall_interval, color=LIGHT, linewidth=0)
    if overall is not None:
        axes.axvline(overall, color=BLACK, linewidth=1, linestyle=(0, (4, 3)))
    axes.axvline(0.5, color=GREY, linewidth=1, linestyle=(0, (1, 2)))
    ticks: list[float] = []
    names: list[str] = []
    row = 0.0
    for field, groups in subgroups.items():
        row += 0.6
        on_white = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}  # the lines of the mean and of chance go behind it
        axes.text(left, row, plain(field.replace("_", " ")), fontweight="bold", va="center", fontsize=9, bbox=on_white)
        for name, group in groups.items():
            row += 1.0
            ticks.append(row)
            names.append(plain(name, 30))
            axes.text(patients_at, row, f"{group.patients:,}", va="center", ha="right", fontsize=9)
            axes.text(images_at, row, f"{group.images:,}", va="center", ha="right", fontsize=9)
            value, found = group.macro_auroc, group.macro_auroc_interval
            if value is None:
                axes.text(figures_at, row, "too few", va="center", fontsize=8.5, color=GREY)
                continue
            if found:
                axes.plot(found, [row, row], color=SKY, linewidth=5, solid_capstyle="butt")
            axes.plot(value, row, "s", color=BLUE, markersize=5.5)
            text = f"{value:.3f}" + (f" ({found[0]:.3f} to {found[1]:.3f})" if found else "")
            axes.text(figures_at, row, text, va="center", fontsize=9)
        row += 1.0
    for at, word, side in ((figures_at, "AUROC", "left"), (patients_at, "patients", "right"), (images_at, "images", "right")):
        axes.text(at, -0.45, word, fontsize=8.5, color=GREY, ha=side)
    axes.set_xlim(left, images_at)
    axes.set_ylim(max(row, 1.0), -0.6)
    axes.set_yticks(ticks, names)
    axes.tick_params(axis="y", length=0)
    axes.set_xticks([tick / 10 for tick in range(math.ceil(left * 10), 11)])
    axes.spines["bottom"].set_bounds(left, 1)
    axes.spines["left"].set_color(LIGHT)
    axes.set_xlabel("area under the ROC curve, mean over labels (bar: 95 % interval, dashed: all images, dotted: chance)")
    return figure


def _curves(
    predictions: Predictions,
    against: str,
    resamples: int,
    curve: Callable[..., Band | None],
    mark: Callable[[Axes, str, Band], None],
    handles: list[Line2D],
    *,
    name: str,
    x: str,
    y: str,
) -> Figure:
    targets = predictions.targets(against)
    bands: dict[str, Band] = {}
    for label in in_label_order(predictions.labels):
        column = predictions.labels.index(label)
        band = curve(targets[:, column], predictions.scores[:, column], predictions.patients, resamples=resamples)
        if band is not None:
            bands[label] = band
    if not bands:
        return Picture(10.0, 2.4, f"{name} is not defined for any label")
    mean = np.mean([band.area for band in bands.values()])
    figure, panels = _panels(f"{name} {mean:.3f}, mean over {len(bands)} labels", list(bands))
    for axes, (label, band) in zip(panels, bands.items(), strict=True):
        if np.isfinite(band.low).any():
            axes.fill_between(band.grid, band.low, band.high, color=SKY, alpha=0.45, linewidth=0)
        mark(axes, label, band)
        steps = "default" if curve is roc_band else "steps-pre"
        x_drawn, y_drawn = (band.x, band.y) if curve is roc_band else (np.r_[0.0, band.x], np.r_[band.y[:1], band.y])
        axes.plot(x_drawn, y_drawn, color=BLUE, linewidth=1.6, drawstyle=steps, clip_on=False)
        found = spread(band.areas)
        reach = f" ({found[0]:.2f} to {found[1]:.2f})" if found else ""
        axes.set_title(f"{plain(label, 26)}\n{band.area:.3f}{reach}, {band.positives:,} pos.", fontsize=8)
    _name_axes(panels, x, y)
    legend: list[Any] = [Line2D([], [], color=BLUE, label="model"), Patch(color=SKY, alpha=0.45, label="95 % band"), *handles]
    figure.legend(handles=legend, loc="outside lower right", ncols=len(legend), fontsize=8.5)
    return figure


def _panels(headline: str, labels: Sequence[str]) -> tuple[Picture, list[Axes]]:
    """Return a figure with a square panel from 0 to 1 for each label."""
    columns = max(1, min(_COLUMNS, len(labels)))
    rows = max(1, math.ceil(len(labels) / columns))
    figure = Picture(max(5.0, 2.3 * columns), 2.55 * rows + 0.9, headline)
    panels = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for axes in panels:
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_aspect("equal")
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.grid()
    for axes in panels[len(labels) :]:
        axes.remove()
    return figure, panels[: len(labels)]


def _name_axes(panels: Sequence[Axes], x: str, y: str) -> None:
    """Name both axes: x below the lowest panel of each column, y left of each row."""
    for number, axes in enumerate(panels):
        if number + _COLUMNS >= len(panels):
            axes.set_xlabel(x, fontsize=8.5)
        if number % _COLUMNS == 0:
            axes.set_ylabel(y, fontsize=8.5)


def _points(bins: Sequence[ReliabilityBin]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([each.predicted for each in bins]), np.array([each.observed for each in bins])

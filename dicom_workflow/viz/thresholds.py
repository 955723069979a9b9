"""Figures of a model at its thresholds, label by label, and beside single readers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from dicom_workflow.learning.evaluation.report import Evaluation, Figures, ReaderComparison
from dicom_workflow.viz.style import (
    BLUE,
    GREY,
    LIGHT,
    ORANGE,
    REGION_COLORS,
    SKY,
    STYLE,
    VERMILLION,
    Picture,
    in_label_order,
    plain,
)

_SHARES = ("sensitivity", "specificity")
_MARKS = "DsP^vX"


@matplotlib.rc_context(STYLE)
def operating_points_figure(figures: Figures) -> Figure:
    """Return the table of thresholds: sensitivity and specificity of each label at its own, with 95 % intervals.

    Parameters
    ----------
    figures : Figures
        `Evaluation.figures`.
    """
    per_label = figures.labels
    labels = in_label_order(per_label)
    shares = [[value for each in per_label.values() if (value := getattr(each, name)) is not None] for name in _SHARES]
    headline = "At the model's thresholds"
    if all(shares):
        headline += f": sensitivity {np.mean(shares[0]):.2f} and specificity {np.mean(shares[1]):.2f}, mean over labels"
    figure = Picture(11.0, max(2.4, 0.29 * len(labels) + 1.3), headline)
    table, *panels = figure.subplots(1, 3, sharey=True, width_ratios=(4.8, 3.1, 3.1))
    _rows(table, labels)
    columns = (("threshold", 0.64), ("positive", 0.81), ("negative", 0.98))
    table.set_xlim(0, 1)
    for word, at in columns:
        table.text(at, -0.8, word, ha="right", va="bottom", fontsize=8.5, color=GREY)
    for row, label in enumerate(labels):
        found = per_label[label]
        table.text(0.0, row, plain(label, 28), va="center", fontsize=9.5)
        for (_, at), text in zip(
            columns, (f"{found.threshold:.3f}", f"{found.positives:,}", f"{found.negatives:,}"), strict=True
        ):
            table.text(at, row, text, ha="right", va="center", fontsize=9)
    table.set_axis_off()
    for axes, name in zip(panels, _SHARES, strict=True):
        for row, label in enumerate(labels):
            value, interval = getattr(per_label[label], name), per_label[label].interval_of(name)
            if value is None:
                axes.text(0.02, row, "no such image", va="center", fontsize=8.5, color=GREY)
                continue
            if interval:
                axes.plot(interval, [row, row], color=SKY, linewidth=6, solid_capstyle="butt")
            other = per_label[label].sensitivity_at_specificity if name == "sensitivity" else None
            if other is not None:
                axes.plot(other, row, "|", color=ORANGE, markersize=11, markeredgewidth=2, clip_on=False)
            axes.plot(value, row, "o", color=BLUE, markersize=5.5, clip_on=False)
            text = f"{value:.2f}" + (f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else "")
            axes.text(1.05, row, text, va="center", fontsize=8.5)
        axes.set_xlim(0, 1.72)
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.spines["bottom"].set_bounds(0, 1)
        axes.spines["left"].set_color(LIGHT)
        axes.tick_params(axis="y", length=0, labelleft=False)
        axes.set_title(name, fontweight="bold")
    handles: list[Any] = [Line2D([], [], color=BLUE, marker="o", linestyle="", label="at the threshold")]
    handles.append(Patch(color=SKY, label="95 % interval over patients"))
    said = f"sensitivity where specificity is {figures.at_specificity:.2f}"
    handles.append(Line2D([], [], color=ORANGE, marker="|", markersize=11, markeredgewidth=2, linestyle="", label=said))
    figure.legend(handles=handles, loc="outside lower right", ncols=3, fontsize=8.5)
    return figure


@matplotlib.rc_context(STYLE)
def readers_figure(evaluation: Evaluation) -> Figure:
    """Return the model beside single readers: sensitivity and specificity of each, and how far the model agrees with each.

    Sensitivity and specificity are drawn where readers have theirs, which takes a reference standard.
    """
    per_label, readers = evaluation.figures.labels, evaluation.readers
    labels = in_label_order(per_label)
    if not readers:
        return Picture(10.0, 2.0, "The manifest holds no answers of single readers for these images")
    measured = [name for name in _SHARES if any(_of(reader, label, name) is not None for reader in readers for label in labels)]
    kappas = [value for reader in readers for label in labels if (value := _of(reader, label, "kappa")) is not None]
    headline = f"The model beside {len(readers)} single reader{'s' if len(readers) > 1 else ''}"
    headline += f": agreement (kappa) {np.mean(kappas):.2f}, mean over labels and readers" if kappas else ""
    names = [*measured, "kappa"]
    figure = Picture(11.0, max(2.6, 0.29 * len(labels) + 1.3), headline)
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        low = 0.0
        for row, label in enumerate(labels):
            for number, reader in enumerate(readers):
                value = _of(reader, label, name)
                if value is not None:
                    low = min(low, value)
                    shift = 0.22 * (number - (len(readers) - 1) / 2)
                    axes.plot(value, row + np.clip(shift, -0.32, 0.32), _mark(number), color=_color(number), markersize=5)
            if name != "kappa" and (value := getattr(per_label[label], name)) is not None:
                axes.plot([value, value], [row - 0.42, row + 0.42], color=BLUE, linewidth=3, zorder=1.5)  # behind the readers
        ticks = [tick for tick in (-1, -0.5, 0, 0.5, 1) if tick >= low]
        axes.set_xticks(ticks, [f"{tick:g}".replace("-", "−") for tick in ticks])
        axes.set_xlim(low - 0.06, 1.06)
        axes.set_title(name if name != "kappa" else "agreement of model and reader", fontweight="bold")
        axes.set_xlabel("Cohen's kappa (0 is chance, 1 is full)" if name == "kappa" else "share of images")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_color(LIGHT)
        axes.grid(axis="x")
        for row in range(len(labels)):
            axes.axhline(row + 0.5, color=LIGHT, linewidth=0.5)
    panels[0].set_yticks(range(len(labels)), [plain(label, 28) for label in labels])
    panels[0].set_ylim(max(len(labels), 1) - 0.4, -0.6)
    handles = [Line2D([], [], color=BLUE, linewidth=3, label="model, at its threshold")] if measured else []
    handles += [
        Line2D([], [], color=_color(number), marker=_mark(number), linestyle="", label=f"reader {reader.reader}")
        for number, reader in enumerate(readers)
    ]
    figure.legend(handles=handles, loc="outside lower right", ncols=min(7, len(handles)), fontsize=8.5)
    return figure


def _rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_ylim(max(len(labels), 1) - 0.4, -0.6)
    axes.set_yticks(range(len(labels)))


def _of(reader: ReaderComparison, label: str, name: str) -> float | None:
    found: float | None = getattr(reader.labels.get(label), name, None)
    return found


def _mark(number: int) -> str:
    return _MARKS[number % len(_MARKS)]


def _color(number: int) -> str:
    return (VERMILLION, ORANGE, *REGION_COLORS[3:])[number % 4]

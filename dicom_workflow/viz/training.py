"""Learning curves of a training run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dicom_workflow.viz.style import BLUE, GREEN, GREY, ORANGE, STYLE, VERMILLION, Picture, in_label_order, is_number, plain

LOSSES = ("train_loss", "validation_loss")
THIN = "#A9C9B8"
"""Of a single label's curve, behind that of their mean."""


@matplotlib.rc_context(STYLE)
def training_figure(history: Sequence[Mapping[str, Any]]) -> Figure:
    """Return the learning curves, also of a run that has only begun.

    Parameters
    ----------
    history : sequence of mappings
        One per epoch: ``epoch``, ``train_loss``, ``validation_loss``, ``validation_auroc`` (None where it is not defined),
        ``seconds`` and, where they are known, ``epochs`` (how many there will be), ``is_best`` and ``auroc`` (label → AUROC on
        the validation images, a thin line each).
    """
    best = _best_epoch(history)
    planned = max([1, *(int(line.get("epochs") or line["epoch"]) for line in history)])
    if best is None:
        headline = f"Training: {len(history)} of {planned} epochs" if history else "Training: the first epoch is running"
    else:
        headline = f"Validation AUROC {best['validation_auroc']:.3f} at epoch {best['epoch']} of {planned}"
    labels = in_label_order(label for line in history for label in line.get("auroc") or {})
    figure = Picture(10.0, 3.6 if len(labels) <= 8 else 4.4, headline)
    left, right = figure.subplots(1, 2, width_ratios=(4.6, 5.4) if labels else (1, 1))
    _curve(left, _points(history, LOSSES[0]), label="training", color=BLUE, linestyle="-")
    _curve(left, _points(history, LOSSES[1]), label="validation", color=ORANGE, linestyle=(0, (5, 2)))
    curves = {label: points for label in labels if (points := _points(history, label, within="auroc"))}
    for points in curves.values():
        right.plot(*zip(*points, strict=True), color=THIN, linewidth=0.9, marker="o", markersize=1.8)
    _curve(right, _points(history, "validation_auroc"), label="validation", color=GREEN, linestyle="-")
    if best is not None:
        right.plot(best["epoch"], best["validation_auroc"], marker="*", markersize=14, color=VERMILLION, linestyle="")
    right.axhline(0.5, color=GREY, linewidth=1, linestyle=(0, (1, 2)))
    drawn = [value for _, value in [*_points(history, "validation_auroc"), *(p for points in curves.values() for p in points)]]
    right.set_ylim(max(0.0, min([0.5, *drawn]) - 0.05), 1.01)
    left.set_ylim(0, max([1e-6, *(value for name in LOSSES for _, value in _points(history, name))]) * 1.08)
    left.set_title("loss")
    right.set_title(f"validation AUROC, mean {'and each label ' if curves else ''}(dotted: chance, ★ the epoch that is kept)")
    if left.get_legend_handles_labels()[0]:
        left.legend(fontsize=9)
    for axes in (left, right):
        axes.set_xlim(0.8 - 0.02 * planned, planned + 0.2 + 0.02 * planned)
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, min_n_ticks=1))
        axes.set_xlabel(f"epoch ({_seconds_each(history)})" if history else "epoch")
        axes.grid(axis="y")
    _name_curves(right, curves)
    return figure


def _curve(axes: Axes, points: Sequence[tuple[float, float]], **style: Any) -> None:
    if points:
        axes.plot(*zip(*points, strict=True), linewidth=2, marker="o", markersize=3.5, **style)


def _points(history: Sequence[Mapping[str, Any]], name: str, *, within: str = "") -> list[tuple[float, float]]:
    """Return (epoch, value) where the value is a number."""
    lines = [(line["epoch"], ((line.get(within) or {}) if within else line).get(name)) for line in history]
    return [(epoch, value) for epoch, value in lines if is_number(value)]


def _name_curves(axes: Axes, curves: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    """Write each label beside the end of its curve; names that would lie on one another are moved apart."""
    order = sorted(curves, key=lambda label: curves[label][-1][1])
    ends = np.array([curves[label][-1][1] for label in order])
    low, high = axes.get_ylim()
    places, step = ends, 0.062 * (high - low)
    for _ in range(200):
        overlap = np.maximum(step - np.diff(places), 0)
        places = np.clip(places - np.r_[overlap, 0] / 2 + np.r_[0, overlap] / 2, low, high - step / 2)
    leader = {"arrowstyle": "-", "color": GREY, "linewidth": 0.5, "linestyle": ":", "shrinkA": 0, "relpos": (0, 0.5)}
    beside: Any = {"textcoords": axes.get_yaxis_transform(), "annotation_clip": False, "va": "center", "fontsize": 7.5}
    for label, end, place in zip(order, ends, places, strict=True):
        name = f"{end:.2f} {plain(label, 26)}"
        axes.annotate(name, (curves[label][-1][0], end), (1.02, place), arrowprops=leader, **beside)


def _best_epoch(history: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    measured = [line for line in history if is_number(line.get("validation_auroc"))]
    marked = [line for line in measured if line.get("is_best")]
    return marked[-1] if marked else max(measured, key=lambda line: line["validation_auroc"], default=None)


def _seconds_each(history: Sequence[Mapping[str, Any]]) -> str:
    seconds = [float(line["seconds"]) for line in history if is_number(line.get("seconds"))]
    return f"{sum(seconds) / len(seconds):.1f} s each" if seconds else "1 is the first"

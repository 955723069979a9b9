"""Charts: progress of a labeling job, agreement of workers, label counts, and AUROC by label."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from dicom_workflow.formats.answers import LabelState
from dicom_workflow.formats.splits import SPLITS
from dicom_workflow.learning.evaluation.report import Evaluation, Figures
from dicom_workflow.viz.style import (
    BLACK,
    BLUE,
    GREY,
    LIGHT,
    SKY,
    STATE_COLORS,
    STYLE,
    VERMILLION,
    Picture,
    in_label_order,
    is_number,
    plain,
    short_names,
)


@matplotlib.rc_context(STYLE)
def labeling_progress(history: Sequence[Mapping[str, Any]], *, total: int = 0, job_name: str = "") -> Figure:
    """Return the progress of a labeling job.

    Parameters
    ----------
    history : sequence of mappings
        What was seen, in order: ``seconds`` since the job began, ``labeled`` and ``failed`` objects, and where they are known
        ``total`` objects of the job and ``answers`` of workers.
    total : int
        Objects of the job, where `history` does not say.
    job_name : str
        For the headline.
    """
    last = history[-1] if history else {}
    labeled, failed = int(last.get("labeled", 0)), int(last.get("failed", 0))
    total = max(total, int(last.get("total", 0)), labeled + failed)
    name = f"{plain(job_name)}: " if job_name else ""
    headline = f"{labeled:,} of {total:,} objects labeled" + (f", {failed:,} failed" if failed else "")
    figure = Picture(10.0, 2.9, name + (headline if total else "waiting for the first answers"))
    axes = figure.subplots()
    seconds = [float(seen.get("seconds", 0)) for seen in history] or [0.0]
    scale, unit = _time_scale(max(seconds))
    times = [value / scale for value in seconds]
    done = [int(seen.get("labeled", 0)) for seen in history] or [0]
    lost = [int(seen.get("failed", 0)) for seen in history] or [0]
    axes.fill_between(times, done, color=BLUE, alpha=0.2, linewidth=0)
    axes.plot(times, done, color=BLUE, linewidth=2, label="labeled")
    if any(lost):
        axes.plot(times, lost, color=VERMILLION, linewidth=2, label="failed")
    if total:
        axes.axhline(total, color=GREY, linewidth=1, linestyle=(0, (4, 3)), label="all objects")
    axes.set_xlim(0, max(times[-1], 1e-6) if len(times) > 1 else 1)
    axes.set_ylim(0, max(total, 1) * 1.08)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel(f"{unit} since the job began")
    axes.set_ylabel("objects")
    axes.grid(axis="y")
    if answers := last.get("answers"):
        axes.set_title(f"{int(answers):,} answers accepted", color=GREY)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.02), fontsize=9)
    return figure


@matplotlib.rc_context(STYLE)
def agreement_figure(kappa: Mapping[str, float | None], answers: Mapping[str, int], *, overall: float | None = None) -> Figure:
    """Return the agreement of workers on each label, and the number of answers of each.

    Parameters
    ----------
    kappa : mapping of str to float or None
        Label → agreement beyond chance, at most 1; None where it is not defined, as when everybody always said the same.
    answers : mapping of str to int
        Worker → images answered.
    overall : float, optional
        Kappa of all labels together.
    """
    headline = f"Agreement of {len(answers)} workers" + (f": Fleiss' kappa {overall:.2f}" if is_number(overall) else "")
    labels = in_label_order(kappa)
    figure = Picture(10.0, max(3.0, 0.26 * len(labels) + 1.2), headline)
    left, right = figure.subplots(1, 2, width_ratios=(6.4, 3.6))
    lowest = min([0.0, *(value for value in kappa.values() if is_number(value))])
    for row, label in enumerate(labels):
        value = kappa[label]
        if not is_number(value):
            left.text(0.01, row, "not defined", va="center", fontsize=8.5, color=GREY, style="italic")
            continue
        left.barh(row, value, color=BLUE, height=0.62)
        on_white = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
        left.text(max(value, 0) + 0.012, row, f"{value:.2f}".replace("-", "−"), va="center", fontsize=8.5, bbox=on_white)
    if is_number(overall):
        left.axvline(overall, color=BLACK, linewidth=1, linestyle=(0, (4, 3)))
        left.text(overall, -0.85, "all labels", ha="center", va="bottom", fontsize=8.5)
    _label_axis(left, labels)
    left.set_xlim(lowest * 1.1, 1.06)
    left.axvline(0, color=GREY, linewidth=0.8)
    left.set_xlabel("kappa: 0 is chance, 1 is full agreement")
    workers = short_names(answers)
    bars = right.barh(range(len(workers)), list(answers.values()), color=SKY, height=0.5)
    right.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=8.5)
    right.set_yticks(range(len(workers)), list(workers.values()))
    right.set_ylim(max(len(workers), 5) - 0.4, -0.6)
    right.set_xlim(0, max([*answers.values(), 1]) * 1.2)
    right.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    right.xaxis.set_major_formatter("{x:,.0f}")
    right.tick_params(axis="y", length=0)
    right.set_xlabel("images answered")
    return figure


@matplotlib.rc_context(STYLE)
def label_counts_figure(states: Sequence[Mapping[str, str]], splits: Sequence[str] = ()) -> Figure:
    """Return how often each label is positive, uncertain, negative and unknown, in each set.

    Parameters
    ----------
    states : sequence of mapping of str to str
        Label → state of each image; a label that an image does not mention counts as unknown.
    splits : sequence of str
        ``train``, ``validation`` or ``test`` for each image; one panel of all images when not given.
    """
    labels = in_label_order(label for image in states for label in image)
    names = [name for name in SPLITS if name in splits] if splits else ["all"]
    groups = {name: [image for number, image in enumerate(states) if not splits or splits[number] == name] for name in names}
    headline = f"{len(states):,} labeled images" + (f" in {len(names)} sets" if splits else "")
    figure = Picture(10.0, max(2.8, 0.27 * len(labels) + 1.3), headline)
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        images = groups[name]
        for row, label in enumerate(labels):
            _stacked_bar(axes, row, Counter(str(image.get(label, LabelState.UNKNOWN)) for image in images))
        axes.set_title(f"{name}: {len(images):,} images", fontweight="bold")
        axes.set_xlim(0, 114)
        axes.set_xticks([0, 25, 50, 75, 100])
        axes.set_xlabel("share of images [%]")
        axes.spines["left"].set_visible(False)
        axes.spines["bottom"].set_bounds(0, 100)
    _label_axis(panels[0], labels)
    for axes in panels[1:]:
        axes.tick_params(axis="y", length=0)
    handles: list[Any] = [Patch(color=color, label=state) for state, color in STATE_COLORS.items()]
    handles.append(Line2D([], [], linestyle="", marker="$n$", color=VERMILLION, label="positive images"))
    figure.legend(handles=handles, loc="outside lower right", ncols=5, fontsize=8.5, handlelength=1.0)
    return figure


def _stacked_bar(axes: Axes, row: int, counts: Counter[str]) -> None:
    total, start = max(1, counts.total()), 0.0
    for state, color in STATE_COLORS.items():
        share = 100 * counts[state] / total
        axes.barh(row, share, left=start, color=color, height=0.72)
        start += share
    axes.text(102, row, f"{counts['positive']:,}", va="center", fontsize=8.5, color=VERMILLION)


@matplotlib.rc_context(STYLE)
def auroc_figure(evaluation: Evaluation | None) -> Figure:
    """Return the AUROC of each label with its interval; None, a run without images to evaluate on, gives an empty figure."""
    figures = evaluation.figures if evaluation else Figures(0, 0, {})
    measured_on = f"{evaluation.split} images, against {evaluation.measured_against}" if evaluation else "no images"
    per_label, mean, macro_interval = figures.labels, figures.macro_auroc, figures.macro_auroc_interval
    labels = in_label_order(per_label)
    values = [value for label in labels if (value := per_label[label].auroc) is not None]
    headline = "AUROC is not defined for any label" if mean is None else f"Macro AUROC {mean:.3f}"
    if macro_interval is not None and mean is not None:
        headline += f" (95 % interval {macro_interval[0]:.3f} to {macro_interval[1]:.3f})"
    figure = Picture(10.0, max(2.8, 0.29 * len(labels) + 1.2), headline)
    axes = figure.subplots()
    intervals = {label: interval for label in labels if (interval := per_label[label].auroc_interval)}
    leftmost = max(0.0, min([0.5, *values, *(low for low, _ in intervals.values())]) - 0.02)
    numbers_at, positives_at = (1 + (1 - leftmost) * share for share in (0.04, 0.24))
    axes.set_xlim(leftmost, positives_at)
    for row, label in enumerate(labels):
        value = per_label[label].auroc
        axes.text(positives_at, row, f"{per_label[label].positives:,}", va="center", ha="right", fontsize=9)
        if value is None:
            on_white = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
            why = "not defined: positive and negative images are needed"
            axes.text(0.51, row, why, va="center", fontsize=8.5, color=GREY, bbox=on_white)
            continue
        if label in intervals:
            axes.plot(intervals[label], [row, row], color=SKY, linewidth=7, solid_capstyle="butt")
        axes.plot(value, row, marker="o", markersize=6, color=BLUE, clip_on=False)
        axes.text(numbers_at, row, f"{value:.3f}", va="center", ha="left", fontsize=9)
    if mean is not None:
        axes.axvline(mean, color=BLACK, linewidth=1, linestyle=(0, (4, 3)))
    axes.axvline(0.5, color=GREY, linewidth=1, linestyle=(0, (1, 2)))
    axes.text(numbers_at, -0.75, "AUROC", va="bottom", fontsize=8.5, color=GREY)
    axes.text(positives_at, -0.75, "positive", va="bottom", ha="right", fontsize=8.5, color=GREY)
    _label_axis(axes, labels)
    axes.set_xticks([tick / 10 for tick in range(math.ceil(leftmost * 10), 11)])
    axes.spines["bottom"].set_bounds(leftmost, 1)
    axes.set_xlabel(f"area under the ROC curve on {plain(measured_on)} (bar: 95 % interval, dashed: mean, dotted: chance)")
    axes.grid(axis="x")
    return figure


def _label_axis(axes: Axes, labels: Iterable[str]) -> None:
    names = [plain(label, 30) for label in labels]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(max(len(names), 1) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_color(LIGHT)


def _time_scale(seconds: float) -> tuple[float, str]:
    return (1.0, "seconds") if seconds < 180 else (60.0, "minutes") if seconds < 3 * 3600 else (3600.0, "hours")

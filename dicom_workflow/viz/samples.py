"""Figures of labeled samples: a radiograph, its regions, and the workers' answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import patches
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from dicom_workflow.formats.answers import LabelState, Region
from dicom_workflow.labeling.output import LabeledObject
from dicom_workflow.viz.style import (
    GREY,
    INK,
    LIGHT,
    REGION_COLORS,
    STATE_COLORS,
    STATE_SIGNS,
    STYLE,
    Picture,
    in_label_order,
    plain,
    short_names,
    show_radiograph,
)

SIGN_COLORS = {**STATE_COLORS, "uncertain": "#9A7B00", "negative": "#2F7FB0", "unknown": GREY}
"""The colors of `STATE_COLORS`, dark enough for a sign on white."""


REVIEW_COLOR = "#FBF6D0"
LEGEND_ON_BLACK: Any = {
    "frameon": True, "facecolor": INK, "edgecolor": "none", "framealpha": 1, "labelcolor": "white", "handlelength": 1.4,
}  # fmt: skip
"""Names of regions stand on black as the regions do, because their colors are made for it."""


LEGEND_COLUMNS = 3


def title_of(sample: LabeledObject) -> str:
    """Return the title of a sample: the beginning of the last part of its source."""
    return sample.source.rpartition("/")[2][:17]


def labels_of(sample: LabeledObject) -> list[str]:
    """Return every label of the states and answers, in order."""
    return in_label_order([*sample.states, *(label for answer in sample.answers.values() for label in answer.labels)])


def has_disagreement(sample: LabeledObject, label: str = "") -> bool:
    """Return whether two workers gave a label different states; any label when none is named. Unknown does not count."""
    wanted = [label] if label else labels_of(sample)
    return any(len(_said(sample, name) - {LabelState.UNKNOWN}) > 1 for name in wanted)


def _said(sample: LabeledObject, label: str) -> set[LabelState]:
    return {answer.labels[label] for answer in sample.answers.values() if label in answer.labels}


def region_colors(samples: Sequence[LabeledObject]) -> dict[str, str]:
    """Return the color of each label's regions, the same on every image of a set."""
    labels = in_label_order(region.label for sample in samples for region in sample.regions)
    return {label: REGION_COLORS[number % len(REGION_COLORS)] for number, label in enumerate(labels)}


def draw_regions(axes: Axes, regions: Sequence[Region], colors: Mapping[str, str]) -> None:
    """Draw regions over a radiograph that `show_radiograph` drew.

    Parameters
    ----------
    axes : Axes
    regions : sequence of Region
        In pixels of the image, corner origin.
    colors : mapping of str to str
        Label → color, from `region_colors`.
    """
    for region in regions:
        style: dict[str, Any] = {"edgecolor": colors.get(region.label, REGION_COLORS[0]), "linewidth": 1.6, "fill": False}
        points = np.array(region.points_px)
        low, high = points.min(axis=0), points.max(axis=0)
        if region.shape == "rectangle":
            axes.add_patch(patches.Rectangle(tuple(low), *(high - low), **style))
        elif region.shape == "ellipse":
            axes.add_patch(patches.Ellipse(tuple((low + high) / 2), *(high - low), **style))
        elif region.shape == "polygon":
            axes.add_patch(patches.Polygon(points, closed=True, **style))
        else:
            axes.plot(*points[0], marker="+", markersize=12, markeredgewidth=1.8, color=style["edgecolor"])


@matplotlib.rc_context(STYLE)
def sample_figure(sample: LabeledObject, image: NDArray[Any]) -> Figure:
    """Return one radiograph with its regions, beside a table of the workers' answers.

    Parameters
    ----------
    sample : LabeledObject
        A labeled object of a job.
    image : ndarray, shape (rows, columns), float32 in [0, 1]
        Its display image; regions are in its pixels, corner origin.
    """
    labels = labels_of(sample)
    positive = sum(state == LabelState.POSITIVE for state in sample.states.values())
    to_review = f", {len(sample.review)} to review" if sample.review else ""
    headline = f"{plain(title_of(sample), 48)}: {positive} of {len(sample.states)} labels positive{to_review}"
    colors = region_colors([sample])
    # In inches: the table's rows, or the image at its width in the picture with the legend's rows below it.
    beside, below = 0.27 * len(labels) + 1.6, 0.28 * -(-len(colors) // LEGEND_COLUMNS)
    height = max(4.6, beside, 4.9 * image.shape[0] / image.shape[1] + below + 0.55)
    figure = Picture(10.0, min(height, 12.0), headline)
    left, right = figure.subplots(1, 2, width_ratios=(5.2, 4.8))
    left.set_anchor("N")
    show_radiograph(left, image)
    draw_regions(left, sample.regions, colors)
    _region_legend(left, [sample], colors)
    _draw_table(right, sample, labels)
    return figure


def _region_legend(axes: Axes, samples: Sequence[LabeledObject], colors: Mapping[str, str]) -> None:
    """Which color is which label, and how many regions it has, below the image."""
    drawn = [region.label for sample in samples for region in sample.regions]
    handles = [
        Line2D([], [], color=color, linewidth=2, label=f"{plain(label or 'no label', 26)} ({drawn.count(label)})")
        for label, color in colors.items()
    ]
    if handles:
        legend = axes.legend(
            handles=handles,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.015),
            ncols=min(LEGEND_COLUMNS, len(handles)),
            fontsize=8.5,
            **LEGEND_ON_BLACK,
        )
        legend.set_in_layout(True)


def _draw_table(axes: Axes, sample: LabeledObject, labels: Sequence[str]) -> None:
    """Rows are labels; the first column is the consolidated state, then one column per worker."""
    workers = short_names(sample.answers)
    slanted: Any = {"rotation": 35, "ha": "left"} if len(workers) > 3 else {"ha": "center"}
    bottom = len(labels) + 0.3
    first, step = 0.56, min(0.15, 0.44 / max(1, len(workers)))
    columns = {worker: first + step * (number + 0.9) for number, worker in enumerate(workers)}
    axes.set_axis_off()
    axes.set_xlim(0, 1.06)
    axes.set_ylim(max(len(labels) + 0.9, 14), -1.4)
    for row, label in enumerate(labels):
        if label in sample.review:
            axes.add_patch(patches.Rectangle((0, row - 0.46), 1.06, 0.92, color=REVIEW_COLOR, zorder=0))
        axes.text(0.01, row, plain(label, 28), va="center", fontsize=9.5)
        _sign(axes, first - 0.02, row, sample.states.get(label, LabelState.UNKNOWN), size=14)
        for worker, at in columns.items():
            if not sample.answers[worker].unusable:
                _sign(axes, at, row, sample.answers[worker].labels.get(label, LabelState.UNKNOWN), size=11.5)
        axes.axhline(row + 0.5, color=LIGHT, linewidth=0.6, xmax=1)
    axes.axhline(-0.5, color=GREY, linewidth=0.9)
    axes.text(first - 0.02, -0.75, "together", ha="center", va="bottom", fontsize=8.5, fontweight="bold")
    for worker, at in columns.items():
        axes.text(at, -0.75, workers[worker], va="bottom", fontsize=8.5, color=GREY, **slanted)
    for state, at in zip(STATE_SIGNS, (0.01, 0.22, 0.45, 0.67), strict=True):
        _sign(axes, at + 0.015, bottom, LabelState(state), size=11)
        axes.text(at + 0.05, bottom, state, va="center", fontsize=8, color=GREY)
    if sample.review:
        axes.add_patch(patches.Rectangle((0.88, bottom - 0.28), 0.17, 0.56, color=REVIEW_COLOR))
        axes.text(0.965, bottom, "to review", va="center", ha="center", fontsize=8, color=GREY)
    unusable = [f"{workers[name]}: {plain(given.unusable)}" for name, given in sample.answers.items() if given.unusable]
    if unusable:
        axes.text(0.01, bottom + 0.5, "image unusable for " + "; ".join(unusable), va="top", fontsize=8.5, wrap=True)


def _sign(axes: Axes, x: float, y: float, state: LabelState, *, size: float) -> None:
    axes.text(
        x, y, STATE_SIGNS[state], ha="center", va="center_baseline", fontsize=size, fontweight="bold", color=SIGN_COLORS[state]
    )


@matplotlib.rc_context(STYLE)
def samples_figure(samples: Sequence[LabeledObject], images: Sequence[NDArray[Any]], *, columns: int = 4) -> Figure:
    """Return several radiographs with their regions, and below each its positive and open labels.

    Parameters
    ----------
    samples : sequence of LabeledObject
    images : sequence of ndarray, shape (rows, columns), in [0, 1]
        Their display images, in the same order.
    columns : int
        Images in a row.
    """
    columns = max(1, min(columns, len(samples)))
    rows = max(1, -(-len(samples) // columns))
    disputed = sum(has_disagreement(sample) for sample in samples)
    headline = f"{len(samples)} labeled images, workers disagree on {disputed}"
    side = 10.0 / max(columns, 3)
    figure = Picture(side * max(columns, 3), rows * (side + 0.75) + 0.45, headline)
    grid = np.ravel(figure.subplots(rows, columns, squeeze=False, gridspec_kw={"wspace": 0.03, "hspace": 0.05}))
    colors = region_colors(samples)
    for number, axes in enumerate(grid):
        if number >= len(samples):
            axes.set_axis_off()
            continue
        sample = samples[number]
        show_radiograph(axes, images[number], longest_px=500, square=True)
        draw_regions(axes, sample.regions, colors)
        axes.set_title(plain(title_of(sample), 34), fontsize=8.5, color=GREY)
        axes.set_xlabel("\n".join(_summary(sample, 136 // columns)), fontsize=8.5, loc="left", labelpad=4)
    if any(sample.regions for sample in samples):
        handles = [
            Line2D([], [], color=color, linewidth=2, label=plain(label or "no label")) for label, color in colors.items()
        ]
        figure.legend(handles=handles, loc="outside lower left", ncols=min(6, len(handles)), fontsize=8.5, **LEGEND_ON_BLACK)
    return figure


def _summary(sample: LabeledObject, limit: int) -> list[str]:
    """At most three lines: what is positive, what is open, and that the job failed where it did."""
    if not sample.states:
        return [plain(sample.failure_reason or "no label", limit), "", ""]
    positive = [label for label in labels_of(sample) if sample.states.get(label) == LabelState.POSITIVE]
    lines = ["+ " + _listed(positive, limit) if positive else "nothing positive"]
    open_labels = [label for label in labels_of(sample) if label in sample.review]
    uncertain = [label for label, state in sample.states.items() if state == LabelState.UNCERTAIN and label not in open_labels]
    if uncertain:
        lines.append("? " + _listed(uncertain, limit))
    if open_labels:
        lines.append("to review: " + _listed(open_labels, limit - 10))
    return [*lines, "", ""][:3]


def _listed(labels: Sequence[str], limit: int) -> str:
    """Labels with commas, as many as fit, and how many more there are."""
    shown = list(labels)
    while len(shown) > 1 and len(", ".join(shown)) + (5 if len(shown) < len(labels) else 0) > limit:
        shown.pop()
    more = len(labels) - len(shown)
    return plain(", ".join(shown), limit) + (f" +{more}" if more else "")


def choose_samples(samples: Sequence[LabeledObject], count: int, *, label: str = "") -> list[LabeledObject]:
    """Return at most `count` samples of interest: labeled ones before others, earlier ones before later.

    Parameters
    ----------
    samples : sequence of LabeledObject
    count : int
    label : str
        First those where this label is positive, then where it is uncertain; without one, first those on whose labels workers
        disagree most or that are to review, and among them those with most regions.
    """

    def interest(sample: LabeledObject) -> tuple[int, ...]:
        if label:
            order = (LabelState.POSITIVE, LabelState.UNCERTAIN, LabelState.NEGATIVE)
            state = sample.states.get(label, LabelState.UNKNOWN)
            return (order.index(state) if state in order else len(order),)
        disputed = sum(has_disagreement(sample, name) for name in labels_of(sample))
        return -disputed - len(sample.review), -len(sample.regions)

    return sorted(samples, key=lambda sample: (not sample.states, *interest(sample)))[:count]

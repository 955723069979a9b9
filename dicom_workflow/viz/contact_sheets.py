"""Contact sheets of radiographs: an upload, a manifest, and predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from dicom_workflow.dicom import pixels
from dicom_workflow.dicom.reading import read_dataset
from dicom_workflow.viz.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    SKY,
    STYLE,
    VERMILLION,
    Picture,
    percent,
    plain,
    rounded,
    show_radiograph,
)

OUTCOME_COLORS = {"stored": BLUE, "already there": GREEN, "duplicate": SKY}
"""Outcomes of files that are in the archive; those of any other outcome are not."""


def _sides(figure: Figure, widths: Sequence[float]) -> tuple[SubFigure | None, Figure | SubFigure]:
    """The left and the right part of a figure; without widths nothing is on the left and everything on the right."""
    if not widths:
        return None, figure
    parts = figure.subfigures(1, 2, width_ratios=widths, squeeze=False)
    return parts[0][0], parts[0][1]


def _draw_sheet(figure: Figure | SubFigure, images: Sequence[NDArray[Any]], titles: Sequence[object], columns: int) -> None:
    rows = max(1, -(-len(images) // columns))
    grid = np.ravel(figure.subplots(rows, columns, squeeze=False, gridspec_kw={"wspace": 0.02, "hspace": 0.02}))
    for number, axes in enumerate(grid):
        if number >= len(images):
            axes.set_axis_off()
            continue
        show_radiograph(axes, images[number], longest_px=400, square=True)
        if number < len(titles):
            axes.set_xlabel(plain(titles[number], 28), fontsize=8, labelpad=3)


@matplotlib.rc_context(STYLE)
def upload_figure(
    counts: Mapping[str, int],
    thumbnails: Sequence[tuple[str, NDArray[Any]]] = (),
    *,
    seconds: float = 0.0,
    size_bytes: int = 0,
) -> Figure:
    """Return the result of an upload: a dozen of the images, and the number of files by outcome.

    Parameters
    ----------
    counts : mapping of str to int
        Outcome → files, for example ``{"stored": 160, "already there": 5, "refused": 2}``.
    thumbnails : sequence of (title, ndarray of shape (rows, columns), float32 in [0, 1])
        Display images; the first twelve are drawn.
    seconds : float
        Duration of the upload, verification included; 0 when not known.
    size_bytes : int
        Bytes that were sent; 0 when not known.
    """
    total = sum(counts.values())
    arrived = sum(count for outcome, count in counts.items() if outcome in OUTCOME_COLORS)
    shown = thumbnails[:12]
    rows = -(-len(shown) // 4)
    figure = Picture(10.0, 0.4 + 1.55 * rows if rows > 1 else 2.6, f"{arrived:,} of {total:,} files are in the archive")
    left, right = _sides(figure, (5.6, 4.4) if shown else ())
    if left:
        _draw_sheet(left, [image for _, image in shown], [title for title, _ in shown], min(4, len(shown)))
    axes = right.subplots()
    outcomes = list(counts)
    colors = [OUTCOME_COLORS.get(outcome, VERMILLION) for outcome in outcomes]
    bars = axes.barh(range(len(outcomes)), [counts[outcome] for outcome in outcomes], color=colors, height=0.55)
    for bar, outcome in zip(bars, outcomes, strict=True):
        text = f" {counts[outcome]:,} ({percent(counts[outcome], total)})"
        axes.text(bar.get_width(), bar.get_y() + bar.get_height() / 2, text, va="center", fontsize=9)
    axes.set_yticks(range(len(outcomes)), [plain(outcome) for outcome in outcomes])
    axes.set_ylim(max(len(outcomes), 4) - 0.4, -0.6)
    axes.set_xlim(0, max([*counts.values(), 1]) * 1.3)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("files")
    if seconds > 0:
        rate = f" · {size_bytes / seconds / 1e6:.1f} MB/s" if size_bytes else ""
        axes.set_title(f"{total / seconds:.0f} files/s{rate}, checked by reading back", color=GREY)
    return figure


@matplotlib.rc_context(STYLE)
def manifest_figure(
    labels: Sequence[str], lines: int, images: Sequence[NDArray[Any]] = (), titles: Sequence[object] = ()
) -> Figure:
    """Return images and labels of a manifest.

    Parameters
    ----------
    labels : sequence of str
        The label list of the manifest.
    lines : int
        Number of objects of the manifest.
    images : sequence of ndarray, shape (rows, columns), float32 in [0, 1]
        Some of them; the first eight are drawn.
    titles : sequence
        A line below each image.
    """
    headline = f"{lines:,} images × {len(labels)} labels: {lines * len(labels):,} answers asked of each worker"
    figure = Picture(10.0, 4.6 if images else max(2.0, 0.27 * len(labels) + 0.7), headline)
    left, right = _sides(figure, (7.1, 2.9) if images else ())
    if left:
        _draw_sheet(left, images[:8], titles[:8], min(4, len(images)))
    axes = right.subplots()
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(max(len(labels), 8) - 0.4, -0.6)
    for row, label in enumerate(labels):
        axes.plot(0.06, row, marker="s", markersize=8, markerfacecolor="white", markeredgecolor=BLUE, markeredgewidth=1.3)
        axes.text(0.14, row, plain(label, 34), va="center", fontsize=10 if len(labels) <= 16 else 160 / len(labels))
    return figure


_LIKELIEST = 4
"""Labels named below an image."""


@matplotlib.rc_context(STYLE)
def predicted_figure(lines: Sequence[Mapping[str, Any]], *, count: int = 8, columns: int = 4) -> Figure:
    """Return images with the labels that a model calls positive, in color, then those it finds most likely.

    Parameters
    ----------
    lines : sequence of mapping
        `learning.inference.predict.PredictedFiles.lines`: `file`, `probabilities` and `consistent`, the labels called positive
        without those that exclude another.
    count : int
        Images that are drawn, from the first on.
    columns : int
        Images in a row.
    """
    shown = lines[:count]
    columns = max(1, min(columns, len(shown)))
    rows = max(1, -(-len(shown) // columns))
    some = f", the first {len(shown)} of them" if len(shown) < len(lines) else ""
    side = 10.0 / max(columns, 3)
    headline = f"{len(lines):,} images predicted{some}: + is called positive at the label's threshold"
    figure = Picture(side * max(columns, 3), rows * (side + 0.95) + 0.5, headline)
    grid = np.ravel(figure.subplots(rows, columns, squeeze=False, gridspec_kw={"wspace": 0.03, "hspace": 0.05}))
    for number, axes in enumerate(grid):
        if number >= len(shown):
            axes.set_axis_off()
            continue
        line = shown[number]
        show_radiograph(axes, _image(line["file"]), longest_px=500, square=True)
        axes.set_title(plain(Path(line["file"]).name, 27), fontsize=8.5, color=GREY)
        axes.set_xlabel("\n" * _LIKELIEST, fontsize=10)  # keeps the place that annotations do not take by themselves
        called = line["consistent"]
        likely = sorted(line["probabilities"].items(), key=lambda item: (item[0] not in called, -item[1]))
        more = len(called) - _LIKELIEST + 1 if len(called) > _LIKELIEST else 0  # the last line counts those without one
        for row, (label, probability) in enumerate(likely[:_LIKELIEST]):
            is_called, is_count = label in called, more and row == _LIKELIEST - 1
            said = f"{plain(label, 27)} {rounded(probability)}"
            axes.annotate(
                f"+ {more} more" if is_count else f"{'+' if is_called else '−'} {said}", (0, 0), (0, -7 - 12.5 * row),
                xycoords="axes fraction", textcoords="offset points", va="top", fontsize=8,
                color=VERMILLION if is_called else INK, fontweight="bold" if is_called else "normal",
            ).set_in_layout(False)  # fmt: skip  # a long name must not push the images apart
    return figure


def _image(path: str) -> NDArray[np.float32]:
    return pixels.to_display(read_dataset(path))

"""New images with what a model says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dicom_workflow.archive import pixels
from dicom_workflow.viz.style import GREY, INK, STYLE, VERMILLION, Picture, plain, show_radiograph

_LIKELIEST = 4
"""Labels named below an image."""


@matplotlib.rc_context(STYLE)
def predicted_figure(lines: Sequence[Mapping[str, Any]], *, count: int = 8, columns: int = 4) -> Figure:
    """Return images with the labels that a model finds most likely, those that it calls positive in color.

    Parameters
    ----------
    lines : sequence of mapping
        `learning.batch.Predicted.lines`: `file`, `probabilities` and `consistent`, what is called positive without a "No
        Finding" that contradicts it.
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
        likely = sorted(line["probabilities"].items(), key=lambda item: -item[1])[:_LIKELIEST]
        for row, (label, probability) in enumerate(likely):
            is_called = label in line["consistent"]
            axes.annotate(
                f"{'+' if is_called else '−'} {plain(label, 27)} {probability:.2f}", (0, 0), (0, -7 - 12.5 * row),
                xycoords="axes fraction", textcoords="offset points", va="top", fontsize=8.5,
                color=VERMILLION if is_called else INK, fontweight="bold" if is_called else "normal",
            )  # fmt: skip
    return figure


def _image(path: str) -> NDArray[np.float32]:
    return pixels.to_display(pixels.read_dataset(path))

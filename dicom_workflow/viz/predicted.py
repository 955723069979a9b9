"""New images with what a model says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dicom_workflow.dicom import pixels
from dicom_workflow.viz.style import GREY, INK, STYLE, VERMILLION, Picture, plain, rounded, show_radiograph

_LIKELIEST = 4
"""Labels named below an image."""


@matplotlib.rc_context(STYLE)
def predicted_figure(lines: Sequence[Mapping[str, Any]], *, count: int = 8, columns: int = 4) -> Figure:
    """Return images with the labels that a model calls positive, in color, then those it finds most likely.

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
    return pixels.to_display(pixels.read_dataset(path))

"""Saliency maps over radiographs, for one prediction and for the most confident right and wrong ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.patheffects import Normal, Stroke
from numpy.typing import NDArray

from dicom_workflow.learning.evaluation.predictions import OUTCOMES, Case
from dicom_workflow.viz.style import GREY, INK, STYLE, VERMILLION, YELLOW, Picture, plain, rounded, show_radiograph, shrunk

if TYPE_CHECKING:  # a figure needs no torch
    from dicom_workflow.learning.inference.saliency import Saliency

CAUTION = "Saliency shows what moved this model's answer. It is not evidence of where a finding is, or that there is one."
CONTOUR = 0.5
"""Drawn where the map has half of its greatest value."""
METHOD_NAMES = {"grad-cam": "Grad-CAM", "occlusion": "Occlusion"}
MEANINGS = {
    "grad-cam": "how much a place speaks for the label (1: most in this image)",
    "occlusion": "how much the answer loses while a place is covered (1: most in this image)",
}
_LONGEST_PX = 700
_ON_BLACK: Any = {"facecolor": "black", "edgecolor": "none", "alpha": 0.7, "pad": 2.5}


class Explained(Protocol):
    """A case with its image and its map: `dicom_workflow.pipeline.evaluation_step.Explained` is one."""

    @property
    def case(self) -> Case: ...
    @property
    def image(self) -> NDArray[np.float32]:
        """Display image, shape (rows, columns), float32 in [0, 1]."""

    @property
    def saliency(self) -> Saliency: ...


def _heat() -> ListedColormap:
    """Color map from transparent over magenta to orange, visible on lung and on bone; zero leaves the radiograph as it is."""
    colors = matplotlib.colormaps["plasma"](np.linspace(0.3, 0.85, 256))
    colors[:, 3] = np.clip((np.linspace(0, 1, 256) - 0.1) / 0.9, 0, 1) * 0.55
    return ListedColormap(colors)


def draw_saliency(axes: Axes, image: NDArray[Any], values: NDArray[Any]) -> None:
    """Draw a radiograph with a map over it, and the contour of the map's upper half.

    Parameters
    ----------
    axes : Axes
    image : ndarray, shape (rows, columns), float32 in [0, 1]
        Display image.
    values : ndarray, shape (rows, columns), float32 in [0, 1]
        Of the same pixels, as `Saliency` has them.

    Raises
    ------
    ValueError
        The two have different shapes.
    """
    rows, columns = np.shape(image)
    if np.shape(values) != (rows, columns):
        raise ValueError(f"expected a map of the image's {rows} × {columns} pixels, got {np.shape(values)}.")
    show_radiograph(axes, image, longest_px=_LONGEST_PX, square=True)
    small = shrunk(values, _LONGEST_PX // 2)
    box = (0, columns, rows, 0)
    axes.imshow(small, cmap=_heat(), vmin=0, vmax=1, extent=box, interpolation="bilinear")
    if small.min() < CONTOUR < small.max():
        high, wide = small.shape
        x, y = ((np.arange(count) + 0.5) * side / count for count, side in ((wide, columns), (high, rows)))
        axes.contour(x, y, small, levels=[CONTOUR], colors=[YELLOW], linewidths=1.2).set_path_effects(
            [Stroke(linewidth=2.6, foreground="black", alpha=0.6), Normal()]
        )


@matplotlib.rc_context(STYLE)
def saliency_figure(
    saliency: Saliency, image: NDArray[Any], *, threshold: float | None = None, truth: str = "", title: str = ""
) -> Figure:
    """Return a radiograph and, beside it, the same with its saliency map.

    Parameters
    ----------
    saliency : Saliency
        From `learning.inference.saliency.explain`.
    image : ndarray, shape (rows, columns), in [0, 1]
        Display image of the same instance.
    threshold : float, optional
        Probability from which the label is called positive.
    truth : str
        ``positive`` or ``negative``, where it is known.
    title : str
        What the image is called.
    """
    figure = Picture(10.0, 5.9, _headline(saliency, threshold, truth))
    left, right = figure.subplots(1, 2, gridspec_kw={"wspace": 0.03})
    show_radiograph(left, image, longest_px=_LONGEST_PX, square=True)
    left.set_title(plain(title, 60) or "the image", color=GREY)
    draw_saliency(right, image, saliency.values)
    right.set_title(f"{METHOD_NAMES[saliency.method]}; line: half of the greatest value", color=GREY)
    if not saliency.values.any():
        _say(right, "nothing in this image speaks for the label")
    _color_bar(figure, [left, right], saliency.method)
    _caution(figure)
    return figure


def case_figure(explained: Explained) -> Figure:
    """Return `saliency_figure` of a case, with prediction and target."""
    case = explained.case
    truth = "positive" if case.outcome in ("true positive", "false negative") else "negative"
    name = f"image …{case.identifier[-12:]}"
    return saliency_figure(explained.saliency, explained.image, threshold=case.threshold, truth=truth, title=name)


@matplotlib.rc_context(STYLE)
def right_and_wrong_figure(explained: Mapping[str, Sequence[Explained]], *, label: str = "") -> Figure:
    """Return the most confident right and wrong predictions, a row for each outcome, each image without and with its saliency.

    Parameters
    ----------
    explained : mapping of str to sequence of Explained
        Outcome → cases, most confident first, as `evaluation.predictions.choose_cases` chose them.
    label : str
        For the headline, when all cases are of one label.
    """
    columns = max([1, *(len(cases) for cases in explained.values())])
    side, below = 9.2 / (2 * max(columns, 2)), 0.42
    figure = Picture(0.6 + side * 2 * max(columns, 2), 4 * (side + below) + 1.15, _summary(explained, label))
    grid = figure.subplots(len(OUTCOMES), 2 * columns, squeeze=False, gridspec_kw={"wspace": 0.02, "hspace": 0.04})
    for row, outcome in enumerate(OUTCOMES):
        cases = explained.get(outcome, ())
        is_wrong = outcome.startswith("false")
        grid[row][0].set_ylabel(outcome, fontsize=9.5, fontweight="bold", color=VERMILLION if is_wrong else INK)
        for number in range(columns):
            clean, marked = grid[row][2 * number : 2 * number + 2]
            if number >= len(cases):
                _blank(clean, "none" if number == 0 else "")
                _blank(marked)
                continue
            shown = cases[number]
            show_radiograph(clean, shown.image, longest_px=400, square=True)
            draw_saliency(marked, shown.image, shown.saliency.values)
            if not shown.saliency.values.any():
                _say(marked, "nothing speaks for it")
            sign = "≥" if shown.case.probability >= shown.case.threshold else "<"
            said = f"{plain(shown.case.label, 30)}: {rounded(shown.case.probability)} ({sign} {shown.case.threshold:.2f})"
            clean.set_title(said, fontsize=8.5)
    methods = [shown.saliency.method for cases in explained.values() for shown in cases]
    if methods:
        _color_bar(figure, list(grid.ravel()), methods[0])
    _caution(figure)
    return figure


def _headline(saliency: Saliency, threshold: float | None, truth: str) -> str:
    said = f"{plain(saliency.label, 30)}: probability {rounded(saliency.probability)}"
    if threshold is not None:
        called = saliency.probability >= threshold
        said += f", called {'positive' if called else 'negative'} (threshold {threshold:.2f})"
        if truth in ("positive", "negative"):
            said += f", {'right' if called == (truth == 'positive') else 'wrong'}: it is {truth}"
    elif truth:
        said += f", truth: {plain(truth)}"
    return said


def _summary(explained: Mapping[str, Sequence[Explained]], label: str) -> str:
    count = sum(len(cases) for cases in explained.values())
    wrong = sum(len(cases) for outcome, cases in explained.items() if outcome.startswith("false"))
    return f"{plain(label) or 'All labels'}: the surest answers, {count - wrong} right and {wrong} wrong"


def _color_bar(figure: Figure | SubFigure, axes: list[Axes], method: str) -> None:
    mappable = ScalarMappable(Normalize(0, 1), _heat())
    bar = figure.colorbar(mappable, ax=axes, location="bottom", shrink=0.4, aspect=40, pad=0.015, anchor=(0.0, 1.0))
    bar.ax.set_facecolor("#4A4A4A")  # as on a gray part of a radiograph
    bar.ax.axvline(CONTOUR, color=YELLOW, linewidth=1.5)
    bar.set_ticks([0, 0.5, 1], labels=["0", "0.5", "1"])
    bar.outline.set_visible(False)
    bar.set_label(MEANINGS[method], fontsize=8.5, loc="left")


def _caution(figure: Figure) -> None:
    figure.supxlabel(f"⚠ {CAUTION}", x=0.012, ha="left", fontsize=9, fontweight="bold", color=VERMILLION)


def _say(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.03, text, transform=axes.transAxes, ha="center", color="white", fontsize=8.5, bbox=_ON_BLACK)


def _blank(axes: Axes, text: str = "") -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color=GREY)

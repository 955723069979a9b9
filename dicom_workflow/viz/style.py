"""Style of all figures: colors, fonts, and their display in a notebook."""

from __future__ import annotations

import io
import math
import re
import unicodedata
import warnings
from collections.abc import Iterable
from typing import Any, TypeGuard

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dicom_workflow.storage import Storage

# Okabe and Ito's palette, which readers with any color vision tell apart.
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILLION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
GREY, LIGHT, INK = "#8A8A8A", "#E3E3E3", "#222222"

STATE_COLORS = {"positive": VERMILLION, "uncertain": YELLOW, "negative": SKY, "unknown": LIGHT}
STATE_SIGNS = {"positive": "+", "uncertain": "?", "negative": "−", "unknown": "·"}
REGION_COLORS = (YELLOW, SKY, ORANGE, GREEN, PURPLE, VERMILLION)
"""Bright enough on a radiograph."""

STYLE: Any = {
    "font.family": ["DejaVu Sans"],  # the font that comes with matplotlib: the same picture on every machine
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": LIGHT,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "figure.facecolor": "white",
}

SCREEN_DPI = 100
SHARPNESS = 1.6
"""Pixels drawn per pixel of layout, so that a picture stays sharp on a dense screen and in print."""


class Picture(Figure):
    """A figure that shows itself in a notebook and is sharp on any screen.

    A plain `Figure` made without pyplot is shown as text; this one brings its own PNG. Nothing of it is global, so pictures are
    drawn in any thread, with or without a screen.

    Parameters
    ----------
    width, height : float
        In inches.
    title : str
        The headline.
    """

    def __init__(self, width: float, height: float, title: str = "") -> None:
        with matplotlib.rc_context(STYLE):
            super().__init__(figsize=(width, height), dpi=SCREEN_DPI, layout="constrained")
            FigureCanvasAgg(self)
            if title:
                self.suptitle(title, x=0.012, ha="left", fontsize=12, fontweight="bold")

    def draw(self, renderer: Any) -> None:
        """Draw in this package's style: ticks are made while drawing and read the style then."""
        with matplotlib.rc_context(STYLE), warnings.catch_warnings():  # as in `_png`: a figure is also drawn without it
            warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
            super().draw(renderer)

    def to_png(self, *, dpi: float = SCREEN_DPI * SHARPNESS) -> bytes:
        """Return the picture as PNG."""
        return _png(self, dpi)

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        width, height = self.get_size_inches() * SCREEN_DPI
        return self.to_png(), {"width": round(width), "height": round(height)}


def plain(text: object, limit: int = 40) -> str:
    """Return text from data as one short line that matplotlib draws as it stands, dollar signs and all."""
    shown = "".join(" " if unicodedata.category(character)[0] in "CZ" else character for character in str(text))
    shown = " ".join(shown.split())
    return (shown if len(shown) <= limit else f"{shown[: limit - 1]}…").replace("$", r"\$")


def short_names(identifiers: Iterable[str]) -> dict[str, str]:
    """Return a short name for each worker: the id itself, its last words, or its last letters.

    Where that would give two of them one name, they are numbered.
    """
    names = list(identifiers)
    short = [name if len(name) <= 10 else _last_words(name) or f"…{name[-6:]}" for name in names]
    if len(set(short)) < len(short):
        short = [f"worker {number}" for number in range(1, len(names) + 1)]
    return {name: plain(end) for name, end in zip(names, short, strict=True)}


def _last_words(name: str) -> str:
    starts = [match.end() for match in re.finditer(r"[-_.:/ ]", name)]
    return next((name[start:] for start in starts if 4 <= len(name) - start <= 10), "")


def in_label_order(labels: Iterable[str]) -> list[str]:
    """Return labels once each, in the order in which the data have them, which is that of the task."""
    return list(dict.fromkeys(labels))


def shrunk(image: NDArray[Any], longest_px: int) -> NDArray[np.float32]:
    """Return an image, shape (rows, columns), float32, of about so many pixels on its longer side, by averaging.

    Only for drawing: matplotlib is slow on images of many megapixels.

    Parameters
    ----------
    image : ndarray, shape (rows, columns), float32 in [0, 1]
    longest_px : int
    """
    pixels = np.asarray(image, dtype=np.float32)
    step = max(pixels.shape) // longest_px
    if step < 2:
        return pixels
    rows, columns = (max(1, side // step) for side in pixels.shape)
    row_step, column_step = min(step, pixels.shape[0]), min(step, pixels.shape[1])
    whole = pixels[: rows * row_step, : columns * column_step]
    return whole.reshape(rows, row_step, columns, column_step).mean(axis=(1, 3), dtype=np.float32)


def show_radiograph(axes: Axes, image: NDArray[Any], *, longest_px: int = 800, square: bool = False) -> None:
    """Draw a display image, axes in its own pixels with the corner as origin.

    Parameters
    ----------
    axes : Axes
    image : ndarray, shape (rows, columns), float32 in [0, 1]
    longest_px : int
        A larger image is shrunk to about this before it is drawn.
    square : bool
        Pad with black to a square, so that the images of a contact sheet are aligned.
    """
    rows, columns = np.shape(image)
    axes.imshow(
        shrunk(image, longest_px), cmap="gray", vmin=0.0, vmax=1.0, extent=(0, columns, rows, 0), interpolation="antialiased"
    )
    axes.set_facecolor("black")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    if square:
        half = max(rows, columns) / 2
        axes.set_xlim(columns / 2 - half, columns / 2 + half)
        axes.set_ylim(rows / 2 + half, rows / 2 - half)
    axes.autoscale(False)  # a region that leaves the image must not move it


def percent(part: int, whole: int) -> str:
    """Return a share as text; only exact values are shown as 0 % and 100 %."""
    share = 100 * part / whole if whole else 0.0
    if 0 < share < 0.5:
        return "< 1 %"
    return "> 99 %" if 99.5 <= share < 100 else f"{share:.0f} %"


def rounded(probability: float) -> str:
    """Return a probability as text, never as 0.00 or 1.00."""
    return "> 0.99" if probability > 0.995 else "< 0.01" if probability < 0.005 else f"{probability:.2f}"


def is_number(value: Any) -> TypeGuard[float]:
    """Return whether a value is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def save(figure: Figure, uri: str, storage: Storage | None = None) -> str:
    """Write a figure as PNG and return its URI.

    Parameters
    ----------
    figure : Figure
    uri : str
        file:// or s3://.
    storage : Storage, optional
    """
    return (storage or Storage()).write_bytes(uri, _png(figure, SCREEN_DPI * SHARPNESS))


def _png(figure: Figure, dpi: float) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A label in a script that the font lacks shows boxes; that is no reason to fill a notebook with warnings.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()

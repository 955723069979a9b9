"""Figures of search: similar images, facets, how good retrieval is, and near duplicates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dicom_workflow.search.audit.duplicates import Duplicate
from dicom_workflow.search.documents import ImageDocument
from dicom_workflow.search.evaluation import Retrieval
from dicom_workflow.search.query import Facet, ImageHits
from dicom_workflow.viz.style import BLUE, GREY, INK, STATE_COLORS, STATE_SIGNS, STYLE, Picture, plain, show_radiograph

_STATES = {"positive_labels": "stated", "uncertain_labels": "mentioned as possible", "negative_labels": "ruled out"}
_MEASURES = {"P@1": "The most similar image of another patient shows the same findings"}
_METHODS = {"index": "this index", "random": "any image (chance)", "random of the same view": "any image of the same view"}

LoadDisplay = Callable[[ImageDocument], NDArray[np.float32]]
"""Returns the display image of an image of the index: shape (rows, columns), float32 in [0, 1]."""


@matplotlib.rc_context(STYLE)
def similar_figure(query: ImageDocument, found: ImageHits, load: LoadDisplay, *, count: int = 7) -> Figure:
    """Return an image and the most similar ones, with similarity and the positive labels of their reports.

    Parameters
    ----------
    query : ImageDocument
    found : ImageHits
    load : callable
        Returns the display image of a document.
    count : int
        Hits that are drawn.
    """
    shown = [(query, "query"), *((hit.image, f"{hit.score:.3f}") for hit in found.hits[:count])]
    title = f"An image and the {len(shown) - 1} most similar ones of other patients, with their similarity (1: the same)"
    figure = Picture(12.0, 12.0 / len(shown) + 1.3, title)
    for number, (image, title) in enumerate(shown):
        axes = figure.add_subplot(1, len(shown), number + 1)
        show_radiograph(axes, load(image), longest_px=300, square=True)
        axes.set_title(title, color=BLUE if number == 0 else INK, fontweight="bold" if number == 0 else "normal")
        labels = [plain(label, 20) for label in image.labels_positive[:3]]
        axes.set_xlabel("\n".join(labels or ["–"]), fontsize=8, color=GREY)
    return figure


@matplotlib.rc_context(STYLE)
def facet_figure(facets: Mapping[str, Facet], *, title: str = "Findings that reports state") -> Figure:
    """Return bars of the most frequent values of each facet, colored and signed by the state in its name.

    "No Finding" is drawn where it is positive alone: ruled out or uncertain, it says nothing that the findings do not say.

    Parameters
    ----------
    facets : mapping of str to Facet
        As `SearchStore.facets` returns them.
    title : str
    """
    drawn = {
        name: [bucket for bucket in facet.buckets if name.startswith("positive") or bucket.value != "No Finding"]
        for name, facet in facets.items()
    }
    longest = max(map(len, drawn.values()), default=1) or 1
    figure = Picture(4.0 * max(1, len(facets)), 1.1 + 0.3 * longest, title)
    for number, (name, facet) in enumerate(facets.items()):
        axes = figure.add_subplot(1, len(facets), number + 1)
        state = name.partition("_")[0]
        values = [bucket.count for bucket in drawn[name]]
        axes.barh(range(len(values)), values, color=STATE_COLORS.get(state, BLUE), height=0.6)
        axes.set_yticks(range(len(values)), [plain(bucket.value, 26) for bucket in drawn[name]])
        axes.set_ylim(longest - 0.4, -0.6)
        said = _STATES.get(name, name.replace("_", " "))
        axes.set_title(f"{STATE_SIGNS.get(state, '')} {said}{'' if facet.exact else ', estimated'}".strip())
        axes.set_xlabel("reports")
        axes.tick_params(axis="y", length=0)
    return figure


@matplotlib.rc_context(STYLE)
def retrieval_figure(found: Retrieval | None, *, measure: str = "P@1") -> Figure:
    """Return one measure of all methods with its interval over patients.

    Parameters
    ----------
    found : Retrieval or None
        None draws a figure that says so.
    measure : str
        One of `evaluation.MEASURES`.
    """
    if found is None:
        return Picture(8.0, 0.6, "Not measured: too few images are known to be alike")
    names = list(found.figures)
    figure = Picture(8.0, 1.2 + 0.4 * len(names), _MEASURES.get(measure, measure))
    axes = figure.subplots()
    for row, name in enumerate(names):
        value, interval = found.figures[name][measure]["value"], found.figures[name][measure]["interval"]
        axes.plot(value, row, "o", color=BLUE if row == 0 else GREY)
        if interval:
            axes.plot(interval, (row, row), color=BLUE if row == 0 else GREY, linewidth=2)
        axes.text(1.02, row, f"{value:.3f}", va="center")
    axes.set_yticks(range(len(names)), [plain(_METHODS.get(name, name), 34) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.set_xlabel(f"share of {found.queries:,} images ({measure}), with its 95 % interval over patients")
    return figure


@matplotlib.rc_context(STYLE)
def duplicates_figure(
    pairs: Sequence[Duplicate], images: Mapping[str, ImageDocument], load: LoadDisplay, *, count: int = 8
) -> Figure:
    """Return pairs of near duplicates side by side, with what differs.

    Parameters
    ----------
    pairs : sequence of Duplicate
    images : mapping of str to ImageDocument
        Image id → document.
    load : callable
        Returns the display image of a document.
    count : int
        Pairs that are drawn, from the first on.
    """
    shown = list(pairs[:count])
    across = min(4, max(1, len(shown)))
    down = max(1, -(-len(shown) // across))
    leaks = sum(pair.leaks for pair in pairs)
    title = f"Pairs that look like one exposure: {len(pairs):,}" if pairs else "No exposure is stored twice"
    title += f", in two parts of a split: {leaks:,}" if leaks else ""
    figure = Picture(max(6.4, 3.2 * across), 2.3 * down + 0.5, title)
    for number, pair in enumerate(shown):
        for side, image_id in enumerate((pair.first, pair.second)):
            axes: Any = figure.add_subplot(down, 2 * across, 2 * number + side + 1)
            show_radiograph(axes, load(images[image_id]), longest_px=250, square=True)
            if side == 0:
                differs = ", ".join(pair.differences) or "nothing differs"
                axes.set_title(f"{pair.similarity:.2f} {plain(differs, 44)}", fontsize=8)
    return figure

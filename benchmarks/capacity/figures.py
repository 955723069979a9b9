"""The pictures of ``docs/scale.md``."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
from capacity import limits, model
from matplotlib.ticker import FuncFormatter

from dicom_workflow.viz.style import BLUE, GREEN, GREY, LIGHT, ORANGE, PURPLE, SKY, STYLE, VERMILLION, Picture

N = model.SCALES


def count(value: float) -> str:
    """Return a number of images in words where it is round."""
    for size, word in ((1e9, "billion"), (1e6, "million")):
        if value >= size and value % (size / 10) == 0:
            return f"{value / size:g} {word}"
    return f"{value:,.0f}"


def leaving(images: int) -> float:
    """Return the dollars for images that leave AWS: to be read back, and to be looked at."""
    once = model.dollars(images).once
    return once["reading back over the internet"] + once["images to readers over the internet"]


def figure() -> Picture:
    """Hours and dollars against the number of images."""
    picture = Picture(11.0, 5.2)
    with matplotlib.rc_context(STYLE):
        hours, money = picture.subplots(1, 2)
        sizes = np.geomspace(1e4, 2e9, 60)
        _draw_hours(hours, sizes)
        _draw_money(money, sizes)
        for axes in (hours, money):
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_xlim(1e4, 2e9)
            axes.set_xlabel("images")
            axes.set_xticks([1e4, 1e5, 1e6, 1e7, 1e8, 1e9])
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))
            for size in N:
                axes.axvline(size, color=LIGHT, linewidth=4, zorder=0)
            axes.legend(loc="upper left", fontsize=8.5, bbox_to_anchor=(0.0, -0.14), ncols=2)
    return picture


def _draw_hours(axes: Any, sizes: Any) -> None:
    counts = [int(size) for size in sizes]
    for (uploaders, tasks), style in zip((model.FLEETS[0], model.FLEETS[2]), ("-", "--"), strict=True):
        rate = model.ingest(1_000_000, uploaders, tasks).images_per_second
        label = f"ingest, {_of(uploaders, 'uploader')}, {_of(tasks, 'task')}"
        axes.plot(sizes, sizes / rate / 3600, style, color=BLUE, label=label)
    for machine, style in ((1, (0, (1, 1.2))), (2, "-.")):
        values = [model.training(n)[machine].hours for n in counts]
        axes.plot(sizes, values, linestyle=style, color=GREEN, linewidth=2, label=f"training, {model.MACHINES[machine]}")
    for people, style in ((10, "-"), (1000, "--")):
        values = [model.days_of_reading(n, people) * 24 for n in counts]
        axes.plot(sizes, values, style, color=VERMILLION, label=f"reading, {people:,} readers")
    for level, words in ((24, "a day"), (24 * 7, "a week"), (24 * 365.25, "a year")):
        axes.axhline(level, color=LIGHT, zorder=0)
        axes.text(2.3e9, level, words, color=GREY, fontsize=8.5, va="center")
    axes.set_title("Time, by the clock")
    axes.set_ylabel("hours")
    axes.set_ylim(0.1, 1e8)


def _draw_money(axes: Any, sizes: Any) -> None:
    counts = [int(size) for size in sizes]
    lines = {
        "the readers (no bill of AWS)": (VERMILLION, [model.labeling(n).people_usd for n in counts], "-"),
        "labeling, Ground Truth": (ORANGE, [model.labeling(n).groundtruth_usd for n in counts], "-"),
        "images that leave AWS": (PURPLE, [leaving(n) for n in counts], "-"),
        "images in S3 Standard, a year": (BLUE, [12 * model.storage(n)[1].standard_usd for n in counts], "--"),
        "labeling, self-hosted, a year": (ORANGE, [model.labeling(n).self_hosted_usd for n in counts], "--"),
        "training": (GREEN, [model.dollars(n).once["training"] for n in counts], (0, (1, 1.2))),
        "ingest": (SKY, [model.ingest(n, *model.fleet_for(n)).usd for n in counts], "-"),
    }
    for label, (color, values, style) in lines.items():
        axes.plot(sizes, values, linestyle=style, color=color, linewidth=1.8, label=label)
    axes.set_title("Dollars")
    axes.set_ylabel("US dollars")


def breaks_figure() -> Picture:
    """From how many images on each limit is reached."""
    rows = limits.breaks()[::-1]
    picture = Picture(10.0, 5.4)
    with matplotlib.rc_context(STYLE):
        axes = picture.subplots()
        least, most = 2e3, 2e11
        for place, row in enumerate(rows):
            axes.barh(place, row.images - least, left=least, color="#A9DCCB", height=0.62)
            axes.barh(place, most - row.images, left=row.images, color="#E8A07A", height=0.62)
            axes.text(row.images / 1.12, place, _tick(float(f"{row.images:.3g}")), va="center", ha="right", fontsize=8.5)
        axes.set_yticks(range(len(rows)), [row.what for row in rows])
        axes.tick_params(axis="y", length=0)
        axes.set_xscale("log")
        axes.set_xlim(least, most)
        axes.set_xticks([1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11])
        axes.set_xlabel("images")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))
        for size in N:
            axes.axvline(size, color="#222222", linewidth=1, linestyle=":", zorder=0)
            axes.text(size, len(rows) - 0.4, count(size), ha="center", va="bottom", fontsize=8.5)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_title("Green: as it is. Orange: something must be turned first.", pad=20)
    return picture


def _of(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _tick(value: float) -> str:
    for size, word in ((1e9, " bn"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:g}{word}"
    return f"{value:g}"

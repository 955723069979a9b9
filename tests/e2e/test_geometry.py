"""Marks are where they were drawn: edges found in screenshots, the real mouse on them, the answer compared with the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from support.browser_reader import NO_WEBGL
from support.worker_page import Fiducial, PageHost, answered, fiducial_image

from dicom_workflow.formats.labels import load_label_set

LABELS = load_label_set("chest").labels

pytestmark = pytest.mark.browser

BOX = Fiducial(58, 37, 97, 66)
"""Off the middle, and of three different sides: no rotation or reflection of it is the same."""
ALLOWED_PX = 0.05

RADIOGRAPHS: dict[str, dict[str, Any]] = {
    "square": {"PixelSpacing": [0.2, 0.2]},
    "tall pixels": {"PixelSpacing": [0.4, 0.25]},
    "wide pixels": {"ImagerPixelSpacing": [0.15, 0.2]},
    "aspect ratio": {"PixelAspectRatio": [3, 2]},
    "MONOCHROME1": {"PhotometricInterpretation": "MONOCHROME1", "PixelSpacing": [0.2, 0.2]},
    "no spacing": {},
}
VIEWS: dict[str, tuple[str, ...]] = {
    "fit": (),
    "zoomed": ("zoom",),
    "zoomed and panned": ("zoom", "pan"),
    "rotated right": ("]",),
    "rotated twice": ("]", "]"),
    "rotated left, zoomed": ("[", "zoom"),
    "flipped": ("h", "pan"),
    "upside down, turned, zoomed": ("v", "]", "zoom", "pan"),
}


class Surveyor:
    """Finds the fiducial in pictures of the screen; knows nothing of the page's own geometry."""

    def __init__(self, reader: Any, *, ratio: float, inverted: bool) -> None:
        self.reader, self.ratio = reader, ratio
        self.levels = (64.0, 191.0) if inverted else (191.0, 64.0)
        reader.page.add_style_tag(content=".viewport .corner { display: none; }")

    def edges(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the box in CSS pixels, where the gray is half of the way between its two sides."""
        self.reader.settle()
        screen = self.reader.screen()
        left, top, width, height = (round(side * self.ratio) for side in self.reader.box())
        radiograph = screen[top : top + height, left : left + width]
        bright, around = (float(np.median(radiograph[np.abs(radiograph - level) < 20])) for level in self.levels)
        parts, _ = ndimage.label(np.abs(radiograph - bright) < 4)
        inside = parts == np.bincount(parts.ravel())[1:].argmax() + 1
        rows, columns = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
        middle = (bright + around) / 2
        across = radiograph[_central(rows), :].mean(0)
        down = radiograph[:, _central(columns)].mean(1)
        x = _crossings(across, (columns[0] + columns[-1]) // 2, middle)
        y = _crossings(down, (rows[0] + rows[-1]) // 2, middle)
        (x0, x1), (y0, y1) = ([(start + at) / self.ratio for at in found] for start, found in ((left, x), (top, y)))
        return x0, y0, x1, y1

    def look(self, steps: Sequence[str]) -> None:
        for step in steps:
            if step == "zoom":
                x0, y0, x1, y1 = self.edges()
                self.reader.page.mouse.move((x0 + x1) / 2 + 11.3, (y0 + y1) / 2 - 7.9)
                self.reader.page.mouse.wheel(0, -310)
            elif step == "pan":
                self.reader.press("m")
                x, y = self.reader.middle()
                self.reader.drag((x, y), (x + 23.4, y - 17.7))
            else:
                self.reader.press(step)

    def mark(self, key: str) -> None:
        """Draw a box, from corner to corner, where the fiducial is seen."""
        x0, y0, x1, y1 = self.edges()
        self.reader.press(key)
        self.reader.drag((x0, y0), (x1, y1))


def _central(places: NDArray[Any]) -> slice:
    span = len(places)
    return slice(int(places[0] + 0.3 * span), int(places[0] + 0.7 * span))


def _crossings(profile: NDArray[Any], start: int, level: float) -> tuple[float, float]:
    """Places on either side of `start` where the profile passes the level; sample i is at i + 0.5."""
    found = []
    for step in (-1, 1):
        at, above = start, profile[start] > level
        while (profile[at + step] > level) == above:
            at += step
        part = (profile[at] - level) / (profile[at] - profile[at + step])
        found.append(at + 0.5 + step * part)
    return found[0], found[1]


def survey(reader: Any, host: PageHost, radiograph: str, views: Sequence[str], ratio: float) -> float:
    """Mark the fiducial in each of the views, submit, and return the largest error of any coordinate."""
    name = f"geometry-{radiograph}-{ratio}".replace(" ", "-")
    reader.open(host.radiograph(name, fiducial_image(BOX, **RADIOGRAPHS[radiograph])))
    surveyor = Surveyor(reader, ratio=ratio, inverted=radiograph == "MONOCHROME1")
    reader.press("1")
    for view in views:
        reader.press("Home")
        surveyor.look(VIEWS[view])
        surveyor.mark("r")
        reader.press("y")
    reader.press("o")
    regions = reader.submit()["regions"]
    assert [region["label"] for region in regions] == [LABELS[0]] * len(views)
    assert {region["shape"] for region in regions} == {"rectangle"}
    errors = {
        view: float(np.abs(np.array(region["points_px"]) - BOX.points).max())
        for view, region in zip(views, regions, strict=True)
    }
    assert max(errors.values()) <= ALLOWED_PX, errors
    return max(errors.values())


@pytest.mark.parametrize(
    ("radiograph", "view", "ratio"),
    [("tall pixels", "upside down, turned, zoomed", 1.5), ("MONOCHROME1", "rotated left, zoomed", 2)],
)
def test_a_rectangle_drawn_on_a_fiducial_is_where_the_fiducial_is(
    make_reader: Callable[..., Any], host: PageHost, radiograph: str, view: str, ratio: float
) -> None:
    survey(make_reader(device_scale_factor=ratio), host, radiograph, ["fit", view], ratio)


@pytest.mark.e2e
@pytest.mark.parametrize("ratio", [1, 1.5, 2])
@pytest.mark.parametrize("radiograph", RADIOGRAPHS)
def test_every_view_of_every_radiograph(
    make_reader: Callable[..., Any], host: PageHost, figures: dict[str, Any], radiograph: str, ratio: float
) -> None:
    error = survey(make_reader(device_scale_factor=ratio), host, radiograph, list(VIEWS), ratio)
    figures["geometry_px_error"] = max(figures.get("geometry_px_error", 0.0), round(error, 4))


@pytest.mark.e2e
def test_radiographs_drawn_without_webgl_lie_where_the_others_do(
    make_reader: Callable[..., Any], host: PageHost, figures: dict[str, Any]
) -> None:
    reader = make_reader(device_scale_factor=1.5)
    reader.page.add_init_script(NO_WEBGL)
    error = survey(reader, host, "wide pixels", ["fit", "zoomed and panned", "upside down, turned, zoomed"], 1.5)
    figures["geometry_px_error_canvas"] = round(error, 4)


def test_ellipse_polygon_and_length_are_where_they_were_drawn(make_reader: Callable[..., Any], host: PageHost) -> None:
    reader = make_reader()
    reader.open(host.radiograph("shapes", fiducial_image(BOX, **RADIOGRAPHS["tall pixels"])))
    surveyor = Surveyor(reader, ratio=1, inverted=False)
    reader.press("1", "h")
    x0, y0, x1, y1 = surveyor.edges()
    reader.press("e")
    reader.drag((x1, y0), (x0, y1))
    reader.press("y", "g")
    for corner in ((x0, y0), (x1, y0), (x1, y1), (x0, y1)):
        reader.tap(*corner)
        reader.page.wait_for_timeout(20)
    reader.press("Enter", "y", "l")
    reader.drag((x0, y0), (x1, y1))
    reader.press("o")
    answer = reader.submit()
    ellipse, polygon = answer["regions"]
    (length,) = answer["measurements"]
    (left, top), (right, bottom) = BOX.points
    assert (ellipse["shape"], polygon["shape"]) == ("ellipse", "polygon")
    assert np.abs(np.array(ellipse["points_px"]) - BOX.points).max() <= ALLOWED_PX
    turning = [[right, top], [left, top], [left, bottom], [right, bottom]]  # mirrored on the screen
    assert np.abs(np.array(polygon["points_px"]) - turning).max() <= ALLOWED_PX
    assert np.abs(np.array(length["points_px"]) - [[right, top], [left, bottom]]).max() <= ALLOWED_PX
    assert length["unit"] == "mm"
    assert length["value"] == pytest.approx(np.hypot(39 * 0.25, 29 * 0.4), abs=0.05)


def test_regions_to_start_from_are_drawn_on_the_fiducial_and_come_back_bit_for_bit(
    make_reader: Callable[..., Any], host: PageHost, figures: dict[str, Any]
) -> None:
    odd = [[12.300000000000001, 7.1], [141.7999999999, 113.04999999999999]]
    regions = [
        {"label": LABELS[1], "shape": "rectangle", "points_px": BOX.points},
        {"label": LABELS[1], "shape": "ellipse", "points_px": odd, "comment": "odd"},
        {
            "label": LABELS[1],
            "shape": "polygon",
            "points_px": [[1 / 3, 2 / 3], [100.1, 5e-7], [149.99999999999997, 119.3], [3.3, 80]],
        },
    ]
    start = answered(dict.fromkeys(LABELS, "negative") | {LABELS[1]: "positive"}, regions)
    reader = make_reader(device_scale_factor=1.5)
    reader.open(host.radiograph("start", fiducial_image(BOX, **RADIOGRAPHS["wide pixels"]), start_answer=start))
    surveyor = Surveyor(reader, ratio=1.5, inverted=False)
    worst = 0.0
    for view in ("fit", "upside down, turned, zoomed"):
        reader.press("y")
        surveyor.look(VIEWS[view])
        seen = surveyor.edges()
        reader.press("y")
        drawn = reader.page.evaluate(
            """() => [...document.querySelectorAll('svg.drawing .region')].map((one) => {
                 const map = one.getScreenCTM(), box = one.getBBox();
                 return [box.x + map.e, box.y + map.f, box.x + box.width + map.e, box.y + box.height + map.f];
               })"""
        )
        worst = max(worst, min(float(np.abs(np.array(one) - seen).max()) for one in drawn) / zoom_of(seen))
    assert worst <= ALLOWED_PX
    reader.press("Home", "s")
    for number in (1, 2, 3):
        reader.click("button", f"Go to region {number}")
        reader.press("Escape")
    assert reader.submit()["regions"] == regions
    figures["geometry_px_error_drawn"] = round(worst, 4)


def zoom_of(edges: tuple[float, float, float, float]) -> float:
    """CSS pixels for each image pixel, the lesser of the two directions."""
    x0, y0, x1, y1 = edges
    sides = sorted([x1 - x0, y1 - y0])
    return min(sides[0] / (BOX.bottom - BOX.top), sides[1] / (BOX.right - BOX.left))

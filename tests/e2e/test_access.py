"""The page for everybody: axe-core, narrow and enlarged pages, few colours, no motion."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.browser import shoot
from support.worker_page import PageHost, answered, chest_radiograph
from test_reading import ABSENT, EARLIER

pytestmark = pytest.mark.browser

AXE = Path(__file__).parents[2] / "worker_ui" / "node_modules" / "axe-core" / "axe.min.js"
MARKED = answered(
    ABSENT | {"Edema": "positive", "Fracture": "uncertain"},
    [
        {"label": "Edema", "shape": "rectangle", "points_px": [[90, 120], [220, 330]], "comment": "perihilar"},
        {"label": "Fracture", "shape": "ellipse", "points_px": [[300, 90], [380, 150]]},
    ],
    comment="Two things.",
    measurements=[{"kind": "length", "points_px": [[60, 400], [420, 400]]}],
)
SUGGESTIONS = {
    "mode": "shown",
    "model": "densenet121",
    "probabilities": dict.fromkeys(ABSENT, 0.37),
    "regions": [{"label": "Edema", "shape": "rectangle", "points_px": [[100, 110], [240, 300]]}],
}


def states_of(host: PageHost) -> dict[str, str]:
    radiograph = chest_radiograph(PixelSpacing=[0.7, 0.7])
    image = host.image("access.dcm", radiograph)
    gone = host.image("gone.dcm", b"", status=404)
    return {
        "normal": host.page("access-normal", {"image": image, "instructions": "Read it as in clinic. " * 9}),
        "regions": host.page("access-regions", {"image": image, "start_answer": MARKED, "suggestions": SUGGESTIONS}),
        "adjudication": host.page("access-adjudication", {"image": image, "earlier_answers": EARLIER}),
        "failure": host.page("access-failure", {"image": gone}),
    }


def prepare(reader: Any, state: str) -> None:
    if state == "failure":
        reader.viewport.get_by_role("alert").wait_for()
    if state == "regions":
        reader.click("button", "Go to region 1")
        reader.click("button", "Fit")
    if state in ("normal", "adjudication"):
        reader.click("button", "Submit")  # to see what it complains of
        reader.root.get_by_role("alert").get_by_role("button").first.wait_for()


def serious(reader: Any) -> list[str]:
    reader.page.evaluate(AXE.read_text("utf-8"))
    found = reader.page.evaluate("async () => (await axe.run(document, { resultTypes: ['violations'] })).violations")
    return [
        f"{one['id']}: {node['target']} {node.get('failureSummary', '')}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


STATES = ("normal", "regions", "adjudication", "failure")
SIZES = ("1280x720", "640x360", "1920x1080", "390x800")


def some(first: tuple[str, ...], second: tuple[str, ...], short: Sequence[tuple[str, str]]) -> list[Any]:
    """All pairs, of which a few are tried every time."""
    return [pytest.param(*one, marks=[] if one in short else pytest.mark.e2e) for one in itertools.product(first, second)]


@pytest.mark.parametrize(
    ("state", "colours"), some(STATES, ("light", "dark"), [("normal", "light"), ("regions", "light"), ("adjudication", "dark")])
)
def test_axe_finds_nothing_serious(
    make_reader: Callable[..., Any], host: PageHost, state: str, colours: str, figures: dict[str, Any]
) -> None:
    if not AXE.exists():
        pytest.skip("needs worker_ui/node_modules: npm ci there")
    reader = make_reader(color_scheme=colours)
    reader.open(states_of(host)[state], shown=state != "failure")
    prepare(reader, state)
    shoot(reader.page, f"page-{state}-{colours}")
    found = serious(reader)
    if state == "normal":
        reader.press("Escape")
        reader.click("button", "Help")
        reader.root.get_by_role("dialog").wait_for()
        shoot(reader.page, f"page-help-{colours}")
        found += serious(reader)
    figures["axe_serious"] = figures.get("axe_serious", 0) + len(found)
    assert found == []


@pytest.mark.parametrize(("state", "size"), some(STATES, SIZES, [("normal", "1280x720"), ("regions", "640x360")]))
def test_nothing_has_to_be_scrolled_sideways(make_reader: Callable[..., Any], host: PageHost, state: str, size: str) -> None:
    """640 by 360 is a screen of 1280 by 720 at 200 %."""
    width, height = (int(side) for side in size.split("x"))
    reader = make_reader(viewport={"width": width, "height": height})
    reader.open(states_of(host)[state], shown=state != "failure")
    prepare(reader, state)
    shoot(reader.page, f"page-{state}-{size}", full_page=True)
    wider = reader.page.evaluate("() => document.scrollingElement.scrollWidth - innerWidth")
    assert wider <= 0
    for role, name in (("button", "Submit"), ("textbox", "Comment on the image"), ("button", "Zoom in")):
        control = reader.root.get_by_role(role, name=name, exact=True)
        control.scroll_into_view_if_needed()
        box = control.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width + 0.5


@pytest.mark.e2e
def test_the_page_can_be_used_with_the_colours_of_the_system_and_without_motion(
    make_reader: Callable[..., Any], host: PageHost
) -> None:
    reader = make_reader(forced_colors="active", reduced_motion="reduce")
    reader.open(states_of(host)["regions"])
    prepare(reader, "regions")
    shoot(reader.page, "page-forced-colours")
    moving = reader.page.evaluate(
        "() => [...document.querySelectorAll('*')].filter((one) => parseFloat(getComputedStyle(one).transitionDuration) > 0.01"
        " || parseFloat(getComputedStyle(one).animationDuration) > 0.01).length"
    )
    assert moving == 0
    chosen = reader.root.get_by_role("radiogroup", name="Edema", exact=True).get_by_role("radio", name="Present")
    other = reader.root.get_by_role("radiogroup", name="Edema", exact=True).get_by_role("radio", name="Absent")
    looks = [
        one.evaluate("(one) => { const s = getComputedStyle(one); return s.backgroundColor + s.outline + s.border; }")
        for one in (chosen, other)
    ]
    assert looks[0] != looks[1]  # what is chosen can be told apart


def test_the_focus_can_be_seen_on_everything_that_tab_reaches(reader: Any, host: PageHost) -> None:
    reader.open(states_of(host)["regions"])
    seen: list[str] = []
    for _ in range(120):
        reader.press("Tab")
        where = reader.page.evaluate(
            """() => {
                 const one = document.activeElement, style = getComputedStyle(one), box = one.getBoundingClientRect();
                 if (one === document.body) return null;
                 const outlined = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
                 const name = one.localName + ' ' + (one.getAttribute('aria-label') || one.textContent.slice(0, 30));
                 return [name, outlined || style.boxShadow !== 'none', box.width * box.height > 0];
               }"""
        )
        if where is None:
            break
        name, visible, there = where
        assert visible, f"no focus to be seen on {name}"
        assert there, f"{name} has the focus and no size"
        seen.append(name)
    assert len(seen) > 30
    assert any("Radiograph" in name for name in seen)
    assert any("Submit" in name for name in seen)

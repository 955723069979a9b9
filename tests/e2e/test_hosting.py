"""One bundle, many hosts: other origins, frames without an origin, strict policies, tasks of which half is wrong."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless
from support.browser import shoot
from support.worker_page import CROSS_ORIGIN_POLICY, PageHost, chest_radiograph

pytestmark = pytest.mark.browser

SANDBOX = "allow-scripts allow-forms"
HOSTS: dict[str, dict[str, Any]] = {
    "other origins": {},
    "strict policy": {"policy": CROSS_ORIGIN_POLICY},
    "frame without an origin": {"sandbox": SANDBOX},
    "frame without an origin, strict policy": {"sandbox": SANDBOX, "policy": CROSS_ORIGIN_POLICY},
}


SYNTAXES = {"JPEG-LS": JPEGLSLossless, "JPEG 2000": JPEG2000Lossless, "RLE": RLELossless}
SHORT = [("other origins", "RLE"), ("strict policy", "JPEG 2000"), ("frame without an origin, strict policy", "JPEG-LS")]


@pytest.mark.parametrize(
    ("kind", "syntax"),
    [pytest.param(*one, marks=[] if one in SHORT else pytest.mark.e2e) for one in itertools.product(HOSTS, SYNTAXES)],
)
def test_the_page_works_wherever_it_is_hosted(reader: Any, host: PageHost, kind: str, syntax: str) -> None:
    host.asked.clear()
    reader.open(
        host.radiograph("hosted", chest_radiograph(300, 260, syntax=SYNTAXES[syntax]), host={**HOSTS[kind], "hook": False})
    )
    left, top, width, height = (round(side) for side in reader.box())
    assert reader.screen()[top + 60 : top + height - 60, left + 60 : left + width - 60].std() > 20
    reader.answer("Edema", "Present")
    x, y = reader.middle()
    reader.click("button", "Rectangle")
    reader.drag((x - 80, y - 80), (x + 20, y + 60))
    reader.click("button", "All others absent")
    answer = reader.submit()
    assert [region["label"] for region in answer["regions"]] == ["Edema"]
    assert any(name == f"radiograph.{answer['page']}.js" for name in host.assets)
    paths = {path for path in host.asked if path != "/favicon.ico"}
    assert paths <= {"/tasks/hosted", "/frames/hosted", "/crowd-shim.js", "/images/hosted.dcm", "/done"} | {
        f"/assets/{name}" for name in host.assets
    }


def test_a_task_of_which_half_is_wrong_can_still_be_done(reader: Any, host: PageHost) -> None:
    task = {
        "labels": ["Edema", "", "Edema", "constructor", "__proto__", "No Finding"],
        "definitions": 7,
        "rules": {"regions": {"Edema": "maybe"}},
        "suggestions": {"mode": "loud", "probabilities": {"Edema": 3}},
        "second_image": 5,
        "start_answer": {"labels": 5},
    }
    reader.open(host.page("wrong", {"image": host.image("wrong.dcm", chest_radiograph()), **task}))
    reader.root.get_by_text("in this task, for the owner of the job").click()
    shoot(reader.page, "page-problems")
    reader.answer("__proto__", "Present")
    reader.answer("constructor", "Uncertain")
    reader.answer("Edema", "Absent")
    reader.answer("No Finding", "Absent")
    reader.click("button", "Lock first read", exact=False)
    reader.page.wait_for_timeout(1100)
    assert reader.submit()["labels"] == {
        "Edema": "negative",
        "constructor": "uncertain",
        "__proto__": "positive",
        "No Finding": "negative",
    }


def test_nothing_of_the_page_is_asked_of_anybody_else(make_reader: Callable[..., Any], host: PageHost) -> None:
    reader = make_reader()
    asked: list[str] = []
    reader.page.on("request", lambda request: asked.append(request.url))
    reader.open(host.radiograph("alone", chest_radiograph()))
    reader.press("n", "?", "Escape")
    reader.submit()
    others = {url for url in asked if not url.startswith((host.page_url, host.assets_url, "data:", "blob:"))}
    assert others == set()

"""Whatever keeps a radiograph from the screen ends in words that a reader understands, and in an answer that can be sent."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from pydicom.uid import JPEGLSLossless
from support.browser import ARGUMENTS, chromium_path, shoot
from support.browser_reader import NO_WEBGL, Reader
from support.worker_page import CROSS_ORIGIN_POLICY, PageHost, chest_radiograph

pytestmark = pytest.mark.browser

KEEP_CONTEXTS = """
window.contexts = [];
for (const kind of [HTMLCanvasElement, OffscreenCanvas]) {
  const real = kind.prototype.getContext;
  kind.prototype.getContext = function (name, ...rest) {
    const context = real.call(this, name, ...rest);
    if (/webgl/.test(name) && context) window.contexts.push(context);
    return context;
  };
}
"""
NO_PICTURES = "HTMLCanvasElement.prototype.getContext = () => null; window.OffscreenCanvas = undefined;"
NO_WORKERS = CROSS_ORIGIN_POLICY.replace("worker-src blob:", "worker-src 'none'")
NO_WASM = CROSS_ORIGIN_POLICY.replace(" 'wasm-unsafe-eval'", "")

FAILURES: dict[str, dict[str, Any]] = {
    "missing": {"file": {"status": 404}, "says": "not where the task says"},
    "refused": {"file": {"status": 401}, "says": "Access to the image was refused"},
    "broken off": {"file": {"behaviour": "cut"}, "says": "cannot be reached|incomplete"},
    "truncated": {"data": lambda radiograph: radiograph[: len(radiograph) // 2], "says": "incomplete or damaged"},
    "only a header": {"data": lambda radiograph: radiograph[:300], "says": "incomplete or damaged"},
    "a sign-in page": {"data": lambda radiograph: b"<!DOCTYPE html><h1>Sign in</h1>" * 20, "says": "A web page was sent"},
    "a text": {"data": lambda radiograph: b"It was here yesterday. " * 40, "says": "not a radiograph"},
    "nothing": {"data": lambda radiograph: b"", "says": "incomplete or damaged"},
    "no workers": {"policy": NO_WORKERS, "syntax": JPEGLSLossless, "says": "does not let the page decode"},
    "no WebAssembly": {"policy": NO_WASM, "syntax": JPEGLSLossless, "says": "does not let the page decode"},
    "no pictures": {"script": NO_PICTURES, "says": "cannot draw images"},
}
SLOW: dict[str, dict[str, Any]] = {
    "silent": {"file": {"behaviour": "silent"}, "says": "for 20 seconds"},
    "stalled": {"file": {"behaviour": "stalled"}, "says": "for 20 seconds"},
}


def is_shown(reader: Any) -> bool:
    left, top, width, height = (round(side) for side in reader.box())
    levels = reader.screen()[top + 60 : top + height - 60, left + 60 : left + width - 60]
    return bool(levels.std() > 20) and len(set(levels.astype(int).ravel().tolist())) > 100


def begin(reader: Any, host: PageHost, name: str, failure: dict[str, Any]) -> None:
    radiograph = chest_radiograph(256, 256, **({"syntax": failure["syntax"]} if "syntax" in failure else {}))
    name = name.replace(" ", "-")
    uri = host.image(f"{name}.dcm", failure.get("data", bytes)(radiograph), **failure.get("file", {}))
    if "script" in failure:
        reader.page.add_init_script(failure["script"])
    url = host.page(f"failure-{name}", {"image": uri}, policy=failure.get("policy", ""))
    reader.open(url, shown=False)


def end(reader: Any, host: PageHost, name: str, failure: dict[str, Any]) -> None:
    """The reader is told, cannot send a reading of nothing, and reports the radiograph."""
    message = reader.viewport.get_by_role("alert")
    message.wait_for(timeout=40_000)
    text = message.inner_text()
    assert re.search(failure["says"], text), text
    assert not re.search(r"undefined|\[object|NaN|Error\b|null", text)
    shoot(reader.page, f"page-failure-{name.replace(' ', '-')}")
    if failure.get("policy"):
        reader.violations.clear()  # that was the point
    before = len(host.answers)
    reader.click("button", "Submit")  # a reader who sees nothing cannot have read it
    reader.root.get_by_role("alert").get_by_text("Report it as not displayed").last.wait_for()
    assert len(host.answers) == before
    reader.click("button", "Report as not displayed")
    answer = reader.submit()
    assert (answer["unusable"], answer["labels"], answer["regions"]) == ("not-displayed", {}, [])


SHORT = ("missing", "truncated", "no workers", "no pictures")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in SHORT else pytest.mark.e2e) for name in FAILURES])
def test_a_radiograph_that_cannot_be_shown_is_reported_in_two_clicks(
    reader: Any, host: PageHost, name: str, figures: dict[str, Any]
) -> None:
    begin(reader, host, name, FAILURES[name])
    end(reader, host, name, FAILURES[name])
    figures["load_failures_reported"] = figures.get("load_failures_reported", 0) + 1


@pytest.mark.e2e
def test_radiographs_that_do_not_arrive_are_given_up(
    make_reader: Callable[..., Any], host: PageHost, figures: dict[str, Any]
) -> None:
    readers = {name: make_reader() for name in SLOW}
    for name, reader in readers.items():
        begin(reader, host, name, SLOW[name])
    for name, reader in readers.items():
        end(reader, host, name, SLOW[name])
        figures["load_failures_reported"] = figures.get("load_failures_reported", 0) + 1


@pytest.mark.e2e
def test_without_a_graphics_card_the_radiograph_is_still_shown(playwright: Any, host: PageHost) -> None:
    started = playwright.chromium.launch(
        executable_path=chromium_path(), args=[*ARGUMENTS, "--disable-gpu", "--disable-software-rasterizer"]
    )
    reader = Reader(started.new_page(viewport={"width": 1280, "height": 720}), host).open(
        host.radiograph("no-card", chest_radiograph())
    )
    assert reader.page.evaluate("() => document.createElement('canvas').getContext('webgl2')") is None
    assert is_shown(reader)
    reader.press("n")
    assert reader.submit()["labels"]["No Finding"] == "positive"
    assert reader.errors == []
    started.close()


@pytest.mark.parametrize("how", ["refused", pytest.param("lost", marks=pytest.mark.e2e)])
def test_without_webgl_the_radiograph_is_still_shown(make_reader: Callable[..., Any], host: PageHost, how: str) -> None:
    reader = make_reader()
    if how == "refused":
        reader.page.add_init_script(NO_WEBGL)
    else:
        reader.page.add_init_script(KEEP_CONTEXTS)
    reader.open(host.radiograph(f"canvas-{how}", chest_radiograph()))
    if how == "lost":
        reader.page.evaluate("() => window.contexts.forEach((one) => one.getExtension('WEBGL_lose_context')?.loseContext())")
        reader.page.wait_for_timeout(500)
        reader.press("i")
        reader.settle()
        reader.press("i")
        reader.settle()
    assert is_shown(reader)
    shoot(reader.page, f"page-canvas-{how}")
    reader.press("n")
    assert reader.submit()["labels"]["No Finding"] == "positive"


def test_a_second_radiograph_that_fails_does_not_keep_the_first_from_being_read(reader: Any, host: PageHost) -> None:
    second = {"image": host.image("gone.dcm", b"", status=404), "role": "prior"}
    reader.open(host.radiograph("second-gone", chest_radiograph(), second_image=second))
    reader.root.get_by_role("application", name="Prior image").get_by_role("alert").wait_for()
    reader.press("n")
    assert reader.submit()["labels"]["No Finding"] == "positive"

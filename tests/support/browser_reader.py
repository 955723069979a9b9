"""Somebody in front of the worker page, in a real browser."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

import jsonschema
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from support.worker_page import PageHost

SCHEMA = resources.files("dicom_workflow.formats") / "schemas" / "answer.schema.json"

NO_WEBGL = """
for (const kind of [HTMLCanvasElement, OffscreenCanvas]) {
  const real = kind.prototype.getContext;
  kind.prototype.getContext = function (name, ...rest) { return /webgl/.test(name) ? null : real.call(this, name, ...rest); };
}
"""
"""As on many a remote desktop."""


class Reader:
    """A reader with a mouse and a keyboard; every click and every key is counted, a chord as one key, a drag as one click."""

    def __init__(self, page: Any, host: PageHost) -> None:
        self.page = page
        self.host = host
        self.root = page  # or the frame the task is in
        self.clicks = self.keys = 0
        self.errors: list[str] = []
        self.violations: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._hear)

    def _hear(self, message: Any) -> None:
        if "Content Security Policy" in message.text:
            self.violations.append(message.text)

    # ---- Looking -------------------------------------------------------------------------------------------------------

    def open(self, url: str, *, shown: bool = True) -> Reader:
        self.page.goto(url, wait_until="domcontentloaded")
        self.root = self.page.frame_locator("iframe") if "/frames/" in url else self.page
        self.root.get_by_role("button", name="Submit").or_(self.root.get_by_role("button", name="Lock first read")).wait_for()
        if shown:
            self.wait_for_image()
        return self

    @property
    def viewport(self) -> Any:
        return self.root.get_by_role("application").first

    def wait_for_image(self) -> None:
        self.viewport.get_by_text(" pixels", exact=False).first.wait_for()
        self.settle()

    def settle(self) -> None:
        """Wait until what was asked for has been drawn."""
        self.viewport.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 30))))"
        )

    def screen(self) -> NDArray[np.float32]:
        """Return the gray levels of the viewport, one for each device pixel."""
        return gray(self.page.screenshot())

    def box(self) -> tuple[float, float, float, float]:
        """Left, top, width and height of the radiograph's viewport, in CSS pixels."""
        box = self.viewport.bounding_box()
        return box["x"], box["y"], box["width"], box["height"]

    def middle(self) -> tuple[float, float]:
        left, top, width, height = self.box()
        return left + width / 2, top + height / 2

    def reading(self) -> Any:
        """The reading the page holds, through the test hook."""
        return self.page.evaluate("() => JSON.parse(JSON.stringify(window.radiographPage.store.reading))")

    def state(self, label: str) -> str:
        """Return which answer of a finding is chosen, as the page says it to assistive technology."""
        for radio in self.root.get_by_role("radiogroup", name=label, exact=True).get_by_role("radio").all():
            if radio.get_attribute("aria-checked") == "true":
                return str(radio.get_attribute("aria-label") or radio.inner_text())
        return ""

    # ---- Doing ---------------------------------------------------------------------------------------------------------

    def click(self, role: str, name: str, **options: Any) -> None:
        self.root.get_by_role(role, name=name, exact=options.pop("exact", True), **options).click()
        self.clicks += 1

    def answer(self, label: str, state: str) -> None:
        self.root.get_by_role("radiogroup", name=label, exact=True).get_by_role("radio", name=state, exact=True).click()
        self.clicks += 1

    def press(self, *chords: str) -> None:
        for chord in chords:
            self.page.keyboard.press(chord)
            self.keys += 1

    def write(self, text: str) -> None:
        self.page.keyboard.type(text)
        self.keys += len(text)

    def drag(self, *points: Sequence[float], button: str = "left") -> None:
        """Press at the first point, release at the last; fractions of a pixel are kept by the browser."""
        mouse = self.page.mouse
        mouse.move(*points[0])
        mouse.down(button=button)
        if len(points) == 2:
            (ax, ay), (bx, by) = points
            mouse.move((ax + bx) / 2, (ay + by) / 2)
        for point in points[1:]:
            mouse.move(*point)
        mouse.up(button=button)
        self.clicks += 1

    def tap(self, *point: float) -> None:
        self.page.mouse.click(*point)
        self.clicks += 1

    def submit(self) -> dict[str, Any]:
        """Submit, by mouse, and return the answer as the requester gets it."""
        before = len(self.host.answers)
        self.click("button", "Submit")
        return self.sent(before)

    def _arrive(self) -> None:
        """Wait for the page after the answer: closing a browser in the middle of a navigation can take for ever."""
        frames = [
            frame for frame in self.page.frames if frame.parent_frame is None or "/tasks/" in frame.url or "/done" in frame.url
        ]
        frames[-1].wait_for_url("**/done")
        frames[-1].wait_for_load_state()

    def sent(self, before: int, seconds: float = 10) -> dict[str, Any]:
        """Return the answer that arrives after so many others; it must be one that the schema allows."""
        for _ in range(int(seconds * 50)):
            if len(self.host.answers) > before:
                self._arrive()
                answer = self.host.answer(before)
                jsonschema.validate(answer, json.loads(SCHEMA.read_text("utf-8")))
                return answer
            self.page.wait_for_timeout(20)  # playwright hears of nothing while nobody asks it
        raise AssertionError(f"no answer within {seconds} s; the page says {self.root.get_by_role('alert').all_inner_texts()}")


def gray(png: bytes) -> NDArray[np.float32]:
    return np.asarray(Image.open(io.BytesIO(png)).convert("L"), np.float32)

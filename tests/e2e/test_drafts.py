"""No mark is lost: not to a reload, not to a crash, not to a browser that keeps nothing."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.browser import ARGUMENTS, chromium_path, shoot
from support.browser_reader import Reader
from support.worker_page import PageHost, chest_radiograph
from test_reading import act

pytestmark = pytest.mark.browser

ENDS = {"reload": 24, "closed": 12, "tab crashes": 7, "browser killed": 7}
"""What happens to the page, and how often: fifty times altogether. But for the last, it happens as soon as a change is made."""
KILL_MS = 150
"""A browser that is killed whole keeps what it was told this long before: it is another process that writes to the disk."""


class Survivor:
    """A browser with a profile on the disk, whose page ends in one way or another and is opened again."""

    def __init__(self, playwright: Any, host: PageHost, profile: Path, url: str) -> None:
        self.playwright, self.host, self.profile, self.url = playwright, host, profile, url
        self.context: Any = None
        self.start()

    def start(self) -> None:
        self.context = self.playwright.chromium.launch_persistent_context(
            str(self.profile), executable_path=chromium_path(), args=ARGUMENTS, viewport={"width": 1280, "height": 720}
        )
        self.context.set_default_timeout(15_000)
        self.reader = Reader(self.context.pages[0], self.host).open(self.url)

    def end(self, how: str) -> None:
        page = self.reader.page
        if how == "reload":
            self.reader.open(self.url)
        elif how == "browser killed":
            for process in processes_with(str(self.profile)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            with contextlib.suppress(Exception):
                self.context.close()
            self.start()
        else:
            other = self.context.new_page()
            if how == "tab crashes":
                with contextlib.suppress(Exception):
                    page.goto("chrome://crash", timeout=3000)
            with contextlib.suppress(Exception):
                page.close()
            self.reader = Reader(other, self.host).open(self.url)


def processes_with(argument: str) -> list[int]:
    """Processes that were started with that argument, the oldest first: of a browser, the one that starts the others."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and argument in (entry / "cmdline").read_text("utf-8", "replace"):
                found.append(int(entry.name))
    return sorted(found)


@pytest.fixture
def survivor(playwright: Any, host: PageHost, tmp_path: Path) -> Iterator[Survivor]:
    one = Survivor(playwright, host, tmp_path / "profile", host.radiograph("survivor", chest_radiograph()))
    yield one
    assert one.reader.errors == []
    one.context.close()


def losses(survivor: Survivor, ends: list[str], seed: int, kill_ms: int = KILL_MS) -> list[str]:
    """Return what was lost: how the page ended, what it last had, and what came back."""
    rng = random.Random(seed)
    lost = []
    for how in ends:
        for _ in range(rng.randint(1, 5)):
            act(survivor.reader, rng)
        last = survivor.reader.reading()
        if how == "browser killed":
            survivor.reader.page.wait_for_timeout(kill_ms)
        survivor.end(how)
        for _ in range(100):
            if survivor.reader.reading() == last:
                break
            survivor.reader.page.wait_for_timeout(20)
        else:
            lost.append(f"{how}: had {last}, found {survivor.reader.reading()}")
    return lost


def test_a_reload_a_closed_tab_and_a_crash_lose_nothing(survivor: Survivor) -> None:
    assert losses(survivor, ["reload", "closed", "tab crashes"], seed=2) == []


@pytest.mark.e2e
def test_fifty_reloads_and_crashes_lose_nothing(survivor: Survivor, figures: dict[str, Any]) -> None:
    ends = [how for how, times in ENDS.items() for _ in range(times)]
    random.Random(5).shuffle(ends)
    lost = losses(survivor, ends, seed=7)
    figures["drafts_lost"], figures["drafts_ended"] = len(lost), len(ends)
    assert lost == []


@pytest.mark.e2e
def test_a_browser_killed_in_the_moment_of_a_change_loses_that_change_at_most(
    survivor: Survivor, figures: dict[str, Any]
) -> None:
    """No promise, but a figure: nothing that a page can call is on the disk when the call returns."""
    rng, lost = random.Random(11), 0
    for _ in range(10):
        states = [survivor.reader.reading()]
        for _ in range(3):
            act(survivor.reader, rng)
            states.append(survivor.reader.reading())
        survivor.end("browser killed")
        survivor.reader.page.wait_for_timeout(500)
        found = survivor.reader.reading()
        assert found in states[-3:], found
        lost += found != states[-1]
    figures["changes_lost_killed_at_once"] = f"{lost}/10"


def test_a_draft_goes_when_the_answer_has_been_accepted_and_stays_when_it_was_not(reader: Any, host: PageHost) -> None:
    url = host.radiograph("sent", chest_radiograph())
    reader.open(url)
    reader.answer("Edema", "Present")
    host.refuses = True
    try:
        reader.press("o", "Control+Enter")
        reader.root.get_by_text("Sign in again in another tab").wait_for()
    finally:
        host.refuses = False
    reader.open(url)
    assert reader.state("Edema") == "Present"
    reader.submit()
    reader.open(url)
    assert reader.reading()["labels"] == {}


@pytest.mark.parametrize("what", [pytest.param("setItem", marks=pytest.mark.e2e), "everything"])
def test_a_browser_that_denies_storage_is_told_of_and_a_reload_keeps_the_marks(
    make_reader: Callable[..., Any], host: PageHost, what: str
) -> None:
    denied = {
        "setItem": "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); };",
        "everything": "for (const name of ['localStorage', 'sessionStorage', 'indexedDB']) Object.defineProperty(window, name, "
        "{ get() { throw new DOMException('denied', 'SecurityError'); } });",
    }
    reader = make_reader()
    reader.page.add_init_script(denied[what])
    url = host.radiograph(f"denied-{what}", chest_radiograph())
    reader.open(url)
    reader.answer("Edema", "Uncertain")
    reader.root.get_by_role("status").get_by_text("Not saved on this device").wait_for()
    shoot(reader.page, f"page-storage-{what}")
    reader.page.reload()
    reader.wait_for_image()
    assert reader.state("Edema") == "Uncertain"
    reader.press("o")
    assert reader.submit()["labels"]["Edema"] == "uncertain"


def test_a_frame_without_an_origin_says_that_nothing_is_kept_and_keeps_its_marks_over_its_own_reload(
    make_reader: Callable[..., Any], host: PageHost
) -> None:
    reader = make_reader()
    reader.open(host.radiograph("opaque-draft", chest_radiograph(), host={"sandbox": "allow-scripts allow-forms"}))
    reader.answer("Edema", "Uncertain")
    reader.root.get_by_role("status").get_by_text("Not saved").wait_for()
    shoot(reader.page, "page-frame")
    frame = reader.page.frames[-1]
    frame.evaluate("() => { setTimeout(() => location.reload(), 0); }")
    reader.page.wait_for_timeout(500)
    reader.wait_for_image()
    assert reader.state("Edema") == "Uncertain"
    reader.press("o")
    assert reader.submit()["labels"]["Edema"] == "uncertain"

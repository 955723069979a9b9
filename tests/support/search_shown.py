"""The search page in a browser, wherever it is shown: what tests do there, in the words of its elements."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.search_page import Archive


@dataclass
class Shown:
    """The page in a browser: `tab` has it somewhere below `root`."""

    tab: Any
    root: Any
    archive: Archive
    upload_path: Path
    """A DICOM file of the index; its own image is the most similar to it."""
    upload_id: str

    def home(self) -> None:
        """Go to the start of the page, with nothing asked."""
        self.root.locator("a.title").click()
        self.root.locator("article").first.wait_for()
        self.count_is(len(self.archive.reports))

    def count_is(self, number: int, what: str = "report") -> None:
        """Wait for the line that says how many there are."""
        text = f"{number} {what}" if number == 1 else f"{number} {what}s"
        self.root.get_by_role("status").filter(has_text=re.compile(rf"^{text}\b")).first.wait_for()

    def search(self, words: str) -> None:
        """Type into the search box."""
        self.root.get_by_role("searchbox").fill(words)

    def facet(self, title: str) -> dict[str, int]:
        """Return value → count of a chart."""
        bars = self.root.get_by_role("region", name=title, exact=True).locator(".bar")
        return {bar.locator(".bar-name").inner_text(): int(bar.locator(".bar-count").inner_text()) for bar in bars.all()}

    def open_image(self, image_id: str, report_id: str) -> None:
        """Go to the page of an image from the card of its report."""
        self.home()
        self.search(f'"{self.impression(report_id)}"')
        card = self.root.get_by_role("article").filter(has_text=report_id)
        card.get_by_role("link").first.click()
        self.root.get_by_text(image_id).first.wait_for()
        self.root.locator(".hit").first.wait_for()

    def hits(self) -> list[tuple[str, float]]:
        """Return address and score of the similar images."""
        hits = self.root.locator(".hit").all()
        return [(str(hit.get_by_role("link").get_attribute("href")), float(hit.locator(".score").inner_text())) for hit in hits]

    def impression(self, report_id: str) -> str:
        """Return the first sentence of a report's impression, without its full stop."""
        report = next(report for report in self.archive.reports if report.report_id == report_id)
        return report.sections["impression"].split(".")[0]

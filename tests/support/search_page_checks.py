"""What has to be true of the search page wherever it is shown: the web page and the widget in a notebook go through these."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.search_page import Archive

from dicom_workflow.search.documents import ReportDocument


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
        self.search(f'"{_impression(self, report_id)}"')
        card = self.root.get_by_role("article").filter(has_text=report_id)
        card.get_by_role("link").first.click()
        self.root.get_by_text(image_id).first.wait_for()
        self.root.locator(".hit").first.wait_for()

    def hits(self) -> list[tuple[str, float]]:
        """Return address and score of the similar images."""
        hits = self.root.locator(".hit").all()
        return [(str(hit.get_by_role("link").get_attribute("href")), float(hit.locator(".score").inner_text())) for hit in hits]


def _report(shown: Shown, report_id: str) -> ReportDocument:
    return next(report for report in shown.archive.reports if report.report_id == report_id)


def _impression(shown: Shown, report_id: str) -> str:
    return _report(shown, report_id).sections["impression"].split(".")[0]


def _counts(reports: Sequence[ReportDocument], state: str) -> dict[str, int]:
    states = Counter(label for report in reports for label, said in report.label_states().items() if said == state)
    return dict(states)


def lists_all_reports_first(shown: Shown) -> None:
    """The newest first, with impression, images, the three columns, charts over all of them, and pages."""
    shown.home()
    newest = sorted((report.study_date for report in shown.archive.reports), reverse=True)[:20]
    titles = [card.get_by_role("heading", level=3).first.inner_text() for card in shown.root.get_by_role("article").all()]
    assert [title[:10].replace("-", "") for title in titles] == newest
    card = shown.root.get_by_role("article").first
    assert card.get_by_text("Impression").count() == 1
    assert [card.get_by_role("region", name=name).count() for name in ("Signs", "Diagnoses", "Symptoms")] == [1, 1, 1]
    picture = card.get_by_role("img").first
    picture.wait_for()
    assert str(picture.get_attribute("alt") or picture.get_attribute("aria-label")).startswith("Image: DX")
    pager = shown.root.get_by_role("navigation", name="Pages")
    total = len(shown.archive.reports)
    assert f"1–20 of {total}" in pager.inner_text()
    pager.get_by_role("button", name="Next").click()
    pager.get_by_text(f"21–{min(total, 40)} of {total}").wait_for()
    assert shown.root.get_by_role("article").count() == min(total - 20, 20)
    pager.get_by_role("button", name="Previous").click()
    pager.get_by_text(f"1–20 of {total}").wait_for()


def charts_count_all_that_match(shown: Shown) -> None:
    """Positive, uncertain and negative, exactly as the reports say; clicking narrows, and a chip takes it back."""
    shown.home()
    for title, state in (("Positive", "positive"), ("Uncertain", "uncertain"), ("Negative", "negative")):
        expected = _counts(shown.archive.reports, state)
        drawn = shown.facet(title)
        assert drawn == {label: expected[label] for label in drawn}
        assert len(drawn) == min(len(expected), 10)
    label = "Pneumothorax"
    with_label = shown.archive.with_label(label)
    shown.root.get_by_role("region", name="Positive", exact=True).get_by_role("button", name=label).click()
    shown.count_is(len(with_label))
    assert shown.facet("Positive")[label] == len(with_label)
    assert shown.facet("Negative") == {k: v for k, v in _counts(with_label, "negative").items() if k in shown.facet("Negative")}
    shown.root.get_by_role("button", name=f"Remove the filter Positive: {label}").click()
    shown.count_is(len(shown.archive.reports))


def typing_searches_and_marks_the_sentence(shown: Shown) -> None:
    """The sentence that matched is marked where it stands, behind characters of two UTF-16 units too."""
    shown.home()
    shown.search('"cannot be excluded"')
    matching = [report for report in shown.archive.reports if "cannot be excluded" in report.text]
    shown.count_is(len(matching))
    marked = [mark.inner_text() for mark in shown.root.locator("article mark").all()]
    assert len(marked) == min(len(matching), 20)
    assert all(re.fullmatch(r"Possible .* cannot be excluded\.", text) for text in marked), marked
    shown.search("unicorns")
    shown.root.get_by_text("Sorry, no results.").wait_for()
    shown.search("")
    shown.count_is(len(shown.archive.reports))


def a_finding_opens_its_sentence(shown: Shown) -> None:
    """Each finding is a button with a sign and a word for its state, and opens the sentence that states it."""
    shown.home()
    report = next(one for one in shown.archive.reports if "uncertain" in {found.state for found in one.findings})
    shown.search(f'"{_impression(shown, report.report_id)}"')
    card = shown.root.get_by_role("article").filter(has_text=report.report_id)
    found = next(found for found in report.findings if found.state == "uncertain")
    button = card.locator(".finding.uncertain")
    assert "stated as uncertain" in button.inner_text() and button.locator("svg").count() == 1
    button.click()
    card.get_by_text(report.text[found.sentence_begin : found.sentence_end]).last.wait_for()
    assert found.code in card.locator(".evidence").inner_text()


def similar_images_come_best_first(shown: Shown) -> None:
    """With scores, without the patient's own images unless asked for, and charts over these images alone."""
    image = next(one for one in shown.archive.images if _others(shown, one.patient_key) > 1)
    shown.open_image(image.image_id, image.report_id)
    own = {one.image_id for one in shown.archive.images if one.patient_key == image.patient_key}
    hits = shown.hits()
    scores = [score for _, score in hits]
    assert scores == sorted(scores, reverse=True) and len(scores) > 5
    assert not any(address.removeprefix("#/image/") in own for address, _ in hits)
    shown.root.get_by_text(f"Among these {len(hits)} images, not the whole index").wait_for()
    shown.root.get_by_label("Include the same patient").check()
    shown.root.locator(f'.hit a[href="#/image/{next(iter(own - {image.image_id}))}"]').wait_for()
    shown.root.get_by_label(re.compile("Same view only")).check()
    same = [one for one in shown.archive.images if one.view_position == image.view_position]
    shown.count_is(len(same) - 1, "similar image")
    label, count = next(iter(shown.facet("Positive").items()))
    shown.root.get_by_role("region", name="Positive", exact=True).get_by_role("button", name=label).click()
    shown.count_is(count, "similar image")


def _others(shown: Shown, patient_key: str) -> int:
    return sum(one.patient_key == patient_key for one in shown.archive.images)


def more_like_this_moves_the_search(shown: Shown) -> None:
    """The search moves to a liked image, which is shown above the hits then and can be taken back."""
    image = shown.archive.images[0]
    shown.open_image(image.image_id, image.report_id)
    before = shown.hits()
    shown.root.locator(".hit").last.get_by_role("button", name="More like this").click()
    shown.root.get_by_text("steered by 1 more like and 0 less like").wait_for()
    shown.root.locator(".with-facets[aria-busy=false]").wait_for()
    liked = before[-1][0]
    moved = shown.hits()
    assert liked not in dict(moved) and moved[0] != before[0]
    shown.root.locator(".hit").nth(1).get_by_role("button", name="Less like this").click()
    shown.root.get_by_text("steered by 1 more like and 1 less like").wait_for()
    shown.root.get_by_role("button", name="Take back: more like this").click()
    shown.root.get_by_text("steered by 0 more like and 1 less like").wait_for()
    shown.root.get_by_role("button", name="Start over").click()
    shown.root.get_by_text("steered by").wait_for(state="detached")
    shown.root.locator(".with-facets[aria-busy=false]").wait_for()
    assert shown.hits() == before


def words_typed_last_are_kept(shown: Shown) -> None:
    """Who clicks at once after typing finds the words again on the way back: on a hit, a filter, and among similar images."""
    shown.home()
    box = shown.root.get_by_role("searchbox")
    type_and_click(shown, box, "pneumothorax", "article .image-link a")
    shown.root.locator(".hit").first.wait_for()
    shown.root.get_by_role("button", name="Back").click()
    matching = [report for report in shown.archive.reports if "pneumothorax" in report.text.lower()]
    shown.count_is(len(matching))
    assert box.input_value() == "pneumothorax"

    shown.home()
    type_and_click(shown, box, "opacity", ".facet.positive .bar")
    shown.root.locator(".chip").wait_for()
    shown.root.locator("article mark").first.wait_for()
    assert box.input_value() == "opacity"

    image = shown.archive.images[0]
    shown.open_image(image.image_id, image.report_id)
    words = shown.root.get_by_label("and whose report says")
    type_and_click(shown, words, "effusion", ".hit .image-link a")
    shown.root.get_by_text(image.image_id).first.wait_for(state="detached")
    shown.root.get_by_role("button", name="Back").click()
    shown.root.locator(".hit mark").first.wait_for()
    assert words.input_value() == "effusion"


def type_and_click(shown: Shown, field: Any, words: str, selector: str) -> None:
    """Type words and click the first element of a selector before the browser draws twice: well below any pause of a person."""
    shown.root.evaluate(
        "async (root, [field, words, selector]) => { field.focus(); field.value = words;"
        " field.dispatchEvent(new InputEvent('input', { bubbles: true }));"
        " await new Promise(requestAnimationFrame); root.querySelector(selector).click() }",
        [field.element_handle(), words, selector],
    )


def typing_on_the_page_of_an_image_goes_on(shown: Shown) -> None:
    """The first letter leads to the reports; the letters after it go into the same box."""
    image = shown.archive.images[0]
    shown.open_image(image.image_id, image.report_id)
    shown.root.get_by_role("searchbox").focus()
    shown.tab.keyboard.type("pneu", delay=5)
    shown.root.locator(".reports-page").wait_for()
    shown.tab.keyboard.type("monia", delay=5)
    assert shown.root.get_by_role("searchbox").input_value() == "pneumonia"
    shown.tab.keyboard.press("Enter")
    shown.count_is(len([report for report in shown.archive.reports if "pneumonia" in report.text.lower()]))
    shown.root.get_by_role("button", name="Similar reports").first.wait_for()


def words_and_image_are_searched_together(shown: Shown) -> None:
    """Only cases whose report has the words, each with its sentence."""
    image = shown.archive.images[0]
    shown.open_image(image.image_id, image.report_id)
    shown.root.get_by_label("and whose report says").fill("pneumothorax")
    shown.root.locator(".hit mark").first.wait_for()
    sentences = [mark.inner_text() for mark in shown.root.locator(".hit mark").all()]
    assert sentences and all("pneumothorax" in sentence.lower() for sentence in sentences)


def the_contrast_follows_drag_and_keys(shown: Shown) -> None:
    """Window and level by dragging and by arrow keys; inversion; reset."""
    image = shown.archive.images[0]
    shown.open_image(image.image_id, image.report_id)
    canvas = shown.root.locator(".stage canvas").first
    canvas.wait_for()
    viewport = shown.root.get_by_role("application")
    mean = (
        "canvas => { const all = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;"
        " return all.reduce((sum, value, at) => sum + (at % 4 ? 0 : value), 0) / (all.length / 4) }"
    )
    first = canvas.evaluate(mean)
    viewport.scroll_into_view_if_needed()
    box = viewport.bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 3)
    shown.tab.mouse.move(*middle)
    shown.tab.mouse.down()
    shown.tab.mouse.move(middle[0], middle[1] + 60, steps=4)
    shown.tab.mouse.up()
    shown.root.get_by_text(re.compile(r"W 255 · L 16\d")).wait_for()
    assert canvas.evaluate(mean) < first - 10  # a higher level is darker
    viewport.press("Home")
    shown.root.get_by_text("W 255 · L 128").wait_for()
    assert canvas.evaluate(mean) == first
    viewport.press("i")
    shown.root.get_by_role("button", name="Invert", pressed=True).wait_for()
    assert abs(canvas.evaluate(mean) - (255 - first)) < 1
    viewport.press("i")
    viewport.press("Shift+ArrowRight")
    shown.root.get_by_text(re.compile(r"W 28\d · L 128")).wait_for()


def why_two_images_are_similar(shown: Shown) -> None:
    """Both images side by side with what adds to the similarity in color, a scale, and the way back to the hit."""
    image = shown.archive.images[0]
    shown.open_image(image.image_id, image.report_id)
    button = shown.root.locator(".hit").nth(8).get_by_role("button", name="Why similar?")
    button.focus()
    button.press("Enter")
    overlays = shown.root.locator(".overlay")
    overlays.nth(1).wait_for()
    shown.root.get_by_role("status").filter(has_text="Colored regions add most").wait_for()
    assert shown.root.locator(".comparison").evaluate("all => all.contains(document.activeElement)")
    colors = "canvas => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]"
    alphas = [overlays.nth(number).evaluate(colors)[3::4] for number in (0, 1)]
    assert all(min(each) == 0 and max(each) == 190 for each in alphas) and alphas[0] != alphas[1]
    shown.root.get_by_role("button", name="Hide colors").click()
    overlays.first.wait_for(state="detached")
    shown.root.get_by_role("button", name="Close comparison").click()
    shown.root.locator(".comparison.two").wait_for(state="detached")
    assert button.evaluate("button => button === document.activeElement")


def a_dropped_file_is_searched_by(shown: Shown) -> None:
    """Dropped on the page, it opens as a query; the image of the index that it is comes first."""
    shown.home()
    bytes_ = list(shown.upload_path.read_bytes())
    transfer = shown.tab.evaluate_handle(
        "bytes => { const held = new DataTransfer();"
        " held.items.add(new File([new Uint8Array(bytes)], 'DOE^JANE.dcm')); return held }",
        bytes_,
    )
    shown.root.locator(".search-root").dispatch_event("dragenter", {"dataTransfer": transfer})
    shown.root.get_by_text("Drop the image to find similar ones").wait_for()
    shown.root.locator(".search-root").dispatch_event("drop", {"dataTransfer": transfer})
    shown.root.get_by_text("uploaded, not in the index").wait_for()
    shown.root.get_by_label("Include the same patient").check()
    first = shown.root.locator(".hit").first
    first.locator(f'a[href="#/image/{shown.upload_id}"]').wait_for()
    assert float(first.locator(".score").inner_text()) > 0.999
    assert "DOE" not in shown.root.inner_text()


def keys_reach_everything(shown: Shown) -> None:
    """ "/" goes to the box, Tab from there to filters and cards, Enter opens, Space selects."""
    shown.home()
    shown.root.get_by_role("link", name="Image and report search").focus()
    shown.tab.keyboard.press("/")
    assert shown.root.get_by_role("searchbox").evaluate("box => box === document.activeElement")
    where = "() => { const e = document.activeElement; return e.className || e.type || e.tagName }"
    seen = []
    for _ in range(80):
        shown.tab.keyboard.press("Tab")
        seen.append(str(shown.tab.evaluate(where)))
        if "checkbox" in seen:
            break
    order = [next(at for at, one in enumerate(seen) if part in one) for part in ("select", "bar", "plain", "checkbox")]
    assert order == sorted(order), seen
    shown.tab.keyboard.press("Space")
    shown.root.get_by_text("1 image selected").wait_for()
    shown.tab.keyboard.press("Shift+Tab")
    shown.tab.keyboard.press("Enter")
    shown.root.get_by_role("application").wait_for()
    assert shown.tab.evaluate("() => document.activeElement.tagName") == "MAIN"
    shown.root.get_by_role("button", name="Back").click()
    shown.root.get_by_role("article").first.wait_for()
    shown.root.get_by_role("button", name="Clear", exact=True).click()
    shown.root.get_by_text("1 image selected").wait_for(state="detached")


def other_studies_of_a_similar_patient(shown: Shown) -> None:
    """What was reported of a similar patient before and after."""
    several = Counter(one.patient_key for one in shown.archive.images)
    image = next(one for one in shown.archive.images if several[one.patient_key] == 1)
    shown.open_image(image.image_id, image.report_id)
    card = shown.root.locator(".hit:has(.studies)").first
    other = str(card.get_by_role("link").get_attribute("href")).removeprefix("#/image/")
    patient = next(one for one in shown.archive.images if one.image_id == other).patient_key
    card.locator("summary").click()
    dates = card.locator(".studies strong").all_inner_texts()
    days = {one.study_date for one in shown.archive.images if one.patient_key == patient and one.image_id != other}
    assert [date.replace("-", "") for date in dates] == sorted(days)


CHECKS: tuple[Callable[[Shown], None], ...] = (
    lists_all_reports_first,
    charts_count_all_that_match,
    typing_searches_and_marks_the_sentence,
    a_finding_opens_its_sentence,
    similar_images_come_best_first,
    more_like_this_moves_the_search,
    words_typed_last_are_kept,
    typing_on_the_page_of_an_image_goes_on,
    words_and_image_are_searched_together,
    the_contrast_follows_drag_and_keys,
    why_two_images_are_similar,
    a_dropped_file_is_searched_by,
    keys_reach_everything,
    other_studies_of_a_similar_patient,
)

"""What has to be true of the search page wherever it is shown: the web page and the widget in a notebook go through these."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from support import search_image_checks as of_images
from support.search_shown import Shown

from dicom_workflow.search.documents import ReportDocument


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
    shown.search(f'"{shown.impression(report.report_id)}"')
    card = shown.root.get_by_role("article").filter(has_text=report.report_id)
    found = next(found for found in report.findings if found.state == "uncertain")
    button = card.locator(".finding.uncertain")
    assert "stated as uncertain" in button.inner_text() and button.locator("svg").count() == 1
    button.click()
    card.get_by_text(report.text[found.sentence_begin : found.sentence_end]).last.wait_for()
    assert found.code in card.locator(".evidence").inner_text()


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


CHECKS: tuple[Callable[[Shown], None], ...] = (
    lists_all_reports_first,
    charts_count_all_that_match,
    typing_searches_and_marks_the_sentence,
    a_finding_opens_its_sentence,
    of_images.similar_images_come_best_first,
    of_images.more_like_this_moves_the_search,
    words_typed_last_are_kept,
    typing_on_the_page_of_an_image_goes_on,
    of_images.words_and_image_are_searched_together,
    of_images.the_contrast_follows_drag_and_keys,
    of_images.keys_alone_reach_what_an_image_offers,
    of_images.why_two_images_are_similar,
    of_images.a_dropped_file_is_searched_by,
    keys_reach_everything,
    of_images.other_studies_of_a_similar_patient,
)

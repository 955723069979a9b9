"""What has to be true of the page of an image and of those that are similar to it."""

from __future__ import annotations

import re
from collections import Counter

from support.search_shown import Shown


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


def keys_alone_reach_what_an_image_offers(shown: Shown) -> None:
    """Tab goes through viewer, options, charts and hits; Enter steers the search and explains a hit."""
    image = shown.archive.images[0]
    shown.open_image(image.image_id, image.report_id)
    shown.root.get_by_role("button", name="Back").focus()
    where = "() => { const e = document.activeElement; return e.getAttribute('aria-label') || e.className || e.textContent }"
    seen: list[str] = []
    while "Why similar?" not in seen:
        shown.tab.keyboard.press("Tab")
        seen.append(str(shown.tab.evaluate(where)))
        assert len(seen) < 120, seen
    wanted = ("Image. Arrow keys", "Invert", "Zoom in", "Reset", "Select all", "bar", "More like this", "Less like this")
    order = [next(at for at, one in enumerate(seen) if one.startswith(name)) for name in wanted]
    assert order == sorted(order), seen
    shown.tab.keyboard.press("Enter")
    shown.root.locator(".overlay").nth(1).wait_for()
    shown.root.get_by_role("button", name="Close comparison").press("Enter")
    shown.tab.keyboard.press("Shift+Tab")
    shown.tab.keyboard.press("Enter")
    shown.root.get_by_text("steered by 0 more like and 1 less like").wait_for()


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

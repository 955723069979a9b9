"""A reader's work, from the first look to the answer: by mouse, by keys, with a model, between other readers."""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.browser import shoot
from support.worker_page import PageHost, answered, chest_radiograph

from dicom_workflow.formats.answers import LabelState
from dicom_workflow.formats.labels import load_label_set

LABELS = load_label_set("chest").labels

pytestmark = pytest.mark.browser

ABSENT = dict.fromkeys(LABELS, "negative")


@pytest.fixture(scope="module")
def radiograph() -> bytes:
    return chest_radiograph()


def test_a_normal_radiograph_takes_two_clicks_or_two_keys(
    make_reader: Callable[..., Any], host: PageHost, radiograph: bytes, figures: dict[str, Any]
) -> None:
    hand = make_reader().open(host.radiograph("normal", radiograph))
    hand.click("button", "No finding")
    answer = hand.submit()
    assert answer["labels"] == ABSENT | {"No Finding": "positive"}
    assert answer["regions"] == []
    keys = make_reader().open(host.radiograph("normal", radiograph))
    before = len(host.answers)
    keys.press("n", "Control+Enter")
    assert keys.sent(before)["labels"] == answer["labels"]
    assert (hand.clicks, hand.keys, keys.clicks, keys.keys) == (2, 0, 0, 2)
    assert (answer["actions"]["clicks"], answer["actions"]["keys"]) == (2, 0)
    figures["clicks_normal"], figures["keys_normal"] = hand.clicks, keys.keys


def test_two_findings_with_a_region_each_by_mouse(
    reader: Any, host: PageHost, radiograph: bytes, figures: dict[str, Any]
) -> None:
    reader.open(host.radiograph("two", radiograph))
    x, y = reader.middle()
    reader.click("button", "Rectangle")
    reader.answer("Cardiomegaly", "Present")
    reader.drag((x - 60, y + 10), (x + 90, y + 120))
    reader.answer("Pleural Effusion", "Uncertain")
    reader.drag((x - 160, y + 60), (x - 90, y + 140))
    shoot(reader.page, "page-regions")
    reader.click("button", "All others absent")
    answer = reader.submit()
    assert answer["labels"] == ABSENT | {
        "Cardiomegaly": "positive",
        "Pleural Effusion": "uncertain",
        "No Finding": answer["labels"]["No Finding"],
    }
    assert answer["labels"]["No Finding"] == "negative"
    assert [region["label"] for region in answer["regions"]] == ["Cardiomegaly", "Pleural Effusion"]
    assert reader.clicks <= 8
    figures["clicks_two_findings"] = reader.clicks


def test_two_findings_with_a_region_each_by_keys(
    reader: Any, host: PageHost, radiograph: bytes, figures: dict[str, Any]
) -> None:
    reader.open(host.radiograph("two-keys", radiograph))
    before = len(host.answers)
    reader.press("2", "r", "Enter", "Shift+ArrowRight", "Shift+ArrowDown", "Enter", "Escape")
    reader.press("9", "u", *["Shift+ArrowLeft"] * 3, "Enter", "Shift+ArrowLeft", "Shift+ArrowDown", "Enter")
    reader.press("o", "Control+Enter")
    answer = reader.sent(before)
    assert [region["label"] for region in answer["regions"]] == ["Cardiomegaly", "Pleural Effusion"]
    assert answer["labels"]["Cardiomegaly"] == "positive"
    assert answer["labels"]["Pleural Effusion"] == "uncertain"
    assert reader.clicks == 0
    assert answer["actions"]["keys"] == reader.keys
    figures["keys_two_findings"] = reader.keys


def test_a_whole_task_by_keyboard_alone(reader: Any, host: PageHost, radiograph: bytes) -> None:
    rules = {"regions": {"Pneumonia": "required"}}
    reader.open(host.radiograph("keyboard", radiograph, rules=rules, instructions="Mark what you call."))
    before = len(host.answers)
    reader.press("/")
    reader.write("pneumonia")
    reader.press("Enter", "p", "Control+Enter")  # nothing marked, most not answered
    reader.root.get_by_role("alert").get_by_text("Still to answer").wait_for()
    assert len(host.answers) == before
    reader.press("Enter")  # the first complaint has the focus and leads to its place
    reader.press("/", "Escape", "Escape")
    while reader.page.evaluate("() => document.activeElement.getAttribute('aria-label')") != "Radiograph":
        reader.press("Shift+Tab")
        assert reader.keys < 150, "the radiograph cannot be reached with Tab"
    reader.press("1", "0", "r", "Enter", "Shift+ArrowLeft", "ArrowUp", "Enter")
    (drawn,) = reader.reading()["regions"]
    assert drawn["label"] == "Pneumonia"
    reader.press("ArrowRight", "ArrowDown")
    (nudged,) = reader.reading()["regions"]
    step = nudged["points"][0][0] - drawn["points"][0][0]
    assert step > 0
    assert nudged["points"][1][0] - drawn["points"][1][0] == pytest.approx(step)
    reader.press("Control+ArrowRight", "Control+Shift+ArrowDown")
    (resized,) = reader.reading()["regions"]
    assert resized["points"][0] == pytest.approx(nudged["points"][0])
    assert resized["points"][1] == pytest.approx([nudged["points"][1][0] + step, nudged["points"][1][1] + 10 * step])
    reader.press("g", "Escape", "Enter", "Shift+ArrowRight", "Enter", "Shift+ArrowDown", "Enter", "Shift+Enter")
    reader.press("Escape", "Control+z", "Control+Shift+z", ".", "Delete", "c")
    reader.write("by keys")
    reader.press("Enter")
    reader.write("two lines")
    reader.press("Escape", "o", "Control+Enter")
    answer = reader.sent(before)
    assert answer["labels"]["Pneumonia"] == LabelState.POSITIVE
    assert answer["comment"] == "by keys\ntwo lines"
    assert len(answer["regions"]) == 1
    assert reader.clicks == answer["actions"]["clicks"] == 0


def test_enter_in_a_text_field_sends_nothing_and_a_double_submit_sends_once(
    reader: Any, host: PageHost, radiograph: bytes
) -> None:
    marked = [{"label": "Edema", "shape": "rectangle", "points_px": [[10, 10], [90, 90]]}]
    start = answered(ABSENT | {"Edema": "positive"}, marked)
    reader.open(host.radiograph("enter", radiograph, start_answer=start))
    before = len(host.answers)
    reader.click("button", "Go to region 1")
    for role, name in (
        ("searchbox", "Search findings"),
        ("textbox", "Comment on region 1"),
        ("textbox", "Comment on the image"),
    ):
        reader.root.get_by_role(role, name=name).focus()
        reader.press("a", "Enter")
    reader.root.get_by_role("combobox", name="Why can it not be read?").focus()
    reader.press("Escape")
    reader.page.wait_for_timeout(300)
    assert len(host.answers) == before
    reader.root.get_by_role("button", name="Submit").dblclick()
    reader.page.keyboard.press("Control+Enter")
    reader.page.wait_for_url("**/done")
    reader.page.wait_for_timeout(300)
    assert len(host.answers) == before + 1


def test_a_refused_answer_keeps_the_reading_and_may_be_sent_again(reader: Any, host: PageHost, radiograph: bytes) -> None:
    reader.open(host.radiograph("refused", radiograph))
    host.refuses = True
    try:
        reader.press("n", "Control+Enter")
        reader.root.get_by_text("Sign in again in another tab").wait_for()
    finally:
        host.refuses = False
    assert reader.state("No Finding") == "Present"
    assert reader.submit()["labels"]["No Finding"] == "positive"


def test_no_finding_beside_a_finding_is_shown_and_not_sent(reader: Any, host: PageHost, radiograph: bytes) -> None:
    reader.open(host.radiograph("conflict", radiograph))
    before = len(host.answers)
    reader.answer("Edema", "Present")
    reader.click("button", "No finding")
    assert (reader.state("Edema"), reader.state("No Finding")) == ("Present", "Present")
    reader.root.get_by_role("status").get_by_text("Change one of them").wait_for()
    reader.click("button", "Submit")
    reader.root.get_by_role("alert").get_by_text("is present together with Edema").wait_for()
    reader.answer("Edema", "Absent")
    assert reader.submit()["labels"]["Edema"] == "negative"
    assert len(host.answers) == before + 1


def test_the_model_is_shown_after_the_first_reading_and_both_are_kept(reader: Any, host: PageHost, radiograph: bytes) -> None:
    suggestions = {
        "mode": "after-first-read",
        "model": "densenet121 of the tests",
        "probabilities": {"Edema": 0.83, "Fracture": 0.04},
        "regions": [{"label": "Edema", "shape": "rectangle", "points_px": [[50, 60], [150, 220]]}],
    }
    reader.open(host.radiograph("assisted", radiograph, suggestions=suggestions))
    assert "83" not in reader.page.locator("body").inner_text()
    assert "densenet121" not in reader.page.locator("body").inner_text()
    before = len(host.answers)
    reader.press("n", "Control+Enter")
    reader.root.get_by_role("button", name="Take this region: Edema, 1 of the model").wait_for()
    assert len(host.answers) == before
    shoot(reader.page, "page-assistance")
    reader.page.wait_for_timeout(1100)  # the second click of a double click does not send what the first one locked
    reader.click("button", "Take this region: Edema, 1 of the model")
    reader.answer("No Finding", "Absent")
    answer = reader.submit()
    assistance = answer["assistance"]
    assert assistance["first"]["labels"] == ABSENT | {"No Finding": "positive"}
    assert assistance["first"]["regions"] == []
    assert (answer["labels"]["Edema"], answer["labels"]["No Finding"]) == ("positive", "negative")
    assert (assistance["taken_regions"], assistance["probabilities"]["Edema"]) == (1, 0.83)
    assert [region["points_px"] for region in answer["regions"]] == [[[50, 60], [150, 220]]]


def test_a_first_reading_stays_locked_over_a_reload(reader: Any, host: PageHost, radiograph: bytes) -> None:
    suggestions = {"mode": "after-first-read", "model": "m", "probabilities": {"Edema": 0.83}}
    url = host.radiograph("locked", radiograph, suggestions=suggestions)
    reader.open(url)
    reader.press("n", "Control+Enter")
    reader.root.get_by_role("button", name="Submit").wait_for()
    reader.open(url)
    reader.root.get_by_role("button", name="Submit").wait_for()
    reader.answer("Edema", "Uncertain")
    reader.answer("No Finding", "Absent")
    assert reader.submit()["assistance"]["first"]["labels"]["No Finding"] == "positive"


EARLIER = [
    {
        "reader": "A",
        "answer": answered(
            ABSENT | {"Edema": "positive"}, [{"label": "Edema", "shape": "rectangle", "points_px": [[90, 120], [220, 330]]}]
        ),
    },
    {
        "reader": "B",
        "answer": answered(ABSENT | {"Edema": "uncertain", "Fracture": "positive"}, comment="the left seventh rib"),
    },
    {
        "reader": "C",
        "answer": answered(
            ABSENT | {"Edema": "positive"}, [{"label": "Edema", "shape": "ellipse", "points_px": [[100, 140], [230, 300]]}]
        ),
    },
]


def test_an_adjudicator_answers_what_readers_disagree_on(reader: Any, host: PageHost, radiograph: bytes) -> None:
    reader.open(host.radiograph("adjudicated", radiograph, earlier_answers=EARLIER))
    table = reader.root.get_by_role("region", name="Table of disagreements")
    assert table.get_by_role("rowheader").count() == 2
    shoot(reader.page, "page-adjudication")
    before = len(host.answers)
    reader.click("button", "Submit")
    reader.root.get_by_role("alert").get_by_text("Still to answer: Edema, Fracture").wait_for()
    assert len(host.answers) == before
    table.get_by_role("button", name="Accept A: Present").click()
    table.get_by_role("row", name="Fracture").get_by_role("button", name="Accept C: Absent").click()
    answer = reader.submit()
    assert answer["labels"] == ABSENT | {"Edema": "positive"}
    assert answer["adjudication"]["decided"] == {"Edema": ["A", "C"], "Fracture": ["A", "C"]}
    assert answer["adjudication"]["readers"] == 3
    assert set(answer["adjudication"]["agreed"]) == set(LABELS) - {"Edema", "Fracture"}


@pytest.mark.parametrize(
    ("role", "name"), [("lateral", "Lateral view"), pytest.param("prior", "Prior image", marks=pytest.mark.e2e)]
)
def test_a_second_radiograph_is_beside_the_first_and_moves_on_its_own(
    reader: Any, host: PageHost, radiograph: bytes, role: str, name: str
) -> None:
    second = {"image": host.image("second.dcm", chest_radiograph(420, 300, seed=2, ViewPosition="LL")), "role": role}
    reader.open(host.radiograph(f"second-{role}", radiograph, second_image=second))
    other = reader.root.get_by_role("application", name=name)
    other.get_by_text("300 × 420").wait_for()
    first, beside = reader.box(), other.bounding_box()
    assert beside["x"] >= first[0] + first[2]
    assert abs(beside["width"] - first[2]) < 3
    before = reader.page.evaluate("() => window.radiographPage.store.ui.viewports.map((one) => one.view.zoom)")
    reader.page.mouse.move(beside["x"] + 100, beside["y"] + 100)
    reader.page.mouse.wheel(0, -300)
    reader.settle()
    after = reader.page.evaluate("() => window.radiographPage.store.ui.viewports.map((one) => one.view.zoom)")
    assert after[0] == before[0]
    assert after[1] > 1.5 * before[1]
    shoot(reader.page, f"page-{role}")
    reader.press("n")
    assert reader.submit()["image"]["rows"] == 560


def test_two_tabs_with_one_task_do_not_lose_each_others_marks(
    make_reader: Callable[..., Any], host: PageHost, radiograph: bytes
) -> None:
    first = make_reader()
    url = host.radiograph("tabs", radiograph)
    first.open(url)
    first.answer("Edema", "Present")
    second = type(first)(first.page.context.new_page(), host)
    second.open(url)
    assert second.state("Edema") == "Present"
    second.answer("Fracture", "Uncertain")
    first.page.bring_to_front()
    first.page.wait_for_timeout(500)
    first.answer("Pneumonia", "Absent")
    for tab in (first, second):
        tab.page.bring_to_front()
        tab.page.wait_for_timeout(300)
        tab.answer("Consolidation", "Present")
        said = tab.reading()["labels"]
        assert {"Edema": "positive", "Fracture": "uncertain", "Pneumonia": "negative"}.items() <= said.items(), said
    before = len(host.answers)
    second.press("o", "Control+Enter")
    second.sent(before)
    first.page.bring_to_front()
    first.root.get_by_text("another tab").first.wait_for()
    assert second.errors == []


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=[] if seed < 1 else pytest.mark.e2e) for seed in range(20)])
def test_undoing_all_of_a_random_sequence_leads_back_to_the_start(
    reader: Any, host: PageHost, radiograph: bytes, seed: int, figures: dict[str, Any]
) -> None:
    rng = random.Random(seed)
    start = answered({"Edema": "uncertain"}, [{"label": "Edema", "shape": "rectangle", "points_px": [[10.5, 20.25], [90, 99]]}])
    reader.open(host.radiograph(f"undo-{seed}", radiograph, start_answer=start))
    states = [reader.reading()]
    for _ in range(25):
        act(reader, rng)
        states.append(reader.reading())
    last = states[-1]
    undo = reader.root.get_by_role("button", name="Undo", exact=True)
    reader.page.keyboard.press("Escape")
    steps = 0
    while undo.is_enabled():
        reader.page.keyboard.press("Control+z")
        steps += 1
        assert steps < 200
        assert reader.reading() in states
    assert reader.reading() == states[0]
    for _ in range(steps):
        reader.page.keyboard.press("Control+Shift+z")
    assert reader.reading() == last
    figures["undo_inverse_browser"] = figures.get("undo_inverse_browser", 0) + 1


def act(reader: Any, rng: random.Random) -> None:
    """Do something that a reader may do."""
    keyboard = reader.page.keyboard
    kind = rng.choice(
        ["answer", "answer", "answer", "draw", "draw", "write", "keys", "nudge", "relabel", "measure", "unusable", "undo"]
    )
    if kind == "answer":
        label = rng.choice(LABELS)
        radios = reader.root.get_by_role("radiogroup", name=label, exact=True).get_by_role("radio")
        radios.nth(rng.randrange(4)).click(force=True)
    elif kind in ("draw", "measure"):
        keyboard.press(rng.choice("re" if kind == "draw" else "l"))
        x, y = reader.middle()
        corner = (x + rng.randint(-150, 150), y + rng.randint(-150, 150))
        reader.drag(corner, (corner[0] + rng.randint(20, 80), corner[1] + rng.randint(20, 80)))
    elif kind == "write":
        keyboard.press("c")
        keyboard.type(rng.choice(["clear ", "see prior", "\n", "é", "<b>"]))
        keyboard.press("Escape")
    elif kind == "keys":
        keyboard.press(rng.choice(["n", "o", "1", "5", "p", "u", "a", "x", "j", "Delete", "y"]))
    elif kind == "nudge":
        keyboard.press("s")
        keyboard.press(".")
        for _ in range(rng.randint(1, 4)):
            keyboard.press(rng.choice(["ArrowLeft", "Shift+ArrowUp", "Control+ArrowRight"]))
        reader.page.wait_for_timeout(20)
    elif kind == "relabel":
        bound = reader.root.get_by_role("combobox", name="Finding of region")
        if bound.count():
            bound.first.select_option(rng.choice(LABELS[:-1]))
            bound.first.blur()
    elif kind == "unusable":
        chosen = rng.choice(["", "motion", "rotation"])
        field = reader.root.get_by_role("combobox", name="Why can it not be read?")
        field.select_option(chosen)
        field.blur()
    else:
        keyboard.press(rng.choice(["Control+z", "Control+Shift+z"]))


@pytest.mark.e2e
def test_undo_is_the_inverse_of_a_thousand_random_sequences(figures: dict[str, Any]) -> None:
    """The property test of the page's own suite; its figure is read from what it prints."""
    folder = Path(__file__).parents[2] / "worker_ui"
    if not (folder / "node_modules" / "vitest").exists():
        pytest.skip("needs worker_ui/node_modules: npm ci there")
    done = subprocess.run(
        ["npx", "vitest", "run", "unit/state/history.test.ts"], cwd=folder, capture_output=True, text=True, timeout=200
    )
    printed = re.search(r"undo_inverse (\d+)/(\d+)", done.stdout)
    assert printed, done.stdout + done.stderr
    figures["undo_inverse"] = f"{printed[1]}/{printed[2]}"
    assert done.returncode == 0
    assert printed[1] == printed[2]
    assert int(printed[2]) >= 1000

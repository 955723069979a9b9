"""Worker templates render as on Ground Truth, and the radiograph page shows true pixels and sends what the reader said."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.labeling import worker_page
from support.worker_page import dicom

from dicom_workflow.errors import StorageError, TemplateError
from dicom_workflow.formats.answers import Answer, LabelState
from dicom_workflow.labeling import page_assets, templates
from dicom_workflow.labeling.templates import (
    CROWD_SCRIPT_URL,
    TEMPLATE_LIMIT_CHARACTERS,
    page_template,
    publish_template,
    render,
)
from dicom_workflow.storage import Storage


def rendered(template: str, **task_input: Any) -> str:
    return render(template, task_input, grant_read_access=lambda uri: f"https://host/{uri[5:]}?a=1&b=2")


# ---- Liquid ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "task_input", "html"),
    [
        ("{{ task.input.a }}", {"a": "<b>'x'\"&"}, "&lt;b&gt;&#39;x&#39;&#34;&amp;"),
        ("{{ task.input.a | escape }}", {"a": "<b>"}, "&lt;b&gt;"),
        ("{{ task.input.a | escape_once }}", {"a": "&lt;b&gt; & <i>"}, "&lt;b&gt; &amp; &lt;i&gt;"),
        ("{{ task.input.a | skip_autoescape }}", {"a": "<b>"}, "<b>"),
        ("{{ task.input.a | to_json }}", {"a": ["x"]}, "[&#34;x&#34;]"),
        ("{{ task.input.a | to_json | escape }}", {"a": ["x"]}, "[&#34;x&#34;]"),
        ("{{ task.input.a | to_json | skip_autoescape }}", {"a": ["x", "é"]}, '["x", "é"]'),
        ("{{ task.input.source-ref | grant_read_access }}", {"source-ref": "s3://b/k"}, "https://host/b/k?a=1&amp;b=2"),
        ("{{ task.input.m.class-map['0'] }}", {"m": {"class-map": {"0": "z"}}}, "z"),
        ("[{{ task.input.none }}]{{ task.input.none | to_json }}", {}, "[]null"),
    ],
)
def test_filters_do_what_ground_truth_documents(template: str, task_input: dict[str, Any], html: str) -> None:
    assert rendered(template, **task_input) == html


def test_json_in_a_script_element_cannot_end_it() -> None:
    hostile = "</script><script>alert(1)//\u2028"
    html = rendered("<script>x = {{ task.input.a | to_json | skip_autoescape }}</script>", a=hostile)
    assert html.count("</script>") == 1
    assert json.loads(html[len("<script>x = ") : -len("</script>")]) == hostile


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("a\n\n{% if %}", "line 3: "),
        ("x\n{{ task.input.a | shout }}", "line 2: unknown filter 'shout'"),
        ("x\n{{ task.input.none | grant_read_access }}", r"line 2: grant_read_access: expected a URI with s3://.*, got ''"),
        ("{{ task.input.a | grant_read_access }}", "got 'javascript:alert"),
        ("{% include 'secrets' %}", "line 1: "),
        ("{% for i in (1..9999999) %}x{% endfor %}", "line 1: loop iteration limit"),
        ('{% assign x = "aa" %}{% for i in (1..40) %}{% assign x = x | append: x %}{% endfor %}', "line 1: "),
        ('{{ (1..1000000000) | join: "" }}', "line 1: join: more than 1000000 characters"),
        ("{{ (1..99999999999999999999) | sort }}", "line 1: sort: more than 1000000 characters"),
        ("{% assign n = 9 %}{% for i in (1..60) %}{% assign n = n | times: n %}{% endfor %}", "times: more than"),
        (f'{{% assign x = "{"a" * 5000}" %}}{{{{ x | replace: "a", x }}}}', "line 1: replace: more than"),
        (f'{{{{ "{"a," * 5000}" | split: "," | join: "{"a" * 500}" }}}}', "line 1: join: more than"),
        ("x" * (TEMPLATE_LIMIT_CHARACTERS + 1), "at most 128000 characters, got 128001"),
    ],
)
def test_a_template_that_cannot_be_rendered_names_the_line(template: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        rendered(template, a="javascript:alert(1)")


def test_a_template_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "RENDER_SECONDS", 0.1)
    with pytest.raises(TemplateError, match=r"line 1: rendering took more than 0 seconds"):
        rendered('{% for i in (1..90000) %}{% assign x = "b a" | split: " " | sort | join: " " %}{% endfor %}')


def test_an_error_of_the_host_while_granting_access_passes_through() -> None:
    def refuse(uri: str) -> str:
        raise StorageError("no such object")

    with pytest.raises(StorageError, match="no such object"):
        render("{{ task.input.a | grant_read_access }}", {"a": "s3://b/k"}, grant_read_access=refuse)


def test_the_radiograph_page_fits_ground_truth() -> None:
    page = page_template("https://cdn.example/ui")
    assert len(page) < 10_000 < TEMPLATE_LIMIT_CHARACTERS
    assert page.count("<crowd-form>") == 1
    assert page.count(CROWD_SCRIPT_URL) == 1
    assert "@@" not in page
    # No inline script, no inline style, nothing that a strict policy of the host would forbid.
    assert re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL) == ["", ""]
    assert "<style" not in page
    assert " onclick=" not in page and " style=" not in page


def test_the_addresses_of_script_and_style_are_those_of_the_host() -> None:
    script, style = page_assets.build().script, page_assets.build().style
    assert re.fullmatch(r"radiograph\.[0-9a-f]{12}\.js", script)
    assert re.fullmatch(r"radiograph\.[0-9a-f]{12}\.css", style)
    public = page_template("https://cdn.example/ui/")
    assert f'<script src="https://cdn.example/ui/{script}"></script>' in public
    assert f'href="https://cdn.example/ui/{style}"' in public
    granted = rendered(page_template(assets_uri="s3://bucket/job/worker-ui"), labels=["A"], image="s3://b/k")
    assert f'<script src="https://host/bucket/job/worker-ui/{script}?a=1&amp;b=2"></script>' in granted
    assert f'src="{script}"' in page_template()


@pytest.mark.parametrize("address", ['https://x/"><script>', "https://x/}}", "https://x/a b", "https://x/'", "s3://b/{{ x }}"])
def test_an_address_that_would_break_the_template_is_refused(address: str) -> None:
    with pytest.raises(TemplateError, match="expected an address without quotes, braces"):
        page_template(address)
    with pytest.raises(TemplateError, match="expected an address without quotes, braces"):
        page_template(assets_uri=address)


def data_task(html: str) -> dict[str, Any]:
    found = re.search(r"data-task='([^']*)'", html)
    assert found is not None
    return json.loads(unescape(found[1]))


def test_hostile_task_data_stay_inside_their_attributes() -> None:
    hostile = ['"><img src=x onerror=alert(1)>', "</script>", "' onload='alert(1)", "{{ task.input.labels }}"]
    said = {"instructions": '"><script>alert(1)</script>', "definitions": dict.fromkeys(hostile, "' x='"), "start_answer": "'"}
    html = rendered(page_template(), labels=hostile, image="s3://b/k", **said)
    assert "<img" not in html
    assert html.count("<script") == 2
    assert data_task(html) == {"labels": hostile, **said}


def test_the_page_gets_the_keys_it_knows_and_nothing_else_of_a_line() -> None:
    second = {"image": "s3://private/2.dcm", "role": "prior", "caption": "2024", "patient": "Doe"}
    line = {"labels": ["A"], "image": "s3://private/1.dcm", "patient_id": "MRN-7", "rules": {"answer_all": False}}
    html = rendered(page_template(), **line, second_image=second)
    shown = {"role": "prior", "caption": "2024"}
    assert data_task(html) == {"labels": ["A"], "second_image": shown, "rules": {"answer_all": False}}
    assert "MRN" not in html and "Doe" not in html and "s3://" not in html
    assert 'data-second="https://host/private/2.dcm?a=1&amp;b=2"' in html


def test_without_a_pre_annotation_function_the_source_ref_is_shown() -> None:
    html = rendered(page_template(), **{"source-ref": "s3://b/k", "second_image": {"source": "x"}}, labels="A,B")
    assert 'data-image="https://host/b/k?a=1&amp;b=2"' in html
    assert data_task(html) == {"labels": "A,B"}


# ---- Publishing -----------------------------------------------------------------------------------------------------------


def test_publishing_writes_the_page_and_refuses_what_ground_truth_would(tmp_path: Path) -> None:
    folder = f"file://{tmp_path}/t"
    uri = publish_template(f"{folder}/radiograph.liquid.html", Storage())
    assert Storage().read_text(uri) == page_template(assets_uri=f"{folder}/worker-ui")
    for name in page_assets.build().names:
        assert (tmp_path / "t/worker-ui" / name).read_bytes() == page_assets.content(name)
    with pytest.raises(TemplateError, match="expected a template URI ending in"):
        publish_template(f"file://{tmp_path}/t.txt", Storage())
    with pytest.raises(TemplateError, match="at most 128000 characters"):
        publish_template(f"file://{tmp_path}/t.html", Storage(), text="x" * 130_000)


def test_a_template_of_ones_own_is_published_alone(tmp_path: Path) -> None:
    publish_template(f"file://{tmp_path}/own.liquid", Storage(), text="<crowd-form></crowd-form>")
    assert [path.name for path in tmp_path.iterdir()] == ["own.liquid"]


# ---- The page in a browser ------------------------------------------------------------------------------------------------


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    tab = browser.new_page(viewport={"width": 1300, "height": 900})
    tab.set_default_timeout(10_000)
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("console", lambda message: errors.append(message.text) if "Content Security Policy" in message.text else None)
    yield tab
    tab.close()
    assert errors == []


PIXELS = np.add.outer(np.arange(100), np.arange(200)).astype(np.uint8)
LABELS = ["Edema", "Fracture", "No Finding"]
RADIOGRAPH = dicom(PIXELS)


def open_page(page: Any, url: str) -> None:
    page.goto(url)
    page.get_by_role("application", name="Radiograph").get_by_text(" pixels").first.wait_for()


def choose(page: Any, label: str, state: str) -> None:
    page.get_by_role("radiogroup", name=label, exact=True).get_by_role("radio", name=state).click()


@pytest.mark.browser
def test_what_the_reader_said_and_marked_arrives(page: Any) -> None:
    with worker_page(RADIOGRAPH, labels=LABELS, rules={"regions": {"Edema": "required"}}) as host:
        open_page(page, host.url)
        choose(page, "Edema", "Present")
        choose(page, "Fracture", "Uncertain")
        page.get_by_role("button", name="All others absent").click()
        page.get_by_role("button", name="Submit").click()
        page.get_by_text("Mark where “Edema” is.").wait_for()
        assert host.answers == []
        page.get_by_role("radiogroup", name="Edema", exact=True).click()
        page.get_by_role("button", name="Rectangle", exact=True).click()
        box = page.get_by_role("application", name="Radiograph").bounding_box()
        scale = min(box["width"] / 200, box["height"] / 100)
        middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.move(*middle)
        page.mouse.down()
        page.mouse.move(middle[0] - 40 * scale, middle[1] - 20 * scale, steps=3)
        page.mouse.up()
        page.get_by_role("textbox", name="Comment on the image").fill('two lines\n"quoted" <b>')
        page.get_by_role("button", name="Submit").click()
        page.get_by_text("next task").wait_for()
    assert host.tokens == ["t0ken"]
    assert list(host.answers[0]["answerContent"]) == ["annotation"]
    answer = Answer.parse(host.answers[0]["answerContent"])
    assert answer.labels == {"Edema": LabelState.POSITIVE, "Fracture": LabelState.UNCERTAIN, "No Finding": LabelState.NEGATIVE}
    assert answer.comment == 'two lines\n"quoted" <b>'
    (region,) = answer.regions
    assert (region.label, region.shape) == ("Edema", "rectangle")
    assert np.ptp(region.points_px, axis=0) == pytest.approx([40, 20], abs=1)
    assert (answer.image["rows"], answer.image["columns"]) == (100, 200)
    assert answer.timings["active_seconds"] >= 0
    assert answer.actions["clicks"] > 3


@pytest.mark.browser
@pytest.mark.parametrize("file", [b"x" * 500, RADIOGRAPH[:-80], b""], ids=["no DICOM", "cut", "404"])
def test_an_image_that_cannot_be_shown_can_be_sent_back(page: Any, file: bytes) -> None:
    with worker_page(file, labels=LABELS) as host:
        page.goto(host.url)
        page.get_by_role("button", name="Report as not displayed").click()
        page.get_by_role("button", name="Submit").click()
        page.get_by_text("next task").wait_for()
    answer = Answer.parse(host.answers[0]["answerContent"])
    assert (answer.unusable, dict(answer.labels)) == ("not-displayed", {})


@pytest.mark.browser
def test_a_refused_answer_keeps_the_marks_and_goes_out_once_per_press(page: Any) -> None:
    with worker_page(RADIOGRAPH, labels=LABELS) as host:
        host.replies.append((503, {"error": "The job database cannot be written."}))
        open_page(page, host.url)
        page.get_by_role("button", name="No finding").click()
        page.get_by_role("button", name="Submit").click()
        page.get_by_text("The job database cannot be written. Submit again in a moment.").wait_for()
        assert page.get_by_role("radio", name="Absent", checked=True).count() == 2
        page.get_by_role("button", name="Submit").dblclick()
        page.get_by_text("next task").wait_for()
    first, second = (Answer.parse(sent["answerContent"]) for sent in host.answers)
    assert first.labels == second.labels


@pytest.mark.browser
@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", None])
def test_the_page_goes_on_to_its_own_host_only(page: Any, target: str | None) -> None:
    with worker_page(RADIOGRAPH, labels=LABELS) as host:
        host.replies.append((200, {"accepted": True, "next": target}))
        open_page(page, host.url)
        page.get_by_role("button", name="No finding").click()
        page.get_by_role("button", name="Submit").click()
        page.get_by_text("The answer was accepted.").wait_for()
        assert page.url == host.url


@pytest.mark.browser
def test_hostile_labels_are_text_on_the_page(page: Any) -> None:
    hostile = ['<img src=x onerror="document.title=1">', "</script><b>", "__proto__"]
    with worker_page(RADIOGRAPH, labels=hostile) as host:
        open_page(page, host.url)
        for label in hostile:
            assert page.get_by_role("radiogroup", name=label, exact=True).count() == 1
        assert page.locator("img").count() == 0
        page.get_by_role("button", name="All others absent").click()
        page.get_by_role("button", name="Submit").click()
        page.get_by_text("next task").wait_for()
    assert list(Answer.parse(host.answers[0]["answerContent"]).labels) == hostile


FORM = """<html><head><script src="https://assets.crowd.aws/crowd-html-elements.js"></script></head><body>
<crowd-form><crowd-input name="name" label="Name" value="x"></crowd-input>
<crowd-input name="empty" label="E"></crowd-input>
<crowd-text-area name="note" label="Note"></crowd-text-area>
<crowd-checkbox name="sign" value="fever" checked>Fever</crowd-checkbox>
<crowd-checkbox name="sign" value="cough">Cough</crowd-checkbox>
<crowd-radio-group><crowd-radio-button name="side" value="left">Left</crowd-radio-button>
<crowd-radio-button name="side" value="right">Right</crowd-radio-button></crowd-radio-group>
<input type="checkbox" name="disease" value="Edema" checked><input type="checkbox" name="disease" value="Fracture">
<input type="hidden" name="labels" value=""><select name="pick"><option>one</option><option selected>two</option></select>
<short-instructions>Look.</short-instructions></crowd-form>
<script>document.addEventListener('all-crowd-elements-ready', function () { document.title = 'ready'; });
document.querySelector('crowd-form').onsubmit = function () {
  document.querySelector('[name=labels]').value = JSON.stringify({label: ['Edema']}); };</script></body></html>"""


@pytest.mark.browser
def test_the_crowd_elements_give_the_values_ground_truth_gives(page: Any) -> None:
    with worker_page(b"", template=FORM) as host:
        page.goto(host.url)
        page.get_by_label("Note").fill("a\nb")
        page.get_by_label("Left").check()
        page.get_by_label("Right").check()
        page.get_by_label("Cough").check()
        assert page.title() == "ready"
        page.get_by_role("button", name="Submit").click()
        page.get_by_text("next task").wait_for()
    assert host.answers == [
        {
            "answerContent": {
                "name": "x",
                "note": "a\nb",
                "sign": {"fever": True, "cough": True},
                "side": {"left": False, "right": True},
                "disease": {"Edema": True, "Fracture": False},
                "labels": '{"label":["Edema"]}',
                "pick": "two",
            }
        }
    ]

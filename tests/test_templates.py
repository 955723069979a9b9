"""Worker templates render as on Ground Truth, and the radiograph page shows true pixels and sends what the reader said."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from fixtures_labeling import worker_page
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_windowing
from pydicom.pixels.encoders import RLELosslessEncoder
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from dicom_workflow.errors import StorageError, TemplateError
from dicom_workflow.labeling import templates
from dicom_workflow.labeling.templates import (
    CROWD_SCRIPT_URL,
    TEMPLATE_LIMIT_CHARACTERS,
    publish_template,
    radiograph_template,
    render,
)
from dicom_workflow.records import Answer, LabelState
from dicom_workflow.storage import Storage

CHROMIUM = "/usr/bin/chromium"
LABELS = ["Edema", "Fracture", "No Finding"]


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
        ("x\n{{ task.input.none | grant_read_access }}", r"line 2: grant_read_access: expected an s3://.*, got ''"),
        ("{{ task.input.a | grant_read_access }}", "got 'javascript:alert"),
        ("{% include 'secrets' %}", "line 1: "),
        ("{% for i in (1..9999999) %}x{% endfor %}", "line 1: loop iteration limit"),
        ('{% assign x = "aa" %}{% for i in (1..40) %}{% assign x = x | append: x %}{% endfor %}', "line 1: "),
        ('{{ (1..1000000000) | join: "" }}', "line 1: join: expected at most 1000000 characters"),
        ("{{ (1..99999999999999999999) | sort }}", "line 1: sort: expected at most 1000000 characters"),
        ("{% assign n = 9 %}{% for i in (1..60) %}{% assign n = n | times: n %}{% endfor %}", "times: expected at most"),
        (f'{{% assign x = "{"a" * 5000}" %}}{{{{ x | replace: "a", x }}}}', "line 1: replace: expected at most"),
        (f'{{{{ "{"a," * 5000}" | split: "," | join: "{"a" * 500}" }}}}', "line 1: join: expected at most"),
        ("x" * (TEMPLATE_LIMIT_CHARACTERS + 1), "at most 128000 characters, got 128001"),
    ],
)
def test_a_template_that_cannot_be_rendered_names_the_line(template: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        rendered(template, a="javascript:alert(1)")


def test_a_template_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "RENDER_SECONDS", 0.1)
    with pytest.raises(TemplateError, match=r"line 1: expected a page within 0 seconds, it is not done yet"):
        rendered('{% for i in (1..90000) %}{% assign x = "b a" | split: " " | sort | join: " " %}{% endfor %}')


def test_an_error_of_the_host_while_granting_access_passes_through() -> None:
    def refuse(uri: str) -> str:
        raise StorageError("no such object")

    with pytest.raises(StorageError, match="no such object"):
        render("{{ task.input.a | grant_read_access }}", {"a": "s3://b/k"}, grant_read_access=refuse)


def test_the_radiograph_page_fits_ground_truth() -> None:
    page = radiograph_template()
    assert len(page) < TEMPLATE_LIMIT_CHARACTERS / 2
    assert page.count("<crowd-form>") == 1
    assert page.count(CROWD_SCRIPT_URL) == 1
    assert (page.count("<script"), page.count("<script>"), page.count("<style>")) == (2, 1, 1)
    assert "innerHTML" not in page
    assert " onclick=" not in page and " style=" not in page


def test_hostile_task_data_stay_inside_their_attributes() -> None:
    hostile = ['"><img src=x onerror=alert(1)>', "</script>", "' onload='alert(1)", "{{ task.input.labels }}"]
    html = rendered(radiograph_template(), labels=hostile, image="s3://b/k", instructions='"><script>alert(1)</script>')
    assert "<img" not in html
    assert html.count("<script") == 2


def test_without_a_pre_annotation_function_the_source_ref_is_shown() -> None:
    html = rendered(radiograph_template(), **{"source-ref": "s3://b/k"}, labels="A,B")
    assert 'data-image="https://host/b/k?a=1&amp;b=2"' in html


def test_publishing_writes_the_page_and_refuses_what_ground_truth_would(tmp_path: Path) -> None:
    uri = publish_template(f"file://{tmp_path}/t/radiograph.liquid.html", Storage())
    assert Storage().read_text(uri) == radiograph_template()
    with pytest.raises(TemplateError, match="expected a template URI ending in"):
        publish_template(f"file://{tmp_path}/t.txt", Storage())
    with pytest.raises(TemplateError, match="at most 128000 characters"):
        publish_template(f"file://{tmp_path}/t.html", Storage(), text="x" * 130_000)


# ---- The page in a browser ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"needs {CHROMIUM}")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


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


def radiograph(pixels: np.ndarray, *, syntax: str = ExplicitVRLittleEndian, **header: Any) -> bytes:
    """A DICOM file of the given stored values; the sequence before the pixels has undefined length, as real files do."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
    item = Dataset()
    item.CodeValue = "T-D3000"
    item.is_undefined_length_sequence_item = True
    dataset.AnatomicRegionSequence = [item]
    dataset["AnatomicRegionSequence"].is_undefined_length = True
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel = 1
    dataset.BitsAllocated = pixels.dtype.itemsize * 8
    dataset.BitsStored = header.pop("BitsStored", dataset.BitsAllocated)
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PhotometricInterpretation = header.pop("PhotometricInterpretation", "MONOCHROME2")
    for name, value in header.items():
        setattr(dataset, name, value)
    if syntax == RLELossless:
        dataset.PixelData = encapsulate([RLELosslessEncoder.encode(pixels, **_shape(dataset))])
    elif syntax == JPEG2000Lossless:
        dataset.PixelData = encapsulate([b"code stream"])  # the page never reads one
    else:
        order = ">" if syntax == ExplicitVRBigEndian else "<"
        dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    dataset["PixelData"].VR = "OW" if dataset.BitsAllocated == 16 else "OB"
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def _shape(dataset: Dataset) -> dict[str, Any]:
    return {
        "rows": dataset.Rows,
        "columns": dataset.Columns,
        "samples_per_pixel": 1,
        "bits_allocated": dataset.BitsAllocated,
        "bits_stored": dataset.BitsStored,
        "pixel_representation": dataset.PixelRepresentation,
        "photometric_interpretation": dataset.PhotometricInterpretation,
        "number_of_frames": 1,
    }


# Reads the canvas at the middle of each image pixel; at this magnification the page draws without smoothing.
READ_PIXELS = """([rows, columns]) => {
  const canvas = document.getElementById('view'), pen = canvas.getContext('2d');
  const scale = Math.min(canvas.width / columns, canvas.height / rows) * 0.98;
  const left = (canvas.width - columns * scale) / 2, top = (canvas.height - rows * scale) / 2, grey = [];
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++)
    grey.push(pen.getImageData(Math.round(left + (c + 0.5) * scale), Math.round(top + (r + 0.5) * scale), 1, 1).data[0]);
  return grey;
}"""


def shown(page: Any, url: str, rows: int, columns: int) -> list[int]:
    page.goto(url)
    page.get_by_text("pixels · window").wait_for(timeout=10_000)
    return page.evaluate(READ_PIXELS, [rows, columns])


BYTES = np.array([[0, 64, 128], [192, 250, 255]], np.uint8)
WORDS = np.array([[0, 1000, 2000], [3000, 4000, 4095]], np.uint16)
SIGNED = np.array([[-1024, -512, 0], [512, 1000, 1023]], np.int16)
FULL_8_BIT = [0, 64, 128, 192, 250, 255]
FULL_12_BIT = [0, 62, 125, 187, 249, 255]  # round(value / 4095 * 255)


@pytest.mark.browser
@pytest.mark.parametrize(
    ("file", "grey"),
    [
        (radiograph(BYTES), FULL_8_BIT),
        (radiograph(BYTES, syntax=ImplicitVRLittleEndian), FULL_8_BIT),
        (radiograph(BYTES, syntax=DeflatedExplicitVRLittleEndian), FULL_8_BIT),
        (radiograph(BYTES, syntax=RLELossless), FULL_8_BIT),
        (radiograph(BYTES, PhotometricInterpretation="MONOCHROME1"), [255 - value for value in FULL_8_BIT]),
        (radiograph(WORDS, BitsStored=12), FULL_12_BIT),
        (radiograph(WORDS, BitsStored=12, syntax=ExplicitVRBigEndian), FULL_12_BIT),
        (radiograph(WORDS, BitsStored=12, syntax=RLELossless), FULL_12_BIT),
        (radiograph(WORDS, BitsStored=12, WindowCenter=["2048", "100"], WindowWidth=["2", "50"]), [0, 0, 0, 255, 255, 255]),
        (radiograph(SIGNED, BitsStored=11), [0, 64, 128, 191, 252, 255]),  # round((value + 1024) / 2047 * 255)
        (radiograph(BYTES, RescaleSlope="-1", RescaleIntercept="255"), [255 - value for value in FULL_8_BIT]),
    ],
)
def test_every_pixel_has_its_exact_grey(page: Any, file: bytes, grey: list[int]) -> None:
    with worker_page(file, labels=LABELS) as host:
        assert shown(page, host.url, 2, 3) == grey


@pytest.mark.browser
def test_a_compression_the_page_cannot_read_is_shown_by_the_host(page: Any) -> None:
    picture = io.BytesIO()
    Image.fromarray(BYTES).save(picture, "PNG")
    file = radiograph(BYTES, syntax=JPEG2000Lossless)
    with worker_page(file, rendered=picture.getvalue(), labels=LABELS) as host:
        assert shown(page, host.url, 2, 3) == FULL_8_BIT
    with worker_page(file, labels=LABELS) as host:
        page.goto(host.url)
        page.get_by_text("its compression (1.2.840.10008.1.2.4.90) is not one this page can read").wait_for()


@pytest.mark.browser
@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (b"x" * 500, "it is not a DICOM file"),
        (radiograph(WORDS)[:-4], "the file ends in the middle of the pixels"),
        (radiograph(BYTES)[:-80], "the file ends"),
        (radiograph(BYTES, PhotometricInterpretation="PALETTE COLOR"), "it is not a grey-scale image"),
        (b"", "the server answered 404"),
    ],
)
def test_an_image_that_cannot_be_shown_says_why_and_can_be_sent_back(page: Any, file: bytes, reason: str) -> None:
    with worker_page(file, labels=LABELS) as host:
        page.goto(host.url)
        page.get_by_text(reason).wait_for()
        page.get_by_role("button", name="All others absent").click()
        page.get_by_role("button", name="Submit").click()
        page.get_by_text("The image is not displayed. Wait").wait_for()
        assert host.answers == []
        page.get_by_label("If the image cannot be read, say why").select_option("not-displayed")
        page.get_by_role("button", name="Submit").click()
        page.get_by_text("next task").wait_for()
    answer = Answer.parse(host.answers[0]["answerContent"])
    assert (answer.unusable, answer.labels) == ("not-displayed", {})


def choose(page: Any, label: str, state: str) -> None:
    page.get_by_role("radiogroup", name=label, exact=True).get_by_role("radio", name=state).click()


@pytest.mark.browser
def test_what_the_reader_said_and_marked_arrives(page: Any) -> None:
    with worker_page(radiograph(np.zeros((100, 200), np.uint8)), labels=LABELS) as host:
        page.goto(host.url)
        page.get_by_text("200 × 100 pixels").wait_for()
        page.get_by_role("button", name="Submit").click()
        page.get_by_text("Still to answer: Edema, Fracture, No Finding.").wait_for()
        choose(page, "Fracture", "Uncertain")
        page.get_by_label("Label of the next region").select_option("Edema")
        page.get_by_role("button", name="Mark region").click()
        box = page.locator("#view").bounding_box()
        scale = box["width"] / 200 * 0.98
        left, top = box["x"] + box["width"] * 0.01, box["y"] + (box["height"] - 100 * scale) / 2
        page.mouse.move(left + 120 * scale, top + 80 * scale)
        page.mouse.down()
        page.mouse.move(left + 20 * scale, top + 30 * scale, steps=3)
        page.mouse.up()
        page.get_by_role("textbox", name="Comment").fill('two lines\n"quoted" <b>')
        page.get_by_role("button", name="All others absent").click()
        page.get_by_role("button", name="Submit").click()
        page.get_by_text("next task").wait_for()
    assert host.tokens == ["t0ken"]
    assert list(host.answers[0]["answerContent"]) == ["annotation"]
    answer = Answer.parse(host.answers[0]["answerContent"])
    assert answer.labels == {"Edema": LabelState.POSITIVE, "Fracture": LabelState.UNCERTAIN, "No Finding": LabelState.NEGATIVE}
    assert answer.comment == 'two lines\n"quoted" <b>'
    (region,) = answer.regions
    assert (region.label, region.shape) == ("Edema", "rectangle")
    assert np.allclose(region.points_px, [[20, 30], [120, 80]], atol=0.3)


@pytest.mark.browser
def test_the_labels_can_be_answered_by_keyboard_alone(page: Any) -> None:
    with worker_page(radiograph(BYTES), labels=LABELS) as host:
        page.goto(host.url)
        page.get_by_text("pixels · window").wait_for()
        page.get_by_role("radiogroup", name="Edema").get_by_role("radio", name="Present").focus()
        for key in ("a", "ArrowDown", "u", "ArrowLeft", "ArrowDown", "p"):
            page.keyboard.press(key)
        page.get_by_role("button", name="Submit").focus()
        page.keyboard.press("Enter")
        page.get_by_text("next task").wait_for()
    said = {label: str(state) for label, state in Answer.parse(host.answers[0]["answerContent"]).labels.items()}
    assert said == {"Edema": "negative", "Fracture": "negative", "No Finding": "positive"}


@pytest.mark.browser
def test_a_contradiction_is_said_on_the_page(page: Any) -> None:
    with worker_page(radiograph(BYTES), labels=LABELS) as host:
        page.goto(host.url)
        choose(page, "No Finding", "Present")
        choose(page, "Edema", "Present")
        page.get_by_text("“No Finding” is present together with Edema.").wait_for()


@pytest.mark.browser
def test_a_refused_answer_keeps_the_marks_and_goes_out_once_per_press(page: Any) -> None:
    with worker_page(radiograph(BYTES), labels=LABELS) as host:
        host.replies.append((503, {"error": "The journal cannot be written."}))
        page.goto(host.url)
        page.get_by_text("pixels · window").wait_for()
        page.get_by_role("button", name="All others absent").click()
        page.get_by_role("button", name="Submit").click()
        page.get_by_text("The journal cannot be written. Submit again in a moment.").wait_for()
        assert page.get_by_role("radio", name="Absent", checked=True).count() == 2
        page.get_by_role("button", name="Submit").dblclick()
        page.get_by_text("next task").wait_for()
    assert len(host.answers) == 2
    assert host.answers[0] == host.answers[1]


@pytest.mark.browser
@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", None])
def test_the_page_goes_on_to_its_own_host_only(page: Any, target: str | None) -> None:
    with worker_page(radiograph(BYTES), labels=LABELS) as host:
        host.replies.append((200, {"accepted": True, "next": target}))
        page.goto(host.url)
        page.get_by_text("pixels · window").wait_for()
        page.get_by_role("button", name="All others absent").click()
        page.get_by_role("button", name="Submit").click()
        page.get_by_text("The answer was accepted.").wait_for()
        assert page.url == host.url


@pytest.mark.browser
def test_hostile_labels_are_text_on_the_page(page: Any) -> None:
    hostile = ['<img src=x onerror="document.title=1">', "</script><b>", "__proto__"]
    with worker_page(radiograph(BYTES), labels=hostile) as host:
        page.goto(host.url)
        page.get_by_text("pixels · window").wait_for()
        assert page.locator(".row .name").all_inner_texts() == hostile
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


@pytest.mark.browser
@pytest.mark.real_data
@pytest.mark.skipif("DICOM_WORKFLOW_SAMPLE_DATA" not in os.environ, reason="DICOM_WORKFLOW_SAMPLE_DATA names no folder")
@pytest.mark.parametrize("name", ["000.dcm", "001.dcm"])
def test_a_real_radiograph_is_shown_as_it_is(page: Any, name: str) -> None:
    file = Path(os.environ["DICOM_WORKFLOW_SAMPLE_DATA"]) / "radiographs" / name
    dataset = pydicom.dcmread(file)
    expected = apply_windowing(dataset.pixel_array, dataset)
    expected = (expected - expected.min()) / (expected.max() - expected.min()) * 255
    with worker_page(file.read_bytes(), labels=LABELS) as host:
        page.goto(host.url)
        page.get_by_text(f"{dataset.Columns} × {dataset.Rows} pixels").wait_for()
        picture = page.evaluate("() => document.getElementById('view').toDataURL('image/png')")
    with Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2]))) as png:
        canvas = np.asarray(png.convert("RGB"), np.float64)[:, :, 0]
    height, width = canvas.shape
    scale = min(width / dataset.Columns, height / dataset.Rows) * 0.98
    size = (round(dataset.Columns * scale), round(dataset.Rows * scale))
    left, top = round((width - size[0]) / 2), round((height - size[1]) / 2)
    small = np.asarray(Image.fromarray(expected.astype(np.uint8)).resize(size, Image.Resampling.BOX), np.float64)
    assert np.abs(canvas[top : top + size[1], left : left + size[0]] - small).mean() < 3

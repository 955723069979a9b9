"""Text is text: whatever a task, a file or a reader writes, the page gains no element, no attribute, no script by it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.groundtruth import PASSWORDS, job_request, make_images, output_lines, running
from support.worker_page import PageHost, answered, chest_radiograph

from dicom_workflow.formats import manifests

pytestmark = pytest.mark.browser

PAYLOADS = (
    "<img src=x onerror=pwned()>",
    "<script>pwned()</script>",
    '"><svg onload=pwned()>',
    "' autofocus onfocus=pwned() data-pwned='",
    "<iframe srcdoc='<script>parent.pwned()</script>'>",
    "javascript:pwned()",
    "</textarea></title></style></script><img src=x onerror=pwned()>",
    "{{constructor.constructor('pwned()')()}}",
    "<a href='javascript:pwned()' data-pwned=1>x</a>",
    "&lt;img src=x onerror=pwned()&gt;&#x3c;x-pwned&#x3e;",
    "<x-pwned style='position:fixed' onmouseover=pwned()>",
    "--><math><mtext><table><mglyph><style><img src=x onerror=pwned()>",
)
PLAIN = "Nothing in particular"

SURVEY = """
() => {
  const nodes = [...document.querySelectorAll('*')];
  const bad = nodes.filter((node) =>
    ['script', 'iframe', 'object', 'embed', 'img', 'a', 'base', 'form', 'math', 'style', 'x-pwned'].includes(node.localName)
      && !(node.localName === 'script' && node.src !== '')
    || [...node.attributes].some(({ name, value }) => /^on|pwned|^srcdoc$/.test(name)
      || (/^(href|src|action|formaction|style)$/.test(name) && /pwned/.test(value))));
  const shape = nodes.map((node) => `${node.localName}(${[...node.attributes].map(({ name }) => name).sort()})`);
  return { bad: bad.map((node) => node.outerHTML.slice(0, 200)), shape, pwned: window.pwned?.called ?? -1 };
}
"""
PWNED_PROBE = "window.pwned = () => { window.pwned.called += 1; }; window.pwned.called = 0;"


def task_of(text: str, host: PageHost) -> dict[str, Any]:
    """A task with the text in every place that takes one."""
    edema, other = f"Edema {text}", text
    box = {"label": edema, "shape": "rectangle", "points_px": [[40, 50], [200, 220]], "comment": text}
    said = answered({edema: "positive", other: "negative"}, [box], comment=text)
    disagreed = answered({edema: "negative", other: "positive"}, [], comment=text)
    radiograph = chest_radiograph(
        ViewPosition=text[:16], Laterality="L", WindowCenter=["2000", "1500"], WindowWidth=["3000", "900"],
        WindowCenterWidthExplanation=[text.replace("\\", "/")[:64], "B"], SeriesDescription=text[:64],
        PatientName=text[:60].replace("=", "").replace("\\", "/"), BodyPartExamined=text[:16],
    )  # fmt: skip
    return {
        "labels": [edema, other, "No Finding"],
        "definitions": {edema: text, other: text},
        "rules": {"regions": {edema: text}},
        "instructions": text,
        "image": host.image("payload.dcm", radiograph),
        "second_image": {"image": host.image("payload-2.dcm", radiograph), "role": "prior", "caption": text},
        "suggestions": {"mode": "shown", "model": text, "probabilities": {edema: 0.5}, "regions": [box]},
        "earlier_answers": [{"reader": text, "answer": said}, {"reader": text, "answer": disagreed}],
        "start_answer": answered({edema: "positive"}, [box], comment=text),
    }


def shape_with(make_reader: Callable[..., Any], host: PageHost, text: str) -> dict[str, Any]:
    """Open a task of that text, write the text wherever the page takes one, and survey the page."""
    reader = make_reader(viewport={"width": 1280, "height": 1000})
    dialogs: list[str] = []
    reader.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    reader.page.add_init_script(PWNED_PROBE)
    reader.open(host.page("payload", task_of(text, host)))
    reader.click("button", "Go to region 1")
    for role, name in (
        ("textbox", "Comment on region 1"),
        ("textbox", "Comment on the image"),
        ("searchbox", "Search findings"),
    ):
        reader.root.get_by_role(role, name=name).fill(text)
    reader.page.evaluate("() => document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    x, y = reader.middle()
    reader.press("Escape", "s")
    reader.page.mouse.move(x, y)
    reader.click("button", "Submit")
    reader.root.get_by_role("alert").get_by_role("button").first.wait_for()
    reader.page.wait_for_timeout(100)
    searched = reader.page.evaluate(SURVEY)
    reader.root.get_by_role("searchbox", name="Search findings").fill("")
    reader.page.wait_for_timeout(100)
    found = reader.page.evaluate(SURVEY)
    found["bad"] += searched["bad"]
    found["dialogs"] = dialogs
    assert text[:12] in reader.page.locator("body").inner_text()  # it was shown
    return dict(found)


def test_payloads_in_every_text_add_nothing_to_the_page(
    make_reader: Callable[..., Any], host: PageHost, figures: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    payloads = PAYLOADS if request.config.getoption("--e2e") else PAYLOADS[:3]
    plain = shape_with(make_reader, host, PLAIN)
    assert plain["bad"] == []
    nodes = 0
    for payload in payloads:
        found = shape_with(make_reader, host, payload)
        added = set(found["shape"]) - set(plain["shape"])
        assert (found["bad"], found["dialogs"], found["pwned"], added) == ([], [], 0, set()), payload
        nodes += len(found["bad"]) + len(added) + found["pwned"]
    figures["xss_nodes"] = nodes


PORTAL_SURVEY = """
() => [...document.querySelectorAll('*')].filter((node) =>
  ['iframe', 'object', 'embed', 'img', 'base', 'math', 'x-pwned'].includes(node.localName)
    || [...node.attributes].some(({ name, value }) => /^on|pwned|^srcdoc$/.test(name)
      || (/^(href|src|action|formaction|style)$/.test(name) && /pwned/.test(value)))
    || (node.localName === 'script' && /pwned/.test(node.textContent))).map((node) => node.outerHTML.slice(0, 200))
"""


@pytest.mark.e2e
def test_payloads_of_a_job_add_nothing_to_the_pages_of_the_labeling_service(
    make_reader: Callable[..., Any], tmp_path: Path, figures: dict[str, Any]
) -> None:
    workspace = tmp_path / "workspace"
    images = make_images(workspace, len(PAYLOADS))
    entries = []
    for uri, text in zip(images.uris, PAYLOADS, strict=True):
        box = {"label": f"Edema {text}", "shape": "rectangle", "points_px": [[2, 2], [9, 9]], "comment": text}
        task = {"labels": [f"Edema {text}", text, "No Finding"], "instructions": text, "definitions": {text: text}}
        suggestions = {"mode": "shown", "model": text, "probabilities": {text: 0.5}, "regions": [box]}
        entries.append({"source-ref": uri, **task, "suggestions": suggestions})
    manifests.write(images.manifest_uri, entries)
    reader = make_reader()
    page = reader.page
    page.add_init_script(PWNED_PROBE)
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    bad: list[str] = []
    with running(workspace) as service:
        service.make_team()
        words = {"TaskTitle": "<img src=x onerror=pwned()> & radiographs", "TaskDescription": "</p><script>pwned()</script>"}
        service.client().create_labeling_job(**job_request(workspace, workers=1, **words))
        service.wait_for("reading", "InProgress")
        page.goto(service.url)
        page.get_by_label("Name").fill("reader-1")
        page.get_by_label("Password").fill(PASSWORDS["reader-1"].reveal())
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("button", name="Start").wait_for()
        bad += page.evaluate(PORTAL_SURVEY)
        page.get_by_role("button", name="Start").click()
        for number in range(len(PAYLOADS)):
            page.get_by_text(f"image {number + 1} of {len(PAYLOADS)}").wait_for()
            reader.wait_for_image()
            reader.press("c")
            reader.write(PAYLOADS[number])
            reader.press("Escape", "n")
            bad += page.evaluate(PORTAL_SURVEY)
            reader.press("Control+Enter")
            page.get_by_text("Thank you.").or_(page.get_by_text(f"image {number + 2} of {len(PAYLOADS)}")).first.wait_for()
            assert page.evaluate("() => window.pwned.called") == 0
        bad += page.evaluate(PORTAL_SURVEY)
        service.wait_for("reading", "Completed", seconds=60)
    assert (bad, dialogs) == ([], [])
    assert sum("finding" in line for line in output_lines(workspace)) == len(PAYLOADS)
    figures["xss_nodes_portal"] = len(bad)

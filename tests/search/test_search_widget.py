"""The search page as a widget: answers of the kernel, tables of what was selected, and the page itself in a real JupyterLab."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from support.browser import shoot
from support.search_page import Archive, fill
from support.search_page_checks import CHECKS
from support.search_shown import Shown

from dicom_workflow.search.store import open_store
from dicom_workflow.search.store.protocol import SearchStore
from dicom_workflow.search.widget import SearchWidget
from dicom_workflow.settings import Settings

PATIENTS = 30
TOKEN = "only-for-this-test"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("widget")


@pytest.fixture(scope="module")
def filled(folder: Path) -> Iterator[tuple[SearchStore, Archive]]:
    store = open_store(str(folder / "store"), create=True)
    yield store, fill(store, folder.parent / "phantoms", PATIENTS)
    store.close()


@pytest.fixture
def widget(filled: tuple[SearchStore, Archive], folder: Path, monkeypatch: pytest.MonkeyPatch) -> SearchWidget:
    made = SearchWidget(filled[0], settings=Settings(workspace=folder))
    sent: list[tuple[dict[str, Any], list[bytes]]] = []
    monkeypatch.setattr(made, "send", lambda content, buffers: sent.append((content, buffers)))
    made.sent = sent
    return made


def ask(widget: SearchWidget, buffers: list[bytes] | None = None, **content: Any) -> tuple[dict[str, Any], list[bytes]]:
    widget._handle_custom_msg({"id": "7", **content}, buffers or [])
    answer, sent = widget.sent[-1]
    assert answer["id"] == "7"
    return answer, sent


def test_the_kernel_answers_with_the_schema_of_the_service(widget: SearchWidget, filled: tuple[SearchStore, Archive]) -> None:
    answer, _ = ask(widget, kind="graphql", query="{ reports { totalCount } }", variables={})
    assert answer["answer"] == {"data": {"reports": {"totalCount": len(filled[1].reports)}}}
    answer, _ = ask(widget, kind="graphql", query="{ nothing }", variables={})
    assert "nothing" in answer["answer"]["errors"][0]["message"]


def test_pictures_come_as_png_and_refusals_as_sentences(widget: SearchWidget, filled: tuple[SearchStore, Archive]) -> None:
    image = filled[1].images[0].image_id
    _, small = ask(widget, kind="picture", image_id=image, px=None)
    _, again = ask(widget, kind="picture", image_id=image, px=None)
    assert small[0].startswith(b"\x89PNG") and again == small
    assert ask(widget, kind="picture", image_id="1.2.3", px=10**9)[0]["error"] == "There is no such image in this index."
    assert "embedder" in ask(widget, [b"x"], kind="upload")[0]["error"]
    answer, _ = ask(widget, kind="no such kind")
    assert answer["answer"]["errors"][0]["message"] == "This failed in the kernel (KeyError)."


def test_the_selection_and_the_hits_are_tables(widget: SearchWidget, filled: tuple[SearchStore, Archive]) -> None:
    archive = filled[1]
    assert list(widget.selected.columns)[:2] == ["image_id", "report_id"] and widget.selected.empty and widget.hits.empty
    wanted = [image.image_id for image in archive.images[3:6]]
    widget.select(wanted)
    assert list(widget.selected["image_id"]) == wanted
    assert widget.selected.loc[0, "source"] == archive.images[3].source
    for row, image in enumerate(archive.images[3:6]):
        states = widget.selected.loc[row]
        assert {label for label in states.index if states[label] == "positive"} == set(image.labels_positive)

    scores = dict(zip(wanted, (0.9, 0.8, 0.7), strict=True))
    widget._hits = {"kind": "images", "hits": [{"id": one, "score": score} for one, score in scores.items()]}
    assert dict(zip(widget.hits["image_id"], widget.hits["score"], strict=True)) == scores
    report = archive.reports[2]
    widget._hits = {"kind": "reports", "hits": [{"id": report.report_id, "score": 2.5}, {"id": "gone", "score": 1.0}]}
    assert widget.hits[["report_id", "score", "text"]].to_numpy().tolist() == [[report.report_id, 2.5, report.text]]


CELLS = (
    "import sys; sys.path.insert(0, {tests!r})\n"
    "from pathlib import Path\n"
    "from support.search_page import network\n"
    "from dicom_workflow.search.store import open_store\n"
    "from dicom_workflow.search.widget import SearchWidget\n"
    "store = open_store({store!r})\n"
    "widget = SearchWidget(store, embedder=network(Path({phantoms!r})), height=1400)\n"
    "widget",
    "Path({out!r}).write_text(widget.selected.to_json(orient='records'))\n"
    "Path({out!r} + '.hits').write_text(widget.hits.to_json(orient='records'))\n"
    "widget.select([])\n"
    "print('writ' + 'ten')",
)


@pytest.fixture
def lab(filled: tuple[SearchStore, Archive], folder: Path) -> Iterator[str]:
    """JupyterLab on a notebook with a cell that shows the widget and one that writes what was selected."""
    places = {"tests": str(Path(__file__).parents[1]), "store": str(folder / "store"), "out": str(folder / "selected.json")}
    places["phantoms"] = str(folder.parent / "phantoms")  # as in test_search_page.py: made once where one process runs both
    common = {"metadata": {}, "outputs": [], "execution_count": None}
    cells = [{"id": f"c{n}", "cell_type": "code", "source": text.format(**places), **common} for n, text in enumerate(CELLS)]
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    (folder / "search.ipynb").write_text(
        json.dumps({"cells": cells, "metadata": {"kernelspec": spec}, "nbformat": 4, "nbformat_minor": 5})
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}", f"--notebook-dir={folder}"]
    options = [f"--IdentityProvider.token={TOKEN}", "--ServerApp.port_retries=0", "--LabApp.news_url=None"]
    root = str(Path(__file__).parents[2])
    own = {name: str(folder / "jupyter") for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
    env = {**os.environ, **own, "PYTHONPATH": root, "DICOM_WORKFLOW_WORKSPACE": str(folder)}
    with (folder / "lab.log").open("wb") as log:
        server = subprocess.Popen([*command, *options], env=env, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 90
            while time.monotonic() < deadline:
                try:
                    requests.get(f"http://127.0.0.1:{port}/api?token={TOKEN}", timeout=5).raise_for_status()
                    break
                except requests.RequestException:
                    assert server.poll() is None, (folder / "lab.log").read_text()
                    time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/lab/tree/search.ipynb?token={TOKEN}"
        finally:
            server.terminate()
            try:
                server.wait(60)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait(10)


@pytest.mark.browser
@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_the_widget_in_jupyterlab(browser: Any, lab: str, filled: tuple[SearchStore, Archive], folder: Path) -> None:
    archive = filled[1]
    context = browser.new_context(viewport={"width": 1600, "height": 1900})
    tab = context.new_page()
    tab.set_default_timeout(40_000)
    tab.goto(lab)
    first = tab.locator(".jp-CodeCell").first.locator(".cm-content")
    tab.get_by_text("| Idle").first.wait_for(timeout=90_000)  # before that JupyterLab runs nothing and does not say so
    first.click()
    first.press("Shift+Enter")
    root = tab.locator(".dicom-search")
    root.get_by_role("article").first.wait_for(timeout=180_000)
    shoot(tab, "search-jupyterlab")
    image = archive.images[5]
    shown = Shown(tab, root, archive, Path(image.source.removeprefix("file://")), image.image_id)
    address = tab.url
    for check in CHECKS:
        check(shown)
    assert tab.url == address  # a widget leaves the address of the notebook alone

    shown.open_image(image.image_id, image.report_id)
    hits = shown.hits()
    root.locator(".hit").nth(1).get_by_role("checkbox").check()
    root.locator(".hit").nth(0).get_by_role("checkbox").check()
    root.get_by_text("2 images selected").wait_for()
    second = tab.locator(".jp-CodeCell").nth(1).locator(".cm-content")
    second.click()
    second.press("Shift+Enter")
    tab.get_by_text("written", exact=True).wait_for()
    root.get_by_text("2 images selected").wait_for(state="detached")  # the kernel cleared it
    selected = json.loads((folder / "selected.json").read_text())
    assert [f"#/image/{row['image_id']}" for row in selected] == [hits[1][0], hits[0][0]]
    found = json.loads((folder / "selected.json.hits").read_text())
    assert [(f"#/image/{row['image_id']}", round(row["score"], 3)) for row in found] == hits
    context.close()

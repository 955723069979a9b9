"""The pictures of the documentation, made of phantoms: a page that cannot be pictured like this has changed."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from support.browser import shoot
from support.browser_reader import Reader
from support.worker_page import PageHost, answered

from dicom_workflow.formats.labels import load_label_set
from dicom_workflow.synthetic.dataset import Phantoms, make_dataset

LABELS = load_label_set("chest").labels

pytestmark = [pytest.mark.browser, pytest.mark.e2e]

FINDINGS = ("Cardiomegaly", "Pleural Effusion")


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Phantoms:
    return make_dataset(tmp_path_factory.mktemp("phantoms"), patients=40, seed=5, size_px=1024, processes=1, progress=False)


def phantom_with(phantoms: Phantoms, wanted: frozenset[str]) -> tuple[bytes, list[dict[str, Any]]]:
    """The first phantom with at least these findings and the fewest others, and its regions."""

    def uid(path: Path) -> str:
        return str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)

    having = [path for path in phantoms.paths if wanted <= phantoms.positive[uid(path)]]
    path = min(having, key=lambda path: len(phantoms.positive[uid(path)]))
    return path.read_bytes(), [region.to_json() for region in phantoms.regions[uid(path)]]


def states(**called: str) -> Mapping[str, str]:
    return {label: called.get(label.replace(" ", "_"), "negative") for label in LABELS}


def picture(reader: Reader, name: str) -> None:
    """Keep the picture and see that it is one: many gray levels on the left, words on the right."""
    reader.page.mouse.move(2, 2)
    reader.page.wait_for_timeout(250)
    shoot(reader.page, name)
    gray = np.asarray(Image.open(io.BytesIO(reader.page.screenshot())).convert("L"))
    assert len(np.unique(gray[60:, : gray.shape[1] // 2])) > 30
    assert gray[:, -200:].std() > 10


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_two_findings_with_their_regions(
    make_reader: Callable[..., Reader], host: PageHost, phantoms: Phantoms, scheme: str
) -> None:
    data, regions = phantom_with(phantoms, frozenset(FINDINGS))
    marked = [region for region in regions if region["label"] in FINDINGS]
    start = answered(states(Cardiomegaly="positive", Pleural_Effusion="positive"), marked)
    reader = make_reader(color_scheme=scheme).open(host.radiograph(f"picture-{scheme}", data, start_answer=start))
    reader.page.get_by_text("Cardiomegaly", exact=True).first.click()
    picture(reader, "worker-page" if scheme == "light" else "worker-page-dark")


def test_a_normal_radiograph(make_reader: Callable[..., Reader], host: PageHost, phantoms: Phantoms) -> None:
    data, _ = phantom_with(phantoms, frozenset({"No Finding"}))
    reader = make_reader().open(host.radiograph("picture-normal", data, instructions="Read it as in clinic."))
    reader.page.get_by_role("button", name="No finding").click()
    picture(reader, "worker-page-normal")


def test_adjudication(make_reader: Callable[..., Reader], host: PageHost, phantoms: Phantoms) -> None:
    data, regions = phantom_with(phantoms, frozenset({"Cardiomegaly"}))
    heart = next(region for region in regions if region["label"] == "Cardiomegaly")
    (left, top), (right, bottom) = heart["points_px"]
    wider = {**heart, "shape": "ellipse", "points_px": [[left - 30, top + 20], [right + 40, bottom + 20]]}
    earlier = [
        {"reader": "A", "answer": answered(states(Cardiomegaly="positive"), [{**heart, "shape": "rectangle"}])},
        {"reader": "B", "answer": answered(states(Cardiomegaly="uncertain", Edema="positive"), [wider])},
        {"reader": "C", "answer": answered(states(No_Finding="positive"))},
    ]
    reader = make_reader().open(host.radiograph("picture-adjudication", data, earlier_answers=earlier))
    reader.page.get_by_text("Disagreements").wait_for()
    picture(reader, "worker-page-adjudication")


def test_an_image_that_cannot_be_shown(make_reader: Callable[..., Reader], host: PageHost) -> None:
    reader = make_reader().open(host.radiograph("picture-failure", b"<html>Sign in</html>"), shown=False)
    reader.page.get_by_role("button", name="Report as not displayed").wait_for()
    shoot(reader.page, "worker-page-failure")

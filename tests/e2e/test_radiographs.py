"""Every real radiograph, through the real portal: seen with the right polarity, labeled, and the answer read back."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.browser_reader import Reader
from support.groundtruth import PASSWORDS, Service, job_request, make_images, output_lines, running
from support.worker_page import PageHost, chest_radiograph

from dicom_workflow.dicom.pixels import to_display
from dicom_workflow.dicom.reading import read_dataset
from dicom_workflow.formats import manifests
from dicom_workflow.formats.answers import LabelState
from dicom_workflow.formats.labels import load_label_set
from dicom_workflow.storage import to_uri

LABELS = load_label_set("chest").labels

pytestmark = pytest.mark.browser

CORRELATION, DIFFERENCE = 0.99, 0.03
BLUR = 4
"""Side of the blocks that are compared: how a radiograph is made smaller is the browser's own."""


def likeness(reader: Any, display: NDArray[np.float32], aspect: float = 1.0) -> tuple[float, float]:
    """Return correlation and mean difference between what is on the screen and the display image, fitted into the viewport."""
    reader.viewport.evaluate(
        "(root) => root.querySelectorAll('.corner').forEach((one) => { one.style.visibility = 'hidden'; })"
    )
    reader.settle()
    left, top, width, height = reader.box()
    rows, columns = display.shape
    zoom = min(width / (columns * aspect), height / rows)
    x, y = left + (width - columns * aspect * zoom) / 2, top + (height - rows * zoom) / 2
    x0, y0, x1, y1 = (int(np.ceil(x)), int(np.ceil(y)), int(x + columns * aspect * zoom), int(y + rows * zoom))
    screen = reader.screen()[y0:y1, x0:x1] / 255
    fitted = Image.fromarray(display).resize((x1 - x0, y1 - y0), Image.Resampling.BOX)
    seen, wanted = _blurred(screen), _blurred(np.asarray(fitted, np.float32))
    return float(np.corrcoef(seen.ravel(), wanted.ravel())[0, 1]), float(np.abs(seen - wanted).mean())


def _blurred(image: NDArray[np.float32]) -> NDArray[np.float32]:
    rows, columns = (side // BLUR * BLUR for side in image.shape)
    return image[:rows, :columns].reshape(rows // BLUR, BLUR, columns // BLUR, BLUR).mean((1, 3))


VIEWS: dict[str, tuple[tuple[str, ...], Callable[[NDArray[Any]], NDArray[Any]]]] = {
    "as it is": ((), lambda image: image),
    "rotated right": (("]", "t"), lambda image: np.rot90(image, -1)),
    "rotated left": (("[", "t"), lambda image: np.rot90(image)),
    "upside down": (("]", "]"), lambda image: np.rot90(image, 2)),
    "flipped": (("h",), np.fliplr),
    "flipped vertically": (("v",), np.flipud),
    "rotated, then flipped": (("]", "t", "h"), lambda image: np.fliplr(np.rot90(image, -1))),
    "flipped, then rotated": (("h", "]", "t"), lambda image: np.rot90(np.fliplr(image), -1)),
    "inverted": (("i",), lambda image: 1 - image),
}


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_views_turn_the_way_they_say(make_reader: Callable[..., Any], host: PageHost, photometric: str) -> None:
    data = chest_radiograph(300, 220, PhotometricInterpretation=photometric, WindowCenter="2000", WindowWidth="4500")
    display = to_display(read_dataset(data))
    reader = make_reader().open(host.radiograph("views", data))
    for name, (keys, turned) in VIEWS.items():
        reader.press("Home", *keys)
        correlation, difference = likeness(reader, np.ascontiguousarray(turned(display)))
        assert correlation > CORRELATION, (name, correlation)
        assert difference < DIFFERENCE, (name, difference)


@pytest.mark.real_data
def test_the_two_polarities_of_real_radiographs_are_shown_as_they_are_meant(
    reader: Any, host: PageHost, sample_data: Path
) -> None:
    paths = sorted((sample_data / "rsna").glob("*.dcm"))
    assert paths
    for path in paths:
        data = path.read_bytes()
        reader.open(host.radiograph(path.stem, data))
        correlation, difference = likeness(reader, to_display(read_dataset(data)))
        assert correlation > CORRELATION, (path.name, correlation, difference)
        assert difference < DIFFERENCE, (path.name, correlation, difference)


@pytest.fixture
def radiographs(sample_data: Path) -> dict[str, Path]:
    """Real radiographs by the digest of their bytes."""
    paths = sorted((sample_data / "radiographs").glob("*.dcm")) + sorted((sample_data / "rsna").glob("*.dcm"))
    return {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in paths}


@pytest.fixture
def service(tmp_path: Path, radiographs: dict[str, Path]) -> Iterator[Service]:
    workspace = tmp_path / "workspace"
    make_images(workspace, 1)
    entries = []
    for digest, path in radiographs.items():
        copy = workspace / "images" / f"{digest}.dcm"
        copy.write_bytes(path.read_bytes())
        entries.append({"source-ref": to_uri(copy), "labels": list(LABELS)})
    manifests.write(to_uri(workspace / "input.manifest"), entries)
    with running(workspace) as started:
        started.make_team()
        started.client().create_labeling_job(**job_request(workspace, workers=1, TaskTimeLimitInSeconds=3600))
        started.wait_for("reading", "InProgress")
        yield started


@pytest.mark.e2e
@pytest.mark.real_data
@pytest.mark.timeout(900)
def test_every_real_radiograph_is_displayed_and_labeled_on_the_labeling_service(
    make_reader: Callable[..., Any], host: PageHost, service: Service, radiographs: dict[str, Path], figures: dict[str, Any]
) -> None:
    reader: Reader = make_reader()
    page, images = reader.page, []
    page.on(
        "response",
        lambda response: images.append(response.url) if "dicom" in response.headers.get("content-type", "") else None,
    )
    page.goto(service.url)
    page.get_by_label("Name").fill("reader-1")
    page.get_by_label("Password").fill(PASSWORDS["reader-1"].reveal())
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Start").click()
    called: dict[str, str] = {}
    unlike: dict[str, tuple[float, float]] = {}
    for number in range(len(radiographs)):
        page.get_by_text(f"image {number + 1} of {len(radiographs)}").wait_for()
        reader.wait_for_image()
        data = page.context.request.get(images.pop()).body()  # the same bytes once more
        digest = hashlib.sha256(data).hexdigest()
        name = radiographs[digest].name
        found = likeness(reader, to_display(read_dataset(data)))
        if found[0] < CORRELATION or found[1] > DIFFERENCE:
            unlike[name] = found
        called[digest] = LABELS[number % 12]
        reader.answer(called[digest], "Present")
        reader.press("o", "Control+Enter")
        page.get_by_text("Thank you.").or_(page.get_by_text(f"image {number + 2} of {len(radiographs)}")).first.wait_for()
    service.wait_for("reading", "Completed", seconds=60)
    figures["radiographs_displayed"] = f"{len(called) - len(unlike)}/{len(radiographs)}"
    labeled = 0
    for line in output_lines(service.workspace):
        digest = Path(line["source-ref"]).stem
        with contextlib.suppress(KeyError):
            states = {label: said["state"] for label, said in line["finding"]["labels"].items()}
            positive = [label for label, state in states.items() if state == LabelState.POSITIVE]
            labeled += positive == [called[digest]] and set(states) == set(LABELS)
    figures["radiographs_labeled"] = f"{labeled}/{len(radiographs)}"
    assert unlike == {}
    assert (len(called), labeled) == (len(radiographs), len(radiographs))

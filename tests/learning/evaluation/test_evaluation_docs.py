"""docs/evaluation.md: every snippet runs as it stands, and its table is what the code prints."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest
import torch
from support.evaluation_data import write_predictions
from support.learning import LABELS, tiny_bundle, write_channel, write_lines

from dicom_workflow.errors import DatasetError
from dicom_workflow.learning.data import channel
from dicom_workflow.learning.evaluation import run
from dicom_workflow.learning.model import bundle

torch.set_num_threads(1)
PAGE = Path(__file__).resolve().parents[3] / "docs" / "evaluation.md"


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, a channel and two models' predictions, as the page speaks of them."""
    bundle.save(tiny_bundle(LABELS, mode="multi-label"), tmp_path / "model")
    lines = write_channel(tmp_path / "channel", 40)
    for line in lines:
        line["readers"] = {"reader-1": line["states"]}
    write_lines(tmp_path / "channel" / "test.manifest", [line for line in lines if line["split"] == "test"])
    write_predictions(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_does_what_it_says(workplace):
    snippets = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    printed = []
    for snippet in snippets:
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(snippet, names)  # noqa: S102  our own documentation
        printed.append(output.getvalue())
    one, readers, two = printed
    assert [line.split(" ")[0] for line in one.splitlines()] == ["Edema", "Fracture", "No"]
    assert readers.splitlines()[0].startswith("1 Edema [")
    assert two.strip() in PAGE.read_text(encoding="utf-8")


def test_a_bundle_is_judged_on_a_channel_at_the_specificity_that_was_asked_for(workplace):
    model = bundle.load("model")
    found = run.evaluate_bundle(model, "channel", specificity=0.75, resamples=0, progress=False)
    samples = [sample for sample in channel.read_channel("channel").samples if sample.split == "test"]
    assert (found.split, found.figures.images, found.left_out) == ("test", len(samples), 0)
    assert found.against["truth"].at_specificity == 0.75
    assert found.bundle == model.identifier
    samples[0].image.write_bytes(b"broken")
    again = run.evaluate_bundle(model, "channel", resamples=0, progress=False)
    assert (again.figures.images, again.left_out) == (len(samples) - 1, 1)


def test_a_bundle_of_other_labels_or_a_split_without_images_is_refused(workplace):
    with pytest.raises(DatasetError, match="no label of the bundle: it has Edema, Fracture, No Finding, the bundle Mass"):
        run.evaluate_bundle(tiny_bundle(["Mass"], mode="multi-label"), "channel")
    write_lines(workplace / "channel" / "test.manifest", [])
    with pytest.raises(DatasetError, match="none of 0 test images is usable"):
        run.evaluate_bundle(bundle.load("model"), "channel", progress=False)

"""Pictures: what they say, that they need neither screen nor global state, and that text of the data stays text."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import matplotlib
import nbformat
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from nbclient import NotebookClient
from PIL import Image

from dicom_workflow.dicom.reading import read_dataset
from dicom_workflow.errors import ArchiveUnavailableError
from dicom_workflow.formats.answers import Answer, LabelState, Region
from dicom_workflow.formats.labels import load_label_set
from dicom_workflow.labeling.output import LabeledObject
from dicom_workflow.learning.evaluation.report import Evaluation, Figures, LabelFigures
from dicom_workflow.storage import to_path, to_uri
from dicom_workflow.viz import charts, contact_sheets, sample_browser, samples, style, training
from dicom_workflow.viz.live import LiveFigure, LiveLabeling, LiveTraining
from dicom_workflow.viz.style import percent, plain, short_names, shrunk

LABELS = load_label_set("chest").labels

POSITIVE, NEGATIVE, UNCERTAIN, UNKNOWN = LabelState
HOSTILE = "<img src=x onerror=alert(1)> $\\frac{$ 肺炎\n\x1b[31m"


def sample_of(
    source: str,
    states: Mapping[str, LabelState] = MappingProxyType({}),
    answers: Mapping[str, Answer] = MappingProxyType({}),
    review: tuple[str, ...] = (),
    regions: tuple[Region, ...] = (),
) -> LabeledObject:
    return LabeledObject(1, source, {}, states=states, answers=answers, review=review, regions=regions)


RADIOGRAPH = np.linspace(0, 1, 80 * 100, dtype=np.float32).reshape(80, 100)
SAMPLES = [
    sample_of(
        "first",
        {"Edema": POSITIVE, "Fracture": NEGATIVE},
        {
            "reader-1": Answer({"Edema": POSITIVE, "Fracture": NEGATIVE}),
            "reader-2": Answer({"Edema": POSITIVE, "Fracture": UNKNOWN}),
        },
        regions=(Region("Edema", "rectangle", ((20, 10), (60, 50))), Region("Fracture", "point", ((90, 70),))),
    ),
    sample_of(
        "second",
        {"Edema": UNCERTAIN, "Fracture": NEGATIVE},
        {"reader-1": Answer({"Edema": POSITIVE, "Fracture": NEGATIVE}), "reader-2": Answer({"Edema": NEGATIVE})},
        review=("Edema",),
    ),
    sample_of("third", {"Edema": NEGATIVE, "Fracture": POSITIVE}, {"reader-2": Answer(unusable="rotated")}),
]
HISTORY = [
    {
        "epoch": 1,
        "epochs": 4,
        "train_loss": 0.7,
        "validation_loss": 0.8,
        "validation_auroc": 0.6,
        "seconds": 2.0,
        "is_best": True,
    },
    {
        "epoch": 2,
        "epochs": 4,
        "train_loss": 0.5,
        "validation_loss": 0.6,
        "validation_auroc": 0.9,
        "seconds": 4.0,
        "is_best": True,
    },
    {
        "epoch": 3,
        "epochs": 4,
        "train_loss": 0.4,
        "validation_loss": 0.7,
        "validation_auroc": 0.8,
        "seconds": 3.0,
        "is_best": False,
    },
]


def pixels_of(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def texts_of(figure: Figure) -> list[str]:
    """Every text of a figure, as it is drawn."""
    figure.canvas.draw()
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def headline(figure: Figure) -> str:
    assert figure._suptitle is not None
    return figure._suptitle.get_text()


def evaluated(labels: dict[str, LabelFigures], **means: Any) -> Evaluation:
    return Evaluation("test", "multi-label", "states", {"states": Figures(9, 9, labels, **means)})


EVERY_FIGURE: dict[str, Any] = {
    "upload": lambda text: contact_sheets.upload_figure(
        {"stored": 3, text: 1}, [(text, RADIOGRAPH)], seconds=2, size_bytes=10**7
    ),
    "empty upload": lambda text: contact_sheets.upload_figure({}),
    "manifest": lambda text: contact_sheets.manifest_figure([*LABELS, text], 167, [RADIOGRAPH] * 2, [text] * 2),
    "manifest without images": lambda text: contact_sheets.manifest_figure([text], 1),
    "labeling": lambda text: charts.labeling_progress(
        [{"seconds": 0, "labeled": 0}, {"seconds": 4000, "labeled": 5, "failed": 1, "answers": 15}], total=9, job_name=text
    ),
    "labeling begins": lambda text: charts.labeling_progress([]),
    "agreement": lambda text: charts.agreement_figure({"Edema": 0.7, text: None, "x": -0.2}, {text: 7, "r": 9}, overall=0.6),
    "no agreement": lambda text: charts.agreement_figure({}, {}),
    "label counts": lambda text: charts.label_counts_figure([{text: "positive"}, {"Edema": "unknown"}], ["train", "test"]),
    "no labels": lambda text: charts.label_counts_figure([]),
    "sample": lambda text: samples.sample_figure(
        sample_of(text, {text: POSITIVE}, {text: Answer({text: NEGATIVE}), "b": Answer(unusable=text)}, (text,),
                   (Region(text, "polygon", ((0, 0), (5, 0), (5, 5))), Region("", "ellipse", ((0, 0), (5, 5))))), RADIOGRAPH
    ),
    "sample of five workers": lambda text: samples.sample_figure(
        sample_of("x", {"Edema": POSITIVE}, {f"{text}-{n}": Answer({"Edema": POSITIVE}) for n in range(5)}), RADIOGRAPH
    ),
    "sample without anything": lambda text: samples.sample_figure(sample_of(text), RADIOGRAPH),
    "samples": lambda text: samples.samples_figure([*SAMPLES, sample_of(text)] * 2, [RADIOGRAPH] * 8),
    "failed sample": lambda text: samples.samples_figure([LabeledObject(1, text, {}, failure_reason=text)], [RADIOGRAPH]),
    "training": lambda text: training.training_figure(HISTORY),
    "training of one epoch": lambda text: training.training_figure(
        [{"epoch": 1, "train_loss": None, "validation_auroc": None}]
    ),
    "training begins": lambda text: training.training_figure([]),
    "auroc": lambda text: charts.auroc_figure(evaluated({text: LabelFigures(3, 9, 0, 0.5, auroc=0.9)}, macro_auroc=0.9)),
    "auroc of nothing": lambda text: charts.auroc_figure(None),
}  # fmt: skip


@pytest.mark.parametrize("name", EVERY_FIGURE)
def test_every_figure_is_drawn_whatever_text_the_data_hold(name: str) -> None:
    before = dict(matplotlib.rcParams)
    figure = EVERY_FIGURE[name](HOSTILE)
    assert isinstance(figure, Figure)
    png, size = figure._repr_png_()
    picture = pixels_of(png)
    assert picture.shape[:2] == pytest.approx((size["height"] * 1.6, size["width"] * 1.6), abs=2)
    assert picture.std() > 3  # something was drawn
    assert headline(figure)
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("name", ["upload", "labeling", "agreement", "label counts", "training", "auroc"])
def test_every_axis_with_numbers_says_what_they_are(name: str) -> None:
    figure = EVERY_FIGURE[name]("Edema")
    figure.canvas.draw()
    for axes in figure.axes:
        if axes.images or not axes.axison:
            continue
        assert axes.get_xlabel()
        assert axes.get_ylabel() or axes.get_title(loc="left") or axes.get_yticklabels()[0].get_text()


def test_pictures_need_no_pyplot() -> None:
    code = (
        "import sys; from dicom_workflow.viz.charts import auroc_figure; auroc_figure(None)._repr_png_()\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_figure_is_saved_as_png_by_uri(tmp_path: Path) -> None:
    uri = style.save(training.training_figure(HISTORY), to_uri(tmp_path / "training.png"))
    assert pixels_of(to_path(uri).read_bytes()).shape == (576, 1600, 3)


# What the figures say


def test_the_upload_says_how_many_files_arrived_and_how_fast() -> None:
    figure = contact_sheets.upload_figure(
        {"stored": 160, "already there": 5, "refused": 2}, seconds=8.35, size_bytes=83_500_000
    )
    said = texts_of(figure)
    assert headline(figure) == "165 of 167 files are in the archive"
    assert {" 160 (96 %)", " 5 (3 %)", " 2 (1 %)"} <= set(said)
    assert "20 files/s · 10.0 MB/s, checked by reading back" in said


def test_the_manifest_says_what_is_asked() -> None:
    figure = contact_sheets.manifest_figure(LABELS, 167, [RADIOGRAPH] * 12)
    assert headline(figure) == "167 images × 14 labels: 2,338 answers asked of each worker"
    assert set(LABELS) <= set(texts_of(figure))
    assert sum(len(axes.images) for axes in figure.findobj(matplotlib.axes.Axes)) == 8


def test_the_labeling_job_is_told_in_minutes_when_it_takes_long() -> None:
    seen = [{"seconds": 0, "labeled": 0}, {"seconds": 600, "labeled": 100, "failed": 2, "total": 167, "answers": 306}]
    figure = charts.labeling_progress(seen, job_name="chest")
    assert headline(figure) == "chest: 100 of 167 objects labeled, 2 failed"
    assert figure.axes[0].get_xlabel() == "minutes since the job began"
    assert "306 answers accepted" in texts_of(figure)
    assert headline(charts.labeling_progress([])) == "waiting for the first answers"


def test_agreement_says_kappa_per_label_and_where_there_is_none() -> None:
    figure = charts.agreement_figure(
        {"Edema": 0.712, "Fracture": None, "Pneumonia": -0.05}, {"a": 167, "b": 1600}, overall=0.62
    )
    said = texts_of(figure)
    assert headline(figure) == "Agreement of 2 workers: Fleiss' kappa 0.62"
    assert {"0.71", "not defined", "−0.05", "167", "1,600"} <= set(said)


def test_label_counts_are_shares_of_each_set_and_count_what_is_not_said_as_unknown() -> None:
    states = [
        {"Edema": "positive", "Fracture": "negative"},
        {"Edema": "uncertain"},
        {"Edema": "positive", "Fracture": "positive"},
    ]
    figure = charts.label_counts_figure(states, ["train", "train", "test"])
    train, test = figure.axes
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["train: 2 images", "test: 1 images"]
    # positive, uncertain, negative, unknown of Edema, then of Fracture
    assert [bar.get_width() for bar in train.patches] == [50, 50, 0, 0, 0, 0, 50, 50]
    assert [bar.get_width() for bar in test.patches] == [100, 0, 0, 0, 100, 0, 0, 0]
    assert headline(figure) == "3 labeled images in 2 sets"


def test_training_names_the_epoch_that_is_kept() -> None:
    assert headline(training.training_figure(HISTORY)) == "Validation AUROC 0.900 at epoch 2 of 4"
    assert headline(training.training_figure([{**HISTORY[0], "validation_auroc": None}])) == "Training: 1 of 4 epochs"
    assert headline(training.training_figure([])) == "Training: the first epoch is running"
    assert training.training_figure(HISTORY).axes[0].get_xlabel() == "epoch (3.0 s each)"


def test_auroc_is_drawn_with_its_interval_and_missing_values_are_said() -> None:
    figures = {
        "Edema": LabelFigures(1200, 9, 0, 0.5, auroc=0.95, auroc_interval=(0.9, 0.99)),
        "Fracture": LabelFigures(4, 9, 0, 0.5, auroc=0.85, auroc_interval=(0.3, 0.95)),
        "Pneumonia": LabelFigures(0, 9, 0, 0.5),
    }
    figure = charts.auroc_figure(evaluated(figures, macro_auroc=0.9, macro_auroc_interval=(0.81, 0.97)))
    said = texts_of(figure)
    assert headline(figure) == "Macro AUROC 0.900 (95 % interval 0.810 to 0.970)"
    assert {"0.950", "1,200", "0.850", "4", "not defined: positive and negative images are needed"} <= set(said)
    assert [list(line.get_xdata()) for line in figure.axes[0].lines if len(line.get_xdata()) == 2][:2] == [
        [0.9, 0.99],
        [0.3, 0.95],
    ]
    assert figure.axes[0].get_xlim()[0] == pytest.approx(0.28)


# Radiographs and regions


def test_a_radiograph_is_drawn_as_it_is_with_regions_at_their_pixels() -> None:
    image = np.zeros((80, 100), np.float32)
    image[10:50, 20:60] = 1.0  # exactly where the rectangle is
    axes = samples.sample_figure(SAMPLES[0], image).axes[0]
    assert list(axes.images[0].get_extent()) == [0, 100, 80, 0]
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 100), (80, 0))
    rectangle = axes.patches[0]
    assert (*rectangle.get_xy(), rectangle.get_width(), rectangle.get_height()) == (20, 10, 40, 40)
    assert [float(value) for value in (*axes.lines[0].get_xdata(), *axes.lines[0].get_ydata())] == [90, 70]


def test_the_frame_of_a_region_lies_on_its_pixels_in_the_browser() -> None:
    image = np.zeros((100, 100), np.float32)
    sample = sample_of("x", {}, regions=(Region("Edema", "rectangle", ((25, 50), (75, 100))),))
    picture = pixels_of(sample_browser.SampleBrowser([sample], lambda _: image).image.value)
    assert picture.shape == (540, 540, 3)
    colored = np.argwhere(picture[..., 0].astype(int) - picture[..., 2] > 60)  # yellow
    (top, left), (bottom, right) = colored.min(axis=0), colored.max(axis=0)
    assert [top, left, right] == pytest.approx([270, 135, 405], abs=2)
    assert bottom >= 537


def test_a_region_outside_the_image_does_not_move_it() -> None:
    sample = sample_of(
        "x", {}, regions=(Region("Edema", "ellipse", ((500, 500), (900, 900))), Region("", "point", ((-50, 3),)))
    )
    axes = samples.sample_figure(sample, RADIOGRAPH).axes[0]
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 100), (80, 0))


def test_a_large_image_is_shrunk_by_means_before_it_is_drawn() -> None:
    image = np.tile(np.array([[0.0, 1.0], [1.0, 0.0]], np.float32), (600, 900))
    small = shrunk(image, 600)
    assert small.shape == (400, 600)
    assert small.min() >= 0.4
    assert small.mean() == pytest.approx(0.5, abs=1e-3)
    assert shrunk(RADIOGRAPH, 600) is RADIOGRAPH
    assert shrunk(np.ones((3, 5000)), 500).shape == (1, 500)


def test_a_contact_sheet_keeps_the_aspect_of_each_image() -> None:
    figure = contact_sheets.manifest_figure(["a"], 2, [np.zeros((50, 100)), np.zeros((100, 50))])
    drawn = [axes for axes in figure.findobj(matplotlib.axes.Axes) if axes.images]
    assert [list(axes.images[0].get_extent()) for axes in drawn] == [[0, 100, 50, 0], [0, 50, 100, 0]]
    assert [abs(np.diff(axes.get_xlim())[0]) for axes in drawn] == [100, 100]
    assert [axes.get_aspect() for axes in drawn] == [1.0, 1.0]


# Samples


def test_the_table_says_who_said_what() -> None:
    said = texts_of(samples.sample_figure(SAMPLES[1], RADIOGRAPH))
    assert "second: 0 of 2 labels positive, 1 to review" in said
    assert {"Edema", "Fracture", "together", "reader-1", "reader-2", "to review"} <= set(said)
    # Edema: uncertain, +, −; Fracture: −, −, not said; then the legend of the four signs
    assert [text for text in said if text in "+?−·"] == ["?", "+", "−", "−", "−", "·", "+", "?", "−", "·"]


def test_a_worker_who_could_not_read_the_image_says_so() -> None:
    assert "image unusable for reader-2: rotated" in texts_of(samples.sample_figure(SAMPLES[2], RADIOGRAPH))


def test_samples_say_what_is_positive_and_what_is_open() -> None:
    figure = samples.samples_figure(SAMPLES, [RADIOGRAPH] * 3)
    assert headline(figure) == "3 labeled images, workers disagree on 1"
    below = [axes.get_xlabel().strip() for axes in figure.axes]
    assert below == ["+ Edema", "nothing positive\nto review: Edema", "+ Fracture"]


def test_labeled_objects_of_a_job_are_samples_too() -> None:
    labeled = LabeledObject(1, "502b0a4b-5cb43965-7f092716-bd6fe6d6-4f7fc3ce", {}, states={"Edema": POSITIVE})
    assert "502b0a4b-5cb43965: 1 of 1 labels positive" in texts_of(samples.sample_figure(labeled, RADIOGRAPH))


def test_not_answering_is_no_disagreement() -> None:
    assert [samples.has_disagreement(sample) for sample in SAMPLES] == [False, True, False]
    assert not samples.has_disagreement(SAMPLES[1], "Fracture")


def test_samples_worth_a_look_come_first() -> None:
    failed = sample_of("failed")
    assert [s.source for s in samples.choose_samples([failed, *SAMPLES[::-1]], 9)] == ["second", "first", "third", "failed"]
    assert [s.source for s in samples.choose_samples([failed, *SAMPLES], 3, label="Fracture")] == ["third", "first", "second"]
    assert [s.source for s in samples.choose_samples(SAMPLES, 1, label="Edema")] == ["first"]


# The browser


@pytest.fixture
def browser() -> sample_browser.SampleBrowser:
    return sample_browser.SampleBrowser(SAMPLES, lambda sample: RADIOGRAPH)


def test_the_browser_shows_the_first_sample_at_once(browser: sample_browser.SampleBrowser) -> None:
    assert browser.shown is SAMPLES[0]
    assert bytes(browser.image.value).startswith(b"\x89PNG")
    assert browser.message.value == "of 3 (all: 3)"
    assert "<b>first</b>" in browser.table.value
    assert (browser.previous.disabled, browser.next.disabled) == (True, False)
    assert "application/vnd.jupyter.widget-view+json" in browser._repr_mimebundle_()


def test_next_and_previous_stop_at_the_ends(browser: sample_browser.SampleBrowser) -> None:
    seen = []
    for button in (browser.next, browser.next, browser.next, browser.previous):
        button.click()
        seen.append(browser.shown.source if browser.shown else "")
    assert seen == ["second", "third", "third", "second"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"label": "Edema", "state": "positive"}, ["first"]),
        ({"state": "positive"}, ["first", "third"]),
        ({"label": "Fracture", "state": "unknown"}, []),
        ({"only": "workers disagree"}, ["second"]),
        ({"only": "workers disagree", "label": "Fracture"}, []),
        ({"only": "to review"}, ["second"]),
        ({"only": "to review", "label": "Fracture"}, []),
        ({"only": "without a label"}, []),
    ],
)
def test_the_browser_filters(browser: sample_browser.SampleBrowser, filters: dict[str, str], expected: list[str]) -> None:
    for name, value in filters.items():
        getattr(browser, name).value = value
    assert [sample.source for sample in browser.found] == expected
    if not expected:
        assert browser.shown is None
        assert browser.figure() is None
        assert browser.message.value == "none of 3 samples is like that"
        assert (browser.image.value, browser.table.value) == (b"", "")
    for name in filters:
        getattr(browser, name).value = "any"
    assert len(browser.found) == 3


def test_a_filter_stays_on_the_sample_that_is_looked_at(browser: sample_browser.SampleBrowser) -> None:
    browser.position.value = 3
    browser.state.value = "positive"
    assert browser.shown is SAMPLES[2]
    assert browser.position.value == 2
    browser.state.value = "any"
    assert browser.shown is SAMPLES[2]


def test_window_and_level_change_the_grey_values_and_reset_brings_them_back() -> None:
    image = np.full((64, 64), 0.5, np.float32)
    image[:, 32:] = 0.6
    browser = sample_browser.SampleBrowser([sample_of("x")], lambda _: image)

    def greys() -> list[int]:
        picture = pixels_of(browser.image.value)
        return [int(picture[270, 100, 0]), int(picture[270, 440, 0])]

    assert greys() == [128, 153]
    browser.window.value = 20
    assert greys() == [128, 255]
    browser.level.value = 60
    assert greys() == [0, 128]
    browser.reset.click()
    assert greys() == [128, 153]


def test_regions_can_be_hidden(browser: sample_browser.SampleBrowser) -> None:
    with_regions = pixels_of(browser.image.value)
    browser.regions.value = False
    without = pixels_of(browser.image.value)
    assert (with_regions[..., 0] != with_regions[..., 2]).any()
    assert (without[..., 0] == without[..., 2]).all()


def test_an_image_is_loaded_when_it_is_looked_at_and_once() -> None:
    loaded = []
    browser = sample_browser.SampleBrowser(SAMPLES, lambda sample: loaded.append(sample.source) or RADIOGRAPH)
    browser.window.value = 50
    browser.regions.value = False
    browser.next.click()
    assert browser.figure() is not None
    assert loaded == ["first", "second"]


def test_an_image_that_cannot_be_loaded_is_said_and_the_next_one_is_shown() -> None:
    def load(sample: LabeledObject) -> np.ndarray:
        if sample.source == "first":
            raise ArchiveUnavailableError("nothing answers at http://127.0.0.1:9.")
        return RADIOGRAPH

    browser = sample_browser.SampleBrowser(SAMPLES, load)
    assert browser.message.value == "the image cannot be shown: nothing answers at http://127.0.0.1:9."
    assert browser.image.value == b""
    assert "<b>first</b>" in browser.table.value
    browser.next.click()
    assert bytes(browser.image.value).startswith(b"\x89PNG")


def test_text_of_the_data_is_never_html() -> None:
    said = Answer({HOSTILE: POSITIVE}, (Region(HOSTILE, "point", ((1, 1),), HOSTILE),), comment=HOSTILE, unusable=HOSTILE)
    browser = sample_browser.SampleBrowser(
        [sample_of(HOSTILE, {HOSTILE: POSITIVE}, {HOSTILE: said}, (HOSTILE,))], lambda _: RADIOGRAPH
    )
    assert "<img" not in browser.table.value
    assert browser.table.value.count("&lt;img src=x") >= 6


def test_a_browser_of_nothing_says_so() -> None:
    browser = sample_browser.SampleBrowser([], lambda _: RADIOGRAPH)
    assert browser.shown is None
    assert browser.message.value == "none of 0 samples is like that"


# Live views


def test_a_live_view_draws_now_and_then_and_at_the_end() -> None:
    drawn = []

    def draw(history: list[Any]) -> Figure:
        drawn.append(len(history))
        return training.training_figure(history)

    with LiveFigure(draw, seconds_between=60) as live:
        for line in HISTORY:
            live.add(line)
    assert drawn == [0, 0, 3]
    assert headline(live.figure) == "Validation AUROC 0.900 at epoch 2 of 4"


def test_a_live_view_shows_how_far_it_came_when_something_fails() -> None:
    def fail() -> None:
        with live:
            live.update(HISTORY[:2])
            raise KeyboardInterrupt

    live = LiveTraining(seconds_between=60)
    with pytest.raises(KeyboardInterrupt):
        fail()
    assert headline(live.figure) == "Validation AUROC 0.900 at epoch 2 of 4"


def test_a_resumed_training_shows_the_epochs_before_it_from_the_start(tmp_path: Path) -> None:
    lines = [json.dumps(line) + "\n" for line in HISTORY]
    (tmp_path / "history.jsonl").write_text("".join(lines[:2]) + lines[2][:20])  # stopped while it wrote
    with LiveTraining(resumed=tmp_path, seconds_between=0) as live:
        assert [line["epoch"] for line in live.history] == [1, 2]
        assert headline(live.figure) == "Validation AUROC 0.900 at epoch 2 of 4"
        shown = live.figure
        for line in HISTORY[:2]:  # the run tells them again
            live.add(line)
        assert live.figure is shown
        live.add(HISTORY[2])
    assert live.history == HISTORY
    live.add({**HISTORY[0], "train_loss": 0.1})  # another run, from the first epoch
    assert len(live.history) == 1


def test_each_label_has_a_thin_line_and_its_name_beside_it() -> None:
    close = {"Edema": 0.8, "Fracture": 0.801, "Pneumonia": None}
    figure = training.training_figure([{**HISTORY[0], "epoch": number, "auroc": close} for number in (1, 2)])
    names = {text.get_text(): text.get_position()[1] for text in figure.axes[1].texts}
    assert set(names) == {"0.80 Edema", "0.80 Fracture"}
    assert abs(names["0.80 Edema"] - names["0.80 Fracture"]) > 0.02
    assert [list(line.get_ydata()) for line in figure.axes[1].lines[:2]] == [[0.8, 0.8], [0.801, 0.801]]
    figure.to_png(dpi=40)


def test_a_poll_of_a_labeling_job_is_one_step_of_its_picture() -> None:
    live = LiveLabeling(job_name="chest", seconds_between=0)
    live.watch(SimpleNamespace(labeled=3, failed=1, total=9))
    assert headline(live.figure) == "chest: 3 of 9 objects labeled, 1 failed"
    assert live.history[0]["seconds"] >= 0


def test_outside_of_a_notebook_a_live_view_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with LiveTraining() as live:
        live.update(HISTORY)
    assert capsys.readouterr() == ("", "")


def test_in_a_notebook_pictures_show_themselves_and_a_live_view_stays_one_output(tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(
                "from dicom_workflow.viz.live import LiveTraining\nfrom dicom_workflow.viz.training import training_figure\n"
                "with LiveTraining(seconds_between=0) as live:\n"
                "    for epoch in range(1, 4):\n"
                "        live.add({'epoch': epoch, 'epochs': 3, 'train_loss': 1 / epoch, 'validation_auroc': epoch / 4})"
            ),
            nbformat.v4.new_code_cell("training_figure(live.history)"),
            nbformat.v4.new_code_cell(
                "import numpy\n"
                "from dicom_workflow.labeling.output import LabeledObject\n"
                "from dicom_workflow.viz.sample_browser import SampleBrowser\n"
                "SampleBrowser([LabeledObject(1, 'a', {}), LabeledObject(2, 'b', {})], lambda _: numpy.eye(9))"
            ),
        ],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    live, still, browser = (cell.outputs for cell in notebook.cells)
    assert [list(output.data) for output in live] == [["text/plain", "image/png"]]
    assert live[0].data["image/png"] == still[0].data["image/png"]  # the last state, not the first
    assert still[0].metadata["image/png"] == {"width": 1000, "height": 360}
    assert "application/vnd.jupyter.widget-view+json" in browser[0].data


# Small things


def test_text_is_one_short_line_that_is_drawn_as_it_stands() -> None:
    assert plain("a\n b\tc\x00d\u202e") == "a b c d"
    assert plain("cost $5 and $6") == r"cost \$5 and \$6"
    assert plain("x" * 50, 10) == "xxxxxxxxx…"


def test_long_worker_ids_are_known_by_their_ends() -> None:
    names = ["reader-1", "simulated-reader-2", "private.us-east-1.0123456789abcdef", "a_long_name_of_somebody"]
    assert list(short_names(names).values()) == ["reader-1", "reader-2", "…abcdef", "somebody"]
    assert list(short_names(["simulated-reader-1", "other-team-reader-1"]).values()) == ["worker 1", "worker 2"]


def test_almost_all_is_not_all() -> None:
    assert [percent(part, 10_000) for part in (0, 1, 49, 5_000, 9_949, 9_999, 10_000)] == [
        "0 %", "< 1 %", "< 1 %", "50 %", "99 %", "> 99 %", "100 %",
    ]  # fmt: skip


@pytest.mark.real_data
def test_a_real_radiograph_is_drawn(sample_data: Path) -> None:
    from dicom_workflow.dicom import pixels

    image = pixels.to_display(read_dataset(sample_data / "radiographs" / "000.dcm"))
    picture = pixels_of(sample_browser.SampleBrowser([sample_of("x")], lambda _: image).image.value)
    assert abs(picture[..., 0].mean() / 255 - float(image.mean())) < 0.02

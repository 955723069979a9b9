"""Widget to browse labeled samples image by image."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dicom_workflow.errors import WorkflowError
from dicom_workflow.formats.answers import LabelState
from dicom_workflow.labeling.output import LabeledObject
from dicom_workflow.viz.samples import (
    REVIEW_COLOR,
    SIGN_COLORS,
    draw_regions,
    has_disagreement,
    labels_of,
    region_colors,
    sample_figure,
    title_of,
)
from dicom_workflow.viz.style import INK, STATE_SIGNS, STYLE, Picture, in_label_order, short_names, show_radiograph

ANY = "any"
DISPUTED, TO_REVIEW, FAILED = "workers disagree", "to review", "without a label"
IMAGE_PX = 540


class SampleBrowser:
    """Labeled samples one by one: image with window and level, regions, and the workers' answers.

    Show it by making it the last line of a cell. Samples are filtered by label, by its state, and by what is open about them.

    Parameters
    ----------
    samples : sequence of LabeledObject
    load_image : callable
        Returns the display image of one sample, ndarray of shape (rows, columns), float32 in [0, 1]; called when the sample
        is shown, not before.
    """

    def __init__(self, samples: Sequence[LabeledObject], load_image: Callable[[LabeledObject], NDArray[Any]]) -> None:
        self.samples = list(samples)
        self._load_image = load_image
        self._loaded: tuple[int, NDArray[Any]] | None = None
        self._colors = region_colors(self.samples)
        self._found: list[int] = []
        labels = in_label_order(label for sample in self.samples for label in labels_of(sample))
        wide, narrow = ipywidgets.Layout(width="250px"), ipywidgets.Layout(width="44px")
        self.label = ipywidgets.Dropdown(options=[ANY, *labels], description="label", layout=wide)
        self.state = ipywidgets.Dropdown(options=[ANY, *map(str, LabelState)], description="state", layout=wide)
        self.only = ipywidgets.Dropdown(options=[ANY, DISPUTED, TO_REVIEW, FAILED], description="only", layout=wide)
        self.position = ipywidgets.IntSlider(
            min=1, max=1, value=1, description="image", continuous_update=False, layout=ipywidgets.Layout(width="420px")
        )
        self.previous = ipywidgets.Button(icon="chevron-left", tooltip="previous image", layout=narrow)
        self.next = ipywidgets.Button(icon="chevron-right", tooltip="next image", layout=narrow)
        self.window = ipywidgets.IntSlider(min=2, max=200, value=100, description="window %", continuous_update=False)
        self.level = ipywidgets.IntSlider(min=0, max=100, value=50, description="level %", continuous_update=False)
        self.reset = ipywidgets.Button(description="reset", tooltip="window 100, level 50", layout={"width": "70px"})
        self.regions = ipywidgets.Checkbox(value=True, description="regions", indent=False)
        self.image = ipywidgets.Image(format="png", layout=ipywidgets.Layout(width=f"{IMAGE_PX}px", height=f"{IMAGE_PX}px"))
        self.table = ipywidgets.HTML(layout={"margin": "0 0 0 12px"})
        self.message = ipywidgets.Label()
        self.widget = ipywidgets.VBox(
            [
                ipywidgets.HBox([self.label, self.state, self.only]),
                ipywidgets.HBox([self.previous, self.position, self.next, self.message]),
                ipywidgets.HBox([self.image, self.table]),
                ipywidgets.HBox([self.window, self.level, self.reset, self.regions]),
            ]
        )
        for control in (self.label, self.state, self.only):
            control.observe(self._filter, "value")
        for control in (self.position, self.window, self.level, self.regions):
            control.observe(self._draw, "value")
        self.previous.on_click(lambda _: self._step(-1))
        self.next.on_click(lambda _: self._step(1))
        self.reset.on_click(self._reset)
        self._filter()

    @property
    def shown(self) -> LabeledObject | None:
        """The sample on display; None when the filter leaves none."""
        return self.samples[self._found[self.position.value - 1]] if self._found else None

    @property
    def found(self) -> list[LabeledObject]:
        """The samples that pass the filter."""
        return [self.samples[number] for number in self._found]

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.widget._repr_mimebundle_(**options)

    def _filter(self, _: object = None) -> None:
        before = self.shown
        self._found = [number for number, sample in enumerate(self.samples) if self._passes(sample)]
        kept = next((at for at, number in enumerate(self._found, 1) if self.samples[number] is before), 1)
        with self.position.hold_trait_notifications():
            self.position.max = max(1, len(self._found))
            self.position.value = kept
        self._draw()

    def _passes(self, sample: LabeledObject) -> bool:
        label, state, only = self.label.value, self.state.value, self.only.value
        named = labels_of(sample) if label == ANY else [label]
        if state != ANY and not any(sample.states.get(name, LabelState.UNKNOWN) == state for name in named):
            return False
        if only == DISPUTED:
            return has_disagreement(sample, "" if label == ANY else label)
        if only == TO_REVIEW:
            return bool(set(sample.review) & set(named))
        if only == FAILED:
            return not sample.states
        return label == ANY or label in labels_of(sample)

    def _step(self, step: int) -> None:
        self.position.value = min(max(self.position.value + step, 1), self.position.max)

    def _reset(self, _: object = None) -> None:
        self.window.value, self.level.value = 100, 50

    def _draw(self, _: object = None) -> None:
        sample = self.shown
        self.previous.disabled = self.position.value <= 1
        self.next.disabled = self.position.value >= self.position.max
        if sample is None:
            self.message.value = f"none of {len(self.samples)} samples is like that"
            self.image.value, self.table.value = b"", ""
            return
        self.message.value = f"of {len(self._found)} (all: {len(self.samples)})"
        self.table.value = _table(sample, self._colors)
        try:
            image = self._image(sample)
        except WorkflowError as error:
            self.message.value, self.image.value = f"the image cannot be shown: {error}", b""
            return
        # Window and level as on a reading station: of the gray values, `window` wide around `level`, black to white.
        width, center = self.window.value / 100, self.level.value / 100
        self.image.value = self._picture(np.clip((image - center) / width + 0.5, 0.0, 1.0), sample).to_png(dpi=100)

    def _image(self, sample: LabeledObject) -> NDArray[Any]:
        number = self._found[self.position.value - 1]
        if self._loaded is None or self._loaded[0] != number:
            self._loaded = (number, self._load_image(sample))
        return self._loaded[1]

    @matplotlib.rc_context(STYLE)
    def _picture(self, image: NDArray[Any], sample: LabeledObject) -> Picture:
        picture = Picture(IMAGE_PX / 100, IMAGE_PX / 100)
        picture.set_layout_engine("none")
        picture.set_facecolor("black")
        axes = picture.add_axes((0, 0, 1, 1))
        show_radiograph(axes, image)
        if self.regions.value:
            draw_regions(axes, sample.regions, self._colors)
        return picture

    def figure(self) -> Figure | None:
        """Return the picture that is shown, to keep it; None when the filter leaves no sample."""
        sample = self.shown
        return None if sample is None else sample_figure(sample, self._image(sample))


def _table(sample: LabeledObject, colors: Mapping[str, str]) -> str:
    """The workers' answers as an HTML table, every text of the data escaped; labels to review have a yellow row."""
    workers = short_names(sample.answers)
    lines = [f"<b>{_text(title_of(sample), 60)}</b>"]
    if sample.failure_reason:
        lines.append(f"<br>no label: {_text(sample.failure_reason, 300)}")
    names = ["", "together", *workers.values()]
    head = "".join(f'<th style="padding:0 5px; white-space:nowrap">{_text(name, 12)}</th>' for name in names)
    rows = []
    for label in labels_of(sample):
        states = [sample.states.get(label), *(answer.labels.get(label) for answer in sample.answers.values())]
        drawn = sum(region.label == label for region in sample.regions)
        mark = f'<span style="color:{colors[label]}; background:{INK}; padding:0 4px">{drawn} ▬</span>' if drawn else ""
        look = f"background:{REVIEW_COLOR}; color:{INK}" if label in sample.review else ""
        rows.append(
            f'<tr style="{look}"><td style="text-align:left; white-space:nowrap">{_text(label, 30)} {mark}</td>'
            f"{''.join(map(_cell, states))}</tr>"
        )
    lines.append(f'<table style="line-height:1.5; margin-top:6px"><tr>{head}</tr>{"".join(rows)}</table>')
    lines.append("<small>+ positive &nbsp; ? uncertain &nbsp; − negative &nbsp; · unknown &nbsp; yellow: to review</small>")
    for worker, answer in sample.answers.items():
        said = [f"image unusable: {answer.unusable}"] if answer.unusable else []
        said += [answer.comment] if answer.comment else []
        said += [f"{region.label or 'region'}: {region.comment}" for region in answer.regions if region.comment]
        lines += [f"<br><b>{_text(worker, 40)}</b> {_text(text, 300)}" for text in said]
    return "".join(lines)


def _cell(state: LabelState | None) -> str:
    known = state or LabelState.UNKNOWN
    return f'<td style="text-align:center; color:{SIGN_COLORS[known]}"><b>{STATE_SIGNS[known]}</b></td>'


def _text(value: object, limit: int) -> str:
    shown = str(value)
    return html.escape(shown if len(shown) <= limit else f"{shown[: limit - 1]}…")

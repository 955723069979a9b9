"""Live figures: one picture in a cell's output that is redrawn while a job or a training runs.

They fit what reports progress: ``run_training(…, on_epoch=live.add)``. In a notebook the same output is replaced, whether a
browser, papermill or nobody looks on; outside of IPython nothing is shown and `figure` holds the newest picture.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from matplotlib.figure import Figure

from dicom_workflow.viz.charts import labeling_progress
from dicom_workflow.viz.training import training_figure


class Counters(Protocol):
    """Counters of a labeling job, as `dicom_workflow.labeling.jobs.JobState` has them."""

    @property
    def labeled(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def total(self) -> int: ...


class LiveFigure:
    """A picture of a growing history; a context manager that draws the last state when it ends, however it ends.

    Parameters
    ----------
    draw : callable
        Returns the figure of a history.
    seconds_between : float
        Draw no more often than this; what came in between is in the next picture.
    """

    def __init__(self, draw: Callable[[list[Mapping[str, Any]]], Figure], *, seconds_between: float = 1.0) -> None:
        self._draw = draw
        self._seconds_between = seconds_between
        self._drawn_at = -seconds_between
        self._drawn_length = 0
        self._display: Any = None
        self.history: list[Mapping[str, Any]] = []
        self.figure: Figure = draw([])

    def add(self, entry: Mapping[str, Any]) -> None:
        """Take one more entry, and draw when it is time."""
        self.update([*self.history, entry])

    def update(self, history: Iterable[Mapping[str, Any]]) -> None:
        """Take the whole history so far, and draw when it is time."""
        self.history = list(history)
        if time.monotonic() - self._drawn_at >= self._seconds_between:
            self.refresh()

    def refresh(self) -> None:
        """Draw now."""
        self.figure = self._draw(self.history)
        self._drawn_at, self._drawn_length = time.monotonic(), len(self.history)
        self._show()

    def __enter__(self) -> Self:
        self.refresh()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._drawn_length != len(self.history):
            self.refresh()

    def _show(self) -> None:
        from IPython import get_ipython
        from IPython.display import display

        if get_ipython() is None:
            return
        if self._display is None:
            self._display = display(self.figure, display_id=True)
        else:
            self._display.update(self.figure)


class LiveTraining(LiveFigure):
    """The learning curves of a training run, while it runs: `training_figure` of the epochs so far.

    Parameters
    ----------
    seconds_between : float
        As for `LiveFigure`.
    resumed : Path, optional
        Output folder of a run that goes on: the epochs in its ``history.jsonl`` are shown from the start.
    """

    def __init__(self, *, seconds_between: float = 1.0, resumed: Path | None = None) -> None:
        super().__init__(training_figure, seconds_between=seconds_between)
        path = resumed / "history.jsonl" if resumed else None
        if path and path.is_file():
            # The last line may have been cut when the run was stopped; the run itself tells that epoch again.
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            self.history = [json.loads(line) for line in lines if line.endswith("\n")]

    def add(self, entry: Mapping[str, Any]) -> None:
        """Take one more epoch, and draw when it is time; one that is known already is not drawn again.

        A run that goes on tells all its epochs from the first, and one that starts anew tells its own: what they say counts.
        """
        if entry in self.history:
            return
        earlier = [line for line in self.history if line["epoch"] < entry["epoch"]]
        self.update([*earlier, entry])


class LiveLabeling(LiveFigure):
    """The counters of a labeling job, while workers answer: `labeling_progress` of the polls so far.

    Parameters
    ----------
    total : int
        Objects of the job, where a poll does not say.
    job_name : str
        For the headline.
    seconds_between : float
        Draw no more often than this.
    """

    def __init__(self, *, total: int = 0, job_name: str = "", seconds_between: float = 1.0) -> None:
        super().__init__(partial(labeling_progress, total=total, job_name=job_name), seconds_between=seconds_between)
        self._began = time.monotonic()

    def watch(self, state: Counters) -> None:
        """Take what a poll of the job said: ``job.wait(…, on_poll=live.watch)``."""
        seconds = time.monotonic() - self._began
        self.add({"seconds": seconds, "labeled": state.labeled, "failed": state.failed, "total": state.total})

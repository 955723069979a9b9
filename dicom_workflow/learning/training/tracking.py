"""Tracking a training run in TensorBoard, in MLflow, in both or, as by default, in neither.

    with tracking.open_tracker("tensorboard,mlflow", output_dir, name="chest", parameters=settings) as tracker:
        tracker.log({"train_loss": 0.4, "auroc": {"Fracture": 0.9}}, step=1)
        tracker.finish({"test_auroc": 0.91}, [output_dir / "evaluation.json"])

    tensorboard --logdir OUTPUT_DIR/tensorboard
    mlflow ui --backend-store-uri sqlite:///OUTPUT_DIR/mlruns/mlflow.db

Both are packages of their own, imported only when asked for. A tracker that stops working is named once, and training goes on:
hours of it are worth more than a curve, and ``history.jsonl`` has the figures anyway.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dicom_workflow.errors import LearningError
from dicom_workflow.learning.training.tracking_sinks import MLflow, Sink, TensorBoard, without_passwords

KINDS = ("tensorboard", "mlflow")
PACKAGES = {"tensorboard": "tensorboard>=2.18,<3", "mlflow": "mlflow>=3.5,<4"}
"""What must be installed for each kind."""


class Tracker:
    """Writes the figures of a run to every sink; without sinks it does nothing."""

    def __init__(self, sinks: Mapping[str, Sink]) -> None:
        self._sinks = dict(sinks)
        self._errors: tuple[type[Exception], ...] = (OSError, *_library_errors(sinks))
        self.outcome = "stopped"
        """``finished`` after `finish`."""

    def log(self, line: Mapping[str, Any], step: int) -> None:
        """Write the numbers of one line of the history.

        Parameters
        ----------
        line : mapping
            Numbers by name, also one level below (``auroc/Fracture``); what is no finite number is left out.
        step : int
            The epoch, counted from 1.
        """
        if self._sinks:
            figures = numbers(line)
            self._each(lambda sink: sink.log(figures, step))

    def finish(self, metrics: Mapping[str, Any], artifacts: Sequence[Path] = ()) -> None:
        """Write the figures of the finished run and keep files with it.

        Parameters
        ----------
        metrics : mapping
            As in `log`.
        artifacts : sequence of Path
            Files for MLflow to keep, such as the evaluation and the model card. An MLflow server may be shared: nothing that
            names patients, so not ``predictions.jsonl``.
        """
        self.outcome = "finished"
        if self._sinks:
            figures = numbers(metrics)
            self._each(lambda sink: sink.finish(figures, artifacts))

    def close(self) -> None:
        """Write everything to its end."""
        self._each(lambda sink: sink.close(self.outcome))
        self._sinks = {}

    def _each(self, call: Any) -> None:
        for kind, sink in list(self._sinks.items()):
            try:
                call(sink)
            except self._errors as error:
                del self._sinks[kind]
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                said = without_passwords(reason)
                print(f"tracking: {kind} stopped working and is left out from here on: {said}", flush=True)


@contextmanager
def open_tracker(
    kinds: str, folder: str | Path, *, name: str, parameters: Mapping[str, Any], from_step: int = 0
) -> Iterator[Tracker]:
    """Yield a tracker; what it writes is complete when the block is left, however it is left.

    Parameters
    ----------
    kinds : str
        ``none``, ``tensorboard``, ``mlflow`` or ``tensorboard,mlflow``.
    folder : path
        Output folder of the run: gets ``tensorboard/``, and ``mlruns/`` unless MLflow's own MLFLOW_TRACKING_URI names a server.
    name : str
        Of MLflow's experiment.
    parameters : mapping
        Settings of the run. Values that are no text, number or boolean are left out; addresses lose what may be a secret.
    from_step : int
        Last step that an interrupted run has written: what came after is written again, into the same MLflow run.

    Raises
    ------
    LearningError
        `kinds` names something else, its package is not installed (the message has the command), or it cannot be opened.
    """
    sinks: dict[str, Sink] = {}
    opened = Tracker(sinks)
    try:
        for kind in parse_kinds(kinds):
            _require(kind)
            make: type[TensorBoard] | type[MLflow] = TensorBoard if kind == "tensorboard" else MLflow
            sinks[kind] = make(Path(folder), name, safe(parameters), from_step)
        opened = Tracker(sinks)
        yield opened
    except BaseException:
        opened.outcome = "failed"
        raise
    finally:
        opened.close()


def parse_kinds(kinds: str) -> tuple[str, ...]:
    """Return the kinds of tracking that a flag names, in the order of `KINDS`.

    Raises
    ------
    LearningError
        It names something else.
    """
    given = {kind.strip() for kind in kinds.split(",") if kind.strip()} - {"none"}
    if given - set(KINDS):
        raise LearningError(f"--tracking: expected none, {', '.join(KINDS)} or both with a comma, got {kinds!r}.")
    return tuple(kind for kind in KINDS if kind in given)


def requirements(kinds: str) -> tuple[str, ...]:
    """Return the packages that tracking needs beside those that training needs, as lines of a requirements file."""
    return tuple(PACKAGES[kind] for kind in parse_kinds(kinds))


def numbers(line: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return the finite numbers of an object by name; those one level below as ``outer/inner``."""
    found: dict[str, float] = {}
    for key, value in line.items():
        if isinstance(value, Mapping):
            found.update(numbers(value, f"{prefix}{key}/"))
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            found[_name(f"{prefix}{key}")] = float(value)
    return found


def safe(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return parameters as texts; addresses without user, password and query, where keys and signatures stand."""
    kept = {}
    for key, value in parameters.items():
        if isinstance(value, str | int | float | bool | Path):
            text = str(value)
            if "://" in text:
                parts = urlsplit(text)
                text = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
            kept[_name(key)] = text[:500]
    return kept


def _name(text: str) -> str:
    """Return a name without the characters that MLflow does not accept."""
    return re.sub(r"[^\w./ -]", "_", text)


def _require(kind: str) -> None:
    try:
        importlib.import_module("torch.utils.tensorboard" if kind == "tensorboard" else "mlflow.tracking")
    except ModuleNotFoundError as error:
        command = f"pip install '{PACKAGES[kind]}'"
        raise LearningError(f"--tracking {kind}: {error.name} is not installed. Run: {command}") from None


def _library_errors(sinks: Mapping[str, Sink]) -> tuple[type[Exception], ...]:
    if "mlflow" not in sinks:
        return ()
    from mlflow.exceptions import MlflowException

    return (MlflowException,)

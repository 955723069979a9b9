"""Tracking a training run in TensorBoard, in MLflow, in both or, as by default, in neither.

    with tracking.open_tracker("tensorboard,mlflow", output_dir, name="chest", parameters=settings) as tracker:
        tracker.log({"train_loss": 0.4, "auroc": {"Edema": 0.9}}, step=1)
        tracker.finish({"test_auroc": 0.91}, [output_dir / "evaluation.json"])

    tensorboard --logdir OUTPUT_DIR/tensorboard
    mlflow ui --backend-store-uri sqlite:///OUTPUT_DIR/mlruns/mlflow.db

Both are packages of their own, imported only when asked for. A tracker that stops working is named once, and training goes on:
hours of it are worth more than a curve, and ``history.jsonl`` has the figures anyway.
"""

from __future__ import annotations

import importlib
import json
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from dicom_workflow.errors import LearningError

KINDS = ("tensorboard", "mlflow")
PACKAGES = {"tensorboard": "tensorboard>=2.18,<3", "mlflow": "mlflow>=3.5,<4"}
"""What must be installed for each kind."""

_RUN_FILE = "mlflow-run.json"


class Sink(Protocol):
    """One place that figures go to."""

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Write the figures of one step."""

    def finish(self, figures: Mapping[str, float], artifacts: Sequence[Path]) -> None:
        """Write the figures of the whole run, and keep files."""

    def close(self, outcome: str) -> None:
        """Write everything to its end; `outcome` is ``finished``, ``stopped`` or ``failed``."""


class Tracker:
    """Hands the figures of a run to every sink; without sinks it does nothing."""

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
            Numbers by name, also one level below (``auroc/Edema``); what is no finite number is left out.
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
                print(f"tracking: {kind} stopped working and is left out from here on: {reason}", flush=True)


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
            make = _TensorBoard if kind == "tensorboard" else _MLflow
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
    """Return a name that both know how to write: a label may have characters that MLflow has not."""
    return re.sub(r"[^\w./ -]", "_", text)


def _require(kind: str) -> None:
    try:
        importlib.import_module("torch.utils.tensorboard" if kind == "tensorboard" else "mlflow.tracking")
    except ModuleNotFoundError as error:
        command = f"pip install '{PACKAGES[kind]}'"
        raise LearningError(
            f"--tracking {kind}: expected the package {kind}, but {error.name} is not installed. Run: {command}"
        ) from None


def _library_errors(sinks: Mapping[str, Sink]) -> tuple[type[Exception], ...]:
    if "mlflow" not in sinks:
        return ()
    from mlflow.exceptions import MlflowException

    return (MlflowException,)


class _TensorBoard:
    """Event files in ``tensorboard/``."""

    def __init__(self, folder: Path, name: str, parameters: Mapping[str, str], from_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        try:
            # The steps after the checkpoint are written again: purge_step takes the former ones off the curves.
            purge = {"purge_step": from_step + 1} if from_step else {}
            self._writer = SummaryWriter(str(folder / "tensorboard"), **purge)
        except OSError as error:
            raise LearningError(f"--tracking tensorboard: expected to write to {folder / 'tensorboard'}: {error}") from error
        table = "".join(f"| {key} | {value} |\n" for key, value in parameters.items())
        self._writer.add_text("parameters", f"| setting | value |\n| --- | --- |\n{table}", from_step)

    def log(self, figures: Mapping[str, float], step: int) -> None:
        for key, value in figures.items():
            self._writer.add_scalar(key, value, step)
        self._writer.flush()  # an epoch takes minutes; who looks shall see the last one

    def finish(self, figures: Mapping[str, float], artifacts: Sequence[Path]) -> None:
        for key, value in figures.items():
            self._writer.add_scalar(f"final/{key}", value)

    def close(self, outcome: str) -> None:
        self._writer.close()


class _MLflow:
    """One run, in a database under ``mlruns/`` or where MLFLOW_TRACKING_URI says.

    It goes through the client: the global functions keep a current run per process, which a notebook may have one of already.
    """

    def __init__(self, folder: Path, name: str, parameters: Mapping[str, str], from_step: int) -> None:
        from mlflow.exceptions import MlflowException

        try:
            with _quiet():
                self._client, location = _client(folder)
                self._run = self._continued(folder) if from_step else ""
                self._run = self._run or self._new(name, parameters, location)
            (folder / _RUN_FILE).write_text(json.dumps({"run_id": self._run}) + "\n", encoding="utf-8")
        except (MlflowException, OSError) as error:
            raise LearningError(f"--tracking mlflow: expected to open a run: {error}") from error

    def _new(self, name: str, parameters: Mapping[str, str], location: str | None) -> str:
        from mlflow.entities import Param

        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name, artifact_location=location)
        run = str(self._client.create_run(experiment).info.run_id)
        self._client.log_batch(run, params=[Param(key, value) for key, value in parameters.items()])
        return run

    def _continued(self, folder: Path) -> str:
        from mlflow.exceptions import MlflowException

        with suppress(OSError, ValueError, KeyError, MlflowException):  # then it is a run of its own
            run = str(json.loads((folder / _RUN_FILE).read_text(encoding="utf-8"))["run_id"])
            self._client.update_run(run, status="RUNNING")
            return run
        return ""

    def log(self, figures: Mapping[str, float], step: int) -> None:
        import time

        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        with _quiet():
            self._client.log_batch(self._run, metrics=[Metric(key, value, now, step) for key, value in figures.items()])

    def finish(self, figures: Mapping[str, float], artifacts: Sequence[Path]) -> None:
        self.log({f"final/{key}": value for key, value in figures.items()}, 0)
        with _quiet():
            for path in artifacts:
                self._client.log_artifact(self._run, str(path))

    def close(self, outcome: str) -> None:
        states = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
        with _quiet():
            self._client.set_terminated(self._run, status=states[outcome])


def _client(folder: Path) -> tuple[Any, str | None]:
    """Return MLflow's client and where a new experiment keeps its files (None: where the server says)."""
    import mlflow
    from mlflow.environment_variables import MLFLOW_DISABLE_TELEMETRY
    from mlflow.telemetry import set_telemetry_client
    from mlflow.tracking import MlflowClient

    # MLflow reports usage to its makers; a hospital's machine does not.
    before = MLFLOW_DISABLE_TELEMETRY.get_raw()
    MLFLOW_DISABLE_TELEMETRY.set(True)
    set_telemetry_client()
    if before is None:
        MLFLOW_DISABLE_TELEMETRY.unset()
    if mlflow.is_tracking_uri_set():
        return MlflowClient(), None
    runs = (folder / "mlruns").resolve()
    runs.mkdir(parents=True, exist_ok=True)
    # Its plain files are no longer developed and refused by default; a database in one file is what it recommends.
    return MlflowClient(tracking_uri=f"sqlite:///{runs / 'mlflow.db'}"), (runs / "artifacts").as_uri()


@contextmanager
def _quiet() -> Iterator[None]:
    """MLflow uses its own database library in ways that this one warns about; that is between the two."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(mlflow|sqlalchemy|alembic)(\.|$)")
        warnings.filterwarnings("ignore", message=".*loader strategy is deprecated.*")
        yield

"""Tracking sinks: TensorBoard event files and MLflow runs."""

from __future__ import annotations

import json
import re
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from dicom_workflow.errors import LearningError

_RUN_FILE = "mlflow-run.json"


class Sink(Protocol):
    """Interface of a tracking sink."""

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Write the figures of one step."""

    def finish(self, figures: Mapping[str, float], artifacts: Sequence[Path]) -> None:
        """Write the figures of the whole run, and keep files."""

    def close(self, outcome: str) -> None:
        """Write everything to its end; `outcome` is ``finished``, ``stopped`` or ``failed``."""


class TensorBoard:
    """Event files in ``tensorboard/``.

    Parameters
    ----------
    folder : Path
        Output folder of the run.
    name : str
        Not used: the folder names the run.
    parameters : mapping of str to str
        Settings of the run.
    from_step : int
        Last step that an interrupted run has written.

    Raises
    ------
    LearningError
        The folder cannot be written.
    """

    def __init__(self, folder: Path, name: str, parameters: Mapping[str, str], from_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        try:
            # The steps after the checkpoint are written again: purge_step takes the former ones off the curves.
            purge = {"purge_step": from_step + 1} if from_step else {}
            self._writer = SummaryWriter(str(folder / "tensorboard"), **purge)
        except OSError as error:
            raise LearningError(f"--tracking tensorboard: {folder / 'tensorboard'} cannot be written: {error}") from error
        table = "".join(f"| {key} | {value} |\n" for key, value in parameters.items())
        self._writer.add_text("parameters", f"| setting | value |\n| --- | --- |\n{table}", from_step)

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Write the figures of one step."""
        for key, value in figures.items():
            self._writer.add_scalar(key, value, step)
        self._writer.flush()  # an epoch takes minutes; who looks shall see the last one

    def finish(self, figures: Mapping[str, float], artifacts: Sequence[Path]) -> None:
        """Write the figures of the whole run, and keep files where that is possible."""
        for key, value in figures.items():
            self._writer.add_scalar(f"final/{key}", value)

    def close(self, outcome: str) -> None:
        """Write everything to its end."""
        self._writer.close()


class MLflow:
    """One run, in a database under ``mlruns/`` or where MLFLOW_TRACKING_URI says.

    It goes through the client: the global functions keep a current run per process, which a notebook may have one of already.

    Parameters
    ----------
    folder : Path
        Output folder of the run.
    name : str
        Of the experiment.
    parameters : mapping of str to str
        Settings of the run.
    from_step : int
        Last step that an interrupted run has written; above 0 the run that the folder names is continued.

    Raises
    ------
    LearningError
        The run cannot be opened.
    """

    def __init__(self, folder: Path, name: str, parameters: Mapping[str, str], from_step: int) -> None:
        from mlflow.exceptions import MlflowException

        try:
            with quiet():
                self._client, location = _client(folder)
                self._run = self._continued(folder) if from_step else ""
                self._run = self._run or self._new(name, parameters, location)
            (folder / _RUN_FILE).write_text(json.dumps({"run_id": self._run}) + "\n", encoding="utf-8")
        except (MlflowException, OSError) as error:
            # None: the library's own error quotes the server's address as it was given, with a password that stands in it.
            raise LearningError(f"--tracking mlflow: a run cannot be opened: {without_passwords(str(error))}") from None

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
        """Write the figures of one step."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        with quiet():
            self._client.log_batch(self._run, metrics=[Metric(key, value, now, step) for key, value in figures.items()])

    def finish(self, figures: Mapping[str, float], artifacts: Sequence[Path]) -> None:
        """Write the figures of the whole run, and keep files where that is possible."""
        self.log({f"final/{key}": value for key, value in figures.items()}, 0)
        with quiet():
            for path in artifacts:
                self._client.log_artifact(self._run, str(path))

    def close(self, outcome: str) -> None:
        """Write everything to its end."""
        states = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
        with quiet():
            self._client.set_terminated(self._run, status=states[outcome])


def without_passwords(text: str) -> str:
    """Return a text with user and password removed from its addresses."""
    return re.sub(r"://[^/\s]*@", "://", text)


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
def quiet() -> Iterator[None]:
    """Suppress the warnings of MLflow's database library about how MLflow uses it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(mlflow|sqlalchemy|alembic)(\.|$)")
        warnings.filterwarnings("ignore", message=".*loader strategy is deprecated.*")
        yield

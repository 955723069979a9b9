"""What a tracker wrote is read back with the libraries' own readers; without one, nothing is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dicom_workflow.errors import LearningError
from dicom_workflow.learning.training import tracking, tracking_sinks

LINES = (
    {"epoch": 1, "train_loss": 0.7, "validation_auroc": None, "auroc": {"Edema": 0.5, "COVID-19": None}, "is_best": True},
    {"epoch": 2, "train_loss": 0.25, "validation_auroc": 0.75, "auroc": {"Edema": 1.0, "COVID-19": 0.5}, "is_best": False},
)
PARAMETERS = {"channel": Path("/data/channel"), "learning_rate": 1e-3, "compile": True, "labels": ["a"]}


def write(kinds: str, folder: Path, lines: Any = LINES, *, from_step: int = 0, artifacts: Any = ()) -> None:
    with tracking.open_tracker(kinds, folder, name="chest", parameters=PARAMETERS, from_step=from_step) as tracker:
        for line in lines:
            tracker.log(line, step=line["epoch"])
        tracker.finish({"test_auroc": 0.875, "interval": {"low": 0.8}}, artifacts)


def events(folder: Path) -> Any:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return found


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """MLflow's client of the local folder."""
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")

    def client(folder: Path = tmp_path) -> Any:
        with tracking_sinks.quiet():
            return MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}")

    return client


def runs_of(client: Any) -> list[Any]:
    with tracking_sinks.quiet():
        return list(client.search_runs([client.get_experiment_by_name("chest").experiment_id]))


def test_no_tracking_imports_nothing_and_writes_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from dicom_workflow.learning.training import tracking\n"
        f"with tracking.open_tracker('none', {str(tmp_path)!r}, name='', parameters={{}}) as tracker:\n"
        "    tracker.log({'a': 1}, 1); tracker.finish({})\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules} & {'torch', 'mlflow', 'tensorboard', 'numpy'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_has_every_number_at_its_epoch(tmp_path: Path) -> None:
    write("tensorboard", tmp_path)
    found = events(tmp_path)
    points = {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}
    assert points["train_loss"] == [(1, pytest.approx(0.7)), (2, 0.25)]
    assert points["validation_auroc"] == [(2, 0.75)]
    assert points["auroc/Edema"] == [(1, 0.5), (2, 1.0)]
    assert points["auroc/COVID-19"] == [(2, 0.5)]
    assert points["final/interval/low"] == [(0, pytest.approx(0.8))]
    assert "is_best" not in points
    [table] = found.Tensors("parameters/text_summary")
    assert b"| learning_rate | 0.001 |" in table.tensor_proto.string_val[0]


def test_a_resumed_run_goes_on_in_the_same_curves(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), tracking.open_tracker("tensorboard", tmp_path, name="", parameters={}) as tracker:
        tracker.log(LINES[0], 1)
        tracker.log({"train_loss": 99.0}, 2)
        raise RuntimeError("lost its machine after the checkpoint of epoch 1")
    write("tensorboard", tmp_path, LINES[1:], from_step=1)
    assert [(event.step, event.value) for event in events(tmp_path).Scalars("train_loss")] == [
        (1, pytest.approx(0.7)),
        (2, 0.25),
    ]


def test_mlflow_has_parameters_numbers_and_files_of_a_finished_run(mlflow: Any, tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_text("{}")
    write("mlflow", tmp_path, artifacts=[tmp_path / "evaluation.json"])
    client = mlflow()
    [run] = runs_of(client)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"channel": "/data/channel", "learning_rate": "0.001", "compile": "True"}
    assert run.data.metrics["final/test_auroc"] == 0.875
    assert set(run.data.tags) == {"mlflow.runName"}, "no user, host or path of the machine"
    history = client.get_metric_history(run.info.run_id, "train_loss")
    assert [(point.step, point.value) for point in history] == [(1, 0.7), (2, 0.25)]
    assert [item.path for item in client.list_artifacts(run.info.run_id)] == ["evaluation.json"]
    assert run.info.artifact_uri.startswith((tmp_path / "mlruns" / "artifacts").as_uri())


def test_an_mlflow_run_that_was_killed_goes_on_as_the_same_run(mlflow: Any, tmp_path: Path) -> None:
    with tracking.open_tracker("mlflow", tmp_path, name="chest", parameters=PARAMETERS) as tracker:
        tracker.log(LINES[0], 1)
    client = mlflow()
    assert [run.info.status for run in runs_of(client)] == ["KILLED"]
    write("mlflow", tmp_path, LINES[1:], from_step=1)
    [run] = runs_of(client)
    assert run.info.status == "FINISHED"
    assert [point.step for point in client.get_metric_history(run.info.run_id, "train_loss")] == [1, 2]


def test_mlflows_own_variable_names_another_place(mlflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "mlruns").mkdir(parents=True)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere / 'mlruns' / 'mlflow.db'}")
    with tracking.open_tracker("mlflow", tmp_path, name="chest", parameters={}) as tracker:
        tracker.log(LINES[0], 1)
    assert not (tmp_path / "mlruns").exists()
    assert len(runs_of(mlflow(elsewhere))) == 1


def test_mlflow_sends_no_usage_home(mlflow: Any, tmp_path: Path) -> None:
    from mlflow.telemetry import get_telemetry_client

    with tracking.open_tracker("mlflow", tmp_path, name="chest", parameters={}):
        assert get_telemetry_client() is None


def test_a_tracker_that_breaks_is_named_once_and_training_goes_on(
    mlflow: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tracking.open_tracker("tensorboard,mlflow", tmp_path, name="chest", parameters={}) as tracker:
        tracker.log(LINES[0], 1)
        with tracking_sinks.quiet():
            tracker._sinks["mlflow"]._client.delete_run(tracker._sinks["mlflow"]._run)  # type: ignore[attr-defined]
        tracker.log(LINES[1], 2)
        tracker.finish({})
    said = capsys.readouterr().out
    assert said.count("tracking: mlflow stopped working and is left out from here on: ") == 1
    assert [event.step for event in events(tmp_path).Scalars("train_loss")] == [1, 2]


def test_a_password_in_the_address_of_a_server_is_not_said(
    mlflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://doctor:hush@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with (
        pytest.raises(LearningError, match=r"a run cannot be opened: .*http://127") as refused,
        tracking.open_tracker("mlflow", tmp_path, name="chest", parameters={}),
    ):
        pass
    assert "hush" not in str(refused.value)
    assert refused.value.__suppress_context__, "nor below it, in a notebook"

    class Gone:
        def close(self, outcome: str) -> None:
            raise OSError("http://doctor:hush@127.0.0.1:9 does not answer")

    tracking.Tracker({"tensorboard": Gone()}).close()  # type: ignore[dict-item]
    assert capsys.readouterr().out.endswith("from here on: http://127.0.0.1:9 does not answer\n")


def test_what_is_no_kind_of_tracking_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(LearningError, match="--tracking: expected none, tensorboard, mlflow or both with a comma, got 'wandb'"),
        tracking.open_tracker("wandb", tmp_path, name="", parameters={}),
    ):
        pass
    assert tracking.parse_kinds("mlflow, tensorboard") == ("tensorboard", "mlflow")
    assert tracking.parse_kinds("") == tracking.parse_kinds("none") == ()


@pytest.mark.parametrize(("kind", "module"), [("tensorboard", "tensorboard"), ("mlflow", "mlflow")])
def test_a_missing_package_is_named_with_the_command_that_installs_it(kind: str, module: str, tmp_path: Path) -> None:
    code = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from dicom_workflow.errors import LearningError\nfrom dicom_workflow.learning.training import tracking\n"
        "try:\n"
        f"    tracking.open_tracker({kind!r}, {str(tmp_path)!r}, name='', parameters={{}}).__enter__()\n"
        "except LearningError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"Run: pip install '{tracking.PACKAGES[kind]}'" in done.stdout


def test_addresses_lose_what_may_be_a_secret_and_names_what_mlflow_cannot_write() -> None:
    given = {
        "init_weights": "https://user:word@example.org/w.safetensors?X-Amz-Signature=abc",
        "s3": "s3://bucket/weights.safetensors",
        "odd (name)": 1,
        "nothing": None,
    }
    assert tracking.safe(given) == {
        "init_weights": "https://example.org/w.safetensors",
        "s3": "s3://bucket/weights.safetensors",
        "odd _name_": "1",
    }
    assert tracking.numbers({"auroc": {"Lesion (any)": 0.5}, "loss": float("nan"), "n": 3, "best": True}) == {
        "auroc/Lesion _any_": 0.5,
        "n": 3.0,
    }

"""The training script: its settings, its results, and that a stopped run goes on as if it had not been stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import get_type_hints

import pytest
from safetensors.torch import load_file
from support.learning import LABELS, entry, write_channel, write_lines

from dicom_workflow.errors import LearningError
from dicom_workflow.learning.data.channel import read_channel
from dicom_workflow.learning.evaluation.report import read_evaluation
from dicom_workflow.learning.model import bundle, bundle_json
from dicom_workflow.learning.training import finish, script_run

SMALL = {"size_px": 32, "batch_size": 8, "threads": 1, "workers": 1, "resamples": 40, "precision": "float32"}


@pytest.fixture(autouse=True)
def _inductor_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # an optimizer's first step sets it otherwise, for good


@pytest.fixture(scope="module")
def channel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("channel")
    write_channel(folder, 80)
    return folder


@pytest.fixture(scope="module")
def finished(channel, tmp_path_factory):
    epochs = []
    result = script_run.run_training(channel, tmp_path_factory.mktemp("run"), on_epoch=epochs.append, epochs=4, **SMALL)
    return result, epochs


def test_a_run_learns_and_leaves_everything(finished, channel):
    result, epochs = finished
    assert [line["epoch"] for line in epochs] == [1, 2, 3, 4]
    assert tuple(epochs) == result.history
    assert epochs[-1]["train_loss"] < epochs[0]["train_loss"]
    assert set(epochs[0]["auroc"]) == set(LABELS)
    report = result.evaluation
    figures = report.figures
    assert (report.split, report.measured_against, figures.images, figures.patients) == ("test", "truth", 16, 8)
    assert set(report.against) == {"states", "truth"}
    assert figures.macro_auroc > 0.6
    low, high = figures.macro_auroc_interval
    assert low <= figures.macro_auroc <= high
    trained = bundle.load(result.model_dir)
    assert trained.labels == LABELS
    assert trained.metrics["test"]["macro_auroc"] == figures.macro_auroc
    assert trained.provenance["parameters"]["size_px"] == 32
    assert set(trained.provenance["manifests_sha256"]) == {"train.manifest", "validation.manifest", "test.manifest"}
    lines = [json.loads(line) for line in result.predictions.read_text().splitlines()]
    assert [line["split"] for line in lines] == ["test"] * 16
    checkpoints = sorted(path.name for path in (result.output_dir / "checkpoints").iterdir())
    assert checkpoints == ["best.safetensors", "last.safetensors"]


def test_a_run_calibrates_judges_and_writes_a_card_without_a_path_or_a_patient(finished, channel):
    result, _ = finished
    report, trained = result.evaluation, bundle.load(result.model_dir)
    assert trained.calibration.to_json() == report.calibration
    assert trained.calibration.images == 16
    assert {label: found.threshold for label, found in report.figures.labels.items()} == trained.thresholds
    assert (set(report.exclusions), report.readers, report.subgroups) == ({"No Finding"}, (), {})
    assert (report.splits["train"].images, report.splits["train"].patients) == (48, 24)
    card = (result.model_dir / "model_card.md").read_text()
    assert f"{report.figures.macro_auroc:.3f} (" in card
    assert str(channel) not in card.replace("\\", "")
    assert "P008" not in card


def test_the_printed_lines_are_what_the_metric_definitions_read(finished):
    result, _ = finished
    text = result.log.read_text()
    found = {item["Name"]: re.findall(item["Regex"], text) for item in script_run.METRIC_DEFINITIONS}
    assert {name: len(values) for name, values in found.items()} == {
        "train:loss": 4,
        "validation:loss": 4,
        "validation:auroc": 4,
        "epoch:seconds": 4,
        "test:auroc": 1,
        "test:auroc_low": 1,
        "test:auroc_high": 1,
        **dict.fromkeys(("cross_validation:auroc", "cross_validation:auroc_low", "cross_validation:auroc_high"), 0),
    }
    assert found["test:auroc"] == [f"{result.evaluation.figures.macro_auroc:.4f}"]
    number = r"\d\.\d{4}"
    line = rf"^epoch=3 train_loss={number}; validation_loss={number}; validation_auroc={number}; seconds=\d+\.\d;$"
    assert re.search(line, text, re.M)
    assert len(script_run.METRIC_DEFINITIONS) <= 40
    assert all(1 <= len(item["Regex"]) <= 500 for item in script_run.METRIC_DEFINITIONS)


@pytest.mark.parametrize(
    ("stop_at_step", "resumed"), [(3, "epoch 1, step 4"), (13, "epoch 2, step 7"), (16, "epoch 3, step 3")]
)
def test_a_stopped_run_resumes_to_the_same_weights_bit_by_bit(
    script, finished, channel, tmp_path, monkeypatch, capsys, stop_at_step, resumed
):
    whole, _ = finished
    arguments = [f"--channel={channel}", f"--output_dir={tmp_path}", f"--model_dir={tmp_path / 'model'}", "--progress=false"]
    arguments += ["--epochs=4", *(f"--{name}={value}" for name, value in SMALL.items())]
    rate_of, calls = script.learning_rate, []

    def learning_rate(*values):
        calls.append(values)
        if len(calls) == stop_at_step:
            os.kill(os.getpid(), signal.SIGTERM)
        return rate_of(*values)

    with monkeypatch.context() as patch:
        patch.setattr(script, "learning_rate", learning_rate)
        code = script.train(script.parse(arguments, {}))
    assert code == 128 + signal.SIGTERM
    assert "stopped by signal 15" in capsys.readouterr().out
    assert script.train(script.parse([*arguments, "--resume=true"], {})) == 0
    assert f"resumed: {resumed} of 6" in capsys.readouterr().out
    first, second = (bundle_json.read_description(folder) for folder in (whole.model_dir, tmp_path / "model"))
    assert first["weights"]["sha256"] == second["weights"]["sha256"]
    assert first["thresholds"] == second["thresholds"]
    assert first["calibration"] == second["calibration"]
    history = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [line["train_loss"] for line in history] == [line["train_loss"] for line in whole.history]
    assert read_evaluation(tmp_path / "evaluation.json").against == whole.evaluation.against


def test_an_error_in_a_callback_keeps_the_checkpoint_and_the_best_bundle(script, channel, tmp_path):
    def fail(line):
        raise ZeroDivisionError(line["epoch"])

    with pytest.raises(ZeroDivisionError, match="1"):
        script_run.run_training(channel, tmp_path, on_epoch=fail, epochs=500, **SMALL)
    assert bundle.load(tmp_path / "model").metrics["best_epoch"] >= 1
    assert (tmp_path / "checkpoints" / "last.safetensors").is_file()
    arguments = [f"--channel={channel}", f"--output_dir={tmp_path}", "--resume=true", "--seed=1", "--progress=false"]
    arguments += ["--epochs=500", *(f"--{name}={value}" for name, value in SMALL.items())]
    with pytest.raises(LearningError, match="the checkpoint belongs to another run: seed differ"):
        script.train(script.parse(arguments, {}))


def test_sagemaker_variables_are_the_defaults_and_a_failure_is_written(tmp_path):
    output = tmp_path / "output"
    environ = {
        **os.environ,
        "SM_MODEL_DIR": str(tmp_path / "model"),
        "SM_CHANNEL_TRAIN": str(tmp_path / "empty"),
        "SM_OUTPUT_DIR": str(output),
        "SM_OUTPUT_DATA_DIR": str(output / "data"),
        "SM_NUM_CPUS": "1",
    }
    run = subprocess.run([sys.executable, str(script_run.SCRIPT)], env=environ, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr.startswith(f"error: {tmp_path / 'empty'}: there is no *.manifest file in this folder.")
    assert "Traceback" not in run.stderr
    assert (output / "failure").read_text() == run.stderr.removeprefix("error: ").strip()


def test_settings_come_from_defaults_then_sagemaker_then_flags(script):
    config = script.parse([], {})
    assert (config.channel, config.output_dir, config.resume) == (Path("channel"), script.RUN, False)
    assert not script.RUN.is_relative_to(script_run.SCRIPT.parents[1]), "nothing of patients in the checkout"
    assert config.checkpoint_dir == str(script.RUN / "checkpoints")
    moved = script.parse([], {"DICOM_WORKFLOW_WORKSPACE": "/data/lists"})
    assert (moved.output_dir, moved.cache_dir) == (Path("/data/lists/training"), "/data/lists/image-cache")
    assert (config.threads, config.workers) == (0, os.cpu_count())
    sagemaker = {"SM_MODEL_DIR": "/opt/ml/model", "SM_CHANNEL_TRAIN": "/opt/ml/input/data/train", "SM_NUM_CPUS": "7"}
    config = script.parse(["--size-px", "64", "--learning_rate", "1e-4", "--progress", "False"], sagemaker)
    assert (config.channel, config.workers) == (Path("/opt/ml/input/data/train"), 7)
    assert config.checkpoint_dir == "/opt/ml/checkpoints"
    assert config.resume is True
    assert (config.size_px, config.learning_rate, config.progress) == (64, 1e-4, False)
    assert script.parse(["--threads=3", "--resume", "false"], sagemaker).threads == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ["--learning_rat", "1"],
        ["--epoch", "3"],
        ["--epochs", "many"],
        ["--epochs", "0"],
        ["--seed", "-1"],
        ["--resume", "perhaps"],
        ["--mode", "both"],
        ["--calibration", "magic"],
    ],
)
def test_a_flag_that_is_not_there_or_of_another_type_fails(script, arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        script.parse(arguments, {})
    assert stop.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_every_setting_is_used_and_has_a_reason(script):
    finishing = Path(finish.__file__).read_text().replace('settings["', "config.").replace('"]', "")
    source = script_run.SCRIPT.read_text() + finishing
    for name, hint in get_type_hints(script.Config, include_extras=True).items():
        assert f"config.{name}" in source, name
        assert len(hint.__metadata__[0]) > 20, name


def test_help_is_quick_and_imports_no_torch():
    code = "import runpy, sys\ntry:\n    runpy.run_path(sys.argv[1], run_name='__main__')\nexcept SystemExit: pass\n"
    code = code.replace("sys.argv[1]", repr(str(script_run.SCRIPT))) + "print('torch' in sys.modules)"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SM_")}
    run = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True, env=environ)
    assert "--learning_rate FLOAT, --learning-rate FLOAT" in run.stdout
    assert run.stdout.strip().endswith("False")


def test_the_learning_rate_rises_then_falls_to_nearly_nothing(script):
    config = script.Config(learning_rate=1e-3, warmup=0.25)
    rates = [script.learning_rate(config, step, 100) for step in range(100)]
    assert rates.index(max(rates)) == 25
    assert max(rates) == 1e-3
    assert rates[0] == pytest.approx(4e-5)
    assert rates[-1] < 5e-6
    assert script.learning_rate(script.Config(schedule="constant"), 99, 100) == 1e-3


def test_single_label_without_validation_and_test_still_trains(script, tmp_path, monkeypatch, capsys):
    lines = write_channel(tmp_path, 24, one_label=True, truth=False)
    for name in ("validation", "test"):
        (tmp_path / f"{name}.manifest").unlink()
    two = entry(90, ["Edema", "Fracture"], "train")
    two["image"] = lines[0]["image"].replace("00000000", "00000001")
    lines = [*lines, {**two, "source": "two"}, entry(92, ["Edema"], "train")]
    write_lines(tmp_path / "train.manifest", [{**line, "split": "train"} for line in lines])
    flags = [f"--{name}={value}" for name, value in {**SMALL, "epochs": 1, "mode": "single-label"}.items()]
    folders = [f"--channel={tmp_path}", f"--output_dir={tmp_path / 'out'}", f"--model_dir={tmp_path / 'model'}", "--progress=0"]
    for name in ("SM_MODEL_DIR", "SM_OUTPUT_DIR", "SM_OUTPUT_FAILURE"):
        monkeypatch.delenv(name, raising=False)
    assert script.main([*folders, *flags]) == 0
    printed = capsys.readouterr().out
    assert "images: 25 train, 0 validation, 0 test; left out: 1; usable for training: 24" in printed
    assert "validation_loss=nan; validation_auroc=nan;" in printed
    assert re.search(r"left out: .*0000005c.*\.dcm", printed)
    assert not (tmp_path / "out" / "evaluation.json").exists()
    assert bundle.load(tmp_path / "model").mode == "single-label"


def test_a_loss_that_is_no_number_is_named(script, channel, tmp_path):
    arguments = [f"--channel={channel}", f"--output_dir={tmp_path}", "--epochs=3", "--learning_rate=1e30", "--warmup=0"]
    arguments += ["--gradient_clip=1e30", "--progress=false", *(f"--{name}={value}" for name, value in SMALL.items())]
    arguments += ["--checkpoint_seconds=0"]
    message = r"(?s)step \d+: expected a finite training loss and gradient, got .*(nan|inf).*Lower --learning_rate"
    with pytest.raises(LearningError, match=message):
        script.train(script.parse(arguments, {}))
    kept = load_file(tmp_path / "checkpoints" / "last.safetensors")
    assert all(bool(tensor.isfinite().all()) for tensor in kept.values()), "the last good checkpoint is kept"


def test_a_failed_run_says_where_its_output_is(tmp_path):
    with pytest.raises(LearningError, match=r"(?s)exit code 1; the whole output is in .*training.log.*error: .*there is no"):
        script_run.run_training(tmp_path / "nothing", tmp_path / "run")
    with pytest.raises(LearningError, match="there is no training script at"):
        script_run.run_training(tmp_path, tmp_path / "run", script=tmp_path / "none.py")


def test_a_run_ends_with_the_process_that_started_it(channel, tmp_path):
    code = (
        "from dicom_workflow.learning.training.script_run import run_training\n"
        f"run_training({str(channel)!r}, {str(tmp_path)!r}, epochs=500, **{SMALL!r},"
        " on_epoch=lambda _: print('epoch', flush=True))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout.readline() == "epoch\n"
        [script] = Path(f"/proc/{starter.pid}/task/{starter.pid}/children").read_text().split()
        starter.kill()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{script}").exists() and " Z " not in Path(f"/proc/{script}/stat").read_text():
        assert time.monotonic() < deadline, "the script outlived the process that started it"
        time.sleep(0.1)
    assert list((tmp_path / "checkpoints").iterdir())


@pytest.mark.parametrize(
    ("mistake", "named"),
    [
        ("--threshold=95", "threshold: expected youden"),
        ("--tracking=wandb", "--tracking: expected none"),
        ("--uncertain=ignore,Edma=ones", "uncertain: expected LABEL=POLICY"),
        ("--fold=1", "--fold: expected --folds beside it"),
        ("--init_weights=/nowhere/w.safetensors", "file:///nowhere/w.safetensors: there is no file of initial weights"),
    ],
)
def test_a_mistake_in_a_flag_shows_before_an_image_is_decoded(script, channel, tmp_path, capsys, mistake, named):
    folders = [f"--output_dir={tmp_path}", f"--model_dir={tmp_path}", f"--cache_dir={tmp_path / 'cache'}"]
    assert script.main([f"--channel={channel}", *folders, mistake]) == 1
    assert f"error: {named}" in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()


def test_the_line_that_the_help_shows_is_a_line_of_a_channel(script, tmp_path):
    [shown] = [json.loads(line) for line in script.__doc__.splitlines() if line.startswith("    {")]
    (tmp_path / "images").mkdir()
    (tmp_path / shown["image"]).touch()
    write_lines(tmp_path / "mine.manifest", [shown])
    [sample] = read_channel(tmp_path).samples
    assert (sample.patient_id, sample.split, dict(sample.states)) == (shown["patient_id"], shown["split"], shown["states"])

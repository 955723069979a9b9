"""Running the training script as a subprocess, and the lines that it prints.

The script is the one that SageMaker runs; here it gets its folders and settings as flags.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import dicom_workflow
from dicom_workflow.errors import LearningError
from dicom_workflow.learning.evaluation.report import Evaluation, read_evaluation

SCRIPT = Path(dicom_workflow.__file__).resolve().parents[1] / "source" / "monai_dicom.py"

_TAIL_LINES = 30
_STOP_SECONDS = 60.0


@dataclass(frozen=True)
class TrainingResult:
    """Output of a finished training run."""

    output_dir: Path
    model_dir: Path
    """The model bundle, for `bundle.load`."""
    history: tuple[dict[str, Any], ...]
    """One object per epoch."""
    evaluation: Evaluation | None
    """The content of ``evaluation.json``; None when there was neither a test nor a validation image."""
    predictions: Path
    log: Path


def run_training(
    channel_dir: str | Path,
    output_dir: str | Path,
    *,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    on_line: Callable[[str], None] | None = None,
    python: str = sys.executable,
    script: str | Path = SCRIPT,
    **flags: Any,
) -> TrainingResult:
    """Train on a channel and return the output of the run.

    Parameters
    ----------
    channel_dir : str or Path
        Folder with manifests and images.
    output_dir : str or Path
        Gets ``model/``, ``checkpoints/``, ``history.jsonl``, ``evaluation.json``, ``predictions.jsonl`` and ``training.log``.
    on_epoch : callable, optional
        Called with each line of ``history.jsonl`` as it appears, for live figures.
    on_line : callable, optional
        Called with each line that the script prints.
    python, script : str or Path
        What is run.
    **flags
        Settings of the script, by name: ``epochs=12``, ``size_px=160``; None means its default.

    Raises
    ------
    LearningError
        The script ended with an error; the message has the end of its output.

    Notes
    -----
    Ctrl-C, and any error in a callback, ask the script to stop and wait for its checkpoint; ``resume=True`` goes on from it.
    """
    output = Path(output_dir).resolve()
    output.mkdir(parents=True, exist_ok=True)
    if not Path(script).is_file():
        raise LearningError(f"there is no training script at {script}. Give its path as script=….")
    folders = {"channel": Path(channel_dir).resolve(), "output_dir": output, "model_dir": output / "model"}
    folders["checkpoint_dir"] = output / "checkpoints"
    flags = {**folders, "progress": False, "resume": False, "stop_with_stdin": True, **flags}
    command = [python, "-u", str(script)]
    command += [f"--{name}={value}" for name, value in flags.items() if value is not None]
    log, tail = output / "training.log", deque[str](maxlen=_TAIL_LINES)
    history_path, evaluation_path = output / "history.jsonl", output / "evaluation.json"
    for leftover in (history_path, evaluation_path, output / "predictions.jsonl"):
        leftover.unlink(missing_ok=True)
    history: list[dict[str, Any]] = []
    # A session of its own: Ctrl-C in a notebook or terminal reaches the script through this function only, once.
    with (
        log.open("w", encoding="utf-8") as log_stream,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.PIPE,  # closes when this process ends, however it ends: the script then stops too
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        ) as process,
    ):
        try:
            for line in _lines(process.stdout):
                log_stream.write(line + "\n")
                tail.append(line)
                if on_line:
                    on_line(line)
                if line.startswith("epoch="):
                    for entry in _read_history(history_path)[len(history) :]:
                        history.append(entry)
                        if on_epoch:
                            on_epoch(entry)
            code = process.wait()
        except BaseException:
            _stop(process)
            raise
    if code:
        end = "\n".join(tail)
        raise LearningError(f"training ended with exit code {code}; the whole output is in {log}. Its end:\n{end}")
    evaluation = read_evaluation(evaluation_path) if evaluation_path.is_file() else None
    return TrainingResult(
        output_dir=output,
        model_dir=Path(flags["model_dir"]),
        history=tuple(_read_history(history_path)),
        evaluation=evaluation,
        predictions=output / "predictions.jsonl",
        log=log,
    )


def _lines(stream: IO[str] | None) -> Iterator[str]:
    for line in stream or ():
        yield line.rstrip("\n")


def _read_history(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    # The last line may still be on its way.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]


def _stop(process: subprocess.Popen[str]) -> None:
    """Ask the script to stop after its checkpoint, and kill it when it does not."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            # Its output is read on, or a full pipe would keep it from ending.
            process.communicate(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


METRIC_DEFINITIONS: tuple[dict[str, str], ...] = tuple(
    {"Name": name, "Regex": rf"(?:^|\s){printed}=([0-9.eE+-]+|nan);"}
    for name, printed in (
        ("train:loss", "train_loss"),
        ("validation:loss", "validation_loss"),
        ("validation:auroc", "validation_auroc"),
        ("epoch:seconds", "seconds"),
        ("test:auroc", "test_auroc"),
        ("test:auroc_low", "test_auroc_low"),
        ("test:auroc_high", "test_auroc_high"),
        ("cross_validation:auroc", "cross_validation_auroc"),
        ("cross_validation:auroc_low", "cross_validation_auroc_low"),
        ("cross_validation:auroc_high", "cross_validation_auroc_high"),
    )
)
"""What a SageMaker training job reads from the printed lines."""


def epoch_line(line: Mapping[str, Any]) -> str:
    """Return the line that is printed of one epoch, given its line of the history."""
    figures = (f"{name}={shown(line[name])};" for name in ("train_loss", "validation_loss", "validation_auroc"))
    return f"epoch={line['epoch']} {' '.join(figures)} seconds={line['seconds']:.1f};"


def outcome_line(report: Evaluation) -> str:
    """Return the line that is printed of held-out images."""
    split, (low, high) = report.split.replace("-", "_"), report.figures.macro_auroc_interval or (None, None)
    return (
        f"{split}_auroc={shown(report.figures.macro_auroc)}; {split}_auroc_low={shown(low)}; {split}_auroc_high={shown(high)}; "
        f"measured against {report.measured_against}"
    )


def shown(value: float | None) -> str:
    """Return a number as `METRIC_DEFINITIONS` read it."""
    return "nan" if value is None else f"{value:.4f}"

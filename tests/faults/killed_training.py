"""Kill a training run again and again, let it go on, and compare what it learns with a run that was left alone.

    python tests/faults/killed_training.py CHANNEL FOLDER --kills 20

Prints JSON: how many kills there were, by which signal, how many runs were brought to their end through them, and how many of
those ended with other weights than the undisturbed run. Every run is a process of its own, forked from one that has imported
torch already, because twenty times that import would take longer than all the training.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import ModuleType

from dicom_workflow.learning.model import bundle_json
from dicom_workflow.learning.training import script_run

SETTINGS = {
    "size_px": 32,
    "batch_size": 8,
    "microbatches": 2,
    "epochs": 3,
    "dropout": 0.1,
    "precision": "float32",
    "deterministic": True,
    "threads": 1,
    "workers": 1,
    "resamples": 0,
    "progress": False,
    "checkpoint_seconds": 0.3,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("channel", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    script = loaded_script()
    chance = random.Random(options.seed)

    began = time.monotonic()
    assert end_of(start(script, options.channel, options.folder / "straight")) == 0
    whole_seconds = time.monotonic() - began
    expected = weights_of(options.folder / "straight")

    killed: Counter[str] = Counter()
    runs = different = 0
    while sum(killed.values()) < options.kills:
        folder = options.folder / f"run-{runs}"
        while True:
            process = start(script, options.channel, folder)
            kind = chance.choice((signal.SIGKILL, signal.SIGTERM))
            # From the first import of the channel to the last line of the report, with most kills while it learns.
            ended = end_of(process, within=chance.uniform(0.05, 0.8) * whole_seconds, kill=kind)
            if ended == 0:
                break
            assert ended in (-signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM), ended
            killed[kind.name] += 1
            if sum(killed.values()) >= options.kills:
                assert end_of(start(script, options.channel, folder)) == 0
                break
        runs += 1
        different += weights_of(folder) != expected
    print(json.dumps({"kills": dict(sorted(killed.items())), "runs": runs, "different": different}))


def loaded_script() -> ModuleType:
    """Import the training script and everything that it imports when it trains."""
    import torch

    from dicom_workflow.dicom import pixels  # noqa: F401
    from dicom_workflow.learning.data import images  # noqa: F401
    from dicom_workflow.learning.model import network

    torch.set_num_threads(1)
    network.build(("a",))
    specification = importlib.util.spec_from_file_location("monai_dicom", script_run.SCRIPT)
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


def start(script: ModuleType, channel: Path, folder: Path) -> int:
    """Start or resume a run in a process of its own and return its number."""
    folder.mkdir(parents=True, exist_ok=True)
    flags = {**SETTINGS, "channel": channel, "output_dir": folder, "model_dir": folder / "model", "resume": True}
    process = os.fork()
    if process:
        return process
    code = 70
    try:
        with (folder / "log.txt").open("a") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            code = script.main([f"--{name}={value}" for name, value in flags.items()])
    finally:
        os._exit(code)


def end_of(process: int, *, within: float = 600.0, kill: int = signal.SIGKILL) -> int:
    """Wait for the end of a process, ended by a signal if it takes longer; return its exit code, or minus its signal."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(process, kill)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def weights_of(folder: Path) -> tuple[str, dict[str, float]]:
    """Return the SHA-256 of a run's weights, and its thresholds."""
    description = bundle_json.read_description(folder / "model")
    return description["weights"]["sha256"], description["thresholds"]


if __name__ == "__main__":
    main()

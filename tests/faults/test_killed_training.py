"""A training run that is killed at any moment, by either signal, ends with the weights of one that was left alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.learning import write_channel

KILLS, MANY_KILLS = 4, 20


@pytest.mark.timeout(600)
def test_a_run_killed_again_and_again_learns_the_same_bit_by_bit(tmp_path, request):
    write_channel(tmp_path / "channel", 50)
    kills = MANY_KILLS if request.config.getoption("--e2e") else KILLS
    command = [sys.executable, str(Path(__file__).with_name("killed_training.py")), str(tmp_path / "channel"), str(tmp_path)]
    done = subprocess.run([*command, f"--kills={kills}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["different"] == 0
    assert sum(found["kills"].values()) == kills

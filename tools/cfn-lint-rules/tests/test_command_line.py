"""The pack as an extension of the `cfn-lint` program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent / "examples"
SOURCE = Path(__file__).parents[1] / "src"


def cfn_lint(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("cfn-lint")), "--append-rules", "cfn_lint_medical_imaging", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)


def test_findings_are_printed_and_set_the_exit_code() -> None:
    done = cfn_lint("--format", "json", "--", str(EXAMPLES / "network.fails.yaml"))
    found = {match["Rule"]["Id"]: match for match in json.loads(done.stdout)}
    assert done.returncode == 2
    assert sorted(found) == [f"E91{number:02}" for number in range(1, 11)]
    assert found["E9101"]["Message"] == "Archive opens port 4242 to 0.0.0.0/0. Allow only a security group or your network."
    assert found["E9101"]["Location"]["Start"]["LineNumber"] == 13
    assert found["E9101"]["Rule"]["Source"] == "tools/cfn-lint-rules/README.md#e9101"


def test_the_passing_examples_also_pass_the_rules_of_cfn_lint() -> None:
    """A passing example that is not a valid template would prove nothing."""
    day = [f"{rule}:today=2026-11-01" for rule in ("E9504", "E9701")]
    done = cfn_lint("--configure-rule", *day, "--", *map(str, sorted(EXAMPLES.glob("*.passes.yaml"))))
    assert (done.stdout, done.returncode) == ("", 0)

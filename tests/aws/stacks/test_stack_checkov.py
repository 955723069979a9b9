"""checkov on our templates: nothing fails, and what is waived says why."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from support.templates import CFN, ROOT, STACKS, stacks_there, template

SHORTEST_REASON = 30  # characters: "not needed" is no reason


def checkov() -> str | None:
    """The program, from its own environment: what it requires does not go together with what the project does."""
    named = os.environ.get("CHECKOV")
    beside = ROOT / ".venv" / "checkov" / "bin" / "checkov"
    return named or (str(beside) if beside.is_file() else shutil.which("checkov"))


@cache
def report() -> dict[str, Any]:
    program = checkov()
    if program is None:
        pytest.skip("checkov is not installed: python -m venv .venv/checkov && .venv/checkov/bin/pip install checkov")
    # The bill of materials and platform notices would go to the network; the flags and the empty key keep it here.
    command = [program, "--framework", "cloudformation", "secrets", "--skip-download", "--compact", "--output", "json"]
    command += [part for stack in stacks_there() for part in ("--file", str(CFN / f"{stack}.yaml"))]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "LOG_LEVEL": "ERROR", "BC_API_KEY": ""}
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, env=environment)
    assert done.returncode in (0, 1), done.stderr[-2000:]
    found = json.loads(done.stdout)
    runs: list[dict[str, Any]] = found if isinstance(found, list) else [found]
    return {
        key: [check for run in runs for check in run.get("results", {}).get(key, [])]
        for key in ("passed_checks", "failed_checks", "skipped_checks", "parsing_errors")
    }


def shown(check: dict[str, Any]) -> str:
    return f"{Path(check['file_path']).name}: {check['check_id']} {check['resource']}"


def test_nothing_fails() -> None:
    assert [f"{shown(check)}: {check['check_name']}" for check in report()["failed_checks"]] == []


def test_every_template_was_read() -> None:
    read = {Path(check["file_path"]).stem for check in report()["passed_checks"]}
    assert report()["parsing_errors"] == [] and read == set(STACKS)


def test_what_is_waived_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    waived = {
        shown(check): " ".join(check["check_result"].get("suppress_comment", "").split())
        for check in report()["skipped_checks"]
    }
    with capsys.disabled():
        print(f"\ncheckov: {len(report()['passed_checks'])} passed, 0 failed, {len(waived)} waived")
        print("\n".join(f"  {check}: {reason}" for check, reason in sorted(waived.items())))
    assert [check for check, reason in waived.items() if len(reason) < SHORTEST_REASON or " " not in reason] == []


def waivers(stack: str) -> list[tuple[str, str]]:
    """(resource, check) of every waiver written in a template."""
    resources = template(stack)["Resources"].items()
    return [
        (name, skip["id"]) for name, node in resources for skip in node.get("Metadata", {}).get("checkov", {}).get("skip", [])
    ]


def test_no_waiver_is_left_over() -> None:
    used = {(check["resource"].rpartition(".")[2], check["check_id"]) for check in report()["skipped_checks"]}
    written = [waiver for stack in stacks_there() for waiver in waivers(stack)]
    assert [f"{name}: {check}" for name, check in written if (name, check) not in used] == []


def test_a_waiver_of_cfn_lint_has_a_comment_beside_it(stack: str) -> None:
    lines = (CFN / f"{stack}.yaml").read_text("utf-8").splitlines()
    bare = [
        f"{stack}.yaml line {number}"
        for number, line in enumerate(lines, 1)
        if "ignore_checks" in line and not any("#" in near for near in lines[max(0, number - 5) : number + 3])
    ]
    assert bare == []

"""The command line of stacks as a process: killed in the middle and started again, asked questions, and read by programs."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from support.cloudformation import REGION, CloudFormation
from support.deployments import VALUES

from dicom_workflow import cli

READ_ONLY = ("Describe", "List", "Get", "Validate")


@pytest.fixture
def command(cloudformation: CloudFormation, templates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The words before those of a test; cfn-lint stays out of it, as on a machine that has none."""
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "cfnlint.py").write_text("raise ImportError('not here')\n")
    (tmp_path / "values.yaml").write_text(json.dumps(VALUES))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "without"))
    return [sys.executable, "-c", "import sys; from dicom_workflow.cli import main; sys.exit(main())"]


def place(tmp_path: Path) -> list[str]:
    return ["--name", "clinic", "--templates", str(tmp_path / "cfn"), "--poll-seconds", "0.05", "--region", REGION]


def deploy_words(tmp_path: Path) -> list[str]:
    return ["deploy", *place(tmp_path), "--parameters", str(tmp_path / "values.yaml")]


def run(command: list[str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command, *words], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)


def until(found: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not found():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


@contextlib.contextmanager
def terminal(words: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Start a command at a terminal of its own and yield it with that terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def read_until(ours: int, words: str) -> str:
    text = ""
    while words not in text:
        try:
            block = os.read(ours, 1 << 16)
        except OSError:  # how a terminal says that nobody is at the other end any more
            break
        text += block.decode(errors="replace")
    return text


def test_killed_at_the_question_the_same_command_goes_on(
    command: list[str], cloudformation: CloudFormation, tmp_path: Path
) -> None:
    """Between the change set and its execution: the stack is left in review, with a change set that nobody will execute."""
    with terminal([*command, *deploy_words(tmp_path)]) as (process, ours):
        assert "Create stack clinic-foundation? [y/N]" in read_until(ours, "[y/N]")
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
    [left] = cloudformation.stacks.values()
    assert (left.status, len(cloudformation.change_sets)) == ("REVIEW_IN_PROGRESS", 1)
    assert run(command, "status", *place(tmp_path)).returncode == 1, "half deployed, and it says so"
    done = run(command, *deploy_words(tmp_path), "foundation", "--yes", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["stacks"] == {"foundation": "created"}
    assert (left.status, cloudformation.change_sets) == ("CREATE_COMPLETE", {})


def test_killed_while_a_stack_comes_up_the_same_command_waits_for_it_and_goes_on(
    command: list[str], cloudformation: CloudFormation, tmp_path: Path
) -> None:
    words = [*command, *deploy_words(tmp_path), "foundation", "network", "--yes", "--json"]
    cloudformation.held = True
    first = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: [stack.status for stack in cloudformation.stacks.values()] == ["CREATE_IN_PROGRESS"])
    first.kill()
    assert first.wait(30) == -signal.SIGKILL
    again = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    seen = len(cloudformation.asked)
    until(lambda: [name for name, _ in cloudformation.asked[seen:]].count("DescribeStackEvents") > 2)
    cloudformation.held = False
    out, said = again.communicate(timeout=120)
    assert again.returncode == 0, said
    assert "clinic-foundation: CREATE_IN_PROGRESS; waiting for the operation in progress" in said
    assert json.loads(out)["stacks"] == {"foundation": "unchanged", "network": "created"}
    assert cloudformation.names("ExecuteChangeSet") == ["clinic-foundation", "clinic-network"]


def test_nobody_at_the_terminal_agrees_to_nothing(command: list[str], cloudformation: CloudFormation, tmp_path: Path) -> None:
    done = run(command, *deploy_words(tmp_path))
    assert done.returncode == 1
    assert "Create stack clinic-foundation? Standard input is not a terminal. Confirm with --yes" in done.stderr
    assert not cloudformation.names("ExecuteChangeSet")


@pytest.fixture
def place_words(cloudformation: CloudFormation, templates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The same in this process, which is faster; returns the words of the place."""
    (tmp_path / "values.yaml").write_text(json.dumps(VALUES))
    monkeypatch.setattr("dicom_workflow.aws.stacks.templates.lint", lambda *arguments: [])
    return place(tmp_path)


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any], str]:
    code = cli.main([*words, "--json"])
    captured = capsys.readouterr()
    return code, json.loads(captured.out) if captured.out else {}, captured.err


def test_from_nothing_to_nothing(
    place_words: list[str], cloudformation: CloudFormation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, made, text = said(capsys, *deploy_words(tmp_path), "--yes")
    assert (code, made["ok"]) == (1, False), "the labeling bucket of the small clinic is open, and that is said"
    assert VALUES["Pin"] not in text
    code, standing, text = said(capsys, "status", *place_words, "--drift")
    assert code == 0, text
    assert standing["stacks"]["network"]["outputs"]["VpcId"] in text
    assert "network: no drift" in text
    pixels = standing["stacks"]["archive"]["outputs"]["PixelBucket"]
    for words, message in (
        (["--yes", "--delete-data"], "standard input is not a terminal"),
        (["--yes", "--yes-delete-data-of", "clinic"], "--yes-delete-data-of needs --delete-data"),
        (["--yes", "--delete-data", "--yes-delete-data-of", "other"], "the name of the deployment, got 'other'"),
        ([], "Standard input is not a terminal"),
    ):
        code, _, text = said(capsys, "destroy", *place_words, *words)
        assert code == 1
        assert message in text
    assert not cloudformation.names("DeleteStack")
    code, gone, text = said(capsys, "destroy", *place_words, "--yes")
    assert code == 0, text
    assert gone["deleted"][0] == "clinic-labeling"
    assert pixels in {item["address"] for item in gone["left"]}
    assert "kept:" in text
    code, gone, text = said(capsys, "destroy", *place_words, "--delete-data", "--yes-delete-data-of", "clinic")
    assert "WILL BE DELETED WITH ALL DATA" in text
    buckets = {item["Name"] for item in boto3.client("s3", region_name=REGION).list_buckets()["Buckets"]}
    assert (code, pixels in buckets) == (0, False), text
    assert said(capsys, "status", *place_words)[0] == 0


def test_a_dry_run_changes_nothing(
    place_words: list[str], cloudformation: CloudFormation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, made, text = said(capsys, *deploy_words(tmp_path), "--dry-run")
    assert code == 0, text
    assert made["offline"] is False
    assert [name for name, _ in cloudformation.asked if not name.startswith(READ_ONLY)] == []
    assert not boto3.client("s3", region_name=REGION).list_buckets()["Buckets"]
    assert "clinic-archive: would be created: 7 resources under termination protection" in text
    assert VALUES["Pin"] not in text
    assert "****" in text


def test_status_of_a_half_deployed_stack_ends_with_1_and_says_how_to_go_on(
    place_words: list[str], cloudformation: CloudFormation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cloudformation.fails["Vpc"] = "The maximum number of VPCs has been reached."
    code, _, text = said(capsys, *deploy_words(tmp_path), "--yes")
    assert code == 1
    assert "Vpc (AWS::EC2::VPC): The maximum number of VPCs has been reached." in text
    assert f"continue with: dicom-workflow deploy --name clinic --region {REGION} --templates {tmp_path / 'cfn'}" in text
    code, _, text = said(capsys, "status", *place_words)
    assert code == 1
    assert "half deployed: clinic-network is in ROLLBACK_COMPLETE" in text
    assert f"`dicom-workflow deploy --name clinic --region {REGION}` continues" in text

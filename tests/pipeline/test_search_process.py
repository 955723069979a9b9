"""Search under `make up`: served where the workspace has an index, explained where it cannot be, and gone with the others."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from support.search_corpus import Corpus
from support.search_service import filled_store

from dicom_workflow import processes
from dicom_workflow.cli import main
from dicom_workflow.pipeline import local_services, search_process
from dicom_workflow.pipeline.search_process import SearchProcess, missing_packages
from dicom_workflow.settings import Settings

QUERY = {"query": "{ reports { totalCount } }"}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    environment = {"DICOM_WORKFLOW_WORKSPACE": str(tmp_path / "workspace"), "ARCHIVE": "folder"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = Settings.from_env(environment)
    yield settings
    local_services.down(settings)


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)


def reports_at(url: str, token: str) -> int:
    answer = requests.post(f"{url}graphql", json=QUERY, headers={"authorization": f"Bearer {token}"}, timeout=30)
    return int(answer.json()["data"]["reports"]["totalCount"])


def printed_search_line(capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["up"]) == 0
    return next(line for line in capsys.readouterr().err.splitlines() if line.startswith("Search: "))


def test_up_serves_the_index_of_the_workspace_and_prints_the_token_once(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.make_workspace()
    line = printed_search_line(capsys)
    assert "has no index yet. Make one with dicom-workflow search index archive" in line
    filled_store(settings.workspace / "search" / "index", Corpus()).close()

    url, _, token = printed_search_line(capsys).removeprefix("Search: ").partition("#token=")
    assert requests.post(f"{url}graphql", json=QUERY, timeout=30).status_code == 401
    assert reports_at(url, token) == 60
    again = printed_search_line(capsys)
    assert url in again
    assert token not in again

    state = local_services.State.read(settings.workspace)
    assert state
    os.kill(state.pids["search"], signal.SIGKILL)
    wait_for(lambda: (now := local_services.State.read(settings.workspace)) and now.pids["search"] != state.pids["search"])
    wait_for(lambda: processes.answers(f"{url}healthz"))
    assert reports_at(url, token) == 60

    ended = local_services.State.read(settings.workspace)
    assert ended
    assert local_services.down(settings)
    assert not any(processes.is_running(pid) for pid in ended.pids.values())
    assert token not in (settings.workspace / "services" / "search.log").read_text()


def test_up_starts_the_other_services_where_the_index_cannot_be_served(settings: Settings) -> None:
    (settings.make_workspace() / "search" / "index").mkdir(parents=True)
    state = local_services.up(settings)
    assert not state.search.url
    assert "search/index" in state.search.problem
    assert "Its log is" in state.search.problem
    assert processes.answers(f"{state.settings.groundtruth_url}/health")


def test_what_search_needs_and_is_not_installed_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing_packages() == ""
    assert missing_packages(["lancedb", "no_such_package"]) == "no_such_package"
    monkeypatch.setattr(search_process, "missing_packages", lambda: "lancedb, tantivy")
    search = SearchProcess(settings.workspace, settings.workspace / "search.log")
    search.ask(5, settings)
    assert (search.pid, search.state.asked) == (0, 5)
    assert search.state.problem == (
        "needs packages that are not installed (lancedb, tantivy). Install them with pip install -e '.[search]'."
    )


def test_nobody_who_did_not_run_up_has_search_started_for_them(settings: Settings) -> None:
    filled_store(settings.make_workspace() / "search" / "index", Corpus()).close()
    search = SearchProcess(settings.workspace, settings.workspace / "search.log")
    search.ask(local_services.kept_since(settings.workspace), settings)
    assert search.pid == 0
    assert not search.look(settings)

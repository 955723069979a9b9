"""Local services: found or started, shared, revived, and gone when nobody needs them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from dicom_workflow.archive.orthanc_process import find_orthanc
from dicom_workflow.pipeline import local_services
from dicom_workflow.settings import Settings

pytestmark = [pytest.mark.orthanc, pytest.mark.skipif(find_orthanc() is None, reason="Orthanc is not installed")]


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    settings = Settings.from_env({"DICOM_WORKFLOW_WORKSPACE": str(tmp_path / "workspace")})
    yield settings
    local_services.down(settings)


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)


def answers(settings: Settings) -> bool:
    credentials = (settings.orthanc_user, settings.orthanc_password.reveal())
    try:
        orthanc = requests.get(f"{settings.orthanc_url}/system", auth=credentials, timeout=5)
        return orthanc.ok and requests.get(f"{settings.groundtruth_url}/health", timeout=5).ok
    except requests.ConnectionError:
        return False


def run_python(code: str, settings: Settings) -> subprocess.Popen[str]:
    environment = {**os.environ, "DICOM_WORKFLOW_WORKSPACE": str(settings.workspace)}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)


def test_attach_starts_both_services_with_credentials_of_their_own(settings: Settings) -> None:
    attached = local_services.attach(settings)
    assert answers(attached)
    assert requests.get(f"{attached.orthanc_url}/system", timeout=5).status_code == 401
    assert attached.orthanc_password.reveal() not in repr(attached)
    assert local_services.state_path(settings).stat().st_mode & 0o077 == 0
    assert (settings.workspace / "orthanc").stat().st_mode & 0o077 == 0  # Orthanc's own files are for everybody to read


def test_second_process_shares_what_runs(settings: Settings) -> None:
    attached = local_services.attach(settings)
    code = (
        "from dicom_workflow import services\nfrom dicom_workflow.settings import Settings\n"
        "print(services.attach(Settings.from_env()).orthanc_url)"
    )
    other = run_python(code, settings)
    assert other.communicate(timeout=30)[0].strip() == attached.orthanc_url
    time.sleep(2 * local_services.POLL_SECONDS)
    assert answers(attached), "the first process still needs them"


def test_services_end_with_the_last_process_even_when_it_is_killed(settings: Settings) -> None:
    code = (
        "import time\nfrom dicom_workflow import services\nfrom dicom_workflow.settings import Settings\n"
        "services.attach(Settings.from_env())\nprint('up', flush=True)\ntime.sleep(60)"
    )
    process = run_python(code, settings)
    assert process.stdout
    assert process.stdout.readline().strip() == "up"
    state = local_services.State.read(settings.workspace)
    assert state
    process.send_signal(signal.SIGKILL)
    process.communicate()
    wait_for(lambda: local_services.State.read(settings.workspace) is None)
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in state.pids.values()))


@pytest.mark.parametrize("service", ["portal", "orthanc"])
def test_service_that_died_is_started_again_at_the_same_address(settings: Settings, service: str) -> None:
    attached = local_services.attach(settings)
    before = local_services.State.read(settings.workspace)
    assert before
    os.kill(before.pids[service], signal.SIGKILL)
    wait_for(lambda: (now := local_services.State.read(settings.workspace)) and now.pids[service] != before.pids[service])
    assert answers(attached)


def test_services_may_be_asked_for_while_earlier_ones_still_stop(settings: Settings) -> None:
    for _ in range(3):
        local_services.attach(settings)
        state = local_services.State.read(settings.workspace)
        assert state
        (settings.workspace / "services" / "leases" / str(os.getpid())).unlink()
        wait_for(lambda: not (settings.workspace / "services" / "state.json").exists())
    assert answers(local_services.attach(settings))


def test_up_holds_until_down(settings: Settings) -> None:
    attached = local_services.up(settings).apply_to(settings)
    time.sleep(2 * local_services.POLL_SECONDS)
    assert answers(attached)
    assert local_services.down(settings)
    assert not answers(attached)
    assert not local_services.down(settings)


def test_settings_that_name_both_services_start_nothing(settings: Settings) -> None:
    named = settings.with_(orthanc_url="http://pacs.example:8042", groundtruth_url="aws")
    assert local_services.attach(named) == named
    assert not (settings.workspace / "services").exists()


def test_folder_archive_needs_no_orthanc(settings: Settings) -> None:
    attached = local_services.attach(settings.with_(archive="folder"))
    state = local_services.State.read(settings.workspace)
    assert state
    assert set(state.pids) == {"portal"}
    assert (attached.archive, attached.orthanc_url) == ("folder", "")

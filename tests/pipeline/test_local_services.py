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

from dicom_workflow import processes
from dicom_workflow.archive import open_archive
from dicom_workflow.archive.orthanc_process import find_dicomweb_plugin, find_orthanc
from dicom_workflow.errors import ServiceError
from dicom_workflow.pipeline import local_services, supervisor
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
    assert local_services.state_path(settings.workspace).stat().st_mode & 0o077 == 0
    assert (settings.workspace / "orthanc").stat().st_mode & 0o077 == 0  # Orthanc's own files are for everybody to read


def test_second_process_shares_what_runs(settings: Settings) -> None:
    attached = local_services.attach(settings)
    code = (
        "from dicom_workflow.pipeline import local_services\nfrom dicom_workflow.settings import Settings\n"
        "print(local_services.attach(Settings.from_env()).orthanc_url)"
    )
    other = run_python(code, settings)
    assert other.communicate(timeout=30)[0].strip() == attached.orthanc_url
    time.sleep(2 * supervisor.POLL_SECONDS)
    assert answers(attached), "the first process still needs them"


def test_services_end_with_the_last_process_even_when_it_is_killed(settings: Settings) -> None:
    code = (
        "import time\nfrom dicom_workflow.pipeline import local_services\nfrom dicom_workflow.settings import Settings\n"
        "local_services.attach(Settings.from_env())\nprint('up', flush=True)\ntime.sleep(60)"
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
    time.sleep(2 * supervisor.POLL_SECONDS)
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


def test_services_whose_supervisor_was_killed_are_replaced_and_found_by_down(settings: Settings) -> None:
    local_services.attach(settings)
    before = local_services.State.read(settings.workspace)
    assert before
    os.kill(before.supervisor, signal.SIGKILL)
    wait_for(lambda: local_services.State.read(settings.workspace) is None)
    assert all(processes.is_running(pid) for pid in before.pids.values())
    assert answers(local_services.attach(settings))
    assert not any(processes.is_running(pid) for pid in before.pids.values())
    now = local_services.State.read(settings.workspace)
    assert now
    os.kill(now.supervisor, signal.SIGKILL)
    wait_for(lambda: not processes.is_running(now.supervisor))
    assert local_services.down(settings)
    assert not any(processes.is_running(pid) for pid in now.pids.values())


SLEEP = "import time; print('up', flush=True); time.sleep(60)"


def test_down_ends_no_process_that_has_the_number_or_the_file_name_of_a_service(settings: Settings) -> None:
    """A process id is used again after a crash or a restart of the machine; an editor may hold a file of Orthanc's."""
    elsewhere = settings.workspace.parent / "other"
    names = (
        f"{settings.workspace}/orthanc/orthanc.json",  # as an editor has it open
        f"/Orthanc {elsewhere}{settings.workspace}/orthanc/orthanc.json",  # of another workspace, whose path ends the same
        f"dicom_workflow.pipeline.supervisor {elsewhere}",
    )
    others = [subprocess.Popen([sys.executable, "-c", SLEEP, name], stdout=subprocess.PIPE) for name in names]
    try:
        for other in others:
            assert other.stdout
            assert other.stdout.readline() == b"up\n"
            settings.make_workspace()
            local_services._make_services(settings.workspace)
            pids = {"portal": other.pid, "orthanc": other.pid}
            local_services.State(other.pid, pids, settings).write()
            assert local_services.State.read(settings.workspace) is None
            assert not local_services.down(settings)
        assert [other.poll() for other in others] == [None] * 3
    finally:
        for other in others:
            other.kill()
            other.communicate()


def test_the_folder_of_the_state_is_closed_to_others_also_when_it_was_there_before(settings: Settings) -> None:
    folder = local_services.state_path(settings.workspace).parent
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    local_services._make_services(settings.workspace)
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.rmdir()
    folder.write_text("")
    with pytest.raises(ServiceError, match="services: expected a folder of this user"):
        local_services._make_services(settings.workspace)
    folder.unlink()


def test_proxy_settings_do_not_reach_the_services_of_this_machine(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setattr(local_services, "START_SECONDS", 30)
    attached = local_services.attach(settings)
    assert processes.answers(f"{attached.groundtruth_url}/health")


def test_a_start_that_is_not_waited_for_leaves_no_process(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_services, "START_SECONDS", 0.5)
    with pytest.raises(ServiceError, match=r"The local services did not answer within 0\.5 seconds"):
        local_services.attach(settings)
    assert not any(str(settings.workspace) in command for command in processes.command_lines().values())


def test_dicomweb_of_the_local_orthanc_serves_a_workspace(settings: Settings) -> None:
    if find_dicomweb_plugin() is None:
        pytest.skip("Orthanc's DICOMweb plugin is not installed")
    attached = local_services.attach(settings.with_(archive="dicomweb"))
    assert attached.dicomweb_url == f"{attached.orthanc_url}/dicom-web"
    assert local_services.serves_local_archive(attached)
    open_archive(attached).check()
    # A notebook whose environment does not say the archive speaks the interface that the portal speaks.
    assert local_services.attach(settings).archive == "dicomweb"
    assert not local_services.serves_local_archive(settings.with_(archive="dicomweb", dicomweb_url="http://pacs.example/d"))


def test_services_that_speak_the_other_interface_are_named(settings: Settings) -> None:
    local_services.attach(settings)
    with pytest.raises(ServiceError, match="run with ARCHIVE=orthanc, not dicomweb"):
        local_services.attach(settings.with_(archive="dicomweb"))


def test_only_an_archive_that_was_started_for_the_workspace_is_its_own(settings: Settings) -> None:
    assert local_services.serves_local_archive(local_services.attach(settings))
    assert local_services.serves_local_archive(settings.with_(archive="folder"))
    assert not local_services.serves_local_archive(settings.with_(orthanc_url="http://pacs.example:8042"))


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"supervisor": 1}',
        '{"supervisor": 1, "pids": {}, "environment": 3}',
        '{"supervisor": "self", "pids": {}, "environment": {}}',
        '{"supervisor": 1, "pids": 1, "environment": {}}',
        "[" * 50_000,
    ],
)
def test_a_damaged_state_file_is_named(settings: Settings, text: str) -> None:
    path = local_services.state_path(settings.workspace)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(ServiceError, match=r"services/state\.json cannot be read .* delete the file"):
        local_services.attach(settings)
    path.unlink()

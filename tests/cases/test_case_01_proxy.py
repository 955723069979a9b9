"""Case 01: the environment names a proxy and no exception for this machine; a service that does not start leaves nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest
from support.archive import dicom, open_dicomweb, open_orthanc

from dicom_workflow import processes
from dicom_workflow.archive.orthanc_process import OrthancServer, find_dicomweb_plugin, find_orthanc
from dicom_workflow.archive.protocol import STORED
from dicom_workflow.errors import ServiceError
from dicom_workflow.pipeline import local_services
from dicom_workflow.settings import Settings

pytestmark = [
    pytest.mark.orthanc,
    pytest.mark.skipif(not find_orthanc(), reason="there is no Orthanc here"),
]


@pytest.fixture(autouse=True)
def _proxy_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)


def test_loopback_is_never_proxied(tmp_path: Path) -> None:
    with OrthancServer(tmp_path / "orthanc") as server:
        with contextlib.closing(open_orthanc(server)) as archive:
            assert archive.check().startswith("Orthanc 1.")
            reference = archive.store_instance(dicom()).reference
        if find_dicomweb_plugin():
            with contextlib.closing(open_dicomweb(server)) as archive:
                assert [found.sop_instance_uid for found in archive.search_for_instances()]
                assert archive.store_instance(dicom(1)).status == STORED
        with contextlib.closing(open_orthanc(server)) as archive:
            assert archive.retrieve_instance(reference) == dicom()


def test_an_orthanc_that_does_not_start_leaves_no_process_and_is_named(tmp_path: Path) -> None:
    with OrthancServer(tmp_path / "first") as first:
        second = OrthancServer(tmp_path / "second", {"HttpPort": int(first.url.rpartition(":")[2])})
        with pytest.raises(ServiceError, match=rf"Orthanc at {second.url} ended with exit code .*orthanc\.log") as caught:
            second.start()
        assert not second.is_running()
        assert "port" in str(caught.value), "the end of Orthanc's own log"
        assert not processes.is_running(second.pid)


def test_services_start_and_down_finds_what_a_killed_supervisor_left(tmp_path: Path) -> None:
    settings = Settings.from_env({"DICOM_WORKFLOW_WORKSPACE": str(tmp_path / "workspace")})
    state = local_services.up(settings)
    try:
        os.kill(state.supervisor, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while processes.is_running(state.supervisor) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert processes.is_running(state.pids["orthanc"])
    finally:
        assert local_services.down(settings)
    assert not any(processes.is_running(pid) for pid in state.pids.values())

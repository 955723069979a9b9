"""The portal in a real browser: sign in, read real radiographs from a real Orthanc, submit, skip, stop."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from support.browser import shoot
from support.groundtruth import PASSWORDS, Service, job_request, make_images, output_lines, running

from dicom_workflow.archive import open_archive
from dicom_workflow.archive.orthanc_process import OrthancServer, find_orthanc
from dicom_workflow.formats import manifests
from dicom_workflow.formats.answers import LabelState
from dicom_workflow.formats.labels import load_label_set

LABELS = load_label_set("chest").labels

pytestmark = [pytest.mark.browser, pytest.mark.orthanc, pytest.mark.real_data]


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1360, "height": 860})
    page = context.new_page()
    page.set_default_timeout(15_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if "Content Security Policy" in message.text else None)
    yield page
    context.close()
    assert errors == []


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[OrthancServer]:
    if find_orthanc() is None:
        pytest.skip("needs the Orthanc program")
    server = OrthancServer(tmp_path / "orthanc")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def service(tmp_path: Path, orthanc: OrthancServer, sample_data: Path) -> Iterator[Service]:
    workspace = tmp_path / "workspace"
    make_images(workspace, 1)
    where = {"ORTHANC_URL": orthanc.url, "ORTHANC_USER": orthanc.user, "ORTHANC_PASSWORD": orthanc.password.reveal()}
    with running(workspace, ARCHIVE="orthanc", **where) as started:
        settings = started.settings.with_(
            archive="orthanc", orthanc_url=orthanc.url, orthanc_user=orthanc.user, orthanc_password=orthanc.password
        )
        files = [sample_data / "radiographs" / f"{number:03d}.dcm" for number in (0, 80, 150)]
        with contextlib.closing(open_archive(settings)) as archive:
            ids = [archive.store_instance(path.read_bytes()).reference.to_source() for path in files]
        entries = [
            {"source": identifier, "labels": list(LABELS), "instructions": "Read it as in clinic."} for identifier in ids
        ]
        entries[2]["second_image"] = {"source": ids[1], "role": "prior", "caption": "A year before"}
        manifests.write(f"file://{workspace}/input.manifest", entries)
        started.make_team()
        request = job_request(
            workspace, workers=1, TaskTitle="Chest radiographs", TaskDescription="Fourteen labels for each image."
        )
        started.client().create_labeling_job(**request)
        started.wait_for("reading", "InProgress")
        yield started


def sign_in(tab: Any, service: Service, password: str) -> None:
    tab.goto(service.url)
    tab.get_by_label("Name").fill("reader-1")
    tab.get_by_label("Password").fill(password)
    shoot(tab, "1-sign-in")
    tab.get_by_role("button", name="Sign in").click()


def wait_for_image(tab: Any) -> None:
    tab.get_by_role("application").first.get_by_text(" pixels").first.wait_for()


def test_a_person_signs_in_reads_a_radiograph_and_submits(tab: Any, service: Service, orthanc: OrthancServer) -> None:
    seen: list[tuple[str, str]] = []
    tab.on("response", lambda response: seen.append((response.url, response.headers.get("content-type", ""))))
    sign_in(tab, service, "a wrong password")
    tab.get_by_role("alert").get_by_text("Wrong name or password").wait_for()
    shoot(tab, "2-wrong-password")
    sign_in(tab, service, PASSWORDS["reader-1"].reveal())
    tab.get_by_role("heading", name="Your labeling jobs").wait_for()
    tab.get_by_text("0 of 3 images complete · 0 read by you").wait_for()
    shoot(tab, "3-jobs")
    tab.get_by_role("button", name="Start").click()

    wait_for_image(tab)  # the page decoded the DICOM by itself
    tab.get_by_text("image 1 of 3").wait_for()
    tab.get_by_text("Read it as in clinic.").wait_for()
    tab.get_by_role("radiogroup", name="Cardiomegaly").get_by_role("radio", name="Present").click()
    tab.get_by_role("radiogroup", name="Edema").get_by_role("radio", name="Uncertain").click()
    tab.get_by_role("button", name="All others absent").click()
    shoot(tab, "4-task")
    page_source = tab.content()
    tab.get_by_role("button", name="Submit").click()

    tab.get_by_text("image 2 of 3").wait_for()
    wait_for_image(tab)
    shoot(tab, "5-next-task")
    tab.get_by_role("button", name="Skip this image").click()
    tab.get_by_text("image 3 of 3").wait_for()
    tab.get_by_role("button", name="Stop working").click()
    tab.get_by_role("button", name="Continue").click()
    tab.get_by_text("image 3 of 3").wait_for()
    wait_for_image(tab)
    tab.get_by_role("application", name="A year before").get_by_text(" pixels").wait_for()
    tab.get_by_role("button", name="No finding").click()
    shoot(tab, "6-two-images")
    tab.get_by_role("button", name="Submit").click()
    tab.get_by_text("That was the last image for now. Thank you.").wait_for()
    shoot(tab, "7-done")
    tab.get_by_role("button", name="Sign out").click()
    tab.get_by_role("heading", name="Sign in to label").wait_for()

    assert {url.split("/")[2] for url, _ in seen if url.startswith("http")} == {service.url.split("/")[2]}
    assert [kind for _, kind in seen].count("application/dicom") == 6  # three tasks; the last one twice, with two images
    assert not any(secret in page_source for secret in (orthanc.url, orthanc.password.reveal(), "Authorization"))

    service.client().stop_labeling_job(LabelingJobName="reading")
    service.wait_for("reading", "Stopped")
    first, skipped, third = output_lines(service.workspace)
    states = {label: said["state"] for label, said in first["finding"]["labels"].items()}
    assert (states.pop("Cardiomegaly"), states.pop("Edema")) == (LabelState.POSITIVE, LabelState.UNCERTAIN)
    assert set(states.values()) == {LabelState.NEGATIVE}
    assert "finding" not in skipped
    assert third["finding"]["labels"]["No Finding"]["state"] == LabelState.POSITIVE


def test_a_person_is_told_when_the_image_or_the_session_is_gone(tab: Any, service: Service, orthanc: OrthancServer) -> None:
    (line, *_) = manifests.read(f"file://{service.workspace}/input.manifest")
    address = f"{orthanc.url}/instances/{line.data['source']}"
    requests.delete(address, auth=(orthanc.user, orthanc.password.reveal()), timeout=10).raise_for_status()
    sign_in(tab, service, PASSWORDS["reader-1"].reveal())
    tab.get_by_role("button", name="Start").click()
    tab.get_by_text("The image is not where the task says it is").wait_for()
    tab.get_by_role("button", name="Report as not displayed").wait_for()
    shoot(tab, "8-image-missing")
    tab.get_by_role("button", name="Skip this image").click()
    wait_for_image(tab)
    tab.context.clear_cookies()
    tab.get_by_role("button", name="All others absent").click()
    tab.get_by_role("button", name="Submit").click()
    tab.get_by_text("Sign in again in another tab, then submit here once more.").wait_for()
    shoot(tab, "9-session-ended")
    other = tab.context.new_page()
    sign_in(other, service, PASSWORDS["reader-1"].reveal())
    other.get_by_role("heading", name="Your labeling jobs").wait_for()
    other.close()
    tab.get_by_role("button", name="Submit").click()
    tab.get_by_text("image 3 of 3").wait_for()
    tab.goto(f"{service.url}/tasks/{'0' * 32}")
    tab.get_by_text("This task does not exist or is not yours.").wait_for()
    shoot(tab, "10-no-such-task")

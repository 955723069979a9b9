"""What runs inside AWS before anything of the package does: the start script of a notebook and the build of an image, run here.

Real: bash, shellcheck, pip, venv, curl, flock, runuser, a web server in Jupyter's place. In AWS's place: a command `aws` that
copies from a folder and writes down how it was called, and likewise `docker`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jmespath
import pytest
import yaml
from support.stack_evaluator import Evaluation
from support.templates import CFN, template

import dicom_workflow
from dicom_workflow.aws import packaging
from dicom_workflow.learning.training import script_run

SCRIPTS = CFN / "scripts"
START = SCRIPTS / "notebook_start.sh"
BUILD = SCRIPTS / "build_image.yaml"
PREFIX = "wheels/0123456789abcdef"
BOOKS = "notebooks-fedcba9876543210"
DOMAIN = "arn:aws:sagemaker:us-east-1:123456789012:domain/d-abc123"
GIVEN = {
    "KeyArn": "arn:aws:kms:us-east-1:123456789012:key/0",
    "ArtifactsBucket": "artifacts",
    "WheelsPrefix": f"{PREFIX}/",
    "NotebooksKey": f"{BOOKS}.zip",
    "VpcId": "vpc-1",
    "PrivateSubnetIds": "subnet-1,subnet-2",
    "LabelingBucket": "labeling",
    "TrainingBucket": "training",
    "TrainingRoleArn": "arn:aws:iam::123456789012:role/training",
}
AWS = """#!/bin/bash
# AWS's command line over a folder: what the start script asks, and nothing else.
set -eu
echo "$*" >>"$FAKE_AWS/calls"
case "$1 $2" in
  "s3 sync") [ -d "$FAKE_AWS/${5#s3://}" ] && rm -rf "$6" && cp -r "$FAKE_AWS/${5#s3://}" "$6" ;;
  "s3 cp") cp "$FAKE_AWS/${4#s3://}" "$5" ;;
  "sagemaker stop-notebook-instance") [ ! -e "$FAKE_AWS/refuses" ] ;;
  "sagemaker list-tags") echo "$6 $8" >>"$FAKE_AWS/tagged"; grep -o "dicom-workflow:[a-z-]*" <<<"$8" | sed "s/.*://" | \\
    xargs -I% cat "$FAKE_AWS/tags/%" ;;
  *) echo "not known here: $*" >&2; exit 2 ;;
esac
"""
DOCKER = """#!/bin/bash
echo "docker $*" >>"$FAKE_AWS/calls"
[ "$1" != login ] || cat >"$FAKE_AWS/password"
[ "$1" != "${FAILS:-}" ] || exit 1
[ "$1" != push ] || touch "$FAKE_AWS/pushed"
"""
ECR = """#!/bin/bash
echo "aws $*" >>"$FAKE_AWS/calls"
case "$2" in
  describe-images) [ -e "$FAKE_AWS/pushed" ] && echo "${DIGEST:-sha256:0123}" ;;
  get-login-password) echo secret-of-the-registry ;;
esac
"""
# In place of ipykernel, which needs a dozen packages: it takes the same arguments, as a test below says of the real one.
KERNEL = """
import argparse, json, pathlib
parser = argparse.ArgumentParser()
parser.add_argument("command", choices=["install"])
parser.add_argument("--user", action="store_true", required=True)
parser.add_argument("--name", required=True)
parser.add_argument("--display-name", required=True)
parser.add_argument("--env", nargs=2, action="append")
given = parser.parse_args()
import sys
folder = pathlib.Path.home() / ".local/share/jupyter/kernels" / given.name
folder.mkdir(parents=True, exist_ok=True)
(folder / "kernel.json").write_text(json.dumps(
    {"argv": [sys.executable], "env": dict(given.env), "display_name": given.display_name}))
"""


# ---- What the templates hold ------------------------------------------------------------------------------------------------


def stack(**chosen: str) -> Evaluation:
    return Evaluation(template("notebook"), GIVEN | chosen, "dicom-workflow-notebook")


def instance_script(**chosen: str) -> str:
    """What an instance gets: the evaluator leaves `Fn::Base64` away."""
    content = stack(**chosen).resource("NotebookStart")["Properties"]["OnStart"][0]["Content"]
    assert isinstance(content, str)
    return content


def studio_script(**chosen: str) -> str:
    content = stack(NotebookKind="Studio", **chosen).resource("StudioStart")["Properties"]["StudioLifecycleConfigContent"]
    assert isinstance(content, str)
    return content


@pytest.mark.parametrize("script", [instance_script, studio_script])
def test_the_template_holds_the_start_script_as_it_is_in_its_file(script: Any) -> None:
    head, _, body = script().partition("# Start script of a SageMaker notebook instance")
    assert "# Start script of a SageMaker notebook instance" + body == START.read_text("utf-8")
    assert head.startswith("#!/bin/bash\n")


@pytest.mark.parametrize(("name", "resource"), [("labeling", "LabelingServiceBuild"), ("training", "InferenceBuild")])
def test_the_template_holds_the_build_as_it_is_in_its_file(name: str, resource: str) -> None:
    project = template(name)["Resources"][resource]["Properties"]
    assert project["Source"]["BuildSpec"] == BUILD.read_text("utf-8")
    given = {variable["Name"] for variable in project["Environment"]["EnvironmentVariables"]}
    assert given == {"REPOSITORY", "CONTEXT_KEY", "BASE_IMAGE"}


BASES = {
    "labeling": ("LabelingServiceBaseImage", "docker/labeling-service/Dockerfile"),
    "training": ("InferenceBaseImage", "source/Dockerfile"),
}


@pytest.mark.parametrize(("name", "parameter", "dockerfile"), [(name, *rest) for name, rest in BASES.items()], ids=BASES)
def test_aws_builds_on_the_base_that_the_dockerfile_names(name: str, parameter: str, dockerfile: str) -> None:
    (own,) = re.findall(r"^ARG BASE=(\S+)$", (CFN.parent / dockerfile).read_text("utf-8"), re.MULTILINE)
    body = template(name)["Parameters"][parameter]
    assert body["Default"] == f"public.ecr.aws/docker/library/{own}"
    assert re.fullmatch(body["AllowedPattern"], body["Default"])
    assert not re.fullmatch(body["AllowedPattern"], "python:latest")


def test_what_is_asked_of_a_domains_tags_is_one_value() -> None:
    (query,) = re.findall(r'--query "(Tags[^"]*)"', START.read_text("utf-8"))
    tags = {"Tags": [{"Key": "other", "Value": "no"}, {"Key": "dicom-workflow:wheels", "Value": PREFIX}]}
    assert jmespath.search(query.replace("$2", "wheels"), tags) == PREFIX
    assert jmespath.search(query.replace("$2", "notebooks"), tags) is None
    domain = template("notebook")["Resources"]["StudioDomain"]["Properties"]["Tags"]
    asked = set(re.findall(r'tag "\$domain" ([a-z-]+)', START.read_text("utf-8")))
    assert {f"dicom-workflow:{name}" for name in asked} <= {tag["Key"] for tag in domain}
    assert len(asked) == 3


@pytest.mark.parametrize("script", [instance_script, studio_script])
def test_a_start_script_is_small_enough_with_the_longest_names(script: Any) -> None:
    longest = script(ArtifactsBucket="a" * 63, WheelsPrefix="wheels/" + "a" * 100, DeploymentName="a" * 31)
    assert len(base64.b64encode(longest.encode())) <= 16384


def test_another_script_of_studio_has_another_name() -> None:
    """A lifecycle configuration of Studio cannot be changed, and a new one of the same name is refused."""
    script = template("notebook")["Resources"]["StudioStart"]["Properties"]
    digest = hashlib.sha256(json.dumps(script["StudioLifecycleConfigContent"], sort_keys=True).encode()).hexdigest()[:8]
    assert script["StudioLifecycleConfigName"]["Fn::Sub"] == f"${{AWS::StackName}}-{digest}"
    head = json.dumps(script["StudioLifecycleConfigContent"]["Fn::Base64"]["Fn::Join"][1][:-1])
    changing = ("WheelsPrefix", "NotebooksKey", "PackageIndex", "IdleMinutes", "NotebookInstanceType")
    assert [name for name in changing if name in head] == []


def test_shellcheck_has_nothing_to_say(tmp_path: Path) -> None:
    checker = shutil.which("shellcheck") or str(Path(sys.executable).with_name("shellcheck"))
    scripts = {"instance.sh": instance_script(), "studio.sh": studio_script()}
    for number, command in enumerate(build_commands()):
        scripts[f"build-{number}.sh"] = f"#!/bin/bash\n{command}"
    for name, text in scripts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = subprocess.run([checker, *scripts], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# ---- A notebook starts ------------------------------------------------------------------------------------------------------


@dataclass
class Machine:
    """A machine with an empty home, and what AWS has for it."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def aws(self) -> Path:
        return self.folder / "aws"

    @property
    def state(self) -> Path:
        return self.home / ".dicom-workflow"

    @property
    def calls(self) -> list[str]:
        path = self.aws / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def run(self, *step: str, script: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the script of the instance, or a step of it, with nothing of this process's environment."""
        text = (script or instance_script()).replace("/home/ec2-user/SageMaker", str(self.home))
        text = text.replace("/home/sagemaker-user", str(self.home)).replace("NOTEBOOK_USER='ec2-user'", "")
        path = self.folder / "script.sh"
        path.write_text(text, encoding="utf-8")
        environment = {
            "PATH": f"{self.folder / 'bin'}:/usr/sbin:/usr/bin:/bin",
            "HOME": str(self.home),
            "FAKE_AWS": str(self.aws),
            "PYTHONS": sys.executable,
            "PIP_CACHE_DIR": str(self.folder / "cache"),
            **self.variables,
            **variables,
        }
        return subprocess.run(
            ["/bin/bash", str(path), *step], env=environment, capture_output=True, text=True, timeout=280, check=False
        )

    def status(self) -> str:
        path = self.home / "dicom-workflow-STATUS.txt"
        return path.read_text() if path.exists() else ""

    def waits_for(self, word: str) -> str:
        while word not in self.status():
            assert word == "failed" or "failed" not in self.status(), (self.state / "install.log").read_text()
            time.sleep(0.1)  # pytest's own time limit ends a wait for what never comes
        return self.status()

    def venv(self, prefix: str = PREFIX) -> Path:
        return self.state / f"venv-{Path(prefix).name}"

    def tag(self, **values: str) -> None:
        """Give the domain tags, and the space the file that says which domain is its own."""
        (self.aws / "tags").mkdir()
        for name, value in values.items():
            (self.aws / "tags" / name).write_text(f"{value}\n")
        app = DOMAIN.replace(":domain/", ":app/") + "/space/JupyterLab/default"
        metadata = self.folder / "metadata.json"
        metadata.write_text(json.dumps({"AppType": "JupyterLab", "ResourceArn": app, "ResourceName": "default"}))
        self.variables["METADATA"] = str(metadata)

    def says(self, code: str) -> str:
        """What a program prints in the environment that was installed, and in no folder of ours."""
        python = self.venv() / "bin/python"
        done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.strip()

    def put(self, prefix: str, books: str, version: str) -> None:
        """Put wheels and notebooks of a version into the bucket, as the command line uploads them."""
        wheels = self.aws / "artifacts" / prefix
        wheels.mkdir(parents=True)
        wheel(wheels, "dicom_workflow", version, {"dicom_workflow/__init__.py": f"__version__ = {version!r}\n"})
        wheel(wheels, "ipykernel", "6.30", {"ipykernel/__init__.py": "", "ipykernel/__main__.py": KERNEL})
        wheel(wheels, "tqdm", "4.67", {"tqdm.py": "there = True\n"})
        (wheels / "requirements.txt").write_text("tqdm>=4.67,<5\nipykernel>=6.29,<8\n-e .\n")
        with zipfile.ZipFile(self.aws / "artifacts" / f"{books}.zip", "w") as archive:
            archive.writestr("notebooks/01_upload.ipynb", "{}")
            archive.writestr("source/monai_dicom.py", "trains = True\n")


def wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> None:
    info = f"{name}-{version}.dist-info"
    files = files | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)


def command(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    found = Machine(tmp_path)
    for path in (found.state, found.aws):
        path.mkdir(parents=True)
    command(tmp_path / "bin", "aws", AWS)
    return found


def test_a_notebook_installs_the_package_and_knows_it_the_next_time(machine: Machine) -> None:
    machine.put(PREFIX, BOOKS, "0.0")
    # The first time what the command line uploads: the wheel and the notebooks of this very project.
    for stand_in in (machine.aws / "artifacts" / PREFIX).glob("dicom_workflow-*"):
        stand_in.unlink()
    packaging.build_wheel(machine.aws / "artifacts" / PREFIX)
    packaging.zip_files(machine.aws / "artifacts" / f"{BOOKS}.zip", packaging.notebook_files())
    done = machine.run()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")  # what takes long goes on in the background
    assert f"ready: open dicom-workflow/{BOOKS}/notebooks" in machine.waits_for("ready")

    python = machine.venv() / "bin/python"
    said = machine.says("import dicom_workflow as d, tqdm; print(d.__version__, tqdm.there)")
    assert said == f"{dicom_workflow.__version__} True"
    file = machine.says("import dicom_workflow; print(dicom_workflow.__file__)")
    # Where the package looks for the script of training: beside itself, as in a checkout.
    script = Path(file).parents[1] / script_run.SCRIPT.relative_to(script_run.SCRIPT.parents[1])
    assert script.read_bytes() == script_run.SCRIPT.read_bytes()
    books = machine.home / "dicom-workflow" / BOOKS
    assert (books / "notebooks/01_upload_to_orthanc.ipynb").is_file()
    environment = {"DICOM_WORKFLOW_DEPLOYMENT": "dicom-workflow", "AWS_REGION": "us-east-1"}
    environment["DICOM_WORKFLOW_WORKSPACE"] = str(machine.home / "workspace")
    assert dict(line.split("=") for line in (books / ".env").read_text().splitlines()) == environment
    kernel_file = machine.home / ".local/share/jupyter/kernels/python3/kernel.json"
    kernel = json.loads(kernel_file.read_text())
    assert kernel == {"argv": [str(python)], "env": environment, "display_name": "dicom-workflow"}

    # A restart: only the home outside the lasting folder is gone.
    kernel_file.unlink()
    (machine.home / "dicom-workflow-STATUS.txt").unlink()
    before = machine.calls
    assert machine.run("install").returncode == 0
    assert "ready" in machine.status()
    assert kernel_file.is_file()
    assert machine.calls == before  # nothing was fetched again

    # New code: installed beside the old one, which then goes; what somebody changed in a notebook stays.
    (books / "notebooks/01_upload_to_orthanc.ipynb").write_text("changed")
    machine.put("wheels/1111", "notebooks-2222", "2.0")
    newer = instance_script(WheelsPrefix="wheels/1111", NotebooksKey="notebooks-2222.zip")
    assert machine.run("install", script=newer).returncode == 0
    assert sorted(path.name for path in machine.state.glob("venv-*")) == ["venv-1111"]
    assert (books / "notebooks/01_upload_to_orthanc.ipynb").read_text() == "changed"
    assert (machine.home / "dicom-workflow/notebooks-2222/notebooks/01_upload.ipynb").read_text() == "{}"
    assert "notebooks-2222" in machine.status()


def test_what_failed_is_said_and_made_good_at_the_next_start(machine: Machine) -> None:
    machine.put(PREFIX, BOOKS, "1.0")
    missing = machine.aws / "artifacts" / PREFIX / "tqdm-4.67-py3-none-any.whl"
    missing.rename(machine.folder / missing.name)
    assert machine.run("start").returncode == 0  # a start script that failed would keep the notebook from starting
    assert ".dicom-workflow/install.log" in machine.waits_for("failed")
    log = (machine.state / "install.log").read_text()
    assert "No matching distribution found for tqdm" in log
    assert "no interpreter of Python 3.11 or newer that the wheels fit" in log
    assert not (machine.home / ".local").exists()
    assert not (machine.venv() / "done").exists()

    (machine.folder / missing.name).rename(missing)
    assert machine.run("install").returncode == 0
    assert "ready" in machine.status()


def test_a_space_of_studio_reads_its_domains_tags_and_takes_the_interpreter_that_came_with_the_wheels(machine: Machine) -> None:
    machine.put(PREFIX, BOOKS, "1.0")
    command(machine.folder / "brought", "python3", f'#!/bin/bash\nexec {sys.executable} "$@"\n')
    with tarfile.open(machine.aws / "artifacts" / PREFIX / "python.tar.gz", "w:gz") as archive:
        archive.add(machine.folder / "brought/python3", "python/bin/python3")
    machine.tag(wheels=f"{PREFIX}/", notebooks=f"{BOOKS}.zip", **{"package-index": "pypi"})
    # With a package index, what misses comes from there, but never the package itself: somebody else may own its name.
    index = machine.folder / "index"
    for name in ("dicom-workflow", "tqdm"):
        (index / name).mkdir(parents=True)
    wheel(index / "dicom-workflow", "dicom_workflow", "9.9", {"dicom_workflow/__init__.py": "__version__ = '9.9'"})
    (machine.aws / "artifacts" / PREFIX / "tqdm-4.67-py3-none-any.whl").rename(index / "tqdm" / "tqdm-4.67-py3-none-any.whl")
    for folder in index.iterdir():
        links = "".join(f'<a href="{path.name}">{path.name}</a>' for path in folder.glob("*.whl"))
        (folder / "index.html").write_text(f"<!DOCTYPE html><html><body>{links}</body></html>")

    brought = f"{machine.state}/python/bin/python3"
    done = machine.run("install", script=studio_script(), PYTHONS=brought, PIP_INDEX_URL=index.as_uri())
    assert done.returncode == 0, (machine.state / "install.log").read_text()
    assert "ready" in machine.status()
    assert machine.says("import dicom_workflow, tqdm; print(dicom_workflow.__version__, tqdm.there)") == "1.0 True"
    assert f"trying {brought}" in (machine.state / "install.log").read_text()
    asked = (machine.aws / "tagged").read_text().splitlines()
    assert [line.split()[0] for line in asked] == [DOMAIN] * 3


def test_without_tags_or_interpreter_it_says_what_it_wants(machine: Machine) -> None:
    machine.tag(wheels="None", notebooks="None", **{"package-index": "None"})
    assert machine.run("install", script=studio_script()).returncode == 1
    assert "failed" in machine.status()
    assert "expected wheels/… and the key of a zip, got 'None' and 'None'" in (machine.state / "install.log").read_text()

    machine.put(PREFIX, BOOKS, "1.0")
    assert machine.run("install", PYTHONS="/usr/bin/false /nowhere/*").returncode == 1
    assert "Put one into wheels/0123456789abcdef/ as python.tar.gz" in (machine.state / "install.log").read_text()


def test_two_starts_do_not_install_at_the_same_time(machine: Machine) -> None:
    lock = str(machine.state / "lock")
    with subprocess.Popen(["flock", lock, "cat"], stdin=subprocess.PIPE) as other:
        while subprocess.run(["flock", "--nonblock", lock, "true"], check=False, timeout=60).returncode == 0:
            time.sleep(0.01)
        assert machine.run("install").returncode == 0
        assert (machine.status(), machine.calls) == ("", [])
        assert other.stdin is not None
        other.stdin.close()


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become somebody else")
def test_on_an_instance_the_user_installs_and_not_root(machine: Machine) -> None:
    done = machine.run("as_user", "id --user --name; echo $HOME; declare -F install", NOTEBOOK_USER="nobody")
    assert done.stdout.split() == ["nobody", pwd.getpwnam("nobody").pw_dir, "install"], done.stderr


def test_the_real_ipykernel_takes_what_the_script_says(tmp_path: Path) -> None:
    (line,) = (text for text in START.read_text().split("\n\n") if text.startswith("# The notebooks require the kernel name"))
    assert "-m ipykernel install --user --name python3 --display-name dicom-workflow" in line
    arguments = ["-m", "ipykernel", "install", "--user", "--name", "python3", "--display-name", "dicom-workflow"]
    arguments += ["--env", "AWS_REGION", "us-east-1", "--env", "DICOM_WORKFLOW_DEPLOYMENT", "trial"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, check=True, timeout=120)
    kernel = json.loads((tmp_path / ".local/share/jupyter/kernels/python3/kernel.json").read_text())
    assert kernel["env"] == {"AWS_REGION": "us-east-1", "DICOM_WORKFLOW_DEPLOYMENT": "trial"}


# ---- An idle notebook stops -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def jupyter(kernels: list[dict[str, Any]], terminals: list[dict[str, Any]]) -> Iterator[str]:
    """A server that says of kernels and terminals what Jupyter's interface says."""
    answers = {"/api/kernels": kernels, "/api/terminals": terminals}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answers[self.path]).encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def ago(minutes: float) -> str:
    return (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")


LONG_SINCE = str(int(time.time()) - 86400)
STOP = "sagemaker stop-notebook-instance --region us-east-1 --notebook-instance-name dicom-workflow-notebook"
IDLE = {
    # name: kernels, terminals, seconds since 1970 of the start, whether it stops
    "nobody ever began": ([], [], LONG_SINCE, True),
    "a kernel long at rest": ([{"execution_state": "idle", "last_activity": ago(90)}], [], LONG_SINCE, True),
    "a kernel used just now": ([{"execution_state": "idle", "last_activity": ago(10)}], [], LONG_SINCE, False),
    "a kernel that computes for hours": ([{"execution_state": "busy", "last_activity": ago(300)}], [], LONG_SINCE, False),
    "one of two kernels": (
        [{"execution_state": "idle", "last_activity": ago(90)}, {"execution_state": "idle", "last_activity": ago(1)}],
        [],
        LONG_SINCE,
        False,
    ),
    "a terminal used just now": ([], [{"name": "1", "last_activity": ago(5)}], LONG_SINCE, False),
    "the machine began just now": ([{"execution_state": "idle", "last_activity": ago(90)}], [], str(int(time.time())), False),
}


@pytest.mark.parametrize(("kernels", "terminals", "since", "stops"), IDLE.values(), ids=IDLE)
def test_an_instance_stops_when_nobody_works(machine: Machine, kernels: Any, terminals: Any, since: str, stops: bool) -> None:
    with jupyter(kernels, terminals) as url:
        done = machine.run("stop_if_idle", since, JUPYTER_URL=url)
    assert done.returncode == (0 if stops else 1), done.stderr
    assert machine.calls == ([STOP] if stops else [])


def test_an_instance_that_cannot_be_asked_goes_on(machine: Machine) -> None:
    with jupyter([], []) as url:
        pass
    done = machine.run("stop_if_idle", LONG_SINCE, JUPYTER_URL=url)
    assert (done.returncode, machine.calls) == (1, [])
    assert "could not be asked" in done.stdout


def test_the_watch_asks_again_until_the_instance_stops(machine: Machine) -> None:
    (machine.aws / "refuses").touch()
    script = instance_script(IdleMinutes="1").replace("IDLE_MINUTES * 60", "IDLE_MINUTES * 0")
    with jupyter([], []) as url:
        watch = threading.Thread(
            target=machine.run, args=("watch_idle",), kwargs={"script": script, "JUPYTER_URL": url, "IDLE_POLL_SECONDS": "0.05"}
        )
        watch.start()
        while len(machine.calls) < 2:  # AWS refused the first time
            time.sleep(0.05)
        (machine.aws / "refuses").unlink()
        watch.join()
    assert set(machine.calls) == {STOP}


@pytest.mark.parametrize(("minutes", "watches"), [("0", False), ("5", True)])
def test_idle_minutes_zero_watches_nothing(machine: Machine, minutes: str, watches: bool) -> None:
    script = instance_script(IdleMinutes=minutes).replace("as_user watch_idle &", 'touch "$STATE/watched"')
    assert machine.run("background", script=script.replace("as_user install", "true")).returncode == 0
    assert (machine.state / "watched").exists() is watches


# ---- An image is built ------------------------------------------------------------------------------------------------------


def build_commands() -> list[str]:
    phases = yaml.safe_load(BUILD.read_text("utf-8"))["phases"]
    return [command for phase in phases.values() for command in phase["commands"]]


def built(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command(folder / "bin", "aws", ECR)
    command(folder / "bin", "docker", DOCKER)
    environment = {
        "PATH": f"{folder / 'bin'}:/usr/bin:/bin",
        "FAKE_AWS": str(folder),
        "REPOSITORY": "123456789012.dkr.ecr.us-east-1.amazonaws.com/labeling-service/image",
        "CONTEXT_KEY": "labeling-service/context-0123456789abcdef.zip",
        "BASE_IMAGE": "python:3.11.14-slim-bookworm",
        **variables,
    }
    line = ["/bin/bash", "-c", "\n".join(build_commands())]
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_an_image_is_built_once_and_named_by_its_digest(tmp_path: Path) -> None:
    repository = "123456789012.dkr.ecr.us-east-1.amazonaws.com/labeling-service/image"
    first = built(tmp_path)
    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines()[-1] == f"IMAGE={repository}@sha256:0123"
    calls = (tmp_path / "calls").read_text().splitlines()
    tag = f"{repository}:context-0123456789abcdef"
    build = f"docker build --pull --build-arg BASE=python:3.11.14-slim-bookworm --tag {tag} ."
    assert calls.index(f"docker push {tag}") > calls.index(build)
    assert any(
        "--repository-name labeling-service/image --image-ids imageTag=context-0123456789abcdef" in call for call in calls
    )
    # The registry's password is given on standard input: a process's arguments can be read by every other one.
    assert (tmp_path / "password").read_text() == "secret-of-the-registry\n"
    assert "secret-of-the-registry" not in "\n".join(calls) + first.stdout + first.stderr

    (tmp_path / "calls").unlink()
    second = built(tmp_path)
    assert second.stdout.splitlines()[-1] == first.stdout.splitlines()[-1]
    assert "docker" not in (tmp_path / "calls").read_text()


@pytest.mark.parametrize("step", ["login", "build", "push"])
def test_a_build_that_fails_names_no_image(tmp_path: Path, step: str) -> None:
    done = built(tmp_path, FAILS=step)
    assert done.returncode != 0
    assert "IMAGE=" not in done.stdout


def test_a_registry_without_the_image_afterwards_is_a_failure(tmp_path: Path) -> None:
    done = built(tmp_path, DIGEST="None")
    assert done.returncode == 1
    assert "expected the digest" in done.stderr

"""Container images without an engine: what a Dockerfile says, and its entry run over its files in a box of its own.

The box is what the container would have: the staged files and the pinned packages, and no other, below /opt; a root that cannot
be written, an empty /tmp, the image's user without capabilities, and the entry as the first process.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Dockerfile:
    """The instructions of a Dockerfile, by stage."""

    def __init__(self, path: Path) -> None:
        joined = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", path.read_text("utf-8"), flags=re.MULTILINE))
        self.steps = [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in joined.splitlines() if line.strip()]
        starts = [number for number, (name, _) in enumerate(self.steps) if name == "FROM"]
        self.stages = [self.steps[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True)]

    def last(self, name: str) -> list[str]:
        """The values of an instruction in the stage that becomes the image."""
        return [value for step, value in self.stages[-1] if step == name]

    @property
    def arguments(self) -> dict[str, str]:
        return dict(value.split("=", 1) for name, value in self.steps if name == "ARG" and "=" in value)

    @property
    def command(self) -> list[str]:
        """The entry point and its default arguments; the shell form would be no JSON."""
        return [word for name in ("ENTRYPOINT", "CMD") for value in self.last(name) for word in json.loads(value)]

    @property
    def environment(self) -> dict[str, str]:
        return dict(pair.split("=", 1) for value in self.last("ENV") for pair in value.split())

    @property
    def copied(self) -> list[tuple[str, str]]:
        """What is taken from the context, and where to."""
        words = [value.split() for name, value in self.steps if name == "COPY" and "--from" not in value]
        return [(source, target[-1]) for *sources, target in ((*w[:-1], w[-1:]) for w in words) for source in sources]


def pinned(requirements: Path) -> dict[str, str]:
    """Package → version of a file that uv made, those for this platform and Python."""
    from packaging.requirements import Requirement

    lines = [line.rstrip(" \\") for line in requirements.read_text("utf-8").splitlines() if re.match(r"\w", line)]
    found = (Requirement(line) for line in lines)
    return {one.name: str(one.specifier) for one in found if one.marker is None or one.marker.evaluate()}


def python_for_all() -> str | None:
    """An interpreter of this version that another user can start, too."""
    here = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (os.path.realpath(sys.executable), f"/usr/bin/{here}", f"/usr/local/bin/{here}"):
        path = Path(candidate)
        if path.exists() and all(folder.stat().st_mode & 0o005 == 0o005 for folder in path.parents):
            return candidate
    return None


class Box:
    """An image's files in a folder, and its entry as a process."""

    def __init__(self, folder: Path, dockerfile: Dockerfile, context: Path, packages: Sequence[str], python: str) -> None:
        self.folder, self.dockerfile = folder, dockerfile
        folder.mkdir(mode=0o755)
        for source, target in dockerfile.copied:
            if target.startswith("/opt/"):
                place = folder / target.removeprefix("/")
                place.parent.mkdir(parents=True, exist_ok=True)
                copy = shutil.copytree if (context / source).is_dir() else shutil.copy
                copy(context / source, place)  # type: ignore[operator]
        venv = folder / "opt/venv"
        subprocess.run([python, "-m", "venv", "--without-pip", str(venv)], check=True)
        (site,) = venv.glob("lib/python3.*/site-packages")
        self.missing = []
        for package in packages:
            try:
                files = metadata.distribution(package).files or []
            except metadata.PackageNotFoundError:
                self.missing.append(package)
                continue
            for name in {file.parts[0] for file in files} - {"..", "__pycache__"}:
                with contextlib.suppress(FileExistsError):
                    (site / name).symlink_to(Path("/opt/packages", name))
        (folder / "opt/packages").mkdir()  # where the box has this environment's, wherever that lies outside

    @contextlib.contextmanager
    def running(
        self, environment: Mapping[str, str], log: Path, *, command: Sequence[str] = (), mounts: Sequence[str] = ()
    ) -> Iterator[Contained]:
        """Start the entry; `mounts` are shell commands that the box needs besides."""
        script = "; ".join(
            (
                "mount --make-rprivate /",
                f"mount --bind '{self.folder}/opt' /opt",
                f"mount --bind -o ro '{sysconfig.get_path('purelib')}' /opt/packages",
                *mounts,
                "mount -t tmpfs -o mode=1777 tmpfs /tmp",
                "mount -o remount,bind,ro /opt",
                "mount -o remount,bind,ro /",
                "cd /opt/program",
                "exec setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all"
                ' "$@"',
            )
        )
        entry = list(command or self.dockerfile.command)
        program = f"/opt/venv/bin/{entry[0]}" if entry[0] == "python" else entry[0]
        values = {"PATH": "/usr/bin:/bin", **self.dockerfile.environment, **environment}
        values["PATH"] = values["PATH"].replace("$PATH", "/usr/bin:/bin")
        box = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        with log.open("ab") as stream:
            process = subprocess.Popen(
                [*box, "sh", "-ec", script, "sh", program, *entry[1:]], env=values, stdout=stream, stderr=stream
            )
        contained = Contained(process, log)
        try:
            yield contained
        finally:
            process.kill()
            process.wait()


class Contained:
    """The process inside a box."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self.log = process, log

    @property
    def pid(self) -> int:
        """Of the first process of the box, as this machine counts."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])

    def status(self) -> dict[str, str]:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return {line.partition(":")[0]: line.partition(":")[2].strip() for line in lines}

    def terminate(self, seconds: float) -> int:
        """Send SIGTERM, as an engine does, and return the exit code; fail when the engine would have to kill it."""
        os.kill(self.pid, signal.SIGTERM)
        return self.process.wait(seconds)

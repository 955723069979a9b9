"""The search service of a workspace as a process of its supervisor: started by `make up` where the workspace has an index."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from dicom_workflow import processes
from dicom_workflow.pipeline.local_services import SearchState
from dicom_workflow.settings import Settings

PACKAGES = ("lancedb", "tantivy", "strawberry", "python_multipart", "jwt")
"""What the service imports and the extra ``[search]`` brings."""
STOP_SECONDS = 30.0
"""Longer than the service waits for requests under way."""


class SearchProcess:
    """The service of one workspace; its address stays the same when it is started again."""

    def __init__(self, workspace: Path, log_path: Path) -> None:
        self._index = workspace / "search" / "index"
        self._log_path = log_path
        self._url = f"http://127.0.0.1:{processes.free_port()}/"
        self._process: subprocess.Popen[bytes] | None = None
        self.state = SearchState()

    @property
    def pid(self) -> int:
        """Process id; 0 while it does not run."""
        return self._process.pid if self._process else 0

    def ask(self, asked: int, settings: Settings) -> None:
        """Start the service unless it runs; where it cannot run, the state says why.

        Parameters
        ----------
        asked : int
            Which `make up` asks; the state repeats it with the answer.
        settings : Settings
            Its archive has to run already; its search token is what clients have to send.
        """
        if self._process is None and asked:
            problem = self._obstacle()
            if not problem:
                self._start(settings)
            self.state = SearchState(problem=problem)
        self.state = SearchState(self.state.url, self.state.problem, asked)

    def look(self, settings: Settings) -> bool:
        """Return whether something changed: it answers now, it did not start, or it died and was started again."""
        if self._process is None:
            return False
        if self._process.poll() is not None:
            if self.state.url:
                print("The search service died; starting it again.", flush=True)
                self._start(settings)
                self.state = SearchState(asked=self.state.asked)
            else:
                self._process = None
                self.state = SearchState(problem=self._last_words(), asked=self.state.asked)
            return True
        if not self.state.url and processes.answers(f"{self._url}healthz"):
            self.state = SearchState(self._url, asked=self.state.asked)
            return True
        return False

    def terminate(self) -> None:
        """Ask the service to end when its requests are answered, and do not wait."""
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def stop(self) -> None:
        """Stop the service; requests under way are answered first."""
        if self._process:
            processes.stop(self._process, timeout_seconds=STOP_SECONDS)

    def _start(self, settings: Settings) -> None:
        port = self._url.rstrip("/").rpartition(":")[2]
        self._log_path.unlink(missing_ok=True)
        command: list[str | Path] = [sys.executable, "-m", "dicom_workflow.cli", "search", "serve"]
        command += ["--store", self._index, "--port", port]
        self._process = processes.start(command, self._log_path, environment=settings.to_environment())

    def _obstacle(self) -> str:
        if missing := missing_packages():
            return f"needs packages that are not installed ({missing}). Install them with pip install -e '.[search]'."
        if not self._index.is_dir():
            return "this workspace has no index yet. Make one with dicom-workflow search index archive, then run make up again."
        return ""

    def _last_words(self) -> str:
        last = processes.log_end(self._log_path).splitlines()[-1]
        return f"{last.removeprefix('dicom-workflow search: ')} Its log is {self._log_path}."


def missing_packages(names: Iterable[str] = PACKAGES) -> str:
    """Return which packages of the service cannot be imported, separated by commas."""
    return ", ".join(name for name in names if find_spec(name) is None)

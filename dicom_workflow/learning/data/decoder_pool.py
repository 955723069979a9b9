"""Pool of decoder processes: the decoders of JPEG 2000 and JPEG-LS hold Python's global lock.

A decoder process reads one line of JSON per file and answers with one. It writes its pixels where the line says and ends with
its standard input, so however its starter ends it does not stay behind. A file that makes a decoder crash is one bad file.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from dicom_workflow.errors import DatasetError, DicomError, LearningError, printable

Decode = Callable[[Path, int, str], np.ndarray]
"""``decode(path, size_px, version)``: shape (channels, size_px, size_px), float16; DicomError or OSError for a bad file."""

MIN_FILES_PER_PROCESS = 32
"""A process takes half a second to start, in which a thread decodes a dozen files."""

_CHILD = """import sys
sys.path[:] = {path!r}
from dicom_workflow.learning.data.decoder_pool import serve
serve({function!r}, {size_px!r}, {version!r}, {channels!r})
"""


@dataclass(frozen=True)
class Job:
    """One file to decode."""

    path: Path
    key: bytes
    """What the checksum of its pixels begins with: see `checksum`."""
    target: Path | None = None
    """File that gets the pixels; none to see whether the file can be decoded."""
    offset: int = 0
    """Where in `target`, in bytes."""


@dataclass(frozen=True)
class Outcome:
    """Outcome of decoding one file."""

    problem: str
    """Why it cannot be used; empty when it can."""
    checksum: int = 0


def checksum(key: bytes, data: bytes | memoryview) -> int:
    """Return the checksum of pixels and of the file they belong to: CRC-32, which detects damage, not tampering."""
    return zlib.crc32(data, zlib.crc32(key))


def described(path: Path, error: DicomError | OSError) -> str:
    """Return why a file cannot be used, with its path."""
    if isinstance(error, DicomError):
        return str(error) if printable(path) in str(error) else printable(f"{path}: {error}")
    return printable(f"{path}: cannot be read: {error.strerror or error}.")


def check_channels(image: np.ndarray, channels: int) -> None:
    """Refuse a decoded image, ndarray of shape (channels, size_px, size_px), float16, of another number of channels.

    Raises
    ------
    DatasetError
        It is no fault of one file: what decodes the images and the network do not fit together.
    """
    if image.shape[0] != channels:
        raise DatasetError(
            f"images are decoded to {image.shape[0]} channels and the network takes {channels}. Choose another --network."
        )


def decode_all(
    jobs: Sequence[Job],
    size_px: int,
    version: str,
    decode: Decode,
    *,
    channels: int = 1,
    workers: int,
    processes: bool | None = None,
) -> Iterator[Outcome]:
    """Yield the outcome of each job, in order, while later ones are decoded.

    Parameters
    ----------
    jobs : sequence of Job
    size_px, version
        Arguments of `decode`.
    decode : callable
        Processes need a function of a module; any other is called in threads of this one.
    channels : int
        Of the images.
    workers : int
        Files decoded at a time.
    processes : bool, optional
        Whether to start processes; by default where there are enough files for it to pay.

    Raises
    ------
    LearningError
        A decoder process could not be started, or ended with an error that is no file's fault.
    DatasetError
        The images have another number of channels.
    """
    workers = max(1, min(workers, len(jobs)))
    function = _importable(decode)
    if processes is None:
        processes = workers > 1 and len(jobs) >= MIN_FILES_PER_PROCESS * workers
    started: list[_Process] = []
    free: queue.SimpleQueue[_Process] = queue.SimpleQueue()

    def run(job: Job) -> Outcome:
        if not (processes and function):
            return _decoded(job, size_px, version, decode, channels)
        process = free.get()
        try:
            return process.outcome(job)
        finally:
            free.put(process)

    pool = ThreadPoolExecutor(max_workers=workers)
    try:
        for _ in range(workers if processes and function else 0):
            started.append(_Process(function, size_px, version, channels))
            free.put(started[-1])
        yield from pool.map(run, jobs)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for process in started:
            process.close()


def serve(function: str, size_px: int, version: str, channels: int = 1) -> None:
    """Answer jobs from standard input until it ends: the main loop of a decoder process.

    Parameters
    ----------
    function : str
        ``module:name`` of the `Decode` function.
    size_px : int
    version : str
        Arguments of the function.
    channels : int
        Of the images.
    """
    module, _, name = function.partition(":")
    decode = getattr(importlib.import_module(module), name)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        said = json.loads(line)
        target = Path(said["target"]) if said["target"] else None
        job = Job(Path(said["path"]), bytes.fromhex(said["key"]), target, said["offset"])
        try:
            outcome = _decoded(job, size_px, version, decode, channels)
            answer = {"problem": outcome.problem, "checksum": outcome.checksum}
        except DatasetError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), file=answers, flush=True)


class _Process:
    """One decoder process, restarted after a file has crashed it."""

    def __init__(self, function: str, size_px: int, version: str, channels: int) -> None:
        code = _CHILD.format(path=sys.path, function=function, size_px=size_px, version=version, channels=channels)
        self._command = [sys.executable, "-c", code]
        self._process: subprocess.Popen[str] | None = None

    def outcome(self, job: Job) -> Outcome:
        process = self._process = self._process or self._start()
        questions, answers = _pipes(process)
        said = {"path": str(job.path), "key": job.key.hex(), "target": str(job.target or ""), "offset": job.offset}
        answer = ""
        with contextlib.suppress(BrokenPipeError):
            questions.write(json.dumps(said) + "\n")
            questions.flush()
            answer = answers.readline()
        if answer.endswith("\n"):
            found = json.loads(answer)
            if "error" in found:
                raise DatasetError(found["error"])
            return Outcome(**found)
        self.close()
        if process.returncode >= 0:
            raise LearningError(f"{job.path}: a decoder process ended with exit code {process.returncode}; it says why above.")
        return Outcome(f"{job.path}: cannot be read: its decoder was ended by signal {-process.returncode}.")

    def _start(self) -> subprocess.Popen[str]:
        # A session of its own: Ctrl-C reaches it through this process only, as the end of its input.
        process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", start_new_session=True
        )
        if _pipes(process)[1].readline() != "ready\n":
            _end(process)
            raise LearningError(f"a decoder process could not be started; it ended with exit code {process.returncode}.")
        return process

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    questions, answers = _pipes(process)
    with contextlib.suppress(BrokenPipeError):
        questions.close()
    process.wait()
    answers.close()


def _pipes(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    return cast(IO[str], process.stdin), cast(IO[str], process.stdout)


def _decoded(job: Job, size_px: int, version: str, decode: Decode, channels: int) -> Outcome:
    try:
        image: np.ndarray[Any, Any] = decode(job.path, size_px, version)
    except (DicomError, OSError) as error:
        return Outcome(described(job.path, error))
    check_channels(image, channels)
    data = np.ascontiguousarray(image, "<f2").tobytes()
    if job.target is not None:
        with job.target.open("r+b", buffering=0) as stream:
            os.pwrite(stream.fileno(), data, job.offset)
    return Outcome("", checksum(job.key, data))


def _importable(function: Callable[..., Any]) -> str:
    """Return ``module:name`` of a function that another process can import, else an empty text."""
    module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
    found = getattr(sys.modules.get(module), name, None) if module and module != "__main__" else None
    return f"{module}:{name}" if found is function else ""

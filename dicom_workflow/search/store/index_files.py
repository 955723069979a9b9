"""Where a derived index is kept between processes: whole generations in a folder, checked before they are used.

A generation is a folder that is never changed once `index.json` names it. Whoever has something to add links the files of the
present one into a new folder, writes there, and lets `index.json` name that. So a killed process leaves the earlier generation
whole, and those who search it go on. A file that is not what `index.json` says of it, or another layout, is no index.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

_NAMES, _LOCK = "index.json", ".lock"
_LOCK_SECONDS = 1800.0
_BLOCK = 1 << 20


class IndexFiles:
    """The generations of one index. Its methods raise OSError where the folder cannot be read or written.

    Parameters
    ----------
    place : Path
        Folder of this index alone; made when it is first locked, for this user alone.
    layout : str
        What has to be the same for an index to be usable: fields, program versions.
    copy_of : Path, optional
        Folder of the same index that may not be written to: taken over where `place` has none yet.
    """

    def __init__(self, place: Path, layout: str, *, copy_of: Path | None = None) -> None:
        self._place, self._layout, self._copy_of = place, layout, copy_of
        self._checked: set[tuple[str, int, int]] = set()

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the only right to make a generation, over all processes.

        Raises
        ------
        TimeoutError
            Another process has been making one for half an hour.
        """
        self._place.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._copy_of is not None:
            self._place.chmod(0o700)  # whatever the folder that was copied allows: words of reports are in it
        handle = os.open(self._place / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not lock_within(handle, _LOCK_SECONDS):
                raise TimeoutError(f"{self._place} has been locked for {_LOCK_SECONDS / 60:.0f} minutes")
            if self._copy_of is not None and not (self._place / _NAMES).exists():
                with contextlib.suppress(OSError):
                    _copy_folder(self._copy_of, self._place)
            yield
        finally:
            os.close(handle)  # gives the lock back, as the end of the process does

    def present(self) -> Path | None:
        """Return the folder of the present generation, every file checked once; None where there is none that can be used."""
        try:
            said = json.loads((self._place / _NAMES).read_bytes())
            folder = self._place / Path(said["generation"]).name
            if said["layout"] != self._layout:
                return None
            for name, (size, checksum) in said["files"].items():
                if (name, size, checksum) not in self._checked and _sum_of(folder / Path(name).name) != (size, checksum):
                    return None
                self._checked.add((name, size, checksum))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return folder

    def draft(self, base: Path | None) -> Path:
        """Return a new folder with the files of a generation, for its successor."""
        folder = self._place / secrets.token_hex(8)
        folder.mkdir(mode=0o700)
        for path in base.iterdir() if base is not None else ():
            if path.suffix == ".lock":
                continue
            try:
                os.link(path, folder / path.name)  # files of segments are written once; the others are replaced, not changed
            except OSError:
                _copy_file(path, folder / path.name)
        return folder

    def publish(self, folder: Path) -> None:
        """Make a draft the present generation, and delete all others."""
        segments = {part["segment_id"].replace("-", "") for part in json.loads((folder / "meta.json").read_bytes())["segments"]}
        files = {}
        for path in folder.iterdir():
            if path.stem.partition(".")[0] in segments or path.name in ("meta.json", ".managed.json"):
                files[path.name] = _sum_of(path)
            elif path.suffix != ".lock":
                path.unlink()  # of segments that were merged into others
        self._checked = {(name, *of) for name, of in files.items()}
        new = self._place / f"{_NAMES}.{folder.name}"
        with new.open("w") as stream:
            json.dump({"layout": self._layout, "generation": folder.name, "files": files}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        new.replace(self._place / _NAMES)
        for path in self._place.iterdir():
            if path.is_dir() and path != folder:
                shutil.rmtree(path, ignore_errors=True)

    def discard(self, folder: Path) -> None:
        """Delete a draft that did not become a generation."""
        shutil.rmtree(folder, ignore_errors=True)


def lock_within(handle: int, seconds: float) -> bool:
    """Lock an open file for this process alone; return whether that was possible in time."""
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(0.01)


def _copy_folder(source: Path, target: Path) -> None:
    """Copy files and folders for this user alone, without the rights that they had."""
    for path in source.iterdir():
        if path.is_dir():
            (target / path.name).mkdir(mode=0o700, exist_ok=True)
            _copy_folder(path, target / path.name)
        elif path.name != _LOCK:
            _copy_file(path, target / path.name)


def _copy_file(source: Path, target: Path) -> None:
    with source.open("rb") as given, open(target, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as copy:
        shutil.copyfileobj(given, copy)


def _sum_of(path: Path) -> tuple[int, int]:
    """Return size and checksum of a file."""
    size = checksum = 0
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            size, checksum = size + len(block), zlib.crc32(block, checksum)
    return size, checksum

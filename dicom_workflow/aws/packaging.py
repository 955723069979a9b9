"""Reproducible packages of this project's code: training source, build contexts, Lambda packages, the wheel and the notebooks.

The modules of a package are found by following imports, including those inside functions: it holds what its entry point needs
and nothing else, and a new import cannot be forgotten. Data files that those modules read are added by `data_of`.
"""

from __future__ import annotations

import ast
import base64
import csv
import hashlib
import io
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import IO

import dicom_workflow
from dicom_workflow import __version__
from dicom_workflow.errors import DeployError
from dicom_workflow.formats.answers import SCHEMA_FILE
from dicom_workflow.formats.labels import LABEL_SETS_FOLDER
from dicom_workflow.learning.training.script_run import SCRIPT

PACKAGE = Path(dicom_workflow.__file__).resolve().parent
CHECKOUT = PACKAGE.parent
SOURCE = SCRIPT.parent
_SKIPPED = ("__pycache__", ".ipynb_checkpoints")
LABELING_SERVICE = CHECKOUT / "docker" / "labeling-service"
SEARCH_SERVICE = CHECKOUT / "docker" / "search"
SERVICE_DATA = ("groundtruth/portal/static", "labeling/worker_templates")
"""Folders of the package with files that the labeling service serves."""


def modules_of(entries: Iterable[Path]) -> tuple[Path, ...]:
    """Return the modules of this package that some files import, directly or not, sorted, relative to the checkout.

    Imports inside functions and the ``__init__`` of each parent package are included.
    """
    return modules_named(name for entry in entries for name in _imports(entry))


def modules_named(names: Iterable[str]) -> tuple[Path, ...]:
    """Return the modules of dotted names and all modules that they import, as `modules_of` does."""
    found: set[Path] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        for path in _files_of(name):
            if path not in found:
                found.add(path)
                waiting += _imports(path)
    return tuple(sorted(path.relative_to(CHECKOUT) for path in found))


def data_of(modules: Iterable[Path]) -> list[Path]:
    """Return the data files that modules read, sorted, relative to the checkout."""
    needed = set(modules)
    data = [Path(PACKAGE.name, SCHEMA_FILE)] if Path(PACKAGE.name, "formats", "answers.py") in needed else []
    if Path(PACKAGE.name, "formats", "labels.py") in needed:
        data += [path.relative_to(CHECKOUT) for path in (PACKAGE / LABEL_SETS_FOLDER).glob("*.json")]
    return sorted(data)


def _imports(path: Path) -> tuple[str, ...]:
    return _imports_of(path, path.stat().st_mtime_ns)


@cache
def _imports_of(path: Path, _modified_ns: int) -> tuple[str, ...]:
    """Cached until the file changes: a deployment asks for most of the package several times."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(name for name in names if name.split(".")[0] == PACKAGE.name)


def _files_of(name: str) -> list[Path]:
    """The module of a dotted name and the ``__init__`` of its parent packages; empty for a name inside a module."""
    parts = name.split(".")[1:]
    files = [PACKAGE.joinpath(*parts[:depth], "__init__.py") for depth in range(len(parts) + 1)]
    if parts:
        files.append(PACKAGE.joinpath(*parts[:-1], f"{parts[-1]}.py"))
    return [path for path in files if path.is_file()]


def stage_source(folder: str | Path, *, requirements: Iterable[str] = ()) -> Path:
    """Fill an empty folder with the source of a training container, and return it.

    It holds the files of ``source/`` and the modules of this package that they import: SageMaker's SDK uploads one folder and
    supports no further packages.

    Parameters
    ----------
    folder : path
    requirements : iterable of str
        Additional lines for ``requirements.txt``: packages that only some runs need.

    Raises
    ------
    DeployError
        The folder is not empty, or the package is not in a checkout with ``source/``.
    """
    if not SCRIPT.is_file():
        raise DeployError(f"There is no training script at {SCRIPT}. Run from a checkout of the project.")
    target = _empty_folder(folder)
    entries = sorted(SOURCE.glob("*.py"))
    for path in entries:
        shutil.copyfile(path, target / path.name)
    needed = (SOURCE / "requirements.txt").read_text(encoding="utf-8")
    (target / "requirements.txt").write_text(needed + "".join(f"{line}\n" for line in requirements), encoding="utf-8")
    modules = modules_of(entries)
    _copy([*modules, *data_of(modules)], target)
    return target


def stage_image(folder: str | Path) -> Path:
    """Fill an empty folder with the build context of our inference container, and return it.

    ``docker build FOLDER`` builds the image. The folder holds the staged source, its requirements and a Dockerfile, but no
    model, data or secret.

    Raises
    ------
    DeployError
        As `stage_source`.
    """
    target = stage_source(folder)
    shutil.copyfile(SOURCE / "requirements.lock", target / "requirements.lock")
    _copy_dockerfile(SOURCE, target)
    return target


def stage_labeling_service(folder: str | Path) -> Path:
    """Fill an empty folder with the build context of the self-hosted labeling service, and return it.

    ``docker build FOLDER`` builds the image. The folder holds the modules of the service, its pages, its pinned requirements
    and a Dockerfile, but no job database, radiographs or secret.

    Raises
    ------
    DeployError
        The folder is not empty, or the package is not in a checkout with ``docker/labeling-service``.
    """
    if not (LABELING_SERVICE / "Dockerfile").is_file():
        raise DeployError(f"There is no Dockerfile in {LABELING_SERVICE}. Run from a checkout of the project.")
    target = _empty_folder(folder)
    data = [path.relative_to(CHECKOUT) for name in SERVICE_DATA for path in sorted((PACKAGE / name).iterdir())]
    entry = PACKAGE / "groundtruth" / "__main__.py"
    modules = [*modules_of([entry]), entry.relative_to(CHECKOUT)]
    _copy([*modules, *data_of(modules), *data, (LABELING_SERVICE / "requirements.txt").relative_to(CHECKOUT)], target)
    _copy_dockerfile(LABELING_SERVICE, target)
    return target


def stage_search_service(folder: str | Path) -> Path:
    """Fill an empty folder with the build context of the search service and its ingest tasks, and return it.

    ``docker build FOLDER`` builds the image. The folder holds this package, the pinned requirements and a Dockerfile, but no
    index, model, report or secret.

    Raises
    ------
    DeployError
        The folder is not empty, or the package is not in a checkout with ``docker/search``.
    """
    if not (SEARCH_SERVICE / "Dockerfile").is_file():
        raise DeployError(f"There is no Dockerfile in {SEARCH_SERVICE}. Run from a checkout of the project.")
    target = _empty_folder(folder)
    # The command line imports its commands when they are called, so the whole package is taken.
    _copy([*map(Path, package_files()), (SEARCH_SERVICE / "requirements.txt").relative_to(CHECKOUT)], target)
    _copy_dockerfile(SEARCH_SERVICE, target)
    return target


def _empty_folder(folder: str | Path) -> Path:
    target = Path(folder)
    if target.exists() and any(target.iterdir()):
        raise DeployError(f"{target} is not empty. Choose a new or empty folder.")
    target.mkdir(parents=True, exist_ok=True)
    return target


def _copy(paths: Iterable[Path], target: Path) -> None:
    """Copy files of the checkout to the same relative paths in a folder."""
    for path in paths:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(CHECKOUT / path, target / path)


def _copy_dockerfile(source: Path, target: Path) -> None:
    shutil.copyfile(source / "Dockerfile", target / "Dockerfile")
    shutil.copyfile(source / "Dockerfile.dockerignore", target / ".dockerignore")


LAMBDA_KINDS = ("pre_annotation", "post_annotation")
LAMBDA_HANDLER = "lambda_function.lambda_handler"
"""The handler of both Lambda packages, which is also AWS's default."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNIX = 3


def build_lambda_zip(kind: str) -> bytes:
    """Return the deployment package of one Lambda function: its modules, their data files and an entry point.

    The same code gives the same bytes on every machine, so that a stack changes only when the code does. The handler is
    `LAMBDA_HANDLER`. Everything else, such as boto3 for S3, is part of Lambda's Python runtime.

    Parameters
    ----------
    kind : str
        One of `LAMBDA_KINDS`.

    Raises
    ------
    DeployError
        The kind is not in `LAMBDA_KINDS`.
    """
    if kind not in LAMBDA_KINDS:
        raise DeployError(f"Lambda function: expected one of {', '.join(LAMBDA_KINDS)}, got {kind!r}.")
    handlers = f"{PACKAGE.name}.labeling.lambda_handlers"
    module, _, function = LAMBDA_HANDLER.partition(".")
    entry = f'from {handlers} import {kind} as {function}\n\n__all__ = ["{function}"]\n'
    files = {f"{module}.py": entry.encode()}
    modules = modules_named([handlers])
    for path in (*modules, *data_of(modules)):
        files[path.as_posix()] = (CHECKOUT / path).read_bytes()
    stream = io.BytesIO()
    # Not compressed: the output of zlib depends on its version, and a package has 70 kB.
    _write_zip(stream, files, zipfile.ZIP_STORED)
    return stream.getvalue()


def notebook_files() -> dict[str, bytes]:
    """Return the content of the notebooks and of ``source/``, by path in the checkout.

    Raises
    ------
    DeployError
        The package is not in a checkout.
    """
    found = {}
    for name in ("notebooks", "source"):
        found.update({f"{name}/{path}": content for path, content in files_below(CHECKOUT / name).items()})
    if not found:
        raise DeployError(f"{CHECKOUT} has neither notebooks nor source. Run from a checkout of the project.")
    return found


def package_files() -> dict[str, bytes]:
    """Return the content of every file of this package, by path in the checkout."""
    return {f"{PACKAGE.name}/{path}": content for path, content in files_below(PACKAGE).items()}


def files_below(folder: Path) -> dict[str, bytes]:
    """Return the content of the files in a folder, by relative path, without compiled code and hidden files."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    inner = ((path.relative_to(folder), path) for path in paths)
    return {
        place.as_posix(): path.read_bytes()
        for place, path in inner
        if not any(part in _SKIPPED or part.startswith(".") for part in place.parts)
    }


def zip_files(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write files into a compressed zip with the same bytes for the same content, and return its path."""
    with path.open("wb") as stream:
        _write_zip(stream, files, zipfile.ZIP_DEFLATED)
    return path


def _write_zip(stream: IO[bytes], files: Mapping[str, bytes], compression: int) -> None:
    """Write a zip that does not depend on the machine: no umask, time zone, locale or operating system."""
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in sorted(files.items()):
            member = zipfile.ZipInfo(name, _EPOCH)
            member.create_system = _UNIX  # on Windows the permissions below would be ignored
            member.external_attr = (0o755 if name.endswith(".sh") else 0o644) << 16  # Lambda must be able to read the file
            member.compress_type = compression
            archive.writestr(member, content)


def build_wheel(folder: Path) -> Path:
    """Write this package as a wheel into a folder, with the same bytes for the same code, and return its path.

    Written here and not by a build backend: setuptools writes into the checkout and stores the time of the build; flit_core and
    hatchling are reproducible, but include hidden files (editor copies, checkpoints) and would become dependencies of every
    installation that deploys. A pure Python wheel is a zip with four additional files.
    """
    info = f"dicom_workflow-{__version__}.dist-info"
    files = package_files()
    files[f"{info}/METADATA"] = "\n".join(
        ("Metadata-Version: 2.1", "Name: dicom-workflow", f"Version: {__version__}", "Requires-Python: >=3.11", "")
    ).encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: dicom-workflow\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/entry_points.txt"] = b"[console_scripts]\ndicom-workflow = dicom_workflow.cli:main\n"
    files[f"{info}/RECORD"] = _record(files, f"{info}/RECORD")
    return zip_files(folder / f"dicom_workflow-{__version__}-py3-none-any.whl", files)


def _record(files: Mapping[str, bytes], itself: str) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows(_record_rows(files))
    writer.writerow((itself, "", ""))
    return text.getvalue().encode()


def _record_rows(files: Mapping[str, bytes]) -> Iterator[tuple[str, str, int]]:
    for name, content in sorted(files.items()):
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        yield name, f"sha256={digest}", len(content)

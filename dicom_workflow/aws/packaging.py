"""The folder that a training job or a container image is made of: ``source/`` and the modules of this package it needs."""

from __future__ import annotations

import ast
import io
import shutil
import zipfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import dicom_workflow
from dicom_workflow.errors import DeployError
from dicom_workflow.formats.answers import SCHEMA_FILE
from dicom_workflow.formats.labels import LABEL_SETS_FOLDER
from dicom_workflow.learning.training.script_run import SCRIPT

PACKAGE = Path(dicom_workflow.__file__).resolve().parent
SOURCE = SCRIPT.parent
LABELING_SERVICE = PACKAGE.parent / "docker" / "labeling-service"
SERVICE_DATA = ("groundtruth/portal/static", "labeling/worker_templates")
"""Folders of the package that the labeling service serves files from."""


def modules_of(entries: Iterable[Path]) -> tuple[Path, ...]:
    """Return the modules of this package that some files need, sorted, relative to the folder that holds the package.

    Imports inside functions and the ``__init__`` of each package on the way count too.
    """
    return modules_named(name for entry in entries for name in _imports(entry))


def modules_named(names: Iterable[str]) -> tuple[Path, ...]:
    """Return the modules behind dotted names and all that they need, as `modules_of` does."""
    found: set[Path] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        for path in _files_of(name):
            if path not in found:
                found.add(path)
                waiting += _imports(path)
    return tuple(sorted(path.relative_to(PACKAGE.parent) for path in found))


def data_of(modules: Iterable[Path]) -> list[Path]:
    """Return the data files that modules of `modules_of` read and that no import names, sorted, relative like them."""
    needed = set(modules)
    data = [Path(PACKAGE.name, SCHEMA_FILE)] if Path(PACKAGE.name, "formats", "answers.py") in needed else []
    if Path(PACKAGE.name, "formats", "labels.py") in needed:
        data += [path.relative_to(PACKAGE.parent) for path in (PACKAGE / LABEL_SETS_FOLDER).glob("*.json")]
    return sorted(data)


def _imports(path: Path) -> tuple[str, ...]:
    return _imports_of(path, path.stat().st_mtime_ns)


@cache
def _imports_of(path: Path, written_ns: int) -> tuple[str, ...]:
    """Kept for as long as the file is as it was: a deployment asks for most of the package several times."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(name for name in names if name.split(".")[0] == PACKAGE.name)


def _files_of(name: str) -> list[Path]:
    """The module of a dotted name and the ``__init__`` of the packages above it; a name inside a module gives nothing."""
    parts = name.split(".")[1:]
    files = [PACKAGE.joinpath(*parts[:depth], "__init__.py") for depth in range(len(parts) + 1)]
    if parts:
        files.append(PACKAGE.joinpath(*parts[:-1], f"{parts[-1]}.py"))
    return [path for path in files if path.is_file()]


def stage_source(folder: str | Path, *, requirements: Iterable[str] = ()) -> Path:
    """Fill an empty folder with what a training container runs, and return it.

    It holds the files of ``source/`` and, beside them, the modules of this package that they need: SageMaker's SDK sends one
    folder and has no place for further packages.

    Parameters
    ----------
    folder : path
    requirements : iterable of str
        Further lines for ``requirements.txt``: packages that only some runs need.

    Raises
    ------
    DeployError
        The folder is not empty, or there is no ``source/`` beside the package.
    """
    if not SCRIPT.is_file():
        raise DeployError(f"expected the training script at {SCRIPT}, found none. Run from a checkout of the project.")
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

    ``docker build FOLDER`` makes the image: staged source, its requirements and a Dockerfile; no model, no data, no secret.

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

    ``docker build FOLDER`` makes the image: the modules the service needs, its pages, its pinned requirements and a Dockerfile;
    no job database, no images, no secret.

    Raises
    ------
    DeployError
        The folder is not empty, or there is no ``docker/labeling-service`` beside the package.
    """
    if not (LABELING_SERVICE / "Dockerfile").is_file():
        raise DeployError(
            f"expected the image's Dockerfile in {LABELING_SERVICE}, found none. Run from a checkout of the project."
        )
    target = _empty_folder(folder)
    data = [path.relative_to(PACKAGE.parent) for name in SERVICE_DATA for path in sorted((PACKAGE / name).iterdir())]
    entry = PACKAGE / "groundtruth" / "__main__.py"
    modules = [*modules_of([entry]), entry.relative_to(PACKAGE.parent)]
    _copy([*modules, *data_of(modules), *data, (LABELING_SERVICE / "requirements.txt").relative_to(PACKAGE.parent)], target)
    _copy_dockerfile(LABELING_SERVICE, target)
    return target


def _empty_folder(folder: str | Path) -> Path:
    target = Path(folder)
    if target.exists() and any(target.iterdir()):
        raise DeployError(f"expected an empty folder to stage into, got {target} with files in it.")
    target.mkdir(parents=True, exist_ok=True)
    return target


def _copy(paths: Iterable[Path], target: Path) -> None:
    """Copy files of the checkout to the same places below a folder."""
    for path in paths:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PACKAGE.parent / path, target / path)


def _copy_dockerfile(source: Path, target: Path) -> None:
    shutil.copyfile(source / "Dockerfile", target / "Dockerfile")
    shutil.copyfile(source / "Dockerfile.dockerignore", target / ".dockerignore")


LAMBDA_KINDS = ("pre_annotation", "post_annotation")
LAMBDA_HANDLER = "lambda_function.lambda_handler"
"""The handler name of both Lambda packages, which is also AWS's own default."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNIX = 3
_READABLE = 0o644 << 16  # without the rights Lambda cannot read the file


def build_lambda_zip(kind: str) -> bytes:
    """Return the deployment package of one Lambda function: its modules of this package, the schema of answers and an entry.

    The same code gives the same bytes on every machine, so that a stack is only changed when the code was. Its handler is
    `LAMBDA_HANDLER`; the Python runtime of Lambda has all the rest (boto3 is needed to read S3, and is there).

    Parameters
    ----------
    kind : str
        One of `LAMBDA_KINDS`.

    Raises
    ------
    DeployError
        There is no such kind.
    """
    if kind not in LAMBDA_KINDS:
        raise DeployError(f"expected the kind of function as one of {', '.join(LAMBDA_KINDS)}, got {kind!r}.")
    handlers = f"{PACKAGE.name}.labeling.lambda_handlers"
    entry = f'from {handlers} import {kind} as lambda_handler\n\n__all__ = ["lambda_handler"]\n'
    files = {"lambda_function.py": entry.encode()}
    modules = modules_named([handlers])
    for path in (*modules, *data_of(modules)):
        files[path.as_posix()] = (PACKAGE.parent / path).read_bytes()
    stream = io.BytesIO()
    # Not compressed: what zlib makes of the same text depends on its version, and a package has 70 kB.
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(files.items()):
            member = zipfile.ZipInfo(name, _EPOCH)
            member.create_system = _UNIX  # else the machine's own, and Windows has none of the rights below
            member.external_attr = _READABLE
            archive.writestr(member, content)
    return stream.getvalue()

"""The built worker page in the package is the one its sources make, fits Ground Truth, and carries what it owes others."""

from __future__ import annotations

import gzip
import hashlib
import json
from importlib import resources
from pathlib import Path

import pytest

from dicom_workflow.labeling.templates import TEMPLATE_LIMIT_CHARACTERS, page_template

TEMPLATES = resources.files("dicom_workflow.labeling") / "worker_templates"
SOURCES = Path(__file__).parents[2] / "worker_ui"
PARTS = ("radiograph", "shared", "build", "build.js", "vite.config.js", "package.json", "package-lock.json")


def files(part: str) -> list[str]:
    """Names below a part of the sources, each folder in the order of its names: as the build goes through them."""
    path = SOURCES / part
    if path.is_file():
        return [part]
    names = sorted(child.name for child in path.iterdir())
    return [name for child in names for name in files(f"{part}/{child}")]


def test_the_built_page_is_the_one_its_sources_make() -> None:
    built = json.loads((TEMPLATES / "build.json").read_text("utf-8"))
    lines = [f"{hashlib.sha256((SOURCES / name).read_bytes()).hexdigest()}  {name}\n" for part in PARTS for name in files(part)]
    made_from = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert built["sources_sha256"] == made_from, "The worker page has changed since it was built: run `make ui`."


@pytest.mark.parametrize("part", ["script", "style"])
def test_each_file_is_named_by_its_content(part: str) -> None:
    name = json.loads((TEMPLATES / "build.json").read_text("utf-8"))[part]
    data = (TEMPLATES / name).read_bytes()
    assert name.split(".")[1] == hashlib.sha256(data).hexdigest()[:12]
    built = [path.name for path in TEMPLATES.iterdir() if path.name.startswith("radiograph.") and path.name.endswith(name[-3:])]
    assert built == [name]


def test_the_page_is_small_enough_to_travel() -> None:
    built = json.loads((TEMPLATES / "build.json").read_text("utf-8"))
    travels = gzip.compress((TEMPLATES / built["script"]).read_bytes() + (TEMPLATES / built["style"]).read_bytes(), 9)
    assert len(travels) <= 1.3e6
    assert len(page_template()) < TEMPLATE_LIMIT_CHARACTERS / 10


def test_the_page_needs_nobody_else() -> None:
    """No script runs text as code, and no address of somebody else's stands in the page: pages are read in closed networks."""
    built = json.loads((TEMPLATES / "build.json").read_text("utf-8"))
    script = (TEMPLATES / built["script"]).read_text("utf-8")
    for cdn in ("unpkg.com", "jsdelivr.net", "cdnjs.", "googleapis.com"):
        assert cdn not in script
    assert "@import" not in (TEMPLATES / built["style"]).read_text("utf-8")


def test_the_package_holds_built_files_only_and_none_was_changed_by_hand() -> None:
    built = json.loads((TEMPLATES / "build.json").read_text("utf-8"))
    there = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in TEMPLATES.iterdir() if path.name != "build.json"
    }
    assert there == built["files_sha256"], "Change the sources in worker_ui and run `make ui`."


def test_every_bundled_package_comes_with_its_license() -> None:
    packages = json.loads((TEMPLATES / "build.json").read_text("utf-8"))["packages"]
    text = (TEMPLATES / "THIRD-PARTY.txt").read_text("utf-8")
    title, _, rest = text.partition("\n\n")
    sections = {section.strip().split("\n", 1)[0]: section for section in rest.split(f"\n\n{'-' * 80}\n\n")}
    assert title == "Software inside the worker pages, with its licenses."
    assert list(sections) == packages
    assert min(map(len, sections.values())) > 400  # the text, not only its name
    for name in ("@cornerstonejs/core", "@kitware/vtk.js", "dicom-parser", "preact", "CharLS", "OpenJPEG", "libjpeg-turbo"):
        assert any(package.startswith(f"{name} ") for package in packages), name

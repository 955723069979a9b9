"""The built search page in the package is the one its sources make, needs nobody else, and sets no text as HTML."""

from __future__ import annotations

import hashlib
import json
import re
from importlib import resources
from pathlib import Path

from dicom_workflow.labeling import page_assets

PAGE = resources.files("dicom_workflow.search") / "page"
SOURCES = Path(__file__).parents[2] / "worker_ui"
PARTS = ("search", "shared", "build", "build.js", "vite.config.js", "package.json", "package-lock.json")
NAMESPACES = {f"http://www.w3.org/{name}" for name in ("2000/svg", "1999/xhtml", "1998/Math/MathML")}


def files(part: str) -> list[str]:
    """Names below a part of the sources, each folder in the order of its names: as the build goes through them."""
    path = SOURCES / part
    if path.is_file():
        return [] if path.suffix == ".graphql" else [part]
    return [name for child in sorted(child.name for child in path.iterdir()) for name in files(f"{part}/{child}")]


def test_the_built_search_page_is_the_one_its_sources_make() -> None:
    built = json.loads((PAGE / "build.json").read_text("utf-8"))
    lines = [f"{hashlib.sha256((SOURCES / name).read_bytes()).hexdigest()}  {name}\n" for part in PARTS for name in files(part)]
    made_from = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert built["sources_sha256"] == made_from, "The search page has changed since it was built: run `make ui`."
    there = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in PAGE.iterdir() if path.name != "build.json"}
    assert there == built["files_sha256"], "Change the sources in worker_ui and run `make ui`."


def test_the_assets_know_both_pages() -> None:
    built = page_assets.build("search")
    assert set(built.names) == {"search.mjs", "search.css", "index.html", "THIRD-PARTY.txt"}
    for name in built.names:
        assert page_assets.content(name, "search") == (PAGE / name).read_bytes()
    assert page_assets.media_type("search.mjs").startswith("text/javascript")
    assert page_assets.build().script.startswith("radiograph.")


def test_the_search_page_needs_nobody_else_and_sets_no_html() -> None:
    texts = {name: (PAGE / name).read_text("utf-8") for name in ("search.mjs", "search.css", "index.html")}
    for name, text in texts.items():
        assert set(re.findall(r"https?://[^\s\"'`)]+", text)) <= NAMESPACES, name
    assert "@import" not in texts["search.css"]
    assert "<style" not in texts["index.html"] and not re.search(r"<script(?![^>]*src=)|\son\w+=|style=", texts["index.html"])
    written = "".join(path.read_text("utf-8") for path in (SOURCES / "search").rglob("*.ts*"))
    doors = ("dangerouslySetInnerHTML", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(")
    assert [door for door in doors if door in written] == []
    assert len(texts["search.mjs"]) < 200_000

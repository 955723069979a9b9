"""The contract every notebook keeps: order, tags, kernel, no outputs, no definitions, help on every parameter."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
import yaml

from dicom_workflow.pipeline import notebooks
from dicom_workflow.pipeline.records import NOTEBOOKS, STEPS

FOLDER = notebooks.folder()
NAMES = [f"{step}.ipynb" for step in NOTEBOOKS]
LONGEST_CELL = 15


@pytest.fixture(params=NAMES)
def book(request: pytest.FixtureRequest) -> Any:
    return nbformat.read(FOLDER / request.param, as_version=4)


def code_cells(book: Any) -> list[Any]:
    return [cell for cell in book.cells if cell.cell_type == "code"]


def tagged(book: Any, tag: str) -> list[int]:
    return [number for number, cell in enumerate(code_cells(book)) if tag in cell.metadata.get("tags", ())]


def test_every_notebook_is_a_step_and_every_step_a_notebook() -> None:
    assert sorted(path.name for path in FOLDER.glob("*.ipynb")) == sorted(NAMES)


def test_opens_with_a_title_a_question_what_it_needs_and_what_it_leaves(book: Any) -> None:
    first = book.cells[0]
    assert first.cell_type == "markdown"
    assert re.match(r"# \d · ", first.source)
    assert re.search(r"\*\*.*\?\*\*", first.source), "the question, in bold"
    assert "*Needs*" in first.source
    assert "*Leaves*" in first.source
    assert "⏱" in first.source


def test_parameters_come_first_and_the_result_last(book: Any) -> None:
    assert tagged(book, "parameters") == [0]
    assert tagged(book, "result") == [len(code_cells(book)) - 1]
    assert "records.show(" in code_cells(book)[-1].source


def test_ends_in_a_picture_and_says_what_you_should_now_have(book: Any) -> None:
    assert re.search(r"\bfigure\b|_figure\(", code_cells(book)[-2].source)
    assert any("You should now have" in cell.source for cell in book.cells if cell.cell_type == "markdown")


def test_runs_on_any_python_kernel(book: Any) -> None:
    assert book.metadata.kernelspec.name == "python3"


def test_outputs_are_cleared(book: Any) -> None:
    assert not any(cell.outputs or cell.execution_count for cell in code_cells(book))


def test_nothing_is_defined_and_nothing_escapes_to_a_shell(book: Any) -> None:
    for cell in code_cells(book):
        assert not cell.source.lstrip().startswith(("!", "%")), cell.source
        for node in ast.walk(ast.parse(cell.source)):
            assert not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda | ast.For | ast.While), cell.source


def test_cells_fit_on_a_screen(book: Any) -> None:
    assert max(len(cell.source.splitlines()) for cell in code_cells(book)[1:]) <= LONGEST_CELL


def test_no_path_of_a_machine_and_no_secret(book: Any) -> None:
    text = "\n".join(cell.source for cell in book.cells)
    assert not re.search(r"(/home/|/root/|/Users/|C:\\|password\s*=)", text)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_has_a_type_and_help_and_papermill_sees_it(name: str) -> None:
    cell = code_cells(nbformat.read(FOLDER / name, as_version=4))[0]
    lines = [line for line in cell.source.splitlines() if line.strip()]
    seen = papermill.inspect_notebook(str(FOLDER / name))
    assert len(seen) == len(lines), "a line that papermill cannot read vanishes"
    for parameter in seen.values():
        assert parameter["help"], parameter["name"]
        assert parameter["inferred_type_name"] != "None", parameter["name"]


def test_parameters_for_aws_exist() -> None:
    values = yaml.safe_load(Path(FOLDER / "parameters" / "aws.yaml").read_text())
    assert list(values) == list(STEPS)
    for step, parameters in values.items():
        known = papermill.inspect_notebook(str(FOLDER / f"{step}.ipynb"))
        assert set(parameters) <= set(known), step

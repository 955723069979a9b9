"""Measure the docstrings of the public functions of a package: parameters, raised errors, array shapes.

    python scripts/docstring_shares.py dicom_workflow --minimum 0.95

Public is every function, and every method of a public class, whose name does not begin with an underscore. Three shares are
printed, with the places that lack something; the exit code is 1 when one of them is below the minimum:

- functions with three or more parameters whose docstring has a ``Parameters`` section;
- error classes that a function raises itself and whose name its docstring mentions;
- functions with an array or tensor in their signature whose docstring gives a shape and a dtype.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ARRAYS = re.compile(r"\b(ndarray|Tensor|NDArray)\b")
SHAPE = re.compile(r"\bshapes?\b|\bscalar\b|\(\w+,\s*\w*\)", re.IGNORECASE)
DTYPE = re.compile(r"\b(u?int(8|16|32|64)?|b?float(16|32|64)?|bool(ean)?|dtype|integer)\b")
FREE_FORM_PARAMETERS = 3

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Share:
    """How many of the places that need something have it."""

    title: str
    total: int = 0
    missing: list[str] = field(default_factory=list)

    def count(self, place: str, documented: bool) -> None:
        """Count one place; remember it when it is not documented."""
        self.total += 1
        if not documented:
            self.missing.append(place)

    @property
    def value(self) -> float:
        """The documented share, 0 to 1; 1 when nothing needs it."""
        return 1 - len(self.missing) / self.total if self.total else 1.0


def public_functions(tree: ast.Module) -> Iterator[tuple[str, Function, str]]:
    """Yield name, function and docstring of each public function and method; overridden property setters included."""
    for node in tree.body:
        if isinstance(node, Function) and not node.name.startswith("_"):
            yield node.name, node, ast.get_docstring(node) or ""
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for member in node.body:
                if not isinstance(member, Function):
                    continue
                if member.name == "__init__":  # NumPy style documents it in the class
                    yield f"{node.name}()", member, ast.get_docstring(node) or ""
                elif not member.name.startswith("_"):
                    yield f"{node.name}.{member.name}", member, ast.get_docstring(member) or ""


def parameters_of(function: Function) -> list[str]:
    """Return the names of the parameters, without ``self`` and ``cls``."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return [argument.arg for argument in named if argument is not None and argument.arg not in ("self", "cls")]


def own_raises(function: Function) -> set[str]:
    """Return the names of the error classes that the function's own body raises, nested functions left out."""
    raised: set[str] = set()
    todo: list[ast.AST] = list(function.body)
    while todo:
        node = todo.pop()
        if isinstance(node, Function | ast.Lambda | ast.ClassDef):
            continue
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            called = node.exc.func
            name = called.id if isinstance(called, ast.Name) else called.attr if isinstance(called, ast.Attribute) else ""
            if name[:1].isupper():
                raised.add(name)
        todo.extend(ast.iter_child_nodes(node))
    return raised


def measure(package: Path) -> list[Share]:
    """Return the three shares of all modules below a folder."""
    parameters, raises, arrays = Share("Parameters sections"), Share("own raises"), Share("array shapes and dtypes")
    for path in sorted(package.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for name, function, docstring in public_functions(tree):
            place = f"{path}:{function.lineno} {name}"
            if len(parameters_of(function)) >= FREE_FORM_PARAMETERS:
                parameters.count(place, "Parameters\n----------" in docstring)
            for error in sorted(own_raises(function)):
                raises.count(f"{place} raises {error}", error in docstring)
            signature = " ".join(ast.unparse(part) for part in (function.args, function.returns) if part is not None)
            if ARRAYS.search(signature):
                arrays.count(place, bool(SHAPE.search(docstring) and DTYPE.search(docstring)))
    return [parameters, raises, arrays]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path)
    parser.add_argument("--minimum", type=float, default=0.95, help="lowest share that passes (default: 0.95)")
    options = parser.parse_args()
    shares = measure(options.package)
    for share in shares:
        print(f"docstrings: {share.title} {share.total - len(share.missing)} of {share.total} ({share.value:.1%})")
        if share.value < options.minimum:
            print("\n".join(f"  {place}" for place in share.missing))
    return int(any(share.value < options.minimum for share in shares))


if __name__ == "__main__":
    sys.exit(main())

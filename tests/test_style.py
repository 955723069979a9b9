"""What the style guide asks of every file and a linter does not know: sizes, retired words, British spelling."""

from __future__ import annotations

import ast
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "dicom_workflow"

MAX_SEARCH_MODULES = 95
MAX_OTHER_MODULES = 205
MAX_LINES = 350
MAX_FILES_IN_FOLDER = 22

# Words with a private meaning in earlier versions → the term of the field. Only this file and the changelog may name them.
RETIRED = {
    "twins?": "labeling service",
    "journals?": "job database, resume log or run state",
    "films?": "image or radiograph",
    "crews?": "thread pool",
    "patience": "timeout, retry budget",
    "pace": "interval, rate",
    "visits?": "portal client, request",
    "traps?": "check, pitfall",
    "whence": "source",
    "mended": "fixed",
    "rooms?": "package, module",
    "houses?": "deployment, package",
}
# A word in another sense, with the place where it stands.
OTHER_SENSE = {
    "journals?": (r"PRAGMA journal_mode",),  # SQLite's own
    "traps?": (r"\btrap '", r"trap - "),  # the shell's command
    "patience": (  # of early stopping, a flag of the training script
        *(r"early[- ]stopping patience", r"ReduceLROnPlateau", r"--patience \d"),
        *(r"^    patience: Annotated", r'"epochs", "patience"', r'"patience": 0', r"config\.patience"),
        *(r'"patience\\": patience', r"^  patience: \d"),  # notebook 06 and its parameters
    ),
}
TEXT = {".py", ".md", ".ipynb", ".ts", ".tsx", ".js", ".css", ".html", ".liquid", ".yaml", ".toml", ".txt", ".sh", ".json", ""}
BUILT = (
    "package-lock.json",
    "THIRD-PARTY.txt",
    "requirements.lock",
    "worker_templates/",
    "search/page/",
    "benchmarks/results/",
)
NOT_OURS = ("LICENSE", *BUILT)


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    own = [name for name in listed if not any(part in name for part in NOT_OURS) and "generated" not in name]
    return [ROOT / name for name in own if Path(name).suffix in TEXT and (ROOT / name).is_file()]


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.stat().st_size]


def test_the_package_has_no_more_modules_than_a_reader_can_hold() -> None:
    search = [path for path in MODULES if path.is_relative_to(PACKAGE / "search")]
    assert len(search) <= MAX_SEARCH_MODULES
    assert len(MODULES) - len(search) <= MAX_OTHER_MODULES


def test_no_module_is_longer_than_one_sitting() -> None:
    long = {str(path.relative_to(ROOT)): count for path in MODULES if (count := len(lines_of(path))) > MAX_LINES}
    assert not long


def test_no_folder_holds_more_than_two_dozen_files() -> None:
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    counts = {str(folder): sum(file.is_file() for file in folder.iterdir()) for folder in folders}
    assert not {folder: count for folder, count in counts.items() if count > MAX_FILES_IN_FOLDER}


def test_no_two_test_files_have_one_name() -> None:
    """Test files lie in folders that are no packages: pytest imports them by their name alone."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert not [name for name, count in names.items() if count > 1]


@pytest.mark.parametrize("word", RETIRED)
def test_a_retired_word_stands_nowhere(word: str) -> None:
    # Underscores and digits end a word here, so that identifiers count.
    pattern = re.compile(rf"(?<![a-zA-Z])(?:{word})(?![a-z])", re.IGNORECASE)
    allowed = re.compile("|".join(OTHER_SENSE.get(word, ("(?!)",))))
    found = []
    for path in tracked():
        name = str(path.relative_to(ROOT))
        if name in ("CHANGELOG.md", "tests/test_style.py"):
            continue
        if pattern.search(path.name):
            found.append(name)
        found += [
            f"{name}:{number}: {line.strip()[:100]}"
            for number, line in enumerate(lines_of(path), 1)
            if pattern.search(line) and not allowed.search(line)
        ]
    assert not found, f"say {RETIRED[word]!r} instead:\n" + "\n".join(found[:60])


NAMED = re.compile(r"(?<!`)`(?:dicom_workflow\.)?([a-z_]\w*(?:\.\w+)+)(?:\(\))?`(?!`)")
"""A dotted name in single backticks."""


def docstrings_of(tree: ast.Module) -> Iterator[tuple[int, str, set[str]]]:
    """Line, text and the parameters in sight of every docstring, those below attributes included."""
    for node in ast.walk(tree):
        arguments = node.args if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else None
        names = {argument.arg for argument in ast.walk(arguments) if isinstance(argument, ast.arg)} if arguments else set()
        for statement in getattr(node, "body", None) or [] if not isinstance(node, ast.Lambda | ast.IfExp) else []:
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                yield statement.lineno, str(statement.value.value), names


def members_of(body: list[ast.stmt]) -> dict[str, ast.AST]:
    """Names that a module or a class defines or imports."""
    found: dict[str, ast.AST] = {}
    for node in (each for statement in body for each in ([statement] if hasattr(statement, "name") else ast.walk(statement))):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.alias):
            found[node.asname or node.name] = node
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found[node.id] = node
    return found


TREES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): ast.parse(path.read_text("utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
}


def resolves(name: str) -> bool:
    """Whether a dotted name leads to something, from any module whose name ends as it begins; True where none does."""
    parts = name.split(".")
    homes = [(m, n) for n in range(len(parts), 0, -1) for m in TREES if f".{m}".endswith("." + ".".join(parts[:n]))]
    for module, used in homes:
        body, rest = TREES[module].body, parts[used:]
        found: ast.AST | None = None
        while rest and (found := members_of(body).get(rest[0])):
            rest = rest[1:]
            if not isinstance(found, ast.ClassDef) or found.bases:
                return True  # what a value or a base class has is not looked up
            body = found.body
        if not rest:
            return True
    return not homes


def test_a_name_in_a_docstring_leads_to_what_it_names() -> None:
    stale = [
        f"{module}:{line}: {name}"
        for module, tree in TREES.items()
        for line, text, parameters in docstrings_of(tree)
        for name in NAMED.findall(text)
        if name.split(".")[0] not in parameters and not resolves(name)
    ]
    assert not stale, "\n".join(stale)

"""What the style guide asks of every file and a linter does not know: sizes, retired words, British spelling."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "dicom_workflow"

MAX_MODULES = 185
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
NOT_OURS = ("package-lock.json", "THIRD-PARTY.txt", "LICENSE", "requirements.lock", "worker_templates/", "benchmarks/results/")


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    own = [name for name in listed if not any(part in name for part in NOT_OURS) and "generated" not in name]
    return [ROOT / name for name in own if Path(name).suffix in TEXT and (ROOT / name).is_file()]


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.stat().st_size]


def test_the_package_has_no_more_modules_than_a_reader_can_hold() -> None:
    assert len(MODULES) <= MAX_MODULES


def test_no_module_is_longer_than_one_sitting() -> None:
    long = {str(path.relative_to(ROOT)): count for path in MODULES if (count := len(lines_of(path))) > MAX_LINES}
    assert not long


def test_no_folder_holds_more_than_two_dozen_files() -> None:
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    counts = {str(folder): sum(file.is_file() for file in folder.iterdir()) for folder in folders}
    assert not {folder: count for folder, count in counts.items() if count > MAX_FILES_IN_FOLDER}


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

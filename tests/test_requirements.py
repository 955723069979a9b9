"""The floors of the requirements stand above every published fault that is known of, and each package has a ceiling."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent

# Package → first version without the fault, and the advisory or the fault itself.
FIXED_IN = {
    "h11": ("0.16.0", "CVE-2025-43859"),
    "jupyterlab": ("4.4.8", "CVE-2025-59842"),
    "nbconvert": ("7.17.0", "CVE-2025-53000"),
    "pillow": ("12.2.0", "CVE-2026-42308"),
    "python-dotenv": ("1.2.2", "symbolic links followed by set_key"),
    "python-gdcm": ("3.2.2", "CVE-2026-3650"),
    "requests": ("2.32.4", "CVE-2024-47081"),
    "starlette": ("0.49.1", "CVE-2025-62727"),
    "urllib3": ("2.5.0", "CVE-2025-50181"),
}


def requirements(name: str) -> dict[str, Requirement]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    texts = [line.partition("#")[0].strip() for line in lines]
    return {(r := Requirement(text)).name: r for text in texts if text and not text.startswith("-")}


RUNTIME = requirements("requirements.txt")


def floor(requirement: Requirement) -> Version:
    return max(Version(s.version) for s in requirement.specifier if s.operator in (">=", "=="))


@pytest.mark.parametrize("package", FIXED_IN)
def test_the_floor_stands_above_the_published_fault(package: str) -> None:
    fixed, advisory = FIXED_IN[package]
    assert floor(RUNTIME[package]) >= Version(fixed), advisory


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_package_has_a_floor_and_a_ceiling(name: str) -> None:
    unbounded = [
        package
        for package, requirement in requirements(name).items()
        if not {s.operator for s in requirement.specifier} >= {">=", "<"} and "==" not in str(requirement.specifier)
    ]
    assert not unbounded

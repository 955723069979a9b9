"""What a person asked to be deployed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from dicom_workflow.aws.stacks.parameters import Given
from dicom_workflow.settings import Settings


@dataclass
class Request:
    """The words of one `deploy`, with or without ``--dry-run``."""

    settings: Settings
    stacks: list[str] = field(default_factory=list)
    given: Given = field(default_factory=Given)
    allowed: Collection[str] = ()
    dependencies: Path | None = None
    again: str = "dicom-workflow deploy"
    with_images: bool = True
    """Build container images in AWS where a stack waits for one."""

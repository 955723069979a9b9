"""A training channel: one folder with everything a training job reads, DICOM files and manifest.

SageMaker mounts such a folder; on a laptop it is one. `source/monai_dicom.py` sees no difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dicom_workflow.archive.download import retrieve
from dicom_workflow.archive.protocol import Archive
from dicom_workflow.errors import LearningError
from dicom_workflow.formats import manifests
from dicom_workflow.formats.instances import Instance, instances_by_source
from dicom_workflow.formats.object_reference import source_of
from dicom_workflow.storage import Storage, to_uri

MANIFEST_NAME = "train.manifest"


@dataclass(frozen=True)
class Staged:
    """A channel that was staged: where, how much, and what had to stay behind."""

    folder: Path
    images: int
    refused: Mapping[str, str]
    """Source → why its image could not be had."""


def stage(
    training_manifest_uri: str,
    instances: Iterable[Instance],
    archive: Archive,
    folder: Path,
    *,
    storage: Storage | None = None,
    progress: bool = True,
) -> Staged:
    """Copy the images of an augmented manifest out of the archive and write the manifest beside them.

    Images that are already there with the right MD5 are not fetched again. A line whose image cannot be had is left out and
    named; the rest goes on.

    Parameters
    ----------
    training_manifest_uri : str
        Augmented manifest; every line has an ``image``.
    instances : iterable of Instance
        What the archive holds; the lines point at some of them.
    archive : Archive
    folder : Path
        Where the channel is made: ``train.manifest`` and ``images/<SOP Instance UID>.dcm``.

    Raises
    ------
    LearningError
        Not one image could be had.
    """
    by_source = instances_by_source(instances)
    lines = [line.data for line in manifests.read(training_manifest_uri, storage=storage, limits=False)]
    sources = [source_of(line) for line in lines]
    held = [by_source[source] for source in sources if source in by_source]
    report = retrieve(held, archive, folder / "images", progress=progress)
    refused = {source: "not among the archive's instances" for source in sources if source not in by_source}
    refused |= {
        source: report.refused[by_source[source].sop_instance_uid]
        for source in sources
        if source in by_source and by_source[source].sop_instance_uid in report.refused
    }
    staged = [line for source, line in zip(sources, lines, strict=True) if source not in refused]
    if not staged:
        reasons = sorted(set(refused.values()))[:3]
        raise LearningError(f"{training_manifest_uri}: not one image of {len(lines)} lines was fetched: {'; '.join(reasons)}")
    manifests.write(to_uri(folder / MANIFEST_NAME), staged, limits=False)
    return Staged(folder, len(staged), refused)

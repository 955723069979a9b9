"""Images of an archive, ready to be looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_workflow.archive.protocol import Archive
from dicom_workflow.dicom import pixels
from dicom_workflow.errors import WorkflowError
from dicom_workflow.formats.instances import Instance
from dicom_workflow.formats.object_reference import ObjectReference
from dicom_workflow.storage import Storage


def load_display(archive: Archive, reference: ObjectReference) -> NDArray[np.float32]:
    """Return one image of the archive as it is to be seen: float32 (rows, columns) in [0, 1], 0 is black.

    Raises
    ------
    ArchiveError
        The archive does not hold it or does not answer.
    DicomError
        Its pixels cannot be displayed.
    """
    return pixels.to_display(pixels.read_dataset(archive.retrieve_instance(reference)))


def loader(archive: Archive, *, keep: int = 32, storage: Storage | None = None) -> Callable[[Any], NDArray[np.float32]]:
    """Return a function from something with a `source` to its image; the last `keep` images stay in memory.

    The URI of a file, as lines with ``source-ref`` have it, is read from `storage`.
    """

    @lru_cache(maxsize=keep)
    def load(source: str) -> NDArray[np.float32]:
        reference = ObjectReference.parse(source)
        if reference.uri:
            return pixels.to_display(pixels.read_dataset((storage or Storage()).read_bytes(reference.uri)))
        return load_display(archive, reference)

    return lambda item: load(item.source)


def thumbnails(archive: Archive, instances: Iterable[Instance], count: int = 12) -> list[tuple[str, NDArray[np.float32]]]:
    """Return the first images that can be displayed, each with the end of its SOP Instance UID as its title."""
    shown = ((instance, _try_load(archive, instance.reference)) for instance in instances)
    good = ((f"…{instance.sop_instance_uid[-6:]}", image) for instance, image in shown if image is not None)
    return list(islice(good, count))


def _try_load(archive: Archive, reference: ObjectReference) -> NDArray[np.float32] | None:
    try:
        return load_display(archive, reference)
    except WorkflowError:
        return None  # a picture is no place to fail; the step that needs the pixels names what it cannot read

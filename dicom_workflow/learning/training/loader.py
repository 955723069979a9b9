"""Batches on the device: rows of the image cache, changed at random and normalized, ready when a step wants them.

Where the images fit into the GPU's memory they all lie there and a batch is only picked. Where they do not, the next batches
are read and sent while the GPU works on this one. On a CPU a batch is read from the mapped file when its turn comes: that
takes microseconds per image.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dicom_workflow.learning.data.cache import take
from dicom_workflow.learning.model.network import normalize
from dicom_workflow.learning.training.augmentation import Augmentation

RESIDENT_SHARE = 0.5
"""Of the GPU's free memory, how much images may take for good; the rest is for the network."""
_AHEAD = 3
_UPLOAD_ROWS = 4096


class Feed:
    """The images of a run, as a device wants them.

    Parameters
    ----------
    images : ndarray, shape (N, 1, S, S), float16 in [0, 1]
        In memory or mapped from disk.
    device : torch.device
    augment : Augmentation
        How training images are changed.
    mean, std : float
        For `network.normalize`.
    resident : bool, optional
        Whether the images lie on the device; where they fit, by default.
    """

    def __init__(
        self,
        images: np.ndarray,
        *,
        device: torch.device,
        augment: Augmentation,
        mean: float,
        std: float,
        resident: bool | None = None,
    ) -> None:
        self.device, self.mean, self.std = device, mean, std
        self._augment = augment
        self.is_resident = _fits(images, device) if resident is None else resident
        self.images: np.ndarray | Tensor = _uploaded(images, device) if self.is_resident else images
        """What `network.logits_of` takes: the same images, on the device where they are resident."""

    def batches(self, plan: Iterable[tuple[np.ndarray, torch.Generator]]) -> Iterator[Tensor]:
        """Yield one training batch for each item of a plan.

        Parameters
        ----------
        plan : iterable of (rows, generator)
            Which images, and what their changes are drawn from.

        Yields
        ------
        Tensor, shape (rows, 1, S, S), float32, channels last, on the device
        """
        if isinstance(self.images, Tensor) or self.device.type == "cpu":
            taken = self._picked(plan)
        else:
            taken = self._sent(self.images, plan)
        for batch, generator in taken:
            changed = normalize(self._augment(batch, generator), self.mean, self.std)
            yield changed.contiguous(memory_format=torch.channels_last)

    def _picked(self, plan: Iterable[tuple[np.ndarray, torch.Generator]]) -> Iterator[tuple[Tensor, torch.Generator]]:
        for rows, generator in plan:
            if isinstance(self.images, Tensor):
                yield self.images[torch.from_numpy(rows).to(self.device)], generator
            else:
                yield torch.from_numpy(take(self.images, rows)), generator

    def _sent(
        self, images: np.ndarray, plan: Iterable[tuple[np.ndarray, torch.Generator]]
    ) -> Iterator[tuple[Tensor, torch.Generator]]:
        """Read in a thread, some batches ahead, and send from pinned memory, which the GPU copies without waiting."""
        ready: queue.Queue[Any] = queue.Queue(_AHEAD)
        is_over = threading.Event()

        def put(item: Any) -> bool:
            while not is_over.is_set():
                try:
                    ready.put(item, timeout=0.1)
                    return True
                except queue.Full:
                    continue
            return False

        def read() -> None:
            try:
                for rows, generator in plan:
                    if not put((torch.from_numpy(take(images, rows)).pin_memory(), generator)):
                        return
                put(None)
            except Exception as error:  # noqa: BLE001  whatever it is, it belongs to the thread that waits
                put(error)

        thread = threading.Thread(target=read, name="feed", daemon=True)
        thread.start()
        try:
            while (item := ready.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                pinned, generator = item
                yield pinned.to(self.device, non_blocking=True), generator
        finally:
            is_over.set()
            thread.join()


def _fits(images: np.ndarray, device: torch.device) -> bool:
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return images.nbytes <= RESIDENT_SHARE * free


def _uploaded(images: np.ndarray, device: torch.device) -> Tensor:
    resident = torch.empty(images.shape, dtype=torch.float16, device=device)
    for start in range(0, len(images), _UPLOAD_ROWS):
        rows = np.arange(start, min(start + _UPLOAD_ROWS, len(images)))
        resident[start : start + len(rows)] = torch.from_numpy(take(images, rows)).to(device)
    return resident

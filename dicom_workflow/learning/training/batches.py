"""Training batches on the device: rows of the image cache, augmented and normalized.

Where the images fit into the GPU's memory they all lie there and a batch is only picked. Where they do not, the next batches
are read and sent while the GPU works on this one. On a CPU a batch is read from the mapped file when its turn comes: that
takes microseconds per image.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dicom_workflow.learning.data.cache.pack import take
from dicom_workflow.learning.model.network import normalize

RESIDENT_SHARE = 0.5
"""Of the GPU's free memory, how much images may take for good; the rest is for the network."""
_AHEAD = 3
_UPLOAD_ROWS = 4096


class BatchLoader:
    """Loads training batches onto a device.

    Parameters
    ----------
    images : ndarray, shape (N, channels, S, S), float16 in [0, 1]
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
        Tensor, shape (rows, channels, S, S), float32, channels last, on the device
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

        thread = threading.Thread(target=read, name="batch-loader", daemon=True)
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


_CACHED_PIXELS = 4 * 224 * 224


@dataclass(frozen=True)
class Augmentation:
    """Random augmentation; every value is the bound of a uniform distribution around no change."""

    rotation_degrees: float = 7.0
    translation: float = 0.04
    """Share of the image's side."""
    scale: float = 0.08
    contrast: float = 0.15
    """Contrast is multiplied by up to 1 ± this, around the image's mean, and brightness shifted by up to ± half of it."""

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return augmented images.

        Parameters
        ----------
        images : Tensor, shape (B, channels, S, S), in [0, 1]
        generator : torch.Generator
            On the CPU, so that a GPU draws the same changes; the same state gives the same changes.

        Returns
        -------
        Tensor, shape (B, channels, S, S), float32 in [0, 1]
            Places that were outside are 0, like the padding.
        """
        draws = (2 * torch.rand(len(images), 6, generator=generator) - 1).to(images.device)  # (B, 6) in [-1, 1)
        # On a CPU a few images at a time: what is made on the way stays in the processor's cache.
        size = max(1, _CACHED_PIXELS // images[0].numel()) if images.device.type == "cpu" else len(images)
        changed = torch.empty(images.shape, device=images.device)
        for few, drawn, place in zip(images.split(size), draws.split(size), changed.split(size), strict=True):
            self._change(few.float(), drawn, place)
        return changed

    def _change(self, images: Tensor, draws: Tensor, out: Tensor) -> None:
        if self.rotation_degrees or self.translation or self.scale:
            images = self._move(images, draws)
        if not self.contrast:
            out.copy_(images)
        else:
            mean = images.mean(dim=(1, 2, 3), keepdim=True)
            factor = 1 + self.contrast * draws[:, 4].view(-1, 1, 1, 1)
            shift = 0.5 * self.contrast * draws[:, 5].view(-1, 1, 1, 1)
            changed = torch.addcmul(mean - mean * factor + shift, images, factor).clamp_(0, 1)
            # The padding stays black: brightness belongs to the exposure, not to the frame around it.
            torch.mul(changed, images.sign(), out=out)

    def _move(self, images: Tensor, draws: Tensor) -> Tensor:
        angle_rad = draws[:, 0] * math.radians(self.rotation_degrees)
        zoom = 1 + self.scale * draws[:, 1]
        # A place x + iy is turned and scaled by one complex multiplication. The sampling grid runs over [-1, 1], so a share of
        # the side is twice as many grid units.
        turn = torch.polar(1 / zoom, angle_rad).unsqueeze(1)  # (B, 1)
        shift = 2 * self.translation * torch.complex(draws[:, 2], draws[:, 3]).unsqueeze(1)
        side = images.shape[-1]
        at = (2 * torch.arange(side, device=images.device) + 1) / side - 1  # the middles of the pixels
        columns, rows = turn * at + shift, turn * at * 1j  # each (B, S)
        # The sum of both is forty times as fast as torch's affine_grid, which took half of the augmentation's time.
        grid = torch.view_as_real(columns.unsqueeze(1) + rows.unsqueeze(2))  # (B, S, S, 2)
        return torch.nn.functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def seeded(*numbers: int) -> torch.Generator:
    """Return a random generator seeded by these numbers alone."""
    seed = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(seed & 0x7FFF_FFFF_FFFF_FFFF)

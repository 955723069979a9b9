"""Small random changes of a batch of radiographs, on tensors: rotation, shift, scale and contrast.

There are no flips: a mirrored chest has its heart on the wrong side, and an upside-down one does not exist.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """How far images may be changed; every value is the bound of a uniform distribution around no change."""

    rotation_degrees: float = 7.0
    translation: float = 0.04
    """Share of the image's side."""
    scale: float = 0.08
    contrast: float = 0.15
    """Contrast is multiplied by up to 1 ± this, around the image's mean, and brightness shifted by up to ± half of it."""

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return changed images.

        Parameters
        ----------
        images : Tensor, shape (B, 1, S, S), in [0, 1]
        generator : torch.Generator
            On the CPU, so that a GPU draws the same changes; the same state gives the same changes.

        Returns
        -------
        Tensor, shape (B, 1, S, S), float32 in [0, 1]
            Places that were outside are 0, like the padding.
        """
        images = images.float()
        draws = (2 * torch.rand(len(images), 6, generator=generator) - 1).to(images.device)  # (B, 6) in [-1, 1)
        if self.rotation_degrees or self.translation or self.scale:
            images = self._move(images, draws)
        if self.contrast:
            mean = images.mean(dim=(1, 2, 3), keepdim=True)
            factor = 1 + self.contrast * draws[:, 4].view(-1, 1, 1, 1)
            shift = 0.5 * self.contrast * draws[:, 5].view(-1, 1, 1, 1)
            # The padding stays black: brightness belongs to the exposure, not to the frame around it.
            images = torch.where(images > 0, ((images - mean) * factor + mean + shift).clamp(0, 1), images)
        return images

    def _move(self, images: Tensor, draws: Tensor) -> Tensor:
        angle_rad = draws[:, 0] * math.radians(self.rotation_degrees)
        zoom = 1 + self.scale * draws[:, 1]
        cosine, sine = torch.cos(angle_rad) / zoom, torch.sin(angle_rad) / zoom
        # The sampling grid runs over [-1, 1], so a share of the side is twice as many grid units.
        rows = (
            torch.stack([cosine, -sine, 2 * self.translation * draws[:, 2]], dim=1),
            torch.stack([sine, cosine, 2 * self.translation * draws[:, 3]], dim=1),
        )
        theta = torch.stack(rows, dim=1)  # (B, 2, 3)
        grid = torch.nn.functional.affine_grid(theta, list(images.shape), align_corners=False)  # (B, S, S, 2)
        return torch.nn.functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

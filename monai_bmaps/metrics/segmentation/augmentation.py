"""What a segmenter's training frames go through: another pose of the probe and other gain settings, a batch at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

_BLACK = 1 / 512  # half a grey level: interpolation leaves traces of neighbours


@dataclass(frozen=True)
class Augmentation:
    """Random poses and gains; every frame of a batch gets its own.

    Args:
        flip: whether half of the frames are mirrored left to right; not for data where the side is what a label says.
        rotation_deg: largest turn, either way.
        scaling: largest change of size, as a share: 0.15 is 0.85 to 1.15.
        shift: largest move along rows and columns, as a share of the side.
        gamma: largest logarithm of the exponent that intensities are raised to.
        gain: largest logarithm of the factor on intensities.
        depth_gain: largest logarithm of the factor at the last row; linear in between, as a slipped time gain
            compensation.
        noise: largest standard deviation of noise, on what is not black.
    """

    flip: bool = True
    rotation_deg: float = 10.0
    scaling: float = 0.15
    shift: float = 0.06
    gamma: float = 0.4
    gain: float = 0.25
    depth_gain: float = 0.3
    noise: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.scaling < 1:
            raise ValueError(f"scaling must lie in [0, 1), got {self.scaling}")
        for name in ("rotation_deg", "shift", "gamma", "gain", "depth_gain", "noise"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")

    def __call__(self, images: Tensor, labels: Tensor, *, generator: Generator) -> tuple[Tensor, Tensor]:
        """Return changed images ``(N, 1, H, W)`` in [0, 1] and their labels ``(N, H, W)``.

        What comes from beyond the image is black and unlabelled; black stays black.
        """
        grid = self._grid(images, generator)
        moved = functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        # nearest on float is exact for label values
        classes = functional.grid_sample(
            labels[:, None].float(), grid, mode="nearest", padding_mode="zeros", align_corners=False
        )
        return self._regained(moved, generator), classes[:, 0].long()

    def _grid(self, images: Tensor, generator: Generator) -> Tensor:
        """Where each pixel comes from; turns are true to shape, whatever the sides."""
        count, _, height, width = images.shape
        angle = math.radians(self.rotation_deg) * _symmetric(count, generator)
        scale = 1 / (1 + self.scaling * _symmetric(count, generator))
        mirror = torch.where(torch.rand(count, generator=generator) < 0.5 * self.flip, -1.0, 1.0)
        shift = 2 * self.shift * torch.stack([_symmetric(count, generator) for _ in range(2)], dim=1)
        cosine, sine, aspect = scale * angle.cos(), scale * angle.sin(), height / width
        first = torch.stack([cosine * mirror, -sine * aspect, shift[:, 0]], dim=1)
        second = torch.stack([sine * mirror / aspect, cosine, shift[:, 1]], dim=1)
        matrix = torch.stack([first, second], dim=1)
        return functional.affine_grid(matrix, [count, 1, height, width], align_corners=False)

    def _regained(self, images: Tensor, generator: Generator) -> Tensor:
        def drawn(most: float) -> Tensor:
            return (most * _symmetric(len(images), generator)).reshape(-1, 1, 1, 1)

        rows = torch.linspace(0, 1, images.shape[2]).reshape(1, 1, -1, 1)
        factor = (drawn(self.gain) + drawn(self.depth_gain) * rows).exp()
        spread = drawn(self.noise).abs() * (images > _BLACK)
        noise = spread * torch.randn(images.shape, generator=generator)
        return (images.clamp(0, 1) ** drawn(self.gamma).exp() * factor + noise).clamp(0, 1)


def _symmetric(count: int, generator: Generator) -> Tensor:
    return 2 * torch.rand(count, generator=generator) - 1

"""Sampling that starts from an image, or keeps part of one: the same chain, entered or held at known levels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from monai_bmaps import diffusion
from monai_bmaps.schedulers.base import BMapScheduler
from monai_bmaps.schedulers.images import Generators, draw_noise
from monai_bmaps.types import Image


@dataclass(frozen=True)
class Edit:
    """Change an image instead of drawing one from noise.

    ``strength`` is the share of the sampling steps that are taken: the image is noised to the level where they begin,
    each pixel to its own (SDEdit, Meng et al. 2022, https://arxiv.org/abs/2108.01073). 0 returns the image, 1 is
    free generation. Where ``keep`` is 1 the image is put back at the level of every step and stays as it is, the rest
    is drawn to fit (RePaint, Lugmayr et al. 2022, https://arxiv.org/abs/2201.09865).

    Args:
        image: ``(N, C, H, W)`` in [-1, 1].
        strength: in [0, 1].
        keep: mask ``(N or 1, 1, H, W)``, bool or 0 and 1; ``None`` keeps nothing.
        repeats: how often each step is taken; from 2 on, each is undone with fresh noise and taken again, which blends
            the kept part and the rest better and costs as many times the network evaluations.

    Raises:
        ValueError: an image that is not floating point or not in [-1, 1], a strength or repeats out of range, or a
            mask of another shape or with values other than 0 and 1.
    """

    image: Image
    strength: float = 1.0
    keep: torch.Tensor | None = None
    repeats: int = 1

    def __post_init__(self) -> None:
        if not self.image.is_floating_point() or self.image.ndim != 4:
            raise ValueError(
                f"the image to edit must be float (N, C, H, W), got {self.image.dtype} {tuple(self.image.shape)}"
            )
        low, high = (float(x) for x in self.image.aminmax())
        if not (low >= -1.0 and high <= 1.0):
            raise ValueError(f"the image to edit must lie in [-1, 1], got [{low:.4g}, {high:.4g}]; scale it first")
        check_extent(self.strength, self.repeats)
        if self.keep is not None:
            self._check_mask(self.keep)

    def _check_mask(self, keep: torch.Tensor) -> None:
        expected = (1, *self.image.shape[2:])
        if keep.ndim != 4 or keep.shape[1:] != expected or len(keep) not in (1, len(self.image)):
            raise ValueError(
                f"keep must be (N or 1, 1, H, W) for images {tuple(self.image.shape)}, got {tuple(keep.shape)}"
            )
        if not bool(((keep == 0) | (keep == 1)).all()):
            raise ValueError("keep must be 1 where the image stays and 0 elsewhere; it has other values")

    def matching(self, noise: Image) -> Edit:
        """The same edit on the noise's device and in its precision.

        Raises:
            ValueError: noise of another shape than the image.
        """
        if self.image.shape != noise.shape:
            raise ValueError(
                f"the image to edit has shape {tuple(self.image.shape)}, the noise {tuple(noise.shape)}; resample one"
            )
        image = self.image.as_subclass(torch.Tensor).to(noise)
        keep = None if self.keep is None else self.keep.as_subclass(torch.Tensor).to(noise.device)
        return replace(self, image=image, keep=keep)

    def steps(self, timesteps: list[int]) -> list[int]:
        """The steps that are taken, in order: the last ``round(strength n)`` of n, each ``repeats`` times."""
        taken = timesteps[len(timesteps) - round(self.strength * len(timesteps)) :]
        return [t for t in taken for _ in range(self.repeats)]

    def start(self, noise: Image, scheduler: BMapScheduler, steps: list[int]) -> Image:
        """Where sampling begins: the image at the first step's level, noise alone at full strength."""
        if self.strength < 1.0:
            return self._at(steps[0] if steps else -1, noise, scheduler)
        return self._held(noise, steps[0], noise, scheduler)

    def after_step(
        self, image: Image, done: int, steps: list[int], scheduler: BMapScheduler, generator: Generators
    ) -> Image:
        """What the next step starts from: the kept part put back, and the step undone if it is to be repeated.

        The kept part gets fresh noise each time: with one and the same, the drawn part fits it less well.
        """
        t = steps[done - 1]
        following = scheduler.previous_timestep(t)
        if self.keep is not None:
            image = self._held(image, following, draw_noise(image, generator), scheduler)
        if done == len(steps) or steps[done] != t:
            return image
        levels = scheduler.level_of(image, following), scheduler.level_of(image, t)
        mean, variance = diffusion.transition(image, *levels)
        return (mean + variance.sqrt().to(mean) * draw_noise(image, generator)).to(image.dtype)

    def _at(self, timestep: int, noise: Image, scheduler: BMapScheduler) -> Image:
        """The image noised to a step's level; -1 is the image itself."""
        if timestep < 0:
            return self.image
        return diffusion.add_noise(self.image, noise, scheduler.level_of(self.image, timestep)).to(self.image.dtype)

    def _held(self, image: Image, timestep: int, noise: Image, scheduler: BMapScheduler) -> Image:
        return image if self.keep is None else torch.where(self.keep > 0, self._at(timestep, noise, scheduler), image)


def check_extent(strength: float, repeats: int) -> None:
    """Raise a ValueError unless a strength lies in [0, 1] and steps are taken at least once."""
    if not 0.0 <= strength <= 1.0:
        raise ValueError(f"strength must lie in [0, 1], got {strength}; 0 changes nothing")
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")

"""Noise of images in [0, 1]: planted, taken away and measured, in grey levels (0 to 255)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from scipy.ndimage import binary_erosion, gaussian_filter, median_filter

GREY = 255.0
_MAD_OF_A_NORMAL = 0.67449
"""Median of the absolute value of a standard normal number."""

Planted = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, float], torch.Tensor]
"""From images ``(N, 1, H, W)``, ``inside`` and ``depth`` ``(N, H, W)`` and a dose to images with a fault."""


def white_noise(images: torch.Tensor, inside: torch.Tensor, depth: torch.Tensor, dose: float) -> torch.Tensor:
    """Gaussian noise of ``dose`` grey levels in every pixel, alike at all depths."""
    return _with(images, inside, dose / GREY * _standard(images))


def noise_everywhere(images: torch.Tensor, inside: torch.Tensor, depth: torch.Tensor, dose: float) -> torch.Tensor:
    """As :func:`white_noise`, outside the beam too, where black cuts half of it off."""
    return _as_files(images + dose / GREY * _standard(images))


def deep_noise(images: torch.Tensor, inside: torch.Tensor, depth: torch.Tensor, dose: float) -> torch.Tensor:
    """Gaussian noise that grows linearly with depth, its root mean square over the beam ``dose`` grey levels."""
    masked = torch.where(inside, depth, 0.0)
    mean_square = masked.square().sum((1, 2)) / inside.sum((1, 2)).clamp(min=1)
    strength = (masked / mean_square.sqrt().clamp(min=1e-6)[:, None, None])[:, None]
    return _with(images, inside, dose / GREY * strength * _standard(images))


def brighter(images: torch.Tensor, inside: torch.Tensor, depth: torch.Tensor, dose: float) -> torch.Tensor:
    """All of the beam brighter by ``dose`` grey levels."""
    return _with(images, inside, dose / GREY)


def blurred(images: torch.Tensor, inside: torch.Tensor, depth: torch.Tensor, dose: float) -> torch.Tensor:
    """A Gaussian blur with a standard deviation of ``dose`` pixels."""
    return _blackened(_each(images, lambda image: gaussian_filter(image, dose)), inside)


FAULTS: Mapping[str, Planted] = {
    "white": white_noise,
    "everywhere": noise_everywhere,
    "deep": deep_noise,
    "brighter": brighter,
    "blurred": blurred,
}
"""What can be planted, by name."""


def lightly_blurred(images: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """A Gaussian of half a pixel, which leaves 64 % of white noise."""
    return _blackened(_each(images, lambda image: gaussian_filter(image, 0.5)), inside)


def median_filtered(images: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """The median of 3 x 3 pixels, which leaves about 41 % of white noise."""
    return _blackened(_each(images, lambda image: median_filter(image, size=3)), inside)


FILTERS: Mapping[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "Gaussian 0.5": lightly_blurred,
    "median 3 x 3": median_filtered,
}
"""What takes noise away, by name."""


def finest_band(images: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Robust standard deviation of the finest diagonal Haar band inside the beam, ``(N,)`` grey levels.

    Of white noise it is the standard deviation; of an image without noise it is what edges and speckle leave there.

    Args:
        images: ``(N, 1, H, W)`` in [0, 1].
        inside: ``(N, H, W)``; NaN where no 2 x 2 pixels are.
    """
    generator = torch.Generator().manual_seed(0)
    x = (images * GREY + torch.rand(images.shape, generator=generator))[:, 0]  # else medians come in steps of 0.74
    band = (x[:, :-1, :-1] - x[:, 1:, :-1] - x[:, :-1, 1:] + x[:, 1:, 1:]) / 2
    whole = inside[:, :-1, :-1] & inside[:, 1:, :-1] & inside[:, :-1, 1:] & inside[:, 1:, 1:]
    deviations = torch.where(whole, band.abs(), torch.nan).flatten(1)
    return deviations.nanmedian(1).values / _MAD_OF_A_NORMAL


def spread(images: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """Standard deviation of grey levels in a region, a pixel away from its edge, ``(N,)``; NaN below 16 pixels."""
    found = []
    for image, region in zip(images[:, 0] * GREY, where, strict=True):
        levels = image[torch.from_numpy(binary_erosion(region.numpy()))]
        found.append(levels.std() if len(levels) >= 16 else torch.tensor(torch.nan))
    return torch.stack(found)


def mean_level(images: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """Mean grey level in a region, ``(N,)``; NaN where it is empty."""
    return torch.where(where, images[:, 0] * GREY, torch.nan).flatten(1).nanmean(1)


def _with(images: torch.Tensor, inside: torch.Tensor, added: torch.Tensor | float) -> torch.Tensor:
    return _blackened(images + added, inside)


def _blackened(images: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """As files of the study hold them, black outside the beam."""
    return torch.where(inside[:, None], _as_files(images), 0.0)


def _as_files(images: torch.Tensor) -> torch.Tensor:
    """8 bits."""
    return (images.clamp(0.0, 1.0) * GREY).round() / GREY


def _standard(images: torch.Tensor) -> torch.Tensor:
    return torch.randn(images.shape, generator=torch.Generator().manual_seed(0))


def _each(images: torch.Tensor, change: Callable[[np.ndarray[Any, Any]], Any]) -> torch.Tensor:
    return torch.from_numpy(np.stack([change(image) for image in images[:, 0].numpy()]))[:, None]

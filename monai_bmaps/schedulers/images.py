"""What samplers do with batches of images: noise of their shape, limits, precision, channels."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from monai_bmaps.types import Image

Generators = torch.Generator | Sequence[torch.Generator] | None


def draw_noise(like: Image, generator: Generators = None) -> Image:
    """Standard normal noise shaped ``like`` an image batch.

    With a sequence of generators, one per image, every image has its own stream: results then do not depend on how
    images are batched. Noise is drawn on the generator's device and moved, so a CPU generator gives the same numbers
    on every machine.

    Raises:
        ValueError: a number of generators other than the batch size.
    """
    if generator is None or isinstance(generator, torch.Generator):
        device = like.device if generator is None else generator.device
        return torch.randn(like.shape, generator=generator, device=device, dtype=like.dtype).to(like.device)
    if len(generator) != len(like):
        raise ValueError(f"got {len(generator)} generators for {len(like)} images; give one per image")
    return torch.cat([draw_noise(image[None], one) for image, one in zip(like, generator, strict=True)])


def dynamically_limited(clean: Image, quantile: float, bound: float) -> Image:
    """Each image clamped to a quantile of its absolute values, where that exceeds ``bound``, and scaled back to it."""
    reach = torch.quantile(clean.abs().flatten(1), quantile, dim=1).clamp(min=bound).reshape(-1, 1, 1, 1)
    return torch.minimum(torch.maximum(clean, -reach), reach) * (bound / reach)


def clipped_log_snr(log_snr: torch.Tensor, images: Image, reach: float) -> torch.Tensor:
    """The noise level of each pixel as a network sees it, ``clip(log SNR, -reach, reach) / reach``, cast once."""
    return (log_snr.clamp(-reach, reach) / reach).to(images)


def in_working_precision(model_output: Image, sample: Image) -> tuple[Image, Image]:
    """Both in float32 at least: the schedule's arithmetic never runs in half precision."""
    if len(model_output) != len(sample) or model_output.shape[2:] != sample.shape[2:]:
        raise ValueError(f"model_output {tuple(model_output.shape)} does not belong to sample {tuple(sample.shape)}")
    dtype = sample.dtype if sample.dtype in (torch.float32, torch.float64) else torch.float32
    return model_output.to(dtype), sample.to(dtype)


def without_variance(model_output: Image, sample: Image) -> Image:
    """The network's output without the channels of a learned variance, if it has them.

    Raises:
        ValueError: neither as many channels as the images have nor twice as many.
    """
    channels = sample.shape[1]
    if model_output.shape[1] not in (channels, 2 * channels):
        raise ValueError(
            f"images of {channels} channels need a network output of as many (or twice, with a learned variance), "
            f"got {model_output.shape[1]}"
        )
    return model_output[:, :channels]


def like(images: Image, *coefficients: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Coefficients on the images' device and in their precision, cast once."""
    return tuple(x.to(images) for x in coefficients)


def check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    """Raise a ValueError that names the allowed values unless ``value`` is one of them."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")

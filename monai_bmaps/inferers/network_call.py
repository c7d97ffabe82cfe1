"""How a network is called: what is told beside the noisy image, by which way, and in which precision."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

import torch

from monai_bmaps.acceleration import fast_dtype
from monai_bmaps.inferers.tracing import is_traced
from monai_bmaps.schedulers.base import BMapScheduler
from monai_bmaps.types import Image, Timesteps

Conditioning = Literal["concat", "spade", "none"]
Network = Callable[..., Image]

MAX_LOG_SNR = 10.0
"""Reach of the noise-level channel: ``clip(log SNR, -10, 10) / 10``."""


@dataclass(frozen=True)
class Condition:
    """What the network is told beside noise and time, and by which way."""

    context: torch.Tensor | None
    channels: torch.Tensor | None
    seg: torch.Tensor | None

    @classmethod
    def of(cls, condition: torch.Tensor | None, mode: str, seg: torch.Tensor | None) -> Condition:
        """From MONAI's ``condition`` and ``mode``, and a segmentation."""
        if mode not in ("crossattn", "concat"):
            raise ValueError(f"mode must be 'crossattn' or 'concat', got {mode!r}")
        if mode == "concat" and condition is None:
            raise ValueError("mode='concat' needs a condition")
        return cls(None, condition, seg) if mode == "concat" else cls(condition, None, seg)

    def with_null(self, fill: float) -> Condition:
        """Twice the batch, the first half without a condition: zeros for ``seg``, ``fill`` for the others."""
        if self.context is None and self.channels is None and self.seg is None:
            raise ValueError("guidance needs a condition: give seg or conditioning, or leave cfg out")
        parts = ((self.context, fill), (self.channels, fill), (self.seg, 0.0))
        return Condition(*(None if x is None else torch.cat([torch.full_like(x, null), x]) for x, null in parts))


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance (Ho and Salimans 2022, https://arxiv.org/abs/2207.12598).

    Args:
        weight: w in ``null + w (conditional - null)``.
        fill: value of MONAI's condition in the null branch.
        interval: the steps guided, as shares of the chain, ends included; elsewhere the null branch is not evaluated
            (Kynkaanniemi et al. 2024, https://arxiv.org/abs/2404.07724).
    """

    weight: float
    fill: float = -1.0
    interval: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        low, high = self.interval
        if not 0.0 <= low <= high <= 1.0:
            raise ValueError(f"cfg_interval must be two ascending shares of the chain in [0, 1], got {self.interval}")

    def acts_at(self, timestep: int, num_train_timesteps: int) -> bool:
        """Whether a step is guided."""
        low, high = self.interval
        return low <= timestep / max(1, num_train_timesteps - 1) <= high


@dataclass(frozen=True)
class NetworkInterface:
    """What the network takes beside the image, and the precision it runs in.

    Args:
        conditioning: a segmentation becomes input channels (``"concat"``) or the ``seg`` argument (``"spade"``).
        noise_level_channel: whether each pixel's noise level is the last input channel.
        amp_dtype: autocast dtype, ``"auto"`` for the fastest that the device has natively (single precision while
            being traced), or ``None``.
    """

    conditioning: Conditioning
    noise_level_channel: bool
    amp_dtype: torch.dtype | Literal["auto"] | None

    def inputs(self, noisy: Image, given: Condition, level: torch.Tensor | None) -> torch.Tensor:
        """Input channels: image, MONAI's condition, segmentation, noise level; those there are, in this order."""
        channels = [noisy]
        if given.channels is not None:
            channels.append(given.channels)
        if given.seg is not None:
            _check_segmentation(given.seg, noisy)
            if self.conditioning == "concat":
                channels.append(given.seg)
        if level is not None:
            channels.append(level.expand(noisy.shape[0], 1, *noisy.shape[2:]))
        return torch.cat(channels, dim=1) if len(channels) > 1 else noisy

    def call(self, network: Network, inputs: torch.Tensor, timesteps: Timesteps, given: Condition) -> Image:
        """The network's output; the network, and only it, runs under autocast."""
        extra = {"seg": given.seg} if given.seg is not None and self.conditioning == "spade" else {}
        dtype = self._automatic_dtype(inputs.device) if self.amp_dtype == "auto" else self.amp_dtype
        with nullcontext() if dtype is None else torch.autocast(inputs.device.type, dtype):
            output = network(inputs, timesteps=timesteps, context=given.context, **extra)
        return output.to(inputs.dtype)

    @staticmethod
    def _automatic_dtype(device: torch.device) -> torch.dtype | None:
        """A trace is for machines that are not known yet: single precision."""
        return None if is_traced() else fast_dtype(device)


class SamplingCall:
    """The network as one sampling loop calls it, step after step.

    The condition is laid out once in one buffer of input channels, into which each step writes its image and noise
    level; with guidance both branches are one evaluation, and where guidance does not act only one branch is.

    Args:
        interface: what the network takes.
        network: the network, wrapped or not.
        scheduler: bound to the batch's depth maps.
        noise: ``(N, C, H, W)``, for its shape, precision and device.
        given: the condition of N images.
        guidance: how to guide; ``None`` for not at all.
    """

    def __init__(
        self,
        interface: NetworkInterface,
        network: Network,
        scheduler: BMapScheduler,
        noise: Image,
        given: Condition,
        guidance: Guidance | None,
    ) -> None:
        self._interface, self._network, self._scheduler = interface, network, scheduler
        self._guidance, self._plain = guidance, given
        self._both = given if guidance is None else given.with_null(guidance.fill)
        self._count, self._channels = noise.shape[:2]
        blank = torch.cat([noise] * (1 if guidance is None else 2))
        level = torch.zeros_like(blank[:, :1]) if interface.noise_level_channel else None
        self._inputs = interface.inputs(blank, self._both, level).clone()

    def __call__(self, image: Image, timestep: int) -> Image:
        """The network's output for ``x_t``, guided where guidance acts."""
        guidance, inputs, given = self._guidance, self._inputs, self._both
        if guidance is not None and not guidance.acts_at(timestep, self._scheduler.num_train_timesteps):
            guidance, inputs, given = None, inputs[self._count :], self._plain
        branches = inputs.unflatten(0, (1 if guidance is None else 2, -1))  # type: ignore[no-untyped-call]
        branches[:, :, : self._channels].copy_(image)  # an assignment would put the shape at hand into a trace
        if self._interface.noise_level_channel:
            branches[:, :, -1:].copy_(self._scheduler.noise_level_of(image, timestep, MAX_LOG_SNR))
        timesteps = torch.full((inputs.shape[0],), timestep, dtype=torch.int64, device=inputs.device)
        output = self._interface.call(self._network, inputs, timesteps, given)
        if guidance is None:
            return output
        null, conditional = output.chunk(2)
        return null + guidance.weight * (conditional - null)


def _check_segmentation(seg: torch.Tensor, noisy: Image) -> None:
    if not seg.is_floating_point():
        raise ValueError(
            f"seg must be float channels, one per class, got {seg.dtype}; make them from a label map with "
            "LabelToConditiond"
        )
    if seg.ndim != noisy.ndim or seg.shape[2:] != noisy.shape[2:] or len(seg) != len(noisy):
        raise ValueError(
            f"seg {tuple(seg.shape)} does not match the images {tuple(noisy.shape)}; it must be (N, classes, H, W)"
        )

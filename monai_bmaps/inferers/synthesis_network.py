"""Condition in, image out: denoiser, sampler and a beam's depth map as one network, for whatever calls networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import torch
from torch import nn
from torch.nn import functional

from monai_bmaps.inferers.synthesis import BMapSynthesisInferer
from monai_bmaps.inferers.tracing import checks_left_out
from monai_bmaps.types import Depth, Image


class SynthesisNetwork(nn.Module):
    """Draws an image for each condition: the network that a bundle's inference, deployment and traces see.

    Its state dict is the denoiser's, name for name, so that one file of weights loads into the denoiser (training) and
    into this (inference); the reference depth map belongs to the configuration and is not in it.

    ``torch.jit.trace`` records the whole sampling loop with its number of steps, for any number and size of images. A
    trace has no seeds: it draws from torch's global state, which the caller seeds.

    Args:
        denoiser: the network of the diffusion model.
        sampler: how images are drawn with it.
        depth: reference depth map ``(H, W)`` in [0, 1], as a beam's ``depth_map(shape)`` gives it, for calls without
            one. Let it reach as far as any field of view does: what is inside the beam is said by the condition.

    Raises:
        ValueError: a depth map of another shape, type or range.
    """

    depth: torch.Tensor

    def __init__(self, denoiser: nn.Module, sampler: BMapSynthesisInferer, depth: Depth) -> None:
        super().__init__()
        bound = sampler.scheduler.bind(depth).depth
        if bound is None or bound.shape[:2] != (1, 1):
            raise ValueError(f"the reference depth must be one map (H, W), got {tuple(depth.shape)}")
        self.denoiser = denoiser
        self.sampler = sampler
        self.register_buffer("depth", bound.clone(), persistent=False)

    def forward(
        self,
        seg: torch.Tensor,
        depth: Depth | None = None,
        seeds: Sequence[int] | torch.Tensor | None = None,
        image: Image | None = None,
        keep: torch.Tensor | None = None,
    ) -> Image:
        """Images for a batch of conditions.

        Args:
            seg: condition as float channels ``(N, classes, H, W)``, the first one 1 outside the beam; two channels,
                outside and inside, for a model without labels.
            depth: depth maps ``(N or 1, 1, H, W)``; ``None`` is the reference, resized and 0 outside the beam.
            seeds: one per image; an image depends on its own seed only. ``None`` draws from torch's global state.
            image: images to change, ``(N, channels, H, W)`` in [-1, 1].
            keep: with ``image``, mask ``(N or 1, 1, H, W)`` of what stays.

        Returns:
            Images ``(N, channels, H, W)`` in [-1, 1].

        Raises:
            ValueError: what :class:`BMapSynthesisInferer` refuses.
        """
        generators = None if seeds is None else [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        with checks_left_out():
            given = self.depth_for(seg) if depth is None else depth
            return self.sampler.draw(seg, self.denoiser, given, generators, image=image, keep=keep)

    def depth_for(self, seg: torch.Tensor) -> Depth:
        """The reference depth map at a condition's size, ``(N, 1, H, W)``, 0 where the condition is outside the beam.

        Each pixel takes the nearest one's depth, so that nothing is mixed with the 0 outside.
        """
        resized = functional.interpolate(self.depth, size=seg.shape[2:], mode="nearest-exact")
        return torch.where(seg[:, :1].as_subclass(torch.Tensor) > 0.5, 0.0, resized)

    def __prepare_scriptable__(self) -> NoReturn:
        """What ``torch.jit.script`` asks for first."""
        raise TypeError(
            "a SynthesisNetwork cannot be scripted, its sampling loop is Python: trace it, with torch.jit.trace or "
            "python -m monai.bundle ckpt_export network_def --use_trace True"
        )

    def state_dict(self, *args: Any, **keywords: Any) -> Any:
        """The denoiser's."""
        return self.denoiser.state_dict(*args, **keywords)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Into the denoiser."""
        return self.denoiser.load_state_dict(state_dict, strict, assign)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Inside another module, which asks each of its parts by this name: give the weights the denoiser's place."""
        for name in [name for name in state_dict if name.startswith(prefix)]:
            state_dict[f"{prefix}denoiser.{name.removeprefix(prefix)}"] = state_dict.pop(name)
        super()._load_from_state_dict(state_dict, prefix, *args)

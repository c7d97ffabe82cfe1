"""Segmentation in, image out: the sampler as an ordinary MONAI inferer, for evaluators and deployment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from monai.inferers import Inferer

from monai_bmaps.inferers.diffusion import BMapDiffusionInferer, Callback
from monai_bmaps.inferers.editing import Edit, check_extent
from monai_bmaps.inferers.network_call import Guidance, Network
from monai_bmaps.inferers.tracing import is_traced
from monai_bmaps.schedulers.base import BMapScheduler
from monai_bmaps.schedulers.images import Generators, draw_noise
from monai_bmaps.types import Depth, Image


class BMapSynthesisInferer(Inferer):  # type: ignore[misc]
    """Draws an image for each segmentation, or changes a given one to fit it.

    Args:
        inferer: how the network was trained to be called.
        scheduler: sampler to use; default the inferer's own.
        num_inference_steps: network evaluations, placed by the scheduler's ``step_grid``.
        seed: seed of the first image; image k of a call uses ``seed + k`` unless ``seeds`` are given in the call.
        eta: share of fresh noise (DDIM).
        cfg: guidance weight, ``None`` for no guidance.
        num_channels: image channels.
        outside: value of pixels outside the beam, where the condition's first channel is 1; ``None`` leaves them as
            the network drew them. In edited images they stay as they were.
        verbose: show a progress bar.
        cfg_interval: shares of the chain between which guidance acts.
        strength: of edits, in calls with an ``image``: share of the steps that are taken; see
            :class:`~monai_bmaps.inferers.editing.Edit`.
        repeats: of edits: how often each step is taken.
        callback: told of every step, in calls that bring none of their own; see :meth:`BMapDiffusionInferer.sample`.

    Raises:
        ValueError: a strength, repeats or interval out of range, or a number of steps that the scheduler refuses.
    """

    def __init__(
        self,
        inferer: BMapDiffusionInferer,
        scheduler: BMapScheduler | None = None,
        num_inference_steps: int = 20,
        seed: int = 0,
        eta: float = 0.0,
        cfg: float | None = None,
        num_channels: int = 1,
        outside: float | None = -1.0,
        verbose: bool = True,
        cfg_interval: tuple[float, float] = (0.0, 1.0),
        strength: float = 1.0,
        repeats: int = 1,
        callback: Callback | None = None,
    ) -> None:
        super().__init__()
        Guidance(cfg or 1.0, interval=(cfg_interval[0], cfg_interval[1]))
        check_extent(strength, repeats)
        self.inferer = inferer
        self.scheduler = (scheduler or inferer.scheduler).view()
        self.scheduler.set_timesteps(num_inference_steps)
        self.seed = seed
        self.eta = eta
        self.cfg = cfg
        self.num_channels = num_channels
        self.outside = outside
        self.verbose = verbose
        self.cfg_interval = (cfg_interval[0], cfg_interval[1])
        self.strength = strength
        self.repeats = repeats
        self.callback = callback
        self._bound = self.scheduler

    def __call__(
        self,
        inputs: torch.Tensor,
        network: Network,
        depth: Depth | None = None,
        seeds: Sequence[int] | torch.Tensor | None = None,
        callback: Callback | None = None,
        image: Image | None = None,
        keep: torch.Tensor | None = None,
    ) -> Image:
        """Images for a batch of segmentations.

        Args:
            inputs: segmentation as float channels ``(N, classes, H, W)``.
            network: the denoising network.
            depth: depth maps ``(N or 1, 1, H, W)``.
            seeds: one per image; an image depends on its own seed only, not on the batch it is in.
            callback: see :meth:`BMapDiffusionInferer.sample`.
            image: images to change, ``(N, num_channels, H, W)`` in [-1, 1].
            keep: with ``image``, mask ``(N or 1, 1, H, W)`` of what stays.

        Returns:
            Images ``(N, num_channels, H, W)`` in [-1, 1].

        Raises:
            ValueError: ``keep`` without ``image``, or what :class:`~monai_bmaps.inferers.editing.Edit` refuses.
        """
        if seeds is None:
            seeds = range(self.seed, self.seed + len(inputs))
        generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        return self.draw(inputs, network, depth, generators, callback, image, keep)

    def draw(
        self,
        inputs: torch.Tensor,
        network: Network,
        depth: Depth | None = None,
        generator: Generators = None,
        callback: Callback | None = None,
        image: Image | None = None,
        keep: torch.Tensor | None = None,
    ) -> Image:
        """As a call, with generators instead of seeds.

        Args:
            inputs: as in a call, like all not named here.
            network: the denoising network.
            depth: depth maps.
            generator: source of all noise; a sequence gives each image its own, ``None`` is torch's global state, the
                only one that a trace can hold.
            callback: told of every step.
            image: images to change.
            keep: what stays in them.
        """
        if keep is not None and image is None:
            raise ValueError("keep says which part of an image stays: give that image too")
        condition = inputs.as_subclass(torch.Tensor)
        blank = torch.zeros(inputs.shape[0], self.num_channels, *inputs.shape[2:], device=inputs.device)
        sampled = self.inferer.sample(
            draw_noise(blank, generator),
            network,
            self._bound_to(depth),
            seg=condition,
            cfg=self.cfg,
            cfg_interval=self.cfg_interval,
            generator=generator,
            eta=self.eta,
            verbose=self.verbose,
            callback=callback or self.callback,
            edit=None if image is None else Edit(image, self.strength, keep, self.repeats),
        )
        images = cast(torch.Tensor, sampled).clamp(-1.0, 1.0)
        if self.outside is None:
            return images
        outside = self.outside if image is None else image.as_subclass(torch.Tensor).to(images)
        return torch.where(condition[:, :1] > 0.5, outside, images)

    def _bound_to(self, depth: Depth | None) -> BMapScheduler:
        """The scheduler for these depth maps; batches of the same ones share their coefficients."""
        if depth is None:
            return self.scheduler
        depth = depth.as_subclass(torch.Tensor)
        if is_traced():  # neither which maps are equal nor what was computed before may enter the trace
            return self.scheduler.bind(depth)
        if len(depth) > 1 and torch.equal(depth, depth[:1].expand_as(depth)):
            depth = depth[:1]
        known = self._bound.depth
        if known is None or known.device != depth.device or not torch.equal(known, depth):
            self._bound = self.scheduler.bind(depth)
        return self._bound

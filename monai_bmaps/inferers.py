"""Calls the network: noise in, condition and guidance applied, samples out.

``BMapDiffusionInferer`` keeps the signatures of ``monai.inferers.DiffusionInferer`` and adds what that one lacks: the
depth map, a segmentation that reaches the network through DDP and ``torch.compile`` wrappers and is guided together
with the image, generators, and the per-pixel noise level as an input channel.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from monai.inferers import DiffusionInferer, Inferer
from tqdm import tqdm

from monai_bmaps import diffusion
from monai_bmaps.schedulers.base import BMapScheduler, Generators, draw_noise
from monai_bmaps.schedulers.ddim import BMapDDIMScheduler
from monai_bmaps.types import Depth, Image, Timesteps

Conditioning = Literal["concat", "spade"]
Callback = Callable[[int, int, Image], None]

_MAX_LOG_SNR = 10.0


@dataclass(frozen=True)
class _Condition:
    """What the network is told beside noise and time, and by which way."""

    context: torch.Tensor | None
    channels: torch.Tensor | None
    seg: torch.Tensor | None

    @classmethod
    def of(cls, condition: torch.Tensor | None, mode: str, seg: torch.Tensor | None) -> _Condition:
        if mode not in ("crossattn", "concat"):
            raise ValueError(f"mode must be 'crossattn' or 'concat', got {mode!r}")
        if mode == "concat" and condition is None:
            raise ValueError("mode='concat' needs a condition")
        return cls(None, condition, seg) if mode == "concat" else cls(condition, None, seg)

    def with_null(self, fill: float) -> _Condition:
        """Twice the batch, the first half without a condition: zeros for ``seg``, ``fill`` for the others."""
        if self.context is None and self.channels is None and self.seg is None:
            raise ValueError("guidance needs a condition: give seg or conditioning, or leave cfg out")
        parts = ((self.context, fill), (self.channels, fill), (self.seg, 0.0))
        return _Condition(*(None if x is None else torch.cat([torch.full_like(x, null), x]) for x, null in parts))


class BMapDiffusionInferer(DiffusionInferer):  # type: ignore[misc]
    """Training forward pass and sampling with a per-pixel scheduler.

    Args:
        scheduler: a ``BMapDDPMScheduler`` or ``BMapDDIMScheduler``.
        conditioning: how a segmentation reaches the network: as further input channels (``"concat"``) or as its
            ``seg`` argument (``"spade"``).
        noise_level_channel: append ``clip(log SNR, -10, 10) / 10`` to the input channels, so that the network sees
            the noise level of every pixel. Needed when the depth map varies between images.
        amp_dtype: run the network (and only it) under autocast in this dtype; CPU and GPU.

    Raises:
        ValueError: an unknown conditioning.
    """

    def __init__(
        self,
        scheduler: BMapScheduler,
        conditioning: Conditioning = "concat",
        noise_level_channel: bool = False,
        amp_dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(scheduler)
        if conditioning not in get_args(Conditioning):
            raise ValueError(f"conditioning must be one of {', '.join(get_args(Conditioning))}, got {conditioning!r}")
        self.conditioning = conditioning
        self.noise_level_channel = noise_level_channel
        self.amp_dtype = amp_dtype

    def __call__(
        self,
        inputs: Image,
        diffusion_model: Callable[..., Image],
        noise: Image,
        timesteps: Timesteps,
        condition: torch.Tensor | None = None,
        mode: str = "crossattn",
        seg: torch.Tensor | None = None,
        depth: Depth | None = None,
    ) -> Image:
        """Network output for images noised to ``timesteps``: the training forward pass.

        Args:
            inputs: clean images ``(N, C, H, W)``.
            diffusion_model: the network, wrapped or not.
            noise: standard normal, as ``inputs``.
            timesteps: ``(N,)`` int64.
            condition: MONAI's condition, by cross-attention or, with ``mode="concat"``, as channels.
            mode: ``"crossattn"`` or ``"concat"``, for ``condition``.
            seg: segmentation as float channels ``(N, classes, H, W)``.
            depth: depth maps ``(N or 1, 1, H, W)``; ``None`` if the scheduler is bound already.
        """
        scheduler = self._bound(self.scheduler, depth)
        noisy = scheduler.add_noise(inputs, noise, timesteps)
        return self._predict(diffusion_model, scheduler, noisy, timesteps, _Condition.of(condition, mode, seg))

    @torch.no_grad()
    def sample(
        self,
        input_noise: Image,
        diffusion_model: Callable[..., Image],
        scheduler: BMapScheduler | None = None,
        save_intermediates: bool | None = False,
        intermediate_steps: int | None = 100,
        conditioning: torch.Tensor | None = None,
        mode: str = "crossattn",
        verbose: bool = True,
        seg: torch.Tensor | None = None,
        cfg: float | None = None,
        cfg_fill_value: float = -1.0,
        *,
        depth: Depth | None = None,
        generator: Generators = None,
        eta: float = 0.0,
        callback: Callback | None = None,
    ) -> Image | tuple[Image, list[Image]]:
        """Draw images.

        Args:
            input_noise: standard normal ``(N, C, H, W)``; see
                :func:`~monai_bmaps.schedulers.base.draw_noise` for one generator per image.
            diffusion_model: the network, wrapped or not.
            scheduler: overrides the inferer's; its ``timesteps`` are visited.
            save_intermediates: also return the running samples.
            intermediate_steps: keep those at steps divisible by this.
            conditioning: MONAI's condition.
            mode: ``"crossattn"`` or ``"concat"``, for ``conditioning``.
            verbose: show a progress bar.
            seg: segmentation as float channels ``(N, classes, H, W)``.
            cfg: guidance weight w: ``output = null + w (conditional - null)``; ``None`` is no guidance. The null
                branch sees an all-zero segmentation and the same noise levels.
            cfg_fill_value: value of ``conditioning`` in the null branch.
            depth: depth maps ``(N or 1, 1, H, W)``; ``None`` if the scheduler is bound already.
            generator: noise of stochastic samplers; a sequence gives each image its own.
            eta: share of fresh noise, for schedulers that take it (DDIM).
            callback: called after each step with ``(steps done, steps in all, predicted clean images)``; raise in it
                to cancel.

        Returns:
            Images as ``input_noise``; with ``save_intermediates`` also the list of running samples.
        """
        scheduler = self._bound(scheduler or self.scheduler, depth)
        if eta != 0.0 and not isinstance(scheduler, BMapDDIMScheduler):
            raise ValueError(f"eta={eta} is for BMapDDIMScheduler; {type(scheduler).__name__} has no such share")
        options: dict[str, Any] = {"generator": generator}
        if isinstance(scheduler, BMapDDIMScheduler):
            options["eta"] = eta
        given, copies, wide = _Condition.of(conditioning, mode, seg), 1, scheduler
        if cfg is not None and cfg != 1.0:  # one evaluation of twice the batch, the null half first
            given, copies = given.with_null(cfg_fill_value), 2
            if scheduler.depth is not None and len(scheduler.depth) > 1:
                wide = scheduler.bind(torch.cat([scheduler.depth] * 2))
        image, intermediates = input_noise, []
        steps = scheduler.timesteps.tolist()
        for done, t in enumerate(tqdm(steps, desc="denoising", disable=not verbose), start=1):
            timesteps = torch.full((copies * len(image),), t, dtype=torch.int64, device=image.device)
            output = self._predict(diffusion_model, wide, torch.cat([image] * copies), timesteps, given)
            if cfg is not None and copies == 2:
                null, conditional = output.chunk(2)
                output = null + cfg * (conditional - null)
            image, clean = scheduler.step(output, t, image, **options)
            if save_intermediates and t % (intermediate_steps or 100) == 0:
                intermediates.append(image)
            if callback is not None:
                callback(done, len(steps), clean)
        return (image, intermediates) if save_intermediates else image

    def get_likelihood(self, *args: Any, **kwargs: Any) -> Any:
        """Not offered: MONAI's version assumes a scalar fixed-variance chain and would return wrong numbers."""
        raise TypeError("BMapDiffusionInferer has no get_likelihood: MONAI's assumes one noise level per image")

    def _bound(self, scheduler: BMapScheduler, depth: Depth | None) -> BMapScheduler:
        return scheduler if depth is None else scheduler.bind(depth)

    def _predict(
        self,
        network: Callable[..., Image],
        scheduler: BMapScheduler,
        noisy: Image,
        timesteps: Timesteps,
        given: _Condition,
    ) -> Image:
        channels, extra = [noisy], {}
        if given.channels is not None:
            channels.append(given.channels)
        if given.seg is not None:
            _check_segmentation(given.seg, noisy)
            if self.conditioning == "spade":
                extra["seg"] = given.seg
            else:
                channels.append(given.seg)
        if self.noise_level_channel:
            log_snr = diffusion.log_snr(scheduler.levels_of(noisy, timesteps)).clamp(-_MAX_LOG_SNR, _MAX_LOG_SNR)
            level = (log_snr / _MAX_LOG_SNR).to(noisy)
            channels.append(level.expand(len(noisy), 1, *noisy.shape[2:]))
        inputs = torch.cat(channels, dim=1) if len(channels) > 1 else noisy
        precision = nullcontext() if self.amp_dtype is None else torch.autocast(noisy.device.type, self.amp_dtype)
        with precision:
            output = network(inputs, timesteps=timesteps, context=given.context, **extra)
        return output.to(noisy.dtype)


class BMapSynthesisInferer(Inferer):  # type: ignore[misc]
    """Segmentation in, image out: the sampler as an ordinary MONAI inferer, for evaluators and deployment.

    Args:
        inferer: how the network was trained to be called.
        scheduler: sampler to use; default the inferer's own.
        num_inference_steps: network evaluations, placed by the scheduler's ``step_grid``.
        seed: seed of the first image; image k of a call uses ``seed + k`` unless ``seeds`` are given in the call.
        eta: share of fresh noise (DDIM).
        cfg: guidance weight, ``None`` for no guidance.
        num_channels: image channels.
        outside: value of pixels outside the beam, where the condition's first channel is 1; ``None`` leaves them as
            the network drew them.
        verbose: show a progress bar.
    """

    def __init__(
        self,
        inferer: BMapDiffusionInferer,
        scheduler: BMapScheduler | None = None,
        num_inference_steps: int = 50,
        seed: int = 0,
        eta: float = 0.0,
        cfg: float | None = None,
        num_channels: int = 1,
        outside: float | None = -1.0,
        verbose: bool = True,
    ) -> None:
        super().__init__()
        self.inferer = inferer
        self.scheduler = copy.copy(scheduler or inferer.scheduler)  # its own steps; the tables are shared
        self.scheduler.set_timesteps(num_inference_steps)
        self.seed = seed
        self.eta = eta
        self.cfg = cfg
        self.num_channels = num_channels
        self.outside = outside
        self.verbose = verbose

    def __call__(
        self,
        inputs: torch.Tensor,
        network: Callable[..., Image],
        depth: Depth | None = None,
        seeds: Sequence[int] | torch.Tensor | None = None,
        callback: Callback | None = None,
    ) -> Image:
        """Images for a batch of segmentations.

        Args:
            inputs: segmentation as float channels ``(N, classes, H, W)``.
            network: the denoising network.
            depth: depth maps ``(N or 1, 1, H, W)``.
            seeds: one per image; an image depends on its own seed only, not on the batch it is in.
            callback: see :meth:`BMapDiffusionInferer.sample`.

        Returns:
            Images ``(N, num_channels, H, W)`` in [-1, 1].
        """
        if seeds is None:
            seeds = range(self.seed, self.seed + len(inputs))
        generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        condition = inputs.as_subclass(torch.Tensor)
        blank = torch.zeros(len(inputs), self.num_channels, *inputs.shape[2:], device=inputs.device)
        sampled = self.inferer.sample(
            draw_noise(blank, generators),
            network,
            self.scheduler,
            seg=condition,
            depth=depth,
            cfg=self.cfg,
            generator=generators,
            eta=self.eta,
            verbose=self.verbose,
            callback=callback,
        )
        images = torch.as_tensor(sampled).clamp(-1.0, 1.0)
        return images if self.outside is None else torch.where(condition[:, :1] > 0.5, self.outside, images)


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

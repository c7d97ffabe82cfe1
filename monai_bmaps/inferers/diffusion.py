"""Training forward pass and sampling loop over a per-pixel scheduler, with the signatures of MONAI's inferer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from monai.inferers import DiffusionInferer
from tqdm import tqdm

from monai_bmaps.diffusion import log_snr
from monai_bmaps.inferers.editing import Edit
from monai_bmaps.inferers.network_call import (
    MAX_LOG_SNR,
    Condition,
    Conditioning,
    Guidance,
    Network,
    NetworkInterface,
    SamplingCall,
)
from monai_bmaps.inferers.tracing import without_gradients
from monai_bmaps.schedulers.base import BMapScheduler
from monai_bmaps.schedulers.ddim import BMapDDIMScheduler
from monai_bmaps.schedulers.images import Generators, clipped_log_snr
from monai_bmaps.types import Depth, Image, Timesteps

Callback = Callable[[int, int, Image], None]


class BMapDiffusionInferer(DiffusionInferer):  # type: ignore[misc]
    """Training forward pass and sampling with a per-pixel scheduler.

    The signatures are those of ``monai.inferers.DiffusionInferer`` with what that one lacks: the depth map, a
    segmentation that reaches the network through DDP and ``torch.compile`` wrappers and is guided together with the
    image, generators, editing, and the per-pixel noise level as an input channel.

    Args:
        scheduler: any of this package's schedulers.
        conditioning: how a segmentation reaches the network: as further input channels (``"concat"``) or as its
            ``seg`` argument (``"spade"``).
        noise_level_channel: append ``clip(log SNR, -10, 10) / 10`` to the input channels, so that the network sees
            the noise level of every pixel. Needed when the depth map varies between images.
        amp_dtype: run the network (and only it) under autocast in this dtype; ``"auto"`` takes the half-precision
            type that the device has natively, if any (:func:`monai_bmaps.acceleration.fast_dtype`); a trace, which
            other machines will run, is then in single precision.

    Raises:
        ValueError: an unknown conditioning.
    """

    def __init__(
        self,
        scheduler: BMapScheduler,
        conditioning: Conditioning = "concat",
        noise_level_channel: bool = False,
        amp_dtype: torch.dtype | Literal["auto"] | None = None,
    ) -> None:
        super().__init__(scheduler)
        if conditioning not in get_args(Conditioning):
            raise ValueError(f"conditioning must be one of {', '.join(get_args(Conditioning))}, got {conditioning!r}")
        if isinstance(amp_dtype, str) and amp_dtype != "auto":
            raise ValueError(f"amp_dtype must be a torch dtype, 'auto' or None, got {amp_dtype!r}")
        self.interface = NetworkInterface(conditioning, noise_level_channel, amp_dtype)

    @property
    def conditioning(self) -> Conditioning:
        """How a segmentation reaches the network."""
        return self.interface.conditioning

    def __call__(
        self,
        inputs: Image,
        diffusion_model: Network,
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
        scheduler = self.scheduler if depth is None else self.scheduler.bind(depth)
        given = Condition.of(condition, mode, seg)
        noisy, level = scheduler.add_noise(inputs, noise, timesteps), None
        if self.interface.noise_level_channel:
            level = clipped_log_snr(log_snr(scheduler.levels_of(noisy, timesteps)), noisy, MAX_LOG_SNR)
        channels = self.interface.inputs(noisy, given, level)
        return self.interface.call(diffusion_model, channels, timesteps, given)

    def sample(
        self,
        input_noise: Image,
        diffusion_model: Network,
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
        cfg_interval: tuple[float, float] = (0.0, 1.0),
        edit: Edit | None = None,
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
            generator: noise of stochastic samplers and edits; a sequence gives each image its own.
            eta: share of fresh noise, for schedulers that take it (DDIM).
            callback: called after each step with ``(steps done, steps in all, predicted clean images)``, which it must
                not change; raise in it to cancel.
            cfg_interval: guide only steps between these shares of the chain (0 clean, 1 noise); the others cost one
                evaluation instead of two.
            edit: start from images or keep part of them; see :class:`Edit`.

        Returns:
            Images as ``input_noise``; with ``save_intermediates`` also the list of running samples.

        Raises:
            ValueError: guidance without a condition, ``eta`` for a scheduler without it, an edit of other images.
        """
        scheduler = scheduler or self.scheduler
        scheduler = scheduler.view() if depth is None else scheduler.bind(depth)
        if eta != 0.0 and not isinstance(scheduler, BMapDDIMScheduler):
            raise ValueError(f"eta={eta} is for BMapDDIMScheduler; {type(scheduler).__name__} has no such share")
        options = {"eta": eta} if isinstance(scheduler, BMapDDIMScheduler) else {}
        guidance = None if cfg is None or cfg == 1.0 else Guidance(cfg, cfg_fill_value, cfg_interval)
        edit = None if edit is None else edit.matching(input_noise)
        given, intermediates = Condition.of(conditioning, mode, seg), []
        steps = scheduler.timesteps.tolist() if edit is None else edit.steps(scheduler.timesteps.tolist())
        with without_gradients():
            network = SamplingCall(self.interface, diffusion_model, scheduler, input_noise, given, guidance)
            image = input_noise if edit is None else edit.start(input_noise, scheduler, steps)
            for done, t in enumerate(tqdm(steps, desc="denoising", leave=None, disable=not verbose), start=1):
                image, clean = scheduler.step(network(image, t), t, image, generator=generator, **options)
                if edit is not None:
                    image = edit.after_step(image, done, steps, scheduler, generator)
                if save_intermediates and t % (intermediate_steps or 100) == 0:
                    intermediates.append(image)
                if callback is not None:
                    callback(done, len(steps), clean)
        # clones, because tensors made in inference mode cannot be trained on
        return (image.clone(), [x.clone() for x in intermediates]) if save_intermediates else image.clone()

    def get_likelihood(self, *args: Any, **kwargs: Any) -> Any:
        """Not offered: MONAI's version assumes a scalar fixed-variance chain and would return wrong numbers."""
        raise TypeError("BMapDiffusionInferer has no get_likelihood: MONAI's assumes one noise level per image")

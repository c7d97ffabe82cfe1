"""Implicit sampling with per-pixel noise: DDIM (Song et al. 2020, https://arxiv.org/abs/2010.02502)."""

from __future__ import annotations

import operator

import torch

from monai_bmaps import diffusion
from monai_bmaps.bmaps import BMap
from monai_bmaps.diffusion import PredictionType
from monai_bmaps.schedulers.base import BMapScheduler
from monai_bmaps.schedulers.images import Generators, draw_noise, in_working_precision, without_variance
from monai_bmaps.schedulers.step_grids import StepGrid
from monai_bmaps.types import Image, Retained


class BMapDDIMScheduler(BMapScheduler):
    """DDIM over any descending array of steps, per pixel.

    With ``b_map=None`` it equals MONAI's ``DDIMScheduler`` wherever that one's stride is its own ``timesteps``'; it
    steps to ``t - T // n`` although its ``timesteps`` are spaced otherwise, here the next of ``timesteps`` is used.

    Args:
        num_train_timesteps: see :class:`~monai_bmaps.schedulers.base.BMapScheduler`, as for all not named here.
        schedule: name of the noise schedule.
        b_map: the B-map.
        prediction_type: what the network outputs.
        clip_sample: clamp the predicted clean image.
        clip_sample_min: lower bound of the clamp.
        clip_sample_max: upper bound of the clamp.
        recompute_noise: derive the noise again from the clamped image, so that the two stay consistent; MONAI (and
            the default) keeps the network's. A dynamic threshold always does.
        step_grid: how ``set_timesteps(n)`` chooses steps.
        dynamic_threshold: quantile to clamp to instead.
        schedule_args: arguments of the schedule function.
    """

    def __init__(
        self,
        num_train_timesteps: int = 1000,
        schedule: str = "cosine",
        b_map: BMap | None = None,
        prediction_type: PredictionType = "v_prediction",
        clip_sample: bool = True,
        clip_sample_min: float = -1.0,
        clip_sample_max: float = 1.0,
        recompute_noise: bool = False,
        step_grid: StepGrid = "uniform",
        dynamic_threshold: float | None = None,
        **schedule_args: float,
    ) -> None:
        super().__init__(
            num_train_timesteps,
            schedule,
            b_map,
            prediction_type,
            clip_sample,
            clip_sample_min,
            clip_sample_max,
            step_grid,
            dynamic_threshold,
            **schedule_args,
        )
        self.recompute_noise = recompute_noise or dynamic_threshold is not None

    def step(
        self,
        model_output: Image,
        timestep: int | torch.Tensor,
        sample: Image,
        eta: float = 0.0,
        generator: Generators = None,
    ) -> tuple[Image, Image]:
        """One DDIM step.

        Args:
            model_output: network output, ``(N, C, H, W)``; surplus channels of a learned variance are ignored.
            timestep: one of ``timesteps``, an int or a tensor of one element.
            sample: ``x_t``, ``(N, C, H, W)``.
            eta: 0 is deterministic, 1 ancestral.
            generator: source of the noise where ``eta > 0``; a sequence gives each image its own.

        Returns:
            ``x_s`` in the sample's dtype and the predicted clean image (float32 at least).

        Raises:
            ValueError: ``eta`` outside [0, 1].
        """
        if not 0.0 <= eta <= 1.0:
            raise ValueError(f"eta must lie in [0, 1], got {eta}")
        output, noisy = in_working_precision(without_variance(model_output, sample), sample)
        current, previous = self._levels(operator.index(timestep), noisy)
        clean, predicted_noise = self._predict_both(noisy, output, current)
        noise = draw_noise(noisy, generator) if eta > 0.0 else None
        moved = diffusion.ddim_step(clean, predicted_noise, noise, current, previous, eta)
        return moved.to(sample.dtype), clean

    def reversed_step(self, model_output: Image, timestep: int | torch.Tensor, sample: Image) -> tuple[Image, Image]:
        """One deterministic step towards more noise: from ``timestep`` to the sampling step before it.

        Raises:
            ValueError: at the first (noisiest) sampling step, which has none before it.
        """
        t = operator.index(timestep)
        self.previous_timestep(t)  # raises unless t is a sampling step
        position = self.timesteps.tolist().index(t)
        if position == 0:
            raise ValueError(f"step {t} is the noisiest of the sampling steps; nothing lies beyond it")
        output, noisy = in_working_precision(without_variance(model_output, sample), sample)
        current = self.levels_of(noisy, torch.tensor([t]))
        later = self.levels_of(noisy, self.timesteps[position - 1].reshape(1))
        clean, predicted_noise = self._predict_both(noisy, output, current)
        return diffusion.add_noise(clean, predicted_noise, later).to(sample.dtype), clean

    def _predict_both(self, noisy: Image, output: Image, log_retained: Retained) -> tuple[Image, Image]:
        clean = self._predict_clean(noisy, output, log_retained)
        if self.recompute_noise:
            return clean, diffusion.noise_from_clean(noisy, clean, log_retained)
        return clean, diffusion.predict_noise(noisy, output, log_retained, self.prediction_type)  # type: ignore[arg-type]

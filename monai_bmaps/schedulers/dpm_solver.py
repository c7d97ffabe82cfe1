"""Few-step sampling with per-pixel noise: DPM-Solver++ (Lu et al. 2022, https://arxiv.org/abs/2211.01095).

The probability-flow ODE of a diagonal diffusion is semi-linear in every pixel by itself, so the solver's step ``h`` in
half log-SNR becomes a map and nothing else changes.
"""

from __future__ import annotations

import copy
import operator
from typing import Literal, get_args

import torch

from monai_bmaps import diffusion
from monai_bmaps.bmaps import BMap
from monai_bmaps.diffusion import PredictionType
from monai_bmaps.schedulers.base import BMapScheduler
from monai_bmaps.schedulers.images import (
    Generators,
    check_choice,
    draw_noise,
    in_working_precision,
    like,
    without_variance,
)
from monai_bmaps.schedulers.plan import Maps
from monai_bmaps.schedulers.step_grids import StepGrid
from monai_bmaps.types import Image, Timesteps

Algorithm = Literal["ode", "sde"]
_Memory = tuple[int, torch.Tensor]


class BMapDPMSolverScheduler(BMapScheduler):
    """DPM-Solver++ of first or second order (2M), as an ODE or as an SDE, over any descending array of steps.

    Second order extrapolates from the clean image that the previous step predicted. The scheduler remembers it, so
    one sampling loop at a time may use one scheduler (or one of its views: ``bind`` and ``view`` give a fresh memory);
    a step that does not follow the remembered one is of first order. The first step is, and the last one ends in the
    predicted clean image.

    First order is DDIM (ODE) or ancestral sampling (SDE) exactly. Networks that predict epsilon profit from the SDE,
    whose noise corrects their errors; for v-prediction the ODE does with fewer steps.

    Args:
        num_train_timesteps: see :class:`~monai_bmaps.schedulers.base.BMapScheduler`, as for all not named here.
        schedule: name of the noise schedule.
        b_map: the B-map.
        prediction_type: what the network outputs.
        clip_sample: clamp the predicted clean image; the solver works on the clamped one, so nothing is inconsistent.
        clip_sample_min: lower bound of the clamp.
        clip_sample_max: upper bound of the clamp.
        step_grid: how ``set_timesteps(n)`` chooses steps; ``"l2"`` is what makes few steps suffice.
        solver_order: 1 or 2.
        algorithm: ``"ode"``, deterministic, or ``"sde"``, with fresh noise.
        lower_order_final: let the step that arrives at the last of ``timesteps`` be of first order. It halves the
            error of 8 to 12 steps for a Gaussian without a B-map, and more than doubles the Frechet distance of the
            cardiac bundle's 10 (``docs/decisions/006-few-steps.md``).
        dynamic_threshold: quantile to clamp to instead.
        schedule_args: arguments of the schedule function.

    Raises:
        ValueError: an order other than 1 or 2, or an unknown algorithm.
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
        step_grid: StepGrid = "l2",
        solver_order: Literal[1, 2] = 2,
        algorithm: Algorithm = "ode",
        lower_order_final: bool = False,
        dynamic_threshold: float | None = None,
        **schedule_args: float,
    ) -> None:
        if solver_order not in (1, 2):
            raise ValueError(f"solver_order must be 1 or 2, got {solver_order}")
        check_choice("algorithm", algorithm, get_args(Algorithm))
        self._memory: _Memory | None = None
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
        self.solver_order = solver_order
        self.algorithm = algorithm
        self.lower_order_final = lower_order_final

    @property
    def sampling_settings(self) -> dict[str, object]:
        """As the base's, with order and algorithm."""
        own = {"solver_order": self.solver_order, "algorithm": self.algorithm}
        return {**super().sampling_settings, **own, "lower_order_final": self.lower_order_final}

    def view(self) -> BMapDPMSolverScheduler:
        """As the base's, with an empty memory."""
        view = copy.copy(self)
        view._memory = None
        return view

    def step(
        self, model_output: Image, timestep: int | torch.Tensor, sample: Image, generator: Generators = None
    ) -> tuple[Image, Image]:
        """One step of the solver.

        Args:
            model_output: network output, ``(N, C, H, W)``; surplus channels of a learned variance are ignored.
            timestep: one of ``timesteps``, an int or a tensor of one element.
            sample: ``x_t``, ``(N, C, H, W)``.
            generator: source of the SDE's noise; a sequence gives each image its own.

        Returns:
            ``x_s`` in the sample's dtype and the predicted clean image (float32 at least).
        """
        t = operator.index(timestep)
        output, noisy = in_working_precision(without_variance(model_output, sample), sample)
        self._check_images(noisy)  # planned maps of another batch would broadcast
        clean = self._planned_clean(noisy, output, t)
        remembered, following = self._memory, self.previous_timestep(t)
        if following < 0:
            self._memory = None
            return clean.to(sample.dtype), clean
        earlier = self._usable(remembered, t, clean)
        from_noisy, from_clean, fresh, from_earlier = self._maps(noisy, t, following, earlier and earlier[0])
        moved = torch.addcmul(from_noisy * noisy, from_clean, clean)
        if earlier is not None:
            moved = torch.addcmul(moved, from_earlier, earlier[1])
        if self.algorithm == "sde":
            moved = torch.addcmul(moved, fresh, draw_noise(noisy, generator))
        self._memory = (t, clean)
        return moved.to(sample.dtype), clean

    def _usable(self, remembered: _Memory | None, timestep: int, clean: Image) -> _Memory | None:
        if self.solver_order == 1 or remembered is None or remembered[1].shape != clean.shape:
            return None
        if self.lower_order_final and self._previous[self._previous[timestep]] < 0:
            return None
        return remembered if self._previous.get(remembered[0]) == timestep else None

    def _planned_clean(self, noisy: Image, output: Image, timestep: int) -> Image:
        def maps() -> Maps:
            return like(noisy, *diffusion.clean_coefficients(self._full_level(noisy, timestep), self.prediction_type))  # type: ignore[arg-type]

        from_noisy, from_output = self._plan.kept(("clean", timestep, noisy.device, noisy.dtype), maps)
        return self._limited(torch.addcmul(from_noisy * noisy, from_output, output))

    def _maps(self, noisy: Image, timestep: int, following: int, earlier: int | None) -> Maps:
        """Coefficients of ``x_t``, the clean image, fresh noise and the clean image predicted one step earlier."""

        def maps() -> Maps:
            current, target = self._full_level(noisy, timestep), self._full_level(noisy, following)
            h = diffusion.half_log_snr_step(current, target)
            from_noisy, from_clean, fresh = diffusion.solver_coefficients(current, target, h, self.algorithm == "sde")
            if earlier is None:
                return like(noisy, from_noisy, from_clean, fresh, h.new_zeros(()))
            share = 0.5 * h / diffusion.half_log_snr_step(self._full_level(noisy, earlier), current)
            return like(noisy, from_noisy, from_clean * (1.0 + share), fresh, -from_clean * share)

        return self._plan.kept((earlier, timestep, following, self.algorithm, noisy.device, noisy.dtype), maps)

    def log_snr_of(self, images: Image, timestep: int) -> torch.Tensor:
        """The log-SNR at one step; +inf at -1, the clean image."""
        return self._full_level(images, timestep).log_snr

    def _full_level(self, images: Image, timestep: int) -> diffusion.Level:
        return diffusion.Level(*self._level(images, timestep))

    def _made_level(self, steps: Timesteps, device: torch.device) -> diffusion.Level:
        return diffusion.Level.of(self._retained_at(steps, device))

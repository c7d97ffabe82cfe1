"""What all per-pixel schedulers share: float64 tables, the bound depth map, and an explicit array of steps.

MONAI's ``Scheduler`` contract is kept (``add_noise``, ``get_velocity``, ``timesteps``, ``step``), so a scheduler bound
to a depth map drops into ``monai.inferers.DiffusionInferer``.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import get_args

import torch
from monai.networks.schedulers import Scheduler
from monai.networks.schedulers.scheduler import NoiseSchedules

from monai_bmaps import diffusion
from monai_bmaps.bmaps import BMap, CumulativeTable
from monai_bmaps.diffusion import PredictionType
from monai_bmaps.schedulers.images import check_choice, clipped_log_snr, dynamically_limited
from monai_bmaps.schedulers.noise_schedules import schedule_defaults, step_log_alphas
from monai_bmaps.schedulers.plan import StepPlan
from monai_bmaps.schedulers.step_grids import StepGrid, l2_steps, leading_steps, uniform_steps
from monai_bmaps.types import Depth, Image, Retained, Timesteps

_GRID_DEPTHS = 33


class BMapScheduler(Scheduler):  # type: ignore[misc]
    """Base of the per-pixel schedulers; use :class:`BMapDDPMScheduler` or :class:`BMapDDIMScheduler`.

    Args:
        num_train_timesteps: number of steps T of the training chain.
        schedule: name in MONAI's ``NoiseSchedules``. The built-in ones are evaluated in float64 here, since
            MONAI's float32 cosine loses three digits of ``1 - abar`` at the first steps.
        b_map: how the signal fades with depth; ``None`` is plain diffusion.
        prediction_type: what the network outputs.
        clip_sample: clamp the predicted clean image to ``[clip_sample_min, clip_sample_max]``.
        clip_sample_min: lower bound of the clamp.
        clip_sample_max: upper bound of the clamp.
        step_grid: how ``set_timesteps(n)`` chooses steps: ``"uniform"`` as MONAI does, or ``"l2"``, equally far apart
            in the clipped log-SNR of all depths, which few steps need, or ``"leading"``, multiples of ``T // n`` as
            DDIM's authors space them (:mod:`monai_bmaps.schedulers.step_grids`).
        dynamic_threshold: instead of clamping to ``clip_sample_max``, clamp each image to this quantile of its own
            absolute values where that is larger, and scale back; keeps strong guidance from saturating (Saharia et
            al. 2022, section 2.3, https://arxiv.org/abs/2205.11487). ``None`` is the plain clamp.
        schedule_args: arguments of the schedule function, for example ``beta_start``.

    Raises:
        ValueError: an unknown schedule or prediction type, a schedule whose first step adds no noise, fewer than one
            step, or a dynamic threshold outside (0, 1], without clamping or with bounds that are not symmetric.
        TypeError: a B-map that is none, a number for example.
    """

    log_alphas_cumprod: torch.Tensor
    """``log abar_t``, ``(T,)`` float64."""
    schedule_arguments: dict[str, float]
    """What the schedule was made with, defaults included."""
    _previous: dict[int, int]

    def __init__(
        self,
        num_train_timesteps: int = 1000,
        schedule: str = "cosine",
        b_map: BMap | None = None,
        prediction_type: PredictionType = "v_prediction",
        clip_sample: bool = True,
        clip_sample_min: float = -1.0,
        clip_sample_max: float = 1.0,
        step_grid: StepGrid = "uniform",
        dynamic_threshold: float | None = None,
        **schedule_args: float,
    ) -> None:
        check_choice("schedule", schedule, NoiseSchedules.names)
        check_choice("prediction_type", str(prediction_type), get_args(PredictionType))
        if not isinstance(b_map, BMap | None):
            raise TypeError(f"b_map must be a BMap, got {b_map!r}; make one, such as BMap.from_attenuation(db=44)")
        check_choice("step_grid", step_grid, get_args(StepGrid))
        if clip_sample_min >= clip_sample_max:
            raise ValueError(f"clip_sample_min must be below clip_sample_max, got {clip_sample_min}, {clip_sample_max}")
        if dynamic_threshold is not None and not (
            clip_sample and 0.0 < dynamic_threshold <= 1.0 and clip_sample_min == -clip_sample_max
        ):
            raise ValueError(
                "dynamic_threshold must lie in (0, 1] and needs clip_sample with clip_sample_min = -clip_sample_max, "
                f"got {dynamic_threshold}, {clip_sample}, {clip_sample_min}, {clip_sample_max}"
            )
        super().__init__(num_train_timesteps, schedule, **schedule_args)
        log_alphas = step_log_alphas(schedule, num_train_timesteps, self.betas, schedule_args)
        if not bool((log_alphas < 0).all()):
            raise ValueError(f"schedule {schedule!r} has a step without noise (beta <= 0); every beta must be positive")
        self.schedule = schedule
        self.schedule_arguments = {**schedule_defaults(schedule), **schedule_args}
        self.b_map = b_map or BMap(minimum=1.0)
        self.prediction_type = str(prediction_type)
        self.clip_sample = clip_sample
        self.clip_sample_values = (clip_sample_min, clip_sample_max)
        self.step_grid = step_grid
        self.dynamic_threshold = dynamic_threshold
        self._depth: torch.Tensor | None = None
        self._plan = StepPlan()
        self._store_tables(log_alphas)
        self.set_timesteps(num_train_timesteps)
        presumed = self.b_map.presumed_timesteps
        if presumed not in (None, num_train_timesteps):
            warnings.warn(
                f"this B-map presumes T = {presumed} ({self.b_map.total_attenuation_db(presumed or 1):.0f} dB); with "
                f"T = {num_train_timesteps} it takes {self.b_map.total_attenuation_db(num_train_timesteps):.0f} dB. "
                "Use BMap.from_attenuation for a map that does not depend on T",
                stacklevel=3,
            )

    def _store_tables(self, log_alphas: torch.Tensor) -> None:
        """Float64 tables as buffers that follow ``.to(device)``; MONAI's float32 tables beside them for reading."""
        table = self.b_map.tabulate(self.num_train_timesteps)
        for name in ("betas", "alphas", "alphas_cumprod", "one"):
            delattr(self, name)
        tables = {
            "log_alphas_cumprod": log_alphas.cumsum(0),
            "betas": -torch.expm1(log_alphas).float(),
            "alphas": log_alphas.exp().float(),
            "alphas_cumprod": log_alphas.cumsum(0).exp().float(),
            "one": torch.tensor(1.0),
            "_b_map_coefficients": table.coefficients,
            "_b_map_start": table.start,
        }
        for name, value in tables.items():
            self.register_buffer(name, value, persistent=False)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> BMapScheduler:
        """Let ``.to()``, ``.half()`` and the like move the tables but never round them."""
        exact = {name: value for name, value in self._buffers.items() if value is not None}
        super()._apply(fn, recurse)
        for name, value in exact.items():
            moved = self._buffers[name]
            if moved is not None:
                self._buffers[name] = value.to(moved.device)
        return self

    def bind(self, depth: Depth) -> BMapScheduler:
        """A light view of this scheduler for one batch of depth maps; the tables are shared.

        Args:
            depth: ``(H, W)``, or ``(N or 1, 1, H, W)`` as in a batch; depth along the beam in [0, 1], 0 at the face
                and outside the beam.

        Raises:
            ValueError: depth of another shape, not finite or outside [0, 1].
        """
        depth = depth if isinstance(depth, torch.Tensor) else torch.as_tensor(depth)
        depth = depth[None, None] if depth.ndim == 2 else depth
        if depth.ndim < 4 or depth.shape[1] != 1 or depth.numel() == 0 or not depth.is_floating_point():
            raise ValueError(
                "depth must be a float tensor (H, W), or (N or 1, 1, H, W), got "
                f"{depth.dtype} {tuple(depth.shape)}; make it with a beam's depth_map or BeamDepthd"
            )
        low, high = (float(x) for x in depth.aminmax())
        if not (low >= 0.0 and high <= 1.0):
            raise ValueError(f"depth must lie in [0, 1], got [{low:.4g}, {high:.4g}]; normalise with BeamDepthd")
        view = self.view()
        view._depth = depth.as_subclass(torch.Tensor).detach()
        view._plan = StepPlan()
        return view

    def view(self) -> BMapScheduler:
        """A light copy with its own sampling steps and, for multistep solvers, its own memory; all else is shared."""
        return copy.copy(self)

    def extra_repr(self) -> str:
        """What ``print`` shows."""
        bound = "unbound" if self._depth is None else f"bound to {tuple(self._depth.shape)}"
        decibels = self.b_map.total_attenuation_db(self.num_train_timesteps)
        return f"T={self.num_train_timesteps}, {decibels:.0f} dB at full depth, {self.prediction_type}, {bound}"

    @property
    def sampling_settings(self) -> dict[str, object]:
        """What may be chosen anew for every sampling, because training does not depend on it."""
        return {
            "sampler": type(self).__name__,
            "step_grid": self.step_grid,
            "clip": self.clip_sample_values if self.clip_sample else None,
            "dynamic_threshold": self.dynamic_threshold,
        }

    @property
    def depth(self) -> torch.Tensor | None:
        """The bound depth map ``(N or 1, 1, H, W)``, if any."""
        return self._depth

    def log_retained(self, timesteps: Timesteps | int) -> Retained:
        """``log(abar_t Bbar_t(d))``.

        Args:
            timesteps: ``(N,)`` int64 training steps, or one int; -1 stands for the clean image (log 1 = 0).

        Returns:
            ``(N, 1, H, W)`` float64 (``(N, 1, 1, 1)`` without a bound depth) on the timesteps' device.

        Raises:
            ValueError: a step outside -1..T-1, a batch that does not match the bound depth, or a B-map that
                attenuates while no depth is bound.
        """
        return self._log_retained(timesteps, torch.as_tensor(timesteps).device)

    def _log_retained(self, timesteps: Timesteps | int, device: torch.device) -> Retained:
        """As `log_retained`, on a device; steps that are on the CPU are checked there, without a sync."""
        steps = torch.as_tensor(timesteps).reshape(-1)
        if steps.is_floating_point() or not bool(((steps >= -1) & (steps < self.num_train_timesteps)).all()):
            raise ValueError(
                f"timesteps must be integers from 0 to {self.num_train_timesteps - 1}, got {steps.tolist()[:8]}"
            )
        return self._retained_at(steps.to(device), device)

    def _retained_at(self, steps: Timesteps, device: torch.device) -> Retained:
        """`log_retained` of steps known to be valid: nothing here waits for the device."""
        depth = self._depth_for(len(steps), device)
        start = None if self._b_map_start is None else self._on(device, "start", self._b_map_start)
        tables = CumulativeTable(self._on(device, "coefficients", self._b_map_coefficients), start)
        known = steps.clamp(min=0)
        log_abar = self._on(device, "levels", self.log_alphas_cumprod)[known].reshape(-1, *[1] * (depth.ndim - 1))
        retained = log_abar + tables.log_cumulative(depth, known)
        return torch.where(steps.reshape(log_abar.shape) < 0, 0.0, retained)

    def _on(self, device: torch.device, name: str, value: torch.Tensor) -> torch.Tensor:
        """A table or the depth map on the images' device: taken there once per bound depth, if it is elsewhere."""
        if value.device == device:
            return value
        return self._plan.kept((name, device), lambda: (value.to(device),))[0]

    def _depth_for(self, batch: int, device: torch.device) -> torch.Tensor:
        if self._depth is None:
            if self.b_map.is_identity:
                return torch.zeros(1, 1, 1, 1, dtype=torch.float64, device=device)
            raise ValueError("this B-map attenuates with depth: call scheduler.bind(depth) and use the view it returns")
        if batch > 1 and len(self._depth) not in (1, batch):
            raise ValueError(f"bound depth is a batch of {len(self._depth)}, but {batch} timesteps were given")
        return self._on(device, "depth", self._depth)

    def add_noise(self, original_samples: Image, noise: Image, timesteps: Timesteps) -> Image:
        """A draw of ``q(x_t | x_0)``: clean images ``(N, C, H, W)``, standard normal noise, steps ``(N,)``."""
        _check_like(noise, original_samples, "noise")
        noisy = diffusion.add_noise(original_samples, noise, self.levels_of(original_samples, timesteps))
        return noisy.to(original_samples.dtype)

    def get_velocity(self, sample: Image, noise: Image, timesteps: Timesteps) -> Image:
        """The v-prediction target of clean images ``sample``."""
        _check_like(noise, sample, "noise")
        return diffusion.velocity(sample, noise, self.levels_of(sample, timesteps)).to(sample.dtype)

    def get_target(self, sample: Image, noise: Image, timesteps: Timesteps) -> Image:
        """What the network should output for this scheduler's prediction type."""
        _check_like(noise, sample, "noise")
        log_retained = self.levels_of(sample, timesteps)
        target = diffusion.prediction_target(sample, noise, log_retained, self.prediction_type)  # type: ignore[arg-type]
        return target.to(sample.dtype)

    def posterior(
        self, clean: Image, noisy: Image, timesteps: Timesteps, previous: Timesteps | None = None
    ) -> tuple[Image, torch.Tensor]:
        """Mean and variance of ``q(x_s | x_t, x_0)``.

        Args:
            clean: ``x_0``, ``(N, C, H, W)``.
            noisy: ``x_t``, likewise.
            timesteps: ``(N,)`` steps t.
            previous: ``(N,)`` steps s < t, -1 for the clean image; default t - 1.

        Raises:
            ValueError: shapes that differ, or a previous step that is not before its step.
        """
        _check_like(clean, noisy, "clean")
        previous = timesteps - 1 if previous is None else previous
        if not bool((previous < timesteps).all()):
            raise ValueError(f"previous must lie before timesteps, got {previous.tolist()} for {timesteps.tolist()}")
        current, before = self.levels_of(noisy, timesteps), self.levels_of(noisy, previous)
        variance = diffusion.posterior_log_variance(current, before).exp()
        return diffusion.posterior_mean(clean, noisy, current, before), variance.to(noisy.dtype)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: torch.device | str | None = None,
        *,
        timesteps: Sequence[int] | torch.Tensor | None = None,
    ) -> None:
        """Choose the training steps that sampling visits.

        Args:
            num_inference_steps: how many, placed by the scheduler's ``step_grid``.
            device: accepted for MONAI's contract; the array stays on the CPU, where loops read it without a sync.
            timesteps: instead, an explicit strictly descending array of steps.

        Raises:
            ValueError: both or neither given, more steps than T, or an array that does not descend within 0..T-1.
        """
        del device
        last = self.num_train_timesteps - 1
        if (num_inference_steps is None) == (timesteps is None):
            raise ValueError("give either num_inference_steps or timesteps")
        if num_inference_steps is not None:
            if not 1 <= num_inference_steps <= self.num_train_timesteps:
                raise ValueError(
                    f"num_inference_steps must be 1 to {self.num_train_timesteps} (the steps the model was trained "
                    f"with), got {num_inference_steps}"
                )
            steps = self._grid(num_inference_steps)
        else:
            steps = torch.as_tensor(timesteps).cpu().reshape(-1)
            if steps.is_floating_point():
                raise ValueError(f"timesteps must be integers, got {steps.tolist()[:8]}")
            steps = steps.long()
        if len(steps) == 0 or int(steps[0]) > last or int(steps[-1]) < 0 or bool((steps.diff() >= 0).any()):
            raise ValueError(f"timesteps must descend strictly within {last}..0, got {steps.tolist()[:8]}")
        self.timesteps = steps
        self.num_inference_steps = len(steps)
        self._previous = dict(zip(steps.tolist(), [*steps[1:].tolist(), -1], strict=True))

    def _grid(self, count: int) -> Timesteps:
        if self.step_grid == "uniform":
            return uniform_steps(self.num_train_timesteps, count)
        if self.step_grid == "leading":
            return leading_steps(self.num_train_timesteps, count)
        depths = torch.linspace(0.0, 1.0, _GRID_DEPTHS).reshape(1, 1, -1, 1)
        every_step = torch.arange(self.num_train_timesteps)
        return l2_steps(diffusion.log_snr(self.bind(depths).log_retained(every_step)).flatten(1).cpu(), count)

    def previous_timestep(self, timestep: int) -> int:
        """The step that sampling visits after ``timestep``; -1 is the clean image."""
        if timestep not in self._previous:
            raise ValueError(
                f"step {timestep} is not among the {self.num_inference_steps} sampling steps; choose them with "
                "set_timesteps and pass its values to step"
            )
        return self._previous[timestep]

    def _levels(self, timestep: int, sample: Image) -> tuple[Retained, Retained]:
        """Log retained power at a sampling step and at the one after it, on the sample's device."""
        return self.level_of(sample, timestep), self.level_of(sample, self.previous_timestep(timestep))

    def level_of(self, images: Image, timestep: int) -> Retained:
        """As :meth:`levels_of` for one step; computed once per step and bound depth, without waiting for the device.

        Raises:
            ValueError: a step outside -1..T-1, or images that do not match the bound depth.
        """
        return self._level(images, timestep)[0]

    def log_snr_of(self, images: Image, timestep: int) -> torch.Tensor:
        """The log-SNR at one step; +inf at -1, the clean image."""
        return diffusion.log_snr(self.level_of(images, timestep))

    def _level(self, images: Image, timestep: int) -> tuple[torch.Tensor, ...]:
        """What this scheduler keeps of a level, the retained power first."""
        self._check_images(images)
        if not -1 <= timestep < self.num_train_timesteps:
            raise ValueError(f"timestep must lie in 0..{self.num_train_timesteps - 1}, got {timestep}")
        device = _table_device(images)

        def level() -> tuple[torch.Tensor, ...]:
            return self._made_level(torch.full((1,), timestep, dtype=torch.int64, device=device), device)

        return self._plan.recent(("level", timestep, device), level)

    def _made_level(self, steps: Timesteps, device: torch.device) -> tuple[torch.Tensor, ...]:
        return (self._retained_at(steps, device),)

    def noise_level_of(self, images: Image, timestep: int, reach: float) -> torch.Tensor:
        """``clip(log SNR, -reach, reach) / reach`` at one step, ``(N or 1, 1, H, W)`` in the images' precision."""
        self._check_images(images)
        key = ("noise level", timestep, images.device, images.dtype, reach)
        return self._plan.kept(key, lambda: (clipped_log_snr(self.log_snr_of(images, timestep), images, reach),))[0]

    def levels_of(self, images: Image, timesteps: Timesteps) -> Retained:
        """As :meth:`log_retained`, for a batch of images: on their device, and checked against their shape.

        Raises:
            ValueError: images that are not floating point, that do not match the bound depth, or that are neither as
                many as the timesteps nor share one.
        """
        self._check_images(images)
        if len(timesteps) not in (1, len(images)):
            raise ValueError(f"{len(timesteps)} timesteps were given for {len(images)} images; give one per image")
        return self._log_retained(timesteps, _table_device(images))

    def _check_images(self, images: Image) -> None:
        if not images.is_floating_point():
            raise ValueError(f"images must be floating point, got {images.dtype}; scale them to [-1, 1] first")
        if self._depth is not None:
            batch, spatial = len(self._depth), self._depth.shape[2:]
            if spatial != images.shape[2:] or batch not in (1, len(images)):
                raise ValueError(
                    f"images {tuple(images.shape)} do not match the bound depth {tuple(self._depth.shape)}; "
                    "bind the depth map of this batch"
                )

    def _predict_clean(self, noisy: Image, output: Image, log_retained: Retained) -> Image:
        clean = diffusion.predict_clean(noisy, output, log_retained, self.prediction_type)  # type: ignore[arg-type]
        return self._limited(clean)

    def _limited(self, clean: Image) -> Image:
        if self.dynamic_threshold is not None:
            return dynamically_limited(clean, self.dynamic_threshold, self.clip_sample_values[1])
        return clean.clamp(*self.clip_sample_values) if self.clip_sample else clean


def _table_device(images: Image) -> torch.device:
    """Where levels are computed; Apple's devices have no float64, so there on the CPU until they are cast."""
    return torch.device("cpu") if images.device.type == "mps" else images.device


def _check_like(given: Image, images: Image, name: str) -> None:
    if given.shape != images.shape:
        raise ValueError(f"{name} must have the shape of the images, {tuple(images.shape)}, got {tuple(given.shape)}")

"""Samplers with a perfect network: the exact Frechet error of what they draw, against plain ancestral sampling."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.exact_law import DEPTH, PIXELS, Setting, denoiser, error, log_retained
from benchmarks.plain_samplers import ancestral_covariance, uniform, unipc_covariance
from benchmarks.report import Row
from monai_bmaps import BMap, BMapDDIMScheduler, BMapDDPMScheduler, BMapDPMSolverScheduler

NATS = (0.0, 3.3, 10.0, 20.0, 40.0)
COUNTS = (5, 8, 10, 15, 20, 30, 50, 100, 1000)
UNIPC_COUNTS = (5, 8, 10, 15, 20)
LOWERED_COUNTS = (6, 8, 10, 12, 14, 20)
LOW_CONTRAST = 0.1
SAMPLERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "ode": (BMapDPMSolverScheduler, {"algorithm": "ode"}),
    "sde": (BMapDPMSolverScheduler, {"algorithm": "sde"}),
    "ddim": (BMapDDIMScheduler, {}),
    "ancestral": (BMapDDPMScheduler, {}),
}
VISIBLE = 1e-3
"""Errors below this are far under what a trained network leaves."""


def rows() -> list[Row]:
    """Evaluations for the error of the reference, errors against evaluations, 2M against UniPC, the last order."""
    check()
    chains = [Setting(total, nats) for total in (1000, 2000) for nats in NATS]
    chains += [Setting(1000, nats, LOW_CONTRAST) for nats in NATS]
    short = [Setting(1000, nats) for nats in NATS]
    return [
        *map(evaluations, chains),
        *(errors(sampler, setting) for sampler in ("ode", "sde", "ddim") for setting in short),
        *map(against_unipc, short),
        *map(lowering, short),
    ]


def check() -> None:
    """The package's own ancestral sampler must be the reference.

    Raises:
        RuntimeError: if it is not.
    """
    setting = Setting(1000, 10.0)
    ours, plain = error_of("ancestral", "uniform", setting, 1000), ancestral_error(setting, 1000)
    if abs(ours / plain - 1) > 1e-6:
        raise RuntimeError(f"the plain ancestral recursion gives {plain}, BMapDDPMScheduler {ours}: one is wrong")


def evaluations(setting: Setting) -> Row:
    """Evaluations that suffice: for 2M on the l2 grid, and in words for the others."""
    total, reference = setting.total, ancestral_error(setting, setting.total)

    def count(sampler: str, grid: str, allowed: float = reference) -> int | None:
        return needed(lambda n: error_of(sampler, grid, setting, n), allowed, total)

    def said(grid: str, *samplers: str) -> str:
        return f"{grid} grid: " + ", ".join(f"{sampler} {count(sampler, grid) or f'> {total}'}" for sampler in samplers)

    ours, eased = count("ode", "l2"), count("ode", "l2", max(reference, VISIBLE))
    if ours is None:
        raise RuntimeError(f"2M on the l2 grid does not reach the error {reference} of {total} ancestral steps")
    others = [said("l2", "sde", "ddim")] + ([said("uniform", "ode", "sde", "ddim")] if total == 1000 else [])
    return Row(
        f"evaluations for the error of {total} ancestral steps, {described(setting)}",
        f"{ours}" if eased == ours else f"{ours} ({eased} for {VISIBLE:g})",
        f"{total}",
        f"{total / ours:.0f} x fewer",
        "; ".join([f"error {reference:.1e}; 2M (ode), l2 grid", *others]),
    )


def errors(sampler: str, setting: Setting) -> Row:
    """Errors against evaluations, beside ancestral sampling over as many."""
    ours = [error_of(sampler, "l2", setting, count) for count in COUNTS]
    reference = [ancestral_error(setting, count) for count in COUNTS]
    return Row(
        f"error of {sampler} after {slashed(COUNTS)} evaluations, {described(setting)}",
        slashed(ours),
        f"ancestral: {slashed(reference)}",
        f"our 20: {ours[COUNTS.index(20)] / reference[-1]:.2g} x the error of its 1000",
        f"share of the trace, T = {setting.total}; ours on the l2 grid, ancestral on the uniform one",
    )


def against_unipc(setting: Setting) -> Row:
    """2M, with and without a corrector that costs no evaluation, on the same grid."""
    ours = [error_of("ode", "l2", setting, count) for count in UNIPC_COUNTS]
    reference = [error(setting, unipc_covariance(setting, l2_steps(setting, count))) for count in UNIPC_COUNTS]
    return Row(
        f"error of 2M after {slashed(UNIPC_COUNTS)} evaluations, {described(setting)}",
        slashed(ours),
        f"UniPC-2: {slashed(reference)}",
        f"{slashed([b / a for a, b in zip(ours, reference, strict=True)])} x UniPC's to ours",
        "UniPC (bh2) on the same l2 grid",
    )


def lowering(setting: Setting) -> Row:
    """The step that arrives at the last level at first order or at second, whatever the number of steps."""
    ours, reference = (
        [error_of("ode", "l2", setting, count, lowered) for count in LOWERED_COUNTS] for lowered in (True, False)
    )
    return Row(
        f"error of 2M, last step of first order, after {slashed(LOWERED_COUNTS)} evaluations, {described(setting)}",
        slashed(ours),
        f"of second order: {slashed(reference)}",
        f"{slashed([b / a for a, b in zip(ours, reference, strict=True)])} x smaller",
        "the scheduler lowers it only when asked",
    )


def needed(found: Callable[[int], float], allowed: float, most: int) -> int | None:
    """Fewest evaluations, at least 2, whose error is allowed, if errors fall with them; ``None`` if none is.

    Exact up to 50, to 2 % beyond.
    """
    fails, suffices = 1, 2
    while found(suffices) > allowed:
        if suffices == most:
            return None
        fails, suffices = suffices, min(2 * suffices, most)
    while suffices - fails > max(1, suffices // 50):
        middle = (fails + suffices) // 2
        fails, suffices = (fails, middle) if found(middle) <= allowed else (middle, suffices)
    return suffices


@functools.cache
def error_of(sampler: str, grid: str, setting: Setting, count: int, lowered: bool = False) -> float:
    """Error of one of the package's samplers; ``lowered``: a solver's last step is of first order."""
    kind, options = SAMPLERS[sampler]
    options = {**options, "lower_order_final": True} if lowered else options
    b_map = BMap.from_attenuation(nats=setting.nats)
    scheduler = kind(setting.total, "cosine", b_map, clip_sample=False, step_grid=grid, **options)
    scheduler.set_timesteps(count)
    return error(setting, sampled_covariance(scheduler, setting))


@functools.cache
def ancestral_error(setting: Setting, count: int) -> float:
    """Error of the reference."""
    return error(setting, ancestral_covariance(setting, uniform(setting.total, count)))


def sampled_covariance(scheduler: Any, setting: Setting) -> np.ndarray:
    """What a scheduler draws: the covariance of the images before and after a step, carried from step to step.

    A step is affine in the image and, for a solver that remembers, in the one before it, which is shown to it again.
    """
    view = scheduler.bind(torch.as_tensor(DEPTH).reshape(1, 1, -1, 1))
    units = torch.eye(2 * PIXELS + 1, 2 * PIXELS, dtype=torch.float64)
    before, now = (x.reshape(-1, 1, PIXELS, 1) for x in (units[:, :PIXELS], units[:, PIXELS:]))
    pair, step = np.zeros((2, 2 * PIXELS, 2 * PIXELS))
    pair[PIXELS:, PIXELS:] = step[:PIXELS, PIXELS:] = np.eye(PIXELS)
    noise, earlier = torch.randn(now.shape, generator=_generator(), dtype=torch.float64).numpy()[:, 0, :, 0], None
    for t in view.timesteps.tolist():
        view = view.view()
        if earlier is not None:
            _stepped(view, earlier, before, setting)
        moved, earlier = _stepped(view, t, now, setting), t
        spread = moved[-1] / noise[-1]
        step[PIXELS:] = (moved - spread * noise)[:-1].T
        pair = step @ pair @ step.T
        pair[PIXELS:, PIXELS:] += np.diag(spread**2)
    return np.asarray(pair[PIXELS:, PIXELS:])


def l2_steps(setting: Setting, count: int) -> list[int]:
    """The package's grid for few steps."""
    scheduler = BMapDPMSolverScheduler(setting.total, "cosine", BMap.from_attenuation(nats=setting.nats))
    scheduler.set_timesteps(count)
    return [int(t) for t in scheduler.timesteps]


def described(setting: Setting) -> str:
    return f"{setting.nats:g} nats" + (f", variance {setting.variance:g}" if setting.variance != 1.0 else "")


def slashed(values: Sequence[float]) -> str:
    return " / ".join(f"{x:.2g}" if isinstance(x, float) else str(x) for x in values)


def _stepped(view: Any, t: int, images: torch.Tensor, setting: Setting) -> np.ndarray:
    """One step with the exact denoiser's velocity and always the same noise, whose spread an image of zeros shows."""
    level, x = log_retained(setting)[t], images.reshape(-1, PIXELS).numpy()
    a, s = np.exp(level / 2), np.sqrt(-np.expm1(level))
    clean = x @ denoiser(setting, t).T
    velocity = torch.as_tensor(a * (x - a * clean) / s - s * clean).reshape(images.shape)
    moved, _ = view.step(velocity, t, images, generator=_generator())
    return np.asarray(moved.reshape(-1, PIXELS).numpy())


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)

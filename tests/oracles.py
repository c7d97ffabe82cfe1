"""Exact laws that tests compare against: a Gaussian with its exact denoiser, and the B-map as first defined.

Nothing here imports the arithmetic it checks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class GaussianRows:
    """Images whose pixels are independent normal variables, with one mean and one deviation per depth row.

    Args:
        mean: ``(H,)`` float64.
        deviation: ``(H,)`` float64.
    """

    mean: Tensor
    deviation: Tensor

    def output(self, noisy: Tensor, log_retained: Tensor, prediction_type: str) -> Tensor:
        """What the perfect network says: the conditional expectation of the target, given ``noisy``."""
        mean, power = self.mean[:, None], self.deviation[:, None] ** 2
        signal, noise = torch.exp(0.5 * log_retained), torch.sqrt(-torch.expm1(log_retained))
        surprise = (noisy - signal * mean) / (signal**2 * power + noise**2)
        expected_noise, expected_clean = noise * surprise, mean + signal * power * surprise
        if prediction_type == "epsilon":
            return expected_noise
        if prediction_type == "sample":
            return expected_clean
        return signal * expected_noise - noise * expected_clean

    def error_of(self, mean: Tensor, deviation: Tensor) -> float:
        """Largest relative error of a mean and a deviation, each ``(H,)``, over rows."""
        errors = torch.stack([mean / self.mean - 1, deviation / self.deviation - 1])
        return float(errors.abs().max())


def sampled_moments(scheduler: Any, law: GaussianRows, **options: Any) -> tuple[Tensor, Tensor]:
    """Exact mean and deviation per row of what a sampler makes of standard normal noise: no Monte Carlo.

    For a Gaussian each step is affine, ``gain x + offset + spread z``. Three columns with known noise z and input
    x = 0, 0, 1 reveal the three coefficients. Works for MONAI's schedulers too (``alphas_cumprod`` instead of
    ``log_retained``). ``learned`` variances are asked for by ``values=``.
    """
    values = options.pop("values", None)
    probe = torch.zeros(1, 1, len(law.mean), 3, dtype=torch.float64)
    probe[..., 2] = 1.0
    mean, power = torch.zeros_like(law.mean), torch.ones_like(law.mean)
    for t in scheduler.timesteps.tolist():
        output = law.output(probe, _log_retained(scheduler, t), scheduler.prediction_type)
        if values is not None:
            output = torch.cat([output, torch.full_like(output, values)], dim=1)
        moved, _ = scheduler.step(output, t, probe, generator=_seeded(t), **options)
        z = torch.randn(probe.shape, generator=_seeded(t), dtype=torch.float64)[0, 0]
        moved = moved[0, 0]
        spread = (moved[:, 1] - moved[:, 0]) / (z[:, 1] - z[:, 0])
        offset = moved[:, 0] - spread * z[:, 0]
        gain = moved[:, 2] - offset - spread * z[:, 2]
        mean, power = gain * mean + offset, gain**2 * power + spread**2
    return mean, power.sqrt()


def log_maps_by_definition(
    depth: Tensor,
    steps: int,
    *,
    minimum: float,
    ramp: str,
    convention: str,
    buffer: bool,
    preserve_length: bool,
    rows: int | None,
) -> Tensor:
    """``log B_t(d)``, ``(steps, len(depth))`` float64: written down step by step, from the authors' description.

    With ``rows``, ``depth`` must be that image's row grid ``0, 1 / (rows - 1), ..., 1``.
    """
    waiting = int(0.05 * steps) if buffer else 0
    logs = torch.empty(steps, len(depth), dtype=torch.float64)
    for t in range(steps):
        b = 1e-8 if t < waiting else _ramp(ramp, t - waiting, steps - waiting)
        drop = b * (1 - minimum)
        if not preserve_length:
            lost = drop * depth
        elif rows is None:
            start = max(1 - b, 0.0)
            lost = (depth >= start) * (depth - start) / (1 - start + 1e-6) * drop
        else:
            first = int(rows * (1 - b))
            lost = torch.zeros(rows, dtype=torch.float64)
            lost[first:] = torch.linspace(0, drop, rows - first, dtype=torch.float64)
        logs[t] = torch.log1p(-lost)
    return logs * (0.5 if convention == "code" else 1.0)


def _ramp(name: str, t: int, steps: int) -> float:
    u = t / max(steps - 1, 1)
    shifted = min((t + 1e-8) / max(steps - 1, 1), 1.0)
    return {
        "linear": shifted,
        "sqrt": math.sqrt(shifted),
        "cosine": (1 - math.cos((t + 0.008) / (1.008 * steps) * math.pi / 2)) ** 2,
        "normal_cosine": (1 - math.cos(math.pi * u)) / 2,
    }[name]


def _log_retained(scheduler: Any, t: int) -> Tensor:
    if hasattr(scheduler, "log_retained"):
        retained: Tensor = scheduler.log_retained(t)
        return retained
    return scheduler.alphas_cumprod[t].double().log()


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)

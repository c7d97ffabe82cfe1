"""MONAI's noise schedules in float64: its float32 cosine loses three digits of ``1 - abar`` at the first steps."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping

import torch
from monai.networks.schedulers.scheduler import NoiseSchedules


def step_log_alphas(schedule: str, steps: int, betas: torch.Tensor, arguments: Mapping[str, float]) -> torch.Tensor:
    """``log(1 - beta_t)`` in float64; schedules registered by others are taken from their float32 betas."""
    start, end = arguments.get("beta_start", 1e-4), arguments.get("beta_end", 2e-2)
    if schedule == "linear_beta":
        betas = torch.linspace(start, end, steps, dtype=torch.float64)
    elif schedule == "scaled_linear_beta":
        betas = torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64) ** 2
    elif schedule == "sigmoid_beta":
        reach = arguments.get("sig_range", 6)
        betas = torch.sigmoid(torch.linspace(-reach, reach, steps, dtype=torch.float64)) * (end - start) + start
    elif schedule == "cosine":
        offset = arguments.get("s", 8e-3)
        u = torch.arange(steps + 1, dtype=torch.float64) / steps
        log_abar = 2.0 * torch.log(torch.cos((u + offset) / (1 + offset) * (math.pi / 2)).clamp(min=1e-30))
        return log_abar.diff().clamp(min=math.log1p(-0.999))
    return torch.log1p(-betas.to(torch.float64))


def schedule_defaults(schedule: str) -> dict[str, float]:
    """Arguments that a schedule of MONAI's store takes beside the number of steps, where they have defaults."""
    parameters = inspect.signature(NoiseSchedules[schedule]).parameters
    return {name: p.default for name, p in parameters.items() if isinstance(p.default, (int, float))}

"""Which training steps a sampler visits: pure functions from the chain to an explicit descending array."""

from __future__ import annotations

from typing import Literal

import torch

from monai_bmaps.types import Timesteps

StepGrid = Literal["uniform", "leading", "l2"]

_CLIP = 8.0


def uniform_steps(num_train_timesteps: int, count: int) -> Timesteps:
    """``count`` evenly spaced steps from T - 1 to 0, as MONAI 1.6 spaces them."""
    return torch.linspace(num_train_timesteps - 1, 0, count, dtype=torch.float64).round().long()


def leading_steps(num_train_timesteps: int, count: int) -> Timesteps:
    """``count`` multiples of ``T // count`` down to 0, as in DDIM (Song et al. 2020); the last steps stay unvisited."""
    return torch.arange(count - 1, -1, -1) * (num_train_timesteps // count)


def l2_steps(log_snr: torch.Tensor, count: int) -> Timesteps:
    """``count`` steps at equal distances along the path of the log-SNR, from the noisy end of the path to step 0.

    The path runs through the log-SNRs of several depths at once, clipped to [-8, 8]: where no depth is between noise
    and image, nothing happens and no step is spent. So the first step is not T - 1 but the one at which the last depth
    (with a B-map the face) enters the clipped range; a single step is that one. The distance of two steps is the root
    mean square over depths.

    Args:
        log_snr: ``(T, depths)``, falling with t.
        count: 1 to T; steps that would round to the same integer are moved apart.
    """
    total = len(log_snr)
    strides = log_snr.clamp(-_CLIP, _CLIP).diff(dim=0).square().mean(dim=1).sqrt()
    path = torch.cat([strides.new_zeros(1), strides.cumsum(0)])
    first = int(torch.searchsorted(path, path[-1]))
    wanted = torch.linspace(float(path[-1]), 0.0, count, dtype=path.dtype).flip(0)
    steps = torch.searchsorted(path, wanted).clamp(max=first)
    rank = torch.arange(count)
    apart = (steps - rank).cummax(0).values + rank
    return torch.minimum(apart, total - count + rank).flip(0)

"""Grids of sampling steps: exact counts, equal distances, and what they are for: fewer steps at the same error."""

from __future__ import annotations

import pytest
import torch

from monai_bmaps import BMap, BMapDDIMScheduler, BMapDDPMScheduler, diffusion
from monai_bmaps.schedulers.step_grids import l2_steps, uniform_steps

MAP = BMap.from_attenuation(db=44.0)


def log_snr(scheduler: BMapDDIMScheduler, depths: int = 33) -> torch.Tensor:
    knots = torch.linspace(0, 1, depths).reshape(1, 1, -1, 1)
    every = torch.arange(scheduler.num_train_timesteps)
    return diffusion.log_snr(scheduler.bind(knots).log_retained(every)).flatten(1)


@pytest.mark.parametrize("count", [1, 2, 7, 50, 333, 999, 1000])
@pytest.mark.parametrize("b_map", [None, MAP, BMap(minimum=0.97)])
def test_a_grid_has_exactly_the_steps_asked_for_in_descending_order(count: int, b_map: BMap | None) -> None:
    scheduler = BMapDDIMScheduler(1000, b_map=b_map, step_grid="l2")
    scheduler.set_timesteps(count)
    assert len(scheduler.timesteps) == count
    assert bool((scheduler.timesteps.diff() < 0).all())
    assert int(scheduler.timesteps[0]) >= 950
    assert count == 1 or int(scheduler.timesteps[-1]) == 0


def test_all_steps_are_the_whole_chain() -> None:
    scheduler = BMapDDPMScheduler(60, b_map=MAP, step_grid="l2")
    assert scheduler.timesteps.tolist() == list(range(59, -1, -1))


def test_steps_lie_equally_far_apart_in_clipped_log_snr() -> None:
    """Within the rounding to whole steps: a chain of 20 000 steps has hardly any."""
    scheduler = BMapDDIMScheduler(20_000, b_map=MAP)
    levels = log_snr(scheduler)
    steps = l2_steps(levels, 12)
    path = levels.clamp(-8, 8).diff(dim=0).square().mean(1).sqrt().cumsum(0)
    distances = path[steps[:-1] - 1] - path[(steps[1:] - 1).clamp(min=0)]
    assert float(distances.max() / distances.min()) < 1.02


def test_no_step_is_spent_where_every_depth_is_noise() -> None:
    """Beyond log-SNR -8 at the face, all depths are clipped: only the first step may lie there."""
    scheduler = BMapDDIMScheduler(1000, b_map=MAP, step_grid="l2")
    scheduler.set_timesteps(30)
    face = log_snr(scheduler)[:, 0]
    assert int((face[scheduler.timesteps] < -8).sum()) <= 1


def test_the_uniform_grid_is_monais() -> None:
    assert uniform_steps(10, 4).tolist() == [9, 6, 3, 0]


def test_an_unknown_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="step_grid must be one of uniform, leading, l2, got 'karras'"):
        BMapDDIMScheduler(10, step_grid="karras")


def final_spread(grid: str, count: int) -> torch.Tensor:
    """Standard deviation per depth row that DDIM gives a Gaussian of standard deviation 0.2 with the exact denoiser.

    For zero mean the step is linear in the sample, so pushing a sample of ones through the chain gives it exactly.
    """
    depths = torch.linspace(0, 1, 5, dtype=torch.float64).reshape(1, 1, -1, 1)
    view = BMapDDIMScheduler(1000, b_map=MAP, prediction_type="sample", clip_sample=False, step_grid=grid).bind(depths)
    view.set_timesteps(count)
    sample = torch.ones(1, 1, 5, 1, dtype=torch.float64)
    for t in view.timesteps.tolist():
        level = view.log_retained(t)
        gain = 0.04 * level.mul(0.5).exp() / (0.04 * level.exp() - torch.expm1(level))
        sample, _ = view.step(gain * sample, t, sample)
    return sample.flatten()


def test_few_l2_steps_keep_the_spread_better_than_few_uniform_ones() -> None:
    errors = {grid: (final_spread(grid, 50) / 0.2 - 1).abs().max() for grid in ("uniform", "l2")}
    assert errors["l2"] < 0.5 * errors["uniform"]
    assert errors["l2"] < 0.1

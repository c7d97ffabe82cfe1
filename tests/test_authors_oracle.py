"""Numbers that the authors' public code produced, from the same inputs.

Their float32 arithmetic is compared at 5e-5 of each image's largest magnitude. Where ``1 - abar Bbar`` in float32
costs more, at the first steps, the bound is computed from float32's spacing below 1 and their own arithmetic is shown
to account for the rest. Their training losses are taken over three channels of which one is stored: not compared.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_bmaps.bmaps import BMap
from monai_bmaps.geometry import LinearBeam, SectorBeam
from monai_bmaps.schedulers import BMapDDPMScheduler

ORACLE = Path(__file__).parents[2] / "shared" / "oracle" / "authors_public.npz"
CASES = (
    "baseline_no_bmaps",
    "convex_linear_preserve",
    "convex_sqrt",
    "linear_cosine_preserve",
    "linear_linear",
    "linear_normal_cosine_buffer",
    "linear_sqrt",
    "linear_sqrt_T1000_respaced25",
)
CAMUS_FAN = SectorBeam(apex=(0, 128), radii=(0, 250), half_angle_deg=32.1003690834937)
TOLERANCE = 5e-5
FLOAT32_SPACING = 2.0**-24
"""Between neighbouring float32 numbers just below 1, where ``abar Bbar`` of the first steps lies."""

pytestmark = pytest.mark.skipif(not ORACLE.is_file(), reason="the authors' numbers (../shared/oracle) are not here")
each_case = pytest.mark.parametrize("name", CASES)


@dataclass(frozen=True)
class Case:
    """One configuration: the authors' arrays, and a scheduler set up and bound as they were."""

    numbers: dict[str, NDArray[Any]]
    b_map: BMap
    depth: Tensor
    scheduler: BMapDDPMScheduler
    unclipped: BMapDDPMScheduler
    steps: Tensor
    previous: Tensor

    def __getitem__(self, name: str) -> Tensor:
        """An ``(N, 1, H, W)`` stack of theirs, in float64."""
        return torch.from_numpy(self.numbers[name]).double()[:, None]


@cache
def case(name: str) -> Case:
    with np.load(ORACLE) as archive:
        numbers = {key.removeprefix(f"{name}/"): archive[key] for key in archive.files if key.startswith(f"{name}/")}
    config = json.loads(str(numbers.pop("config")))
    steps, size, linear = config["num_timesteps"], config["image_size"], config["probe"] == "linear"
    zone = config["preserve_length"]
    b_map = BMap(
        config["bmap_min"],
        config["bmap_schedule"],
        convention="code",
        preserve_length=zone,
        buffer=config["add_buffer"],
        rows=size if zone and linear else None,
    )
    beam = LinearBeam() if linear else CAMUS_FAN.scaled(size / 256)
    depth = beam.depth_map((size, size)).double()
    schedule = {"schedule": "cosine"}
    if config["alpha_schedule"] == "linear":
        schedule = {"schedule": "linear_beta", "beta_start": 0.1 / steps, "beta_end": 20 / steps}
    schedulers = []
    for clip in (True, False):
        whole: Any = BMapDDPMScheduler(
            steps, b_map=b_map, variance_type="learned_range", prediction_type="epsilon", clip_sample=clip, **schedule
        )
        bound = whole.bind(depth)
        bound.set_timesteps(timesteps=numbers["timestep_map"][::-1].tolist())
        schedulers.append(bound)
    sampled = [int(numbers["timestep_map"][i]) for i in numbers["timesteps"]]
    previous = [schedulers[0].previous_timestep(t) for t in sampled]
    return Case(numbers, b_map, depth, schedulers[0], schedulers[1], torch.tensor(sampled), torch.tensor(previous))


def assert_close_per_image(ours: Tensor, theirs: Tensor, bound: Tensor | float = 0.0) -> None:
    """Within 5e-5 of the largest magnitude of each image, or within ``bound`` where that is more."""
    scale = theirs.abs().amax(dim=(1, 2, 3), keepdim=True)
    allowed = torch.maximum(TOLERANCE * scale, torch.as_tensor(bound, dtype=torch.float64))
    excess = (ours - theirs).abs() / allowed
    assert bool((excess <= 1).all()), f"{float(excess.nan_to_num(torch.inf).max()):.3g} times the tolerance"


def float32_variance_error(the: Case) -> Tensor:
    """How far float32 may put the posterior variance off, relatively: three differences from 1.

    Each of ``1 - abar_s Bbar_s``, ``1 - abar_t Bbar_t`` and ``1 - alpha_t B_t`` inherits the roundings of a product
    and of its factors, one spacing each at most.
    """
    ours = the.scheduler
    current, previous = ours.log_retained(the.steps), ours.log_retained(the.previous)
    kept = [current, previous, current - previous]
    return 3 * FLOAT32_SPACING * sum((1 / -torch.expm1(level) for level in kept), torch.zeros(()))


def predictions(the: Case, scheduler: BMapDDPMScheduler) -> Tensor:
    """The clean images that one step of ours makes of their pretended network output."""
    output = torch.cat([the["eps_hat"], the["var_values"]], dim=1)
    clean = [scheduler.step(output[i : i + 1], t, the["x_t"][i : i + 1])[1] for i, t in enumerate(the.steps.tolist())]
    return torch.cat(clean)


def log_variances(the: Case) -> Tensor:
    pairs = zip(the["var_values"].split(1), the.steps.tolist(), the["x_t"].split(1), strict=True)
    return torch.cat([the.scheduler.log_variance(values, t, noisy) for values, t, noisy in pairs])


def test_every_case_of_the_file_is_compared() -> None:
    with np.load(ORACLE) as archive:
        assert {key.split("/")[0] for key in archive.files} == set(CASES)


@each_case
def test_the_ramp_is_theirs(name: str) -> None:
    the = case(name)
    ramp = the.b_map.ramp_values(the.scheduler.num_train_timesteps)
    # they let the last value exceed 1 by 1e-8 / (T - 1)
    np.testing.assert_allclose(ramp, the.numbers["b_betas"], rtol=0, atol=3e-10)


@each_case
def test_alpha_bar_at_the_sampled_steps_is_theirs(name: str) -> None:
    the = case(name)
    ours = the.scheduler.log_alphas_cumprod.exp()[the.numbers["timestep_map"].tolist()]
    # both float64; theirs is a product of up to 1000 factors
    np.testing.assert_allclose(ours, the.numbers["alphas_cumprod"], rtol=1e-10)


@each_case
def test_the_map_of_a_step_is_theirs(name: str) -> None:
    the = case(name)
    table = the.b_map.tabulate(the.scheduler.num_train_timesteps)
    depth = the.depth[None, None]
    logs = table.log_cumulative(depth, the.steps)
    before = table.log_cumulative(depth, the.previous.clamp(min=0))
    ours = (logs - torch.where(the.previous.reshape(-1, 1, 1, 1) < 0, 0.0, before)).exp()
    # their respaced map is a quotient of two running products
    torch.testing.assert_close(ours, the["b_maps"], rtol=TOLERANCE, atol=0)


@each_case
def test_the_running_product_of_the_maps_is_theirs(name: str) -> None:
    the = case(name)
    table = the.b_map.tabulate(the.scheduler.num_train_timesteps)
    ours = table.log_cumulative(the.depth[None, None], the.steps).exp()
    torch.testing.assert_close(ours, the["b_cumprod"], rtol=TOLERANCE, atol=0)


@each_case
def test_a_noised_image_is_theirs(name: str) -> None:
    the = case(name)
    assert_close_per_image(the.scheduler.add_noise(the["x0"], the["noise"], the.steps), the["x_t"])


@each_case
def test_the_posterior_mean_is_theirs(name: str) -> None:
    the = case(name)
    mean, _ = the.scheduler.posterior(the["x0"], the["x_t"], the.steps, the.previous)
    assert_close_per_image(mean, the["posterior_mean"])


@each_case
def test_the_posterior_variance_is_theirs(name: str) -> None:
    the = case(name)
    _, variance = the.scheduler.posterior(the["x0"], the["x_t"], the.steps, the.previous)
    rounding = (float32_variance_error(the) * variance)[1:2]
    assert float(variance[0].abs().max()) == 0.0 == float(the["posterior_variance"][0].abs().max())
    assert_close_per_image(variance[1:2], the["posterior_variance"][1:2], rounding)
    assert_close_per_image(variance[2:], the["posterior_variance"][2:])


@each_case
def test_their_posterior_variance_at_the_second_step_is_float32_rounding_to_the_last_digit(name: str) -> None:
    """So the wider bound there is the price of their ``1 - abar Bbar``, not a difference of method."""
    the = {key: value.astype(np.float32) for key, value in case(name).numbers.items()}
    abar = case(name).numbers["alphas_cumprod"]
    alpha = np.float32(abar[1] / abar[0])
    before, after = the["alphas_cumprod"][:2, None, None] * the["b_cumprod"][:2]
    one = np.float32(1)
    recomputed = (one - alpha * the["b_maps"][1]) * (one - before) / (one - after)
    assert recomputed.dtype == np.float32
    np.testing.assert_allclose(recomputed, the["posterior_variance"][1], rtol=2.0**-22)


@each_case
def test_the_log_variance_of_learned_values_is_theirs(name: str) -> None:
    the = case(name)
    ours, theirs = log_variances(the), the["p_log_variance"]
    # a logarithm: its absolute error is the variance's relative one
    assert float((ours - theirs)[2:].abs().max()) < TOLERANCE
    bound = float32_variance_error(the)
    assert bool(((ours - theirs)[1].abs() <= bound[1]).all())


@each_case
def test_the_first_log_variance_is_clipped_where_theirs_is_the_logarithm_of_zero(name: str) -> None:
    """At step 0 the posterior has no variance: theirs is -inf, ours takes the second step's (Nichol and Dhariwal)."""
    the = case(name)
    assert not bool(the["p_log_variance"][0].isfinite().any())
    assert float(the["posterior_variance"][0].abs().max()) == 0.0
    share = 0.5 * (the["var_values"][:1] + 1)
    forward = torch.log(-torch.expm1(the.scheduler.log_retained(0)))
    _, second = the.scheduler.posterior(the["x0"][:1], the["x_t"][:1], the.steps[1:2], the.previous[1:2])
    expected = share * forward + (1 - share) * second.log()
    torch.testing.assert_close(log_variances(the)[:1], expected, rtol=0, atol=1e-9)


@each_case
def test_the_predicted_clean_image_is_theirs(name: str) -> None:
    the = case(name)
    assert_close_per_image(predictions(the, the.unclipped), the["pred_x0_unclipped"])


@each_case
def test_the_clamped_predicted_clean_image_is_theirs(name: str) -> None:
    the = case(name)
    # (x_t - s eps) / a in float32: each term is rounded relative to itself, and 1 / a reaches 1e5 at the last step
    terms = the["x_t"].abs() + the["eps_hat"].abs()
    rounding = 4 * FLOAT32_SPACING * terms * torch.exp(-0.5 * the.scheduler.log_retained(the.steps))
    assert_close_per_image(predictions(the, the.scheduler), the["pred_x0_clipped"], rounding)


@each_case
def test_the_mean_of_a_reverse_step_is_theirs(name: str) -> None:
    the = case(name)
    mean, _ = the.scheduler.posterior(the["pred_x0_clipped"], the["x_t"], the.steps, the.previous)
    assert_close_per_image(mean, the["p_mean_clipped"])

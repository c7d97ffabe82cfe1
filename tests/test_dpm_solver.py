"""DPM-Solver++ per pixel: its limits, its order, its error on a known law, its memory, its precision."""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from monai.inferers import DiffusionInferer
from oracles import GaussianColumn, GaussianRows, cosine_levels, exact_flow, multistep, sampled_covariance
from torch import Tensor, nn

from monai_bmaps import BMap, BMapDDIMScheduler, BMapDDPMScheduler, BMapDiffusionInferer, BMapDPMSolverScheduler
from monai_bmaps.inferers import Edit

PREDICTIONS = ("epsilon", "sample", "v_prediction")
ALGORITHMS = ("ode", "sde")
SHAPE = (2, 1, 5, 7)
MAPS = {
    "plain": None,
    "44 dB": BMap.from_attenuation(db=44.0),
    "174 dB": BMap.from_attenuation(nats=40.0),
    "paper's form": BMap(0.9, "sqrt"),
    "growing zone": BMap(0.95, preserve_length=True),
}
GRID = [96, 80, 61, 44, 20, 9, 1]  # of 100 steps; every stride is another one

each_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)
each_prediction = pytest.mark.parametrize("prediction", PREDICTIONS)
each_map = pytest.mark.parametrize("b_map", MAPS.values(), ids=MAPS)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(seed: int, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def depths() -> Tensor:
    """Another depth in every pixel of two images, and both ends."""
    depth = torch.rand(SHAPE, generator=seeded(9), dtype=torch.float64)
    depth[:, :, 0], depth[:, :, -1] = 0.0, 1.0
    return depth


def over_grid(kind: Any, b_map: BMap | None = MAPS["44 dB"], grid: Sequence[int] = GRID, **options: Any) -> Any:
    """A scheduler of 100 steps, bound to `depths`, that visits ``grid``."""
    view = kind(100, b_map=b_map, **options).bind(depths())
    view.set_timesteps(timesteps=grid)
    return view


def solver(b_map: BMap | None = MAPS["44 dB"], grid: Sequence[int] = GRID, **options: Any) -> Any:
    return over_grid(BMapDPMSolverScheduler, b_map, grid, **options)


# First order is what is known already


@each_map
@each_prediction
@pytest.mark.parametrize("clip", [True, False])
def test_the_first_order_ode_is_ddim_with_recomputed_noise(clip: bool, prediction: Any, b_map: BMap | None) -> None:
    options = {"prediction_type": prediction, "clip_sample": clip}
    ours = solver(b_map, solver_order=1, **options)
    ddim = over_grid(BMapDDIMScheduler, b_map, recompute_noise=True, **options)
    for t in GRID:
        output, noisy = images(t), images(t + 1)
        # unclamped noise predictions are up to 1e10: of those the tolerance is relative
        expected = ddim.step(output, t, noisy)
        torch.testing.assert_close(ours.step(output, t, noisy), expected, rtol=1e-12, atol=1e-12)


@each_map
@each_prediction
@pytest.mark.parametrize("clip", [True, False])
def test_the_first_order_sde_is_ancestral_sampling(clip: bool, prediction: Any, b_map: BMap | None) -> None:
    options = {"prediction_type": prediction, "clip_sample": clip}
    ours = solver(b_map, solver_order=1, algorithm="sde", **options)
    ddpm = over_grid(BMapDDPMScheduler, b_map, variance_type="fixed_small", **options)
    for t in GRID:
        output, noisy = images(t), images(t + 1)
        expected = ddpm.step(output, t, noisy, generator=seeded(t))
        torch.testing.assert_close(ours.step(output, t, noisy, generator=seeded(t)), expected, rtol=1e-12, atol=1e-12)


# Second order


@each_map
@each_prediction
@each_algorithm
def test_a_multistep_is_the_published_formula(algorithm: str, prediction: Any, b_map: BMap | None) -> None:
    view, earlier, before = solver(b_map, prediction_type=prediction, algorithm=algorithm), None, GRID[0]
    for t, then in pairwise(GRID):
        output, noisy = images(t), images(t + 1)
        moved, clean = view.step(output, t, noisy, generator=seeded(t))
        noise = images(t, SHAPE).numpy() if algorithm == "sde" else None  # the same draw
        levels = tuple(view.log_retained(step).numpy() for step in (before, t, then))
        expected = multistep(noisy.numpy(), clean.numpy(), earlier, levels, noise)
        # written plainly, 1 - e^L loses digits at the clean end: seven of float64 remain of a map of 174 dB
        np.testing.assert_allclose(moved.numpy(), expected, rtol=0, atol=1e-9)
        earlier, before = clean.numpy(), t


@pytest.mark.parametrize("order", [1, 2])
@each_algorithm
def test_the_last_step_is_the_predicted_clean_image(algorithm: str, order: int) -> None:
    view = solver(algorithm=algorithm, solver_order=order)
    for t in GRID[-2:]:
        moved, clean = view.step(images(0), t, images(1), generator=seeded(0))
    assert torch.equal(moved, clean)


# Order of convergence, with the exact denoiser

FINE = 40_000  # training steps: rounding a grid to them changes a stride by 1 % at most
ROWS = 8
FLOW = GaussianColumn.smooth(ROWS, 2.0)
NATS = (0.0, 3.3, 10.0, 20.0, 40.0)


def bound(kind: Any, law: GaussianColumn, nats: float, steps: int = 1000, **options: Any) -> Any:
    """A scheduler for clean predictions, unclamped, along a column from the face to full depth."""
    b_map = BMap.from_attenuation(nats=nats)
    rows = len(law.covariance)
    depth = torch.linspace(0, 1, rows, dtype=torch.float64)[:, None]
    return kind(steps, b_map=b_map, prediction_type="sample", clip_sample=False, **options).bind(depth)


def walked(view: Any, law: GaussianColumn) -> Tensor:
    """The matrix by which a deterministic sampler moves ``x`` from the first of its steps to the last."""
    rows = len(law.covariance)
    sample = torch.eye(rows, dtype=torch.float64).reshape(rows, 1, rows, 1)
    for t in view.timesteps.tolist()[:-1]:
        denoiser = law.denoisers(view.log_retained(t).flatten())
        sample, _ = view.step((sample.flatten(1) @ denoiser.T).reshape(sample.shape), t, sample)
    return sample.flatten(1).T


@pytest.mark.parametrize(("order", "least", "most"), [(1, 0.95, 1.1), (2, 1.9, 2.1)])
@pytest.mark.parametrize("nats", NATS)
def test_the_ode_converges_with_its_order(nats: float, order: int, least: float, most: float) -> None:
    start, end = 0.97, 0.02
    depth = torch.linspace(0, 1, ROWS, dtype=torch.float64)
    expected = exact_flow(FLOW, cosine_levels(depth, nats), start, end, 1000)  # within 2e-9 of that with 2000
    view, errors = bound(BMapDPMSolverScheduler, FLOW, nats, FINE, solver_order=order), []
    for count in (150, 300):
        times = torch.linspace(start, end, count + 1, dtype=torch.float64)
        view.set_timesteps(timesteps=(FINE * times).round().long() - 1)
        errors.append(float((walked(view, FLOW) - expected).norm() / expected.norm()))
    assert least <= math.log2(errors[0] / errors[1]) <= most
    assert errors[1] < 2e-2 / 25 ** (order - 1)


# Few steps against the whole chain: exact covariances, no Monte Carlo

UNIT = GaussianColumn.smooth(16, 2.0)
LAWS = {"unit": UNIT, "of images": GaussianColumn(0.04 * UNIT.covariance)}
each_variance = pytest.mark.parametrize("variance", LAWS)


def frechet_share(variance: str, nats: float, count: int, **options: Any) -> float:
    view = bound(BMapDPMSolverScheduler, LAWS[variance], nats, **options)
    view.set_timesteps(count)
    return LAWS[variance].frechet_share(sampled_covariance(view, LAWS[variance]))


@functools.lru_cache
def ancestral_share(nats: float) -> float:
    """Of the whole chain of 1000 steps."""
    law = LAWS["of images"]
    return law.frechet_share(sampled_covariance(bound(BMapDDPMScheduler, law, nats), law))


@pytest.mark.parametrize(("nats", "count"), [(0.0, 20), (3.3, 20), (10.0, 20), (20.0, 20), (40.0, 25)])
def test_few_steps_are_as_good_as_a_thousand_ancestral_ones(nats: float, count: int) -> None:
    assert frechet_share("of images", nats, count) <= max(1.3 * ancestral_share(nats), 3e-3)


@pytest.mark.parametrize("nats", NATS)
@each_variance
def test_twenty_steps_miss_little_of_the_law_at_any_attenuation(variance: str, nats: float) -> None:
    # as shares of the trace; measured: at most 6.3e-4 for the ODE and 2.9e-3 for the SDE
    assert frechet_share(variance, nats, 20) < 8e-4
    assert frechet_share(variance, nats, 20, algorithm="sde") < 4e-3


@pytest.mark.parametrize("nats", [10.0, 20.0, 40.0])
def test_twenty_steps_are_better_than_a_thousand_ancestral_ones_where_images_fade(nats: float) -> None:
    assert frechet_share("of images", nats, 20) < ancestral_share(nats)


@pytest.mark.parametrize("nats", [0.0, 10.0, 40.0])
@each_algorithm
def test_the_l2_grid_is_what_makes_few_steps_suffice(algorithm: str, nats: float) -> None:
    l2, uniform = (frechet_share("unit", nats, 20, algorithm=algorithm, step_grid=grid) for grid in ("l2", "uniform"))
    assert l2 < 0.2 * uniform


@pytest.mark.parametrize("nats", [0.0, 10.0, 40.0])
@each_algorithm
def test_second_order_misses_less_of_the_law_than_first(algorithm: str, nats: float) -> None:
    second, first = (frechet_share("unit", nats, 20, algorithm=algorithm, solver_order=order) for order in (2, 1))
    assert second < 0.3 * first


@each_algorithm
def test_the_covariance_that_is_computed_is_that_of_drawn_images(algorithm: str) -> None:
    """So that the computation above stands for the loop that people run."""
    law, count = UNIT, 6000
    view, source = bound(BMapDPMSolverScheduler, law, 10.0, algorithm=algorithm), seeded(4)
    view.set_timesteps(8)
    expected = sampled_covariance(view, law)
    drawn, view = torch.randn(count, 1, 16, 1, generator=source, dtype=torch.float64), view.view()
    for t in view.timesteps.tolist():
        denoiser = law.denoisers(view.log_retained(t).flatten())
        drawn, _ = view.step((drawn.flatten(1) @ denoiser.T).reshape(drawn.shape), t, drawn, generator=source)
    found = drawn.flatten(1).T @ drawn.flatten(1) / count
    spread = ((expected**2 + expected.diagonal().outer(expected.diagonal())) / count).sqrt()
    assert bool(((found - expected).abs() < 5 * spread).all())  # five standard errors


# What it remembers


class Shrink(nn.Module):
    """A network that answers a share of its input, more of it at noisier steps."""

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor | None = None) -> Tensor:
        del context
        return (0.2 + 0.005 * timesteps.reshape(-1, 1, 1, 1)) * x[:, :1]


def walk(view: Any, sample: Tensor, seed: int = 0) -> Tensor:
    """A sampling loop over all of ``view``'s steps."""
    source = seeded(seed)
    for t in view.timesteps.tolist():
        sample, _ = view.step(Shrink()(sample, torch.tensor([t])), t, sample, generator=source)
    return sample


@each_algorithm
def test_the_second_step_uses_the_clean_image_of_the_first(algorithm: str) -> None:
    first, second = (walk(solver(solver_order=order, algorithm=algorithm), images(0)) for order in (1, 2))
    assert float((first - second).abs().max()) > 1e-3


@pytest.mark.parametrize("divide", ["bind", "view"])
def test_two_interleaved_loops_do_not_disturb_each_other(divide: str) -> None:
    parent = solver()
    views = [parent.bind(depths()) if divide == "bind" else parent.view() for _ in range(2)]
    starts = [images(0), images(1)]
    expected = [walk(solver(), start) for start in starts]
    samples = starts
    for t in GRID:
        samples = [
            view.step(Shrink()(sample, torch.tensor([t])), t, sample)[0]
            for view, sample in zip(views, samples, strict=True)
        ]
    assert all(map(torch.equal, samples, expected))


def test_a_view_starts_without_a_memory() -> None:
    view = solver()
    view.step(images(0), GRID[0], images(1))
    fresh, remembering = (v.step(images(2), GRID[1], images(3))[0] for v in (view.view(), view))
    assert torch.equal(fresh, solver().step(images(2), GRID[1], images(3))[0])
    assert not torch.allclose(fresh, remembering)


def test_a_loop_that_was_broken_off_leaves_nothing_behind() -> None:
    view, expected = solver(), walk(solver(), images(0))
    for t in GRID[:3]:
        view.step(images(t), t, images(t + 1))
    assert torch.equal(walk(view, images(0)), expected)


def test_a_cancelled_sampling_leaves_nothing_behind_for_an_edit_that_begins_midway() -> None:
    class CancelledError(Exception):
        pass

    def cancel(done: int, total: int, clean: Tensor) -> None:
        if done == 3:
            raise CancelledError

    start, edit = images(0).float(), Edit(images(1).float().clamp(-1, 1), strength=4 / 7)  # begins with the fourth
    inferer, fresh = (BMapDiffusionInferer(solver()) for _ in range(2))
    with pytest.raises(CancelledError):
        inferer.sample(start, Shrink(), verbose=False, callback=cancel)
    broken, expected = (one.sample(start, Shrink(), edit=edit, verbose=False) for one in (inferer, fresh))
    assert torch.equal(broken, expected)


def test_a_finished_loop_holds_no_image() -> None:
    view, cleans = solver(), []
    for t in GRID:
        cleans.append(weakref.ref(view.step(images(t), t, images(t + 1))[1]))
    assert [clean() for clean in cleans] == [None] * len(GRID)


@each_algorithm
@pytest.mark.parametrize("skipped", [GRID[0], GRID[2]])  # not the one before it, and the step itself
def test_a_step_that_does_not_follow_the_remembered_one_is_of_first_order(skipped: int, algorithm: str) -> None:
    view, t = solver(algorithm=algorithm), GRID[2]
    view.step(images(0), skipped, images(1))
    moved, _ = view.step(images(2), t, images(3), generator=seeded(0))
    expected, _ = solver(algorithm=algorithm, solver_order=1).step(images(2), t, images(3), generator=seeded(0))
    assert torch.equal(moved, expected)


def test_another_batch_size_is_not_mixed_with_what_is_remembered() -> None:
    remembering, fresh = BMapDPMSolverScheduler(100), BMapDPMSolverScheduler(100)
    remembering.step(images(0), 99, images(1))
    moved, expected = (scheduler.step(images(2)[:1], 98, images(3)[:1])[0] for scheduler in (remembering, fresh))
    assert torch.equal(moved, expected)


def test_new_sampling_steps_between_two_loops_give_what_a_new_scheduler_gives() -> None:
    view, other = solver(), [90, 61, 44, 30, 5]
    walk(view, images(0))
    view.step(images(0), GRID[0], images(1))
    view.set_timesteps(timesteps=other)
    assert torch.equal(walk(view, images(0)), walk(solver(grid=other), images(0)))


@each_algorithm
def test_monai_s_inferer_samples_the_same_image_twice(algorithm: str) -> None:
    view, ends = solver(algorithm=algorithm), []
    for _ in range(2):
        torch.manual_seed(5)
        ends.append(DiffusionInferer(view).sample(images(0), Shrink(), view, verbose=False))
    assert torch.equal(ends[0], ends[1])
    torch.manual_seed(5)
    ours = BMapDiffusionInferer(view).sample(images(0), Shrink(), verbose=False)
    torch.testing.assert_close(ends[0], ours, rtol=0, atol=1e-14)


@each_algorithm
def test_no_order_is_lowered_unless_asked(algorithm: str) -> None:
    chosen, plain = (walk(solver(algorithm=algorithm, **o), images(0)) for o in ({}, {"lower_order_final": False}))
    assert torch.equal(chosen, plain)


def test_only_the_step_that_arrives_at_the_last_one_is_lowered() -> None:
    grid = [97 - 6 * k for k in range(10)]
    lowered, full, first = (
        solver(grid=grid, lower_order_final=True),
        solver(grid=grid),
        solver(grid=grid, solver_order=1),
    )
    for k, t in enumerate(grid):
        moved = [view.step(images(t), t, images(t + 1))[0] for view in (lowered, full, first)]
        assert torch.equal(moved[0], moved[2 if k == 8 else 1])


# Precision


@pytest.mark.parametrize(
    ("b_map", "steps"), [(MAPS["174 dB"], 1000), (BMap.preset("paper"), 2000)], ids=["40 nats", "paper"]
)
@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
@each_algorithm
def test_a_whole_chain_in_single_precision_is_that_in_double(
    monkeypatch: pytest.MonkeyPatch, algorithm: str, prediction: Any, b_map: BMap, steps: int
) -> None:
    monkeypatch.setattr("monai_bmaps.schedulers.dpm_solver.draw_noise", lambda like, _: images(3).to(like))
    view = BMapDPMSolverScheduler(steps, b_map=b_map, prediction_type=prediction, algorithm=algorithm).bind(depths())
    view.set_timesteps(20)
    double, single = (denoised(view, images(0).to(dtype)) for dtype in (torch.float64, torch.float32))
    assert single.dtype == torch.float32
    # float32 rounds a sample of size 4 to 2e-7, twenty times; far below a grey level of 8e-3
    torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-5)


def denoised(view: Any, sample: Tensor) -> Tensor:
    """A loop with the exact network of independent pixels, evaluated in double and rounded to the sample's."""
    law = GaussianRows(torch.linspace(-0.5, 0.4, 5, dtype=torch.float64), torch.full((5,), 0.2, dtype=torch.float64))
    for t in view.timesteps.tolist():
        output = law.output(sample.double(), view.log_retained(t), view.prediction_type).to(sample)
        sample, _ = view.step(output, t, sample)
    return sample


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@each_algorithm
def test_half_precision_images_are_rounded_once_a_step(
    monkeypatch: pytest.MonkeyPatch, algorithm: str, dtype: torch.dtype
) -> None:
    monkeypatch.setattr("monai_bmaps.schedulers.dpm_solver.draw_noise", lambda like, _: images(3).to(dtype).to(like))
    half, double = solver(algorithm=algorithm), solver(algorithm=algorithm)
    for t in GRID:
        output, noisy = images(t).to(dtype), images(t + 1).to(dtype)
        (moved, clean), (exact, _) = half.step(output, t, noisy), double.step(output.double(), t, noisy.double())
        assert (moved.dtype, clean.dtype) == (dtype, torch.float32)
        # half a unit in the last place, and float32's own error where terms cancel
        torch.testing.assert_close(moved.double(), exact, rtol=0.51 * torch.finfo(dtype).eps, atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("threshold", [None, 0.99])
@each_prediction
@each_algorithm
def test_a_clamped_chain_stays_finite_with_any_network(
    algorithm: str, prediction: Any, threshold: float | None, dtype: torch.dtype
) -> None:
    """At 174 dB a predicted noise stands for a clean image of 1e10 where no signal is left."""
    options = {"prediction_type": prediction, "algorithm": algorithm, "dynamic_threshold": threshold}
    view = BMapDPMSolverScheduler(1000, b_map=MAPS["174 dB"], **options).bind(depths())
    view.set_timesteps(12)
    sample = images(0).to(dtype)
    for t in view.timesteps.tolist():
        sample, clean = view.step(images(t).to(dtype), t, sample, generator=seeded(t))
        assert bool(sample.isfinite().all())
        assert float(clean.abs().max()) <= 1.0


# The contract of step


def test_surplus_channels_of_a_learned_variance_are_ignored() -> None:
    output, noisy = images(0, (2, 2, 5, 7)), images(1)
    expected = solver().step(output[:, :1], GRID[0], noisy)
    torch.testing.assert_close(solver().step(output, GRID[0], noisy), expected, rtol=0, atol=0)


def test_the_ode_draws_no_noise() -> None:
    source = seeded(0)
    before = source.get_state()
    walk(solver(), images(0))
    solver().step(images(0), GRID[0], images(1), generator=source)
    assert torch.equal(source.get_state(), before)


def test_few_steps_are_placed_on_the_l2_grid_unless_told() -> None:
    ours, l2 = BMapDPMSolverScheduler(1000), BMapDDIMScheduler(1000, step_grid="l2")
    for scheduler in (ours, l2):
        scheduler.set_timesteps(20)
    assert ours.timesteps.tolist() == l2.timesteps.tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"solver_order": 3}, "solver_order must be 1 or 2, got 3"),
        ({"solver_order": 0}, "solver_order must be 1 or 2, got 0"),
        ({"algorithm": "unipc"}, "algorithm must be one of ode, sde, got 'unipc'"),
        ({"dynamic_threshold": 0.0}, r"dynamic_threshold must lie in \(0, 1\]"),
        ({"dynamic_threshold": 1.1}, r"dynamic_threshold must lie in \(0, 1\]"),
        ({"dynamic_threshold": math.nan}, r"dynamic_threshold must lie in \(0, 1\]"),
        ({"dynamic_threshold": 0.9, "clip_sample": False}, "needs clip_sample"),
        ({"dynamic_threshold": 0.9, "clip_sample_min": 0.0}, "clip_sample_min = -clip_sample_max"),
    ],
)
def test_a_solver_that_makes_no_sense_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BMapDPMSolverScheduler(50, **arguments)


@pytest.mark.parametrize(
    ("output", "t", "sample", "message"),
    [
        ((2, 1, 5, 7), 50, (2, 1, 5, 7), "step 50 is not among the 7 sampling steps"),
        ((2, 3, 5, 7), 96, (2, 1, 5, 7), "images of 1 channels need a network output of as many"),
        ((1, 1, 5, 7), 96, (2, 1, 5, 7), "does not belong to sample"),
        ((2, 1, 5, 6), 96, (2, 1, 5, 7), "does not belong to sample"),
        ((3, 1, 5, 7), 96, (3, 1, 5, 7), "do not match the bound depth"),
    ],
)
def test_a_step_that_makes_no_sense_is_refused(
    output: tuple[int, ...], t: int, sample: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        solver().step(images(0, output), t, images(1, sample))


@pytest.mark.parametrize("count", [1, 3])
def test_a_batch_without_its_own_depth_maps_is_refused_although_the_step_was_planned(count: int) -> None:
    view = solver()
    view.step(images(0), GRID[0], images(1))
    with pytest.raises(ValueError, match="do not match the bound depth"):
        view.step(images(0, (count, 1, 5, 7)), GRID[0], images(1, (count, 1, 5, 7)))


def test_generators_that_do_not_match_the_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="got 3 generators for 2 images"):
        solver(algorithm="sde").step(images(0), GRID[0], images(1), generator=[seeded(s) for s in range(3)])


def test_a_refused_step_can_be_taken_again() -> None:
    refused, smooth = solver(algorithm="sde"), solver(algorithm="sde")
    for view in (refused, smooth):
        view.step(images(0), GRID[0], images(1), generator=seeded(0))
    with pytest.raises(ValueError, match="3 generators"):
        refused.step(images(2), GRID[1], images(3), generator=[seeded(s) for s in range(3)])
    moved, expected = (view.step(images(2), GRID[1], images(3), generator=seeded(0))[0] for view in (refused, smooth))
    assert torch.equal(moved, expected)

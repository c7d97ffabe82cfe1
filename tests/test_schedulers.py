"""The schedulers: exact sampling of a Gaussian, MONAI's own as a limit, state, precision, the contract of ``step``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import monai
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import DiffusionInferer
from monai.networks.schedulers import DDIMScheduler, DDPMScheduler
from oracles import GaussianRows, sampled_moments
from torch import Tensor, nn

from monai_bmaps.bmaps import BMap
from monai_bmaps.schedulers import BMapDDIMScheduler, BMapDDPMScheduler, BMapDPMSolverScheduler

linspace_timesteps = pytest.mark.skipif(
    monai.__version__.startswith("1.5."), reason="MONAI spaces its timesteps from T - 1 to 0 since 1.6 only"
)

EVERY = (BMapDDPMScheduler, BMapDDIMScheduler, BMapDPMSolverScheduler)
PREDICTIONS = ("epsilon", "sample", "v_prediction")
VARIANCES = ("fixed_small", "fixed_large", "learned", "learned_range")
SHAPE = (2, 1, 5, 7)
MAP_44_DB = BMap.from_attenuation(db=44.0)
ROWS = 5
DEPTH = torch.linspace(0, 1, ROWS, dtype=torch.float64)[:, None]
LAW = GaussianRows(torch.full((ROWS,), 0.3, dtype=torch.float64), torch.full((ROWS,), 0.2, dtype=torch.float64))

each_scheduler = pytest.mark.parametrize("kind", EVERY)
each_without_memory = pytest.mark.parametrize("kind", EVERY[:2])
each_prediction = pytest.mark.parametrize("prediction", PREDICTIONS)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(seed: int, shape: tuple[int, ...] = SHAPE, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64).to(dtype)


def depth_map(width: int = 7) -> Tensor:
    return DEPTH.expand(ROWS, width)


def sampler(kind: Callable[..., Any], b_map: BMap | None = MAP_44_DB, steps: int = 1000, **options: Any) -> Any:
    """A bound scheduler that does not clamp."""
    return kind(steps, b_map=b_map, clip_sample=False, **options).bind(depth_map(3))


# Sampling a Gaussian whose denoiser is exact


@each_without_memory
@pytest.mark.parametrize("b_map", [None, BMap.preset("authors_code")], ids=["plain", "14 dB"])
def test_a_full_chain_reproduces_a_gaussian_at_every_depth(kind: Any, b_map: BMap | None) -> None:
    # the chain's own discretisation; a thousand steps leave 2 % at most here
    assert LAW.error_of(*sampled_moments(sampler(kind, b_map), LAW)) < 0.04


@pytest.mark.parametrize(
    ("kind", "options"), [(BMapDDIMScheduler, {}), (BMapDDPMScheduler, {"variance_type": "fixed_large"})]
)
def test_a_full_chain_of_44_decibels_reproduces_a_gaussian_at_every_depth(kind: Any, options: dict[str, str]) -> None:
    assert LAW.error_of(*sampled_moments(sampler(kind, **options), LAW)) < 0.04


@pytest.mark.parametrize(("steps", "bound"), [(1000, 0.045), (2000, 0.04)])
def test_a_full_ancestral_chain_of_44_decibels_is_as_narrow_as_its_posterior_variance_makes_it(
    steps: int, bound: float
) -> None:
    # Posterior variances neglect how uncertain x_0 is: 4.3 % too narrow at full depth, halved by doubling the steps.
    mean, deviation = sampled_moments(sampler(BMapDDPMScheduler, steps=steps), LAW)
    assert LAW.error_of(mean, deviation) < bound
    torch.testing.assert_close(deviation, ancestral_deviation(steps), rtol=1e-9, atol=0)


def ancestral_deviation(steps: int) -> Tensor:
    """The same chain in the textbook's variables, alpha and beta, per depth; deviations of `LAW`."""
    u = torch.arange(steps + 1, dtype=torch.float64) / steps
    level = torch.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
    fade = torch.exp(-44.0 * math.log(10) / 10 * DEPTH * (u[1:] ** 1.5 - u[:-1] ** 1.5))
    alpha = (level[1:] / level[:-1]).clamp(min=1e-3) * fade
    total = torch.cat([torch.ones(ROWS, 1).double(), alpha.cumprod(1)], dim=1)
    power = torch.ones(ROWS, dtype=torch.float64)
    for t in range(steps, 0, -1):
        one_step, now, before = alpha[:, t - 1], total[:, t], total[:, t - 1]
        believed = now.sqrt() * 0.04 / (now * 0.04 + 1 - now)
        gain = (one_step.sqrt() * (1 - before) + before.sqrt() * (1 - one_step) * believed) / (1 - now)
        power = gain**2 * power + (1 - one_step) * (1 - before) / (1 - now)
    return power.sqrt()


@each_prediction
@each_without_memory
def test_the_error_falls_as_sampling_steps_grow(kind: Any, prediction: str) -> None:
    scheduler, errors = sampler(kind, prediction_type=prediction), []
    for count in (20, 50, 250):
        scheduler.set_timesteps(count)
        errors.append(LAW.error_of(*sampled_moments(scheduler, LAW)))
    assert errors[1] < 0.7 * errors[0]
    assert errors[2] < 0.4 * errors[1]


@pytest.mark.parametrize(
    "law", [LAW, GaussianRows(torch.linspace(-0.5, 0.4, ROWS, dtype=torch.float64), DEPTH[:, 0] * 0.3 + 0.1)]
)
def test_the_prediction_type_does_not_change_what_an_exact_network_samples(law: GaussianRows) -> None:
    moments = []
    for prediction in PREDICTIONS:
        scheduler = sampler(BMapDDPMScheduler, prediction_type=prediction)
        scheduler.set_timesteps(25)
        moments.append(torch.stack(sampled_moments(scheduler, law)))
    # the noise prediction divides by a = 1e-7 at the first step: half the digits of float64
    torch.testing.assert_close(moments[0], moments[1], rtol=0, atol=1e-7)
    torch.testing.assert_close(moments[2], moments[1], rtol=0, atol=1e-12)


def test_drawn_images_have_the_moments_that_were_computed() -> None:
    scheduler = sampler(BMapDDPMScheduler)
    scheduler.set_timesteps(100)
    mean, deviation = sampled_moments(scheduler, LAW)
    source = seeded(3)
    drawn = torch.randn(4000, 1, ROWS, 3, generator=source, dtype=torch.float64)
    for t in scheduler.timesteps:
        output = LAW.output(drawn, scheduler.log_retained(t), scheduler.prediction_type)
        drawn, _ = scheduler.step(output, t, drawn, generator=source)
    by_row = drawn.movedim(2, 0).flatten(1)
    count = by_row.shape[1]
    # five standard errors of a mean and of a deviation from 12 000 draws
    assert bool(((by_row.mean(1) - mean).abs() < 5 * deviation / math.sqrt(count)).all())
    assert bool(((by_row.std(1) / deviation - 1).abs() < 5 / math.sqrt(2 * count)).all())


def test_eta_one_is_ancestral_sampling() -> None:
    ancestral, implicit = sampler(BMapDDPMScheduler), sampler(BMapDDIMScheduler)
    for scheduler in (ancestral, implicit):
        scheduler.set_timesteps(40)
    expected, moments = sampled_moments(ancestral, LAW), sampled_moments(implicit, LAW, eta=1.0)
    torch.testing.assert_close(moments, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("values", "fixed"), [(-1.0, "fixed_small"), (1.0, "fixed_large")])
def test_the_ends_of_the_learned_range_are_the_fixed_variances(values: float, fixed: str) -> None:
    learned = sampler(BMapDDPMScheduler, variance_type="learned_range", steps=60)
    expected = sampled_moments(sampler(BMapDDPMScheduler, variance_type=fixed, steps=60), LAW)
    torch.testing.assert_close(sampled_moments(learned, LAW, values=values), expected, rtol=0, atol=1e-9)


def test_a_learned_variance_is_read_as_its_logarithm() -> None:
    scheduler = sampler(BMapDDPMScheduler, variance_type="learned", steps=10)
    zero = torch.zeros(1, 1, ROWS, 3).double()
    moved, _ = scheduler.step(torch.cat([zero, zero + math.log(0.09)], 1), 5, zero, generator=seeded(0))
    noise = torch.randn(zero.shape, generator=seeded(0), dtype=torch.float64)
    torch.testing.assert_close(moved, 0.3 * noise, rtol=1e-12, atol=0)


# The posterior


@pytest.mark.parametrize("row", [0, 2, 4])
def test_the_posterior_agrees_with_a_simulated_chain_and_the_printed_one_does_not(row: int) -> None:
    """The paper prints square roots over all of both numerators (its equation of the posterior mean)."""
    scheduler = BMapDDPMScheduler(2000, b_map=BMap.preset("paper")).bind(DEPTH[row].reshape(1, 1, 1, 1))
    steps, count = torch.tensor([120]), 200_000
    clean, first, second = torch.randn(3, count, 1, 1, 1, generator=seeded(7), dtype=torch.float64).unbind()
    before = scheduler.add_noise(clean, first, steps - 1)
    kept, total = (scheduler.log_retained(t).exp().flatten() for t in (steps - 1, steps))
    alpha = total / kept
    after = alpha.sqrt() * before + (1 - alpha).sqrt() * second
    known = torch.stack([after.flatten(), clean.flatten()], dim=1)
    slopes = torch.linalg.solve(known.T @ known, known.T @ before.flatten())
    residual = (before.flatten() - known @ slopes).square().mean()
    uncertainty = (residual * torch.linalg.inv(known.T @ known).diagonal()).sqrt()

    zero, one = torch.zeros(2, 1, 1, 1, 1, dtype=torch.float64), torch.ones(1, 1, 1, 1, dtype=torch.float64)
    from_noisy, variance = scheduler.posterior(zero[0], one, steps)
    from_clean, _ = scheduler.posterior(one, zero[0], steps)
    ours = torch.cat([from_noisy.flatten(), from_clean.flatten()])
    assert bool(((slopes - ours).abs() < 5 * uncertainty).all())
    # a variance from n draws has a relative deviation of sqrt(2 / n)
    assert float(residual / variance) == pytest.approx(1.0, abs=5 * math.sqrt(2 / count))

    printed = torch.cat([(alpha * (1 - kept)).sqrt(), (kept * (1 - alpha)).sqrt()]) / (1 - total)
    assert bool(((slopes - printed).abs() > 20 * uncertainty).all())


def test_the_posterior_of_a_step_defaults_to_the_step_before() -> None:
    scheduler = sampler(BMapDDPMScheduler, steps=50)
    clean, noisy, steps = images(0, (2, 1, ROWS, 3)), images(1, (2, 1, ROWS, 3)), torch.tensor([3, 40])
    given_previous = scheduler.posterior(clean, noisy, steps, torch.tensor([2, 39]))
    torch.testing.assert_close(scheduler.posterior(clean, noisy, steps), given_previous, rtol=0, atol=0)


def test_the_posterior_before_the_clean_image_is_that_image_without_spread() -> None:
    scheduler = sampler(BMapDDPMScheduler, steps=50)
    clean = images(0, (2, 1, ROWS, 3))
    mean, variance = scheduler.posterior(clean, images(1, (2, 1, ROWS, 3)), torch.tensor([0, 0]))
    torch.testing.assert_close(mean, clean, rtol=1e-12, atol=0)
    assert float(variance.abs().max()) == 0.0


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(data=st.data(), minimum=st.floats(0.9, 1.0), count=st.integers(2, 400))
def test_noise_only_ever_grows_with_time_and_depth(data: Any, minimum: float, count: int) -> None:
    t = data.draw(st.integers(1, count - 1))
    scheduler = BMapDDPMScheduler(count, b_map=BMap(minimum, "sqrt")).bind(depth_map(3))
    before, after = scheduler.log_retained(t - 1), scheduler.log_retained(t)
    assert bool((after < before).all())
    assert bool((after.diff(dim=2) <= 1e-12).all())


# MONAI's schedulers as the limit without a B-map


def with_exact_tables(theirs: Any, ours: Any) -> Any:
    """MONAI's scheduler on float64 tables: what is left is arithmetic."""
    log_levels = ours.log_alphas_cumprod
    log_alphas = log_levels.diff(prepend=torch.zeros(1, dtype=torch.float64))
    theirs.betas, theirs.alphas, theirs.alphas_cumprod = -torch.expm1(log_alphas), log_alphas.exp(), log_levels.exp()
    return theirs


@pytest.mark.parametrize("clip", [True, False])
@each_prediction
@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
@pytest.mark.parametrize("b_map", [None, BMap(minimum=1.0)], ids=["none", "minimum 1"])
def test_without_attenuation_a_step_is_monai_s_ddpm_step(
    b_map: BMap | None, variance: Any, prediction: Any, clip: bool
) -> None:
    options = {"variance_type": variance, "prediction_type": prediction, "clip_sample": clip}
    ours: Any = BMapDDPMScheduler(200, "cosine", b_map, **options)
    theirs = with_exact_tables(DDPMScheduler(200, "cosine", **options), ours)
    output, noisy = images(0), images(1)
    for t in (0, 1, 2, 100, 199):
        expected = theirs.step(output, t, noisy, generator=seeded(t))
        torch.testing.assert_close(ours.step(output, t, noisy, generator=seeded(t)), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("clip", [True, False])
@each_prediction
def test_without_attenuation_a_step_is_monai_s_ddim_step(prediction: Any, clip: bool, eta: float) -> None:
    options = {"prediction_type": prediction, "clip_sample": clip}
    ours: Any = BMapDDIMScheduler(200, "cosine", **options)
    theirs = with_exact_tables(DDIMScheduler(200, "cosine", **options), ours)
    output, noisy = images(0), images(1)
    for t in (0, 1, 2, 100, 199):
        expected = theirs.step(output, t, noisy, eta=eta, generator=seeded(t))
        moved = ours.step(output, t, noisy, eta=eta, generator=seeded(t))
        torch.testing.assert_close(moved, expected, rtol=1e-9, atol=1e-9)


@linspace_timesteps
def test_a_ddim_step_is_monai_s_where_its_stride_leads_from_one_timestep_to_the_next() -> None:
    theirs = DDIMScheduler(200, "cosine", prediction_type="v_prediction", steps_offset=9)
    theirs.set_timesteps(20)
    ours = BMapDDIMScheduler(200, "cosine")
    with_exact_tables(theirs, ours)
    ours.set_timesteps(timesteps=theirs.timesteps)
    output, noisy = images(0), images(1)
    for t in ours.timesteps.tolist():
        expected = theirs.step(output, t, noisy)
        torch.testing.assert_close(ours.step(output, t, noisy), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("stock", [DDPMScheduler, DDIMScheduler])
@pytest.mark.parametrize("schedule", ["linear_beta", "scaled_linear_beta", "sigmoid_beta", "cosine"])
def test_without_attenuation_a_whole_chain_is_stock_monai_s(stock: Any, schedule: str) -> None:
    kind = BMapDDPMScheduler if stock is DDPMScheduler else BMapDDIMScheduler
    ours, theirs = (cls(50, schedule, prediction_type="v_prediction") for cls in (kind, stock))
    ends = []
    for scheduler in (ours, theirs):
        moved, source = images(0, dtype=torch.float32), seeded(1)
        for t in range(49, -1, -1):
            moved, _ = scheduler.step(0.5 * moved.tanh(), t, moved, generator=source)
        ends.append(moved)
    # MONAI's tables are float32: 1 - abar of the first step, about 1e-4, is good to 6e-4 of itself
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=1e-3)


def test_without_attenuation_noising_and_velocity_are_monai_s() -> None:
    ours = BMapDDPMScheduler(200, "cosine")
    theirs = with_exact_tables(DDPMScheduler(200, "cosine"), ours)
    clean, noise, steps = images(0), images(1), torch.tensor([0, 150])
    for name in ("add_noise", "get_velocity"):
        expected = getattr(theirs, name)(clean, noise, steps)
        torch.testing.assert_close(getattr(ours, name)(clean, noise, steps), expected, rtol=1e-9, atol=1e-9)


def test_a_respaced_ddpm_beats_monai_s_which_keeps_the_variances_of_single_steps() -> None:
    ours, theirs = sampler(BMapDDPMScheduler, None), DDPMScheduler(1000, "cosine", clip_sample=False)
    deviations = []
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(50)
        deviations.append(float(sampled_moments(scheduler, LAW)[1][0]))
    assert deviations[0] == pytest.approx(0.2, rel=0.15)
    assert deviations[1] > 0.8  # four times the truth


def test_the_full_chain_of_monai_s_ddpm_is_right_about_the_same_gaussian() -> None:
    # so that the harness, not MONAI, is not what fails above
    assert LAW.error_of(*sampled_moments(DDPMScheduler(1000, "cosine", clip_sample=False), LAW)) < 0.04


def test_the_middle_of_the_learned_range_is_the_geometric_mean_where_monai_takes_the_arithmetic() -> None:
    """Nichol and Dhariwal 2021, eq. 15: ``exp(v log beta + (1 - v) log beta_tilde)``."""
    ours = BMapDDPMScheduler(1000, "cosine", variance_type="learned_range")
    theirs = with_exact_tables(DDPMScheduler(1000, "cosine", variance_type="learned_range"), ours)
    abar, beta = theirs.alphas_cumprod, theirs.betas[1]
    posterior = (1 - abar[0]) / (1 - abar[1]) * beta
    zero = torch.zeros(1, 1, 5, 7, dtype=torch.float64)
    torch.testing.assert_close(ours.log_variance(zero, 1, zero).exp(), (beta * posterior).sqrt() + zero)
    monai = theirs._get_variance(1, zero)
    torch.testing.assert_close(monai, (beta + posterior) / 2 + zero)
    assert float(monai.mean() / (beta * posterior).sqrt()) > 1.05


# Nothing is ever infinite


@pytest.mark.parametrize("minimum", [0.9, 0.97, 1.0])
@pytest.mark.parametrize("count", [1, 2, 50, 4000])
@each_prediction
@pytest.mark.parametrize("variance", VARIANCES)
def test_a_ddpm_step_is_finite_forward_and_backward(variance: Any, prediction: Any, count: int, minimum: float) -> None:
    options = {"variance_type": variance, "prediction_type": prediction, "clip_sample": False}
    scheduler: Any = BMapDDPMScheduler(count, b_map=BMap(minimum, "sqrt"), **options).bind(depth_map(2))
    channels = 2 if variance.startswith("learned") else 1
    for t in sorted({0, 1, count // 2, count - 1} & set(range(count))):
        output = images(t, (2, channels, ROWS, 2), torch.bfloat16).requires_grad_()
        sample = images(t + 1, (2, 1, ROWS, 2), torch.float32).requires_grad_()
        moved, clean = scheduler.step(output, t, sample, generator=seeded(0))
        # a clean-image network decides the last step alone: 0 x sample keeps its gradient in existence
        (moved.sum() + clean.sum() + 0.0 * sample.sum()).backward()
        assert_finite(moved, clean, output.grad, sample.grad)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("count", [1, 50, 4000])
@each_prediction
def test_a_ddim_step_is_finite_forward_and_backward(prediction: Any, count: int, eta: float, recompute: bool) -> None:
    options = {"prediction_type": prediction, "clip_sample": recompute, "recompute_noise": recompute}
    scheduler: Any = BMapDDIMScheduler(count, b_map=BMap(0.9, "sqrt"), **options).bind(depth_map(2))
    for t in sorted({0, count // 2, count - 1}):
        output = images(t, (2, 1, ROWS, 2), torch.bfloat16).requires_grad_()
        sample = images(t + 1, (2, 1, ROWS, 2), torch.float32).requires_grad_()
        moved, clean = scheduler.step(output, t, sample, eta=eta, generator=seeded(0))
        # a clean-image network decides the last step alone: 0 x sample keeps its gradient in existence
        (moved.sum() + clean.sum() + 0.0 * sample.sum()).backward()
        assert_finite(moved, clean, output.grad, sample.grad)


@pytest.mark.parametrize("count", [1, 2, 1000])
@pytest.mark.parametrize("variance", VARIANCES)
def test_the_log_variance_of_every_step_is_finite_with_its_gradient(variance: Any, count: int) -> None:
    scheduler: Any = BMapDDPMScheduler(count, b_map=BMap(0.9, "sqrt"), variance_type=variance).bind(depth_map(2))
    sample = torch.zeros(1, 1, ROWS, 2)
    for t in range(0, count, 7):
        values = images(t, (1, 1, ROWS, 2), torch.bfloat16).requires_grad_()
        log_variance = scheduler.log_variance(values, t, sample)
        assert_finite(log_variance)
        if variance.startswith("learned"):
            log_variance.sum().backward()
            assert_finite(values.grad)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(data=st.data(), minimum=st.floats(0.9, 1.0), count=st.integers(1, 4000))
def test_noising_is_finite_at_every_step(data: Any, minimum: float, count: int) -> None:
    t = torch.tensor([data.draw(st.integers(0, count - 1)), 0])
    scheduler = BMapDDPMScheduler(count, b_map=BMap(minimum, "sqrt")).bind(depth_map())
    clean, noise = (images(i, dtype=torch.float32) for i in range(2))
    assert_finite(scheduler.add_noise(clean, noise, t), scheduler.get_velocity(clean, noise, t))
    assert_finite(*scheduler.posterior(clean, noise, t))


def test_a_clamped_image_lets_a_deep_pixel_of_a_noise_network_stay_within_range() -> None:
    scheduler = BMapDDPMScheduler(4000, b_map=BMap(0.9, "sqrt"), prediction_type="epsilon").bind(depth_map(2))
    _, clean = scheduler.step(images(0, (2, 1, ROWS, 2)), 3999, images(1, (2, 1, ROWS, 2)))
    assert float(clean.abs().max()) == 1.0


def assert_finite(*tensors: Tensor | None) -> None:
    for tensor in tensors:
        assert tensor is not None
        assert bool(tensor.isfinite().all())


# State: exact, small, movable, shared


def tables(scheduler: Any) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in scheduler.named_buffers()}


def assert_same_tables(scheduler: Any, expected: dict[str, Tensor]) -> None:
    assert tables(scheduler).keys() == expected.keys()
    for name, value in scheduler.named_buffers():
        assert value.dtype == expected[name].dtype, name
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@each_scheduler
def test_half_precision_images_leave_the_tables_as_they_are(kind: Any, dtype: torch.dtype) -> None:
    scheduler = kind(50, b_map=MAP_44_DB)
    before, view, steps = tables(scheduler), scheduler.bind(depth_map()), torch.tensor([3, 40])
    clean, noise = images(0, dtype=dtype), images(1, dtype=dtype)
    noisy = view.add_noise(clean, noise, steps)
    view.get_velocity(clean, noise, steps)
    view.posterior(clean, noisy, steps)
    moved, _ = view.step(noise, 30, noisy)
    assert moved.dtype == dtype
    assert_same_tables(scheduler, before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["add_noise", "get_velocity"])
def test_a_half_precision_result_is_the_exact_one_rounded_once(name: str, dtype: torch.dtype) -> None:
    call = getattr(BMapDDPMScheduler(50, b_map=MAP_44_DB).bind(depth_map()), name)
    clean, noise, steps = images(0, dtype=dtype), images(1, dtype=dtype), torch.tensor([3, 40])
    exact = call(clean.double(), noise.double(), steps)
    rounded = call(clean, noise, steps)
    assert rounded.dtype == dtype
    # half a unit in the last place, and float32's own error where the two terms cancel
    torch.testing.assert_close(rounded.double(), exact, rtol=0.51 * torch.finfo(dtype).eps, atol=2e-6)


@pytest.mark.parametrize("convert", ["half", "bfloat16", "double"])
@each_scheduler
def test_casting_a_scheduler_does_not_round_its_tables(kind: Any, convert: str) -> None:
    scheduler = kind(50, b_map=BMap(0.9, preserve_length=True))
    before = tables(scheduler)
    getattr(scheduler, convert)()
    assert_same_tables(scheduler, before)


@each_scheduler
def test_moving_a_scheduler_moves_its_tables(kind: Any) -> None:
    scheduler = kind(50, b_map=BMap(0.9, preserve_length=True)).to("meta")
    assert len(list(scheduler.buffers())) > 5
    assert {value.device.type for value in scheduler.buffers()} == {"meta"}


@each_scheduler
def test_a_scheduler_adds_nothing_to_a_checkpoint(kind: Any) -> None:
    assert kind(50, b_map=MAP_44_DB).state_dict() == {}


@pytest.mark.parametrize("b_map", [BMap.preset("paper"), BMap(0.9, "sqrt", preserve_length=True), MAP_44_DB])
@each_scheduler
def test_two_thousand_steps_at_256_pixels_take_under_a_megabyte_besides_the_depth_map(kind: Any, b_map: BMap) -> None:
    view = kind(2000, b_map=b_map).bind(torch.linspace(0, 1, 256)[:, None].expand(256, 256))
    held = [value for value in vars(view).values() if isinstance(value, Tensor) and value is not view.depth]
    assert sum(value.nbytes for value in [*held, *view.buffers()]) <= 2**20


@each_scheduler
def test_a_bound_view_shares_the_tables(kind: Any) -> None:
    scheduler = kind(50, b_map=MAP_44_DB)
    view = scheduler.bind(depth_map())
    shared = dict(scheduler.named_buffers())
    assert shared
    assert all(value.data_ptr() == shared[name].data_ptr() for name, value in view.named_buffers())


@each_scheduler
def test_binding_leaves_the_original_unbound(kind: Any) -> None:
    scheduler = kind(50, b_map=MAP_44_DB)
    view = scheduler.bind(depth_map())
    assert scheduler.depth is None
    assert view.depth is not None
    assert isinstance(view, kind)


@each_scheduler
def test_views_keep_their_own_timesteps_and_depth(kind: Any) -> None:
    scheduler = kind(50, b_map=MAP_44_DB)
    first, second = scheduler.bind(depth_map()), scheduler.bind(0.5 * depth_map())
    first.set_timesteps(timesteps=[49, 37, 24, 12, 0])
    second.set_timesteps(timesteps=[30, 20])
    assert first.timesteps.tolist() == [49, 37, 24, 12, 0]
    assert second.timesteps.tolist() == [30, 20]
    assert len(scheduler.timesteps) == 50
    assert first.previous_timestep(49) == 37
    assert second.previous_timestep(30) == 20
    torch.testing.assert_close(second.log_retained(9)[:, :, 4], first.log_retained(9)[:, :, 2])


# Drop-in use


class Shrink(nn.Module):
    """A network: half its input, whatever the step."""

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor | None = None) -> Tensor:
        del timesteps, context
        return 0.5 * x


@each_scheduler
def test_monai_s_inferer_samples_with_a_bound_scheduler(kind: Any) -> None:
    scheduler = kind(50, b_map=MAP_44_DB).bind(depth_map())
    scheduler.set_timesteps(4)
    start = images(0, dtype=torch.float32)
    torch.manual_seed(5)
    sampled = DiffusionInferer(scheduler).sample(start, Shrink(), scheduler, verbose=False)
    torch.manual_seed(5)
    expected = start
    for t in scheduler.timesteps:
        expected, _ = scheduler.step(0.5 * expected, t, expected)
    torch.testing.assert_close(sampled, expected, rtol=0, atol=0)


@each_scheduler
def test_monai_s_inferer_trains_with_a_bound_scheduler(kind: Any) -> None:
    scheduler = kind(50, b_map=MAP_44_DB).bind(depth_map())
    clean, noise, steps = images(0), images(1), torch.tensor([3, 40])
    predicted = DiffusionInferer(scheduler)(clean, Shrink(), noise, steps)
    torch.testing.assert_close(predicted, 0.5 * scheduler.add_noise(clean, noise, steps), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("prediction", "name"), [("epsilon", "noise"), ("sample", "clean"), ("v_prediction", "velocity")]
)
@each_scheduler
def test_the_training_target_is_what_the_prediction_type_says(kind: Any, prediction: Any, name: str) -> None:
    scheduler = kind(50, b_map=MAP_44_DB, prediction_type=prediction).bind(depth_map())
    clean, noise, steps = images(0), images(1), torch.tensor([3, 40])
    velocity = scheduler.get_velocity(clean, noise, steps)
    expected = {"noise": noise, "clean": clean, "velocity": velocity}[name]
    assert torch.equal(scheduler.get_target(clean, noise, steps), expected)


# The contract of step, bind and set_timesteps


@each_scheduler
def test_a_step_takes_an_integer_or_a_tensor_of_one(kind: Any) -> None:
    scheduler, output, noisy = sampler(kind, steps=50), images(0, (1, 1, ROWS, 3)), images(1, (1, 1, ROWS, 3))
    expected = scheduler.step(output, 30, noisy, generator=seeded(0))
    for t in (torch.tensor(30), torch.tensor([30])):
        torch.testing.assert_close(scheduler.step(output, t, noisy, generator=seeded(0)), expected, rtol=0, atol=0)


@pytest.mark.parametrize(("kind", "options"), [(BMapDDPMScheduler, {}), (BMapDDIMScheduler, {"eta": 0.7})])
def test_a_generator_determines_a_step(kind: Any, options: dict[str, float]) -> None:
    scheduler, output, noisy = sampler(kind, steps=50), images(0, (1, 1, ROWS, 3)), images(1, (1, 1, ROWS, 3))
    first, again, other = (scheduler.step(output, 30, noisy, generator=seeded(s), **options)[0] for s in (4, 4, 5))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


@pytest.mark.parametrize(("kind", "options"), [(BMapDDPMScheduler, {}), (BMapDDIMScheduler, {"eta": 0.7})])
def test_one_generator_per_image_makes_a_step_independent_of_the_batch(kind: Any, options: dict[str, float]) -> None:
    scheduler, output, noisy = sampler(kind, steps=50), images(0, (3, 1, ROWS, 3)), images(1, (3, 1, ROWS, 3))
    together, _ = scheduler.step(output, 30, noisy, generator=[seeded(s) for s in (4, 5, 6)], **options)
    alone, _ = scheduler.step(output[1:2], 30, noisy[1:2], generator=[seeded(5)], **options)
    assert torch.equal(together[1:2], alone)


def test_a_deterministic_step_draws_no_noise() -> None:
    scheduler, source = sampler(BMapDDIMScheduler, steps=50), seeded(0)
    before = source.get_state()
    scheduler.step(images(0, (1, 1, ROWS, 3)), 30, images(1, (1, 1, ROWS, 3)), generator=source)
    assert torch.equal(source.get_state(), before)


@each_scheduler
def test_the_last_step_is_the_predicted_clean_image(kind: Any) -> None:
    scheduler = sampler(kind, steps=50)
    scheduler.set_timesteps(timesteps=[40, 10])
    moved, clean = scheduler.step(images(0, (1, 1, ROWS, 3)), 10, images(1, (1, 1, ROWS, 3)))
    torch.testing.assert_close(moved, clean, rtol=0, atol=1e-14)


def test_a_reversed_step_is_undone_by_a_step() -> None:
    scheduler = sampler(BMapDDIMScheduler, steps=50, prediction_type="sample")
    scheduler.set_timesteps(5)
    clean, noisy = images(0, (1, 1, ROWS, 3)), images(1, (1, 1, ROWS, 3))
    later, _ = scheduler.reversed_step(clean, 12, noisy)
    back, _ = scheduler.step(clean, 24, later)
    # one division by s of about 0.3
    torch.testing.assert_close(back, noisy, rtol=0, atol=1e-12)


def test_a_recomputed_noise_agrees_with_the_clamped_image() -> None:
    scheduler: Any = BMapDDIMScheduler(50, prediction_type="epsilon", recompute_noise=True)
    noisy = images(1)
    moved, clean = scheduler.step(4 * images(0), 30, noisy)
    assert float(clean.abs().max()) == 1.0
    now, then = scheduler.log_retained(30), scheduler.log_retained(29)
    noise = (noisy - (now / 2).exp() * clean) / (-torch.expm1(now)).sqrt()
    torch.testing.assert_close(moved, scheduler.add_noise(clean, noise, torch.tensor([29])), rtol=0, atol=1e-12)
    assert bool((then > now).all())


@each_scheduler
def test_each_image_of_a_batch_has_its_own_step_and_depth(kind: Any) -> None:
    scheduler = kind(50, b_map=MAP_44_DB)
    depth = torch.rand(SHAPE, generator=seeded(2), dtype=torch.float64)
    clean, noise, steps = images(0), images(1), torch.tensor([3, 40])
    together = scheduler.bind(depth).add_noise(clean, noise, steps)
    alone = scheduler.bind(depth[1:]).add_noise(clean[1:], noise[1:], steps[1:])
    assert torch.equal(together[1:], alone)


@each_scheduler
def test_one_map_serves_every_channel(kind: Any) -> None:
    scheduler = kind(50, b_map=MAP_44_DB).bind(depth_map())
    three = images(0, (2, 3, 5, 7))
    noisy = scheduler.add_noise(three, torch.zeros_like(three), torch.tensor([3, 40]))
    alone = scheduler.add_noise(three[:, 1:2], torch.zeros_like(three[:, 1:2]), torch.tensor([3, 40]))
    assert torch.equal(noisy[:, 1:2], alone)


def test_the_clean_image_is_step_minus_one() -> None:
    assert float(sampler(BMapDDPMScheduler, steps=50).log_retained(-1).abs().max()) == 0.0


def test_timesteps_stay_on_the_cpu_whatever_device_is_asked() -> None:
    scheduler = BMapDDPMScheduler(50)
    scheduler.set_timesteps(5, device="meta")
    assert scheduler.timesteps.device.type == "cpu"


@linspace_timesteps
def test_a_chain_starts_with_monai_s_timesteps() -> None:
    ours, theirs = BMapDDPMScheduler(1000), DDPMScheduler(1000)
    for count in (1, 7, 50, 1000):
        ours.set_timesteps(count)
        theirs.set_timesteps(count)
        assert ours.timesteps.tolist() == theirs.timesteps.tolist()


@each_scheduler
def test_an_attenuating_map_without_a_depth_is_refused(kind: Any) -> None:
    with pytest.raises(ValueError, match="call scheduler"):
        kind(50, b_map=MAP_44_DB).add_noise(images(0), images(1), torch.tensor([3, 40]))


@each_scheduler
def test_a_step_that_sampling_does_not_visit_is_refused(kind: Any) -> None:
    scheduler = kind(50)
    scheduler.set_timesteps(5)
    with pytest.raises(ValueError, match="step 30 is not among the 5 sampling steps"):
        scheduler.step(images(0), 30, images(1))


@each_scheduler
def test_a_fractional_step_is_refused(kind: Any) -> None:
    with pytest.raises(TypeError, match="integer"):
        kind(50).step(images(0), 30.7, images(1))


@each_scheduler
def test_a_number_in_place_of_a_map_is_refused(kind: Any) -> None:
    with pytest.raises(TypeError, match=r"b_map must be a BMap, got 0\.97"):
        kind(50, b_map=0.97)


@pytest.mark.parametrize("variance", ["learned", "learned_range"])
def test_a_learned_variance_without_its_channels_is_refused(variance: Any) -> None:
    with pytest.raises(ValueError, match="needs a network output of 2 channels, got 1"):
        BMapDDPMScheduler(50, variance_type=variance).step(images(0), 30, images(1))


def test_surplus_channels_for_a_fixed_variance_are_refused() -> None:
    with pytest.raises(ValueError, match="needs a network output of 1 channels, got 2"):
        BMapDDPMScheduler(50).step(images(0, (2, 2, 5, 7)), 30, images(1))


def test_generators_that_do_not_match_the_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="got 3 generators for 2 images"):
        BMapDDPMScheduler(50).step(images(0), 30, images(1), generator=[seeded(s) for s in range(3)])


@pytest.mark.parametrize("eta", [-0.1, 1.1, math.nan])
def test_an_eta_outside_0_and_1_is_refused(eta: float) -> None:
    with pytest.raises(ValueError, match=r"eta must lie in \[0, 1\]"):
        BMapDDIMScheduler(50).step(images(0), 30, images(1), eta=eta)


def test_a_reversed_step_beyond_the_noisiest_is_refused() -> None:
    with pytest.raises(ValueError, match="step 49 is the noisiest"):
        BMapDDIMScheduler(50).reversed_step(images(0), 49, images(1))


@pytest.mark.parametrize(
    ("depth", "message"),
    [
        (torch.full((5, 7), 1.01), r"depth must lie in \[0, 1\], got \[1.01, 1.01\]"),
        (torch.full((5, 7), -0.01), r"depth must lie in \[0, 1\]"),
        (torch.full((5, 7), math.nan), r"depth must lie in \[0, 1\], got \[nan, nan\]"),
        (torch.zeros(5, 7, dtype=torch.int64), "depth must be a float tensor"),
        (torch.zeros(2, 5, 7), "depth must be a float tensor"),
        (torch.zeros(2, 3, 5, 7), "depth must be a float tensor"),
    ],
)
def test_a_depth_map_that_cannot_be_one_is_refused(depth: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BMapDDPMScheduler(50, b_map=MAP_44_DB).bind(depth)


@pytest.mark.parametrize("shape", [(2, 1, 7, 5), (2, 1, 5, 1), (3, 1, 5, 7)])
def test_images_that_do_not_match_the_depth_are_refused(shape: tuple[int, ...]) -> None:
    scheduler = BMapDDPMScheduler(50, b_map=MAP_44_DB).bind(depth_map().expand(2, 1, 5, 7))
    with pytest.raises(ValueError, match="do not match the bound depth"):
        scheduler.add_noise(images(0, shape), images(1, shape), torch.tensor([3]))


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (torch.tensor([1.0, 2.0]), "timesteps must be integers from 0 to 49"),
        (torch.tensor([0, 50]), "timesteps must be integers from 0 to 49"),
        (torch.tensor([-2, 0]), "timesteps must be integers from 0 to 49"),
        (torch.tensor([1, 2, 3]), "3 timesteps were given for 2 images"),
    ],
)
def test_training_steps_that_do_not_exist_are_refused(steps: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BMapDDPMScheduler(50).add_noise(images(0), images(1), steps)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either num_inference_steps or timesteps"),
        ({"num_inference_steps": 5, "timesteps": [3]}, "either num_inference_steps or timesteps"),
        ({"num_inference_steps": 51}, "num_inference_steps must be 1 to 50"),
        ({"num_inference_steps": 0}, "num_inference_steps must be 1 to 50"),
        ({"timesteps": [3, 10]}, "must descend strictly within 49..0"),
        ({"timesteps": [10, 10]}, "must descend strictly"),
        ({"timesteps": [50, 3]}, "must descend strictly"),
        ({"timesteps": [3, -1]}, "must descend strictly"),
        ({"timesteps": torch.zeros(0, dtype=torch.int64)}, "must descend strictly"),
        ({"timesteps": [10.5, 3.2]}, "timesteps must be integers"),
    ],
)
def test_sampling_steps_that_cannot_be_walked_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BMapDDPMScheduler(50).set_timesteps(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prediction_type": "score"}, "prediction_type must be one of epsilon, sample, v_prediction"),
        ({"variance_type": "huge"}, "variance_type must be one of fixed_small"),
        ({"clip_sample_min": 1.0, "clip_sample_max": 1.0}, "clip_sample_min must be below clip_sample_max"),
        ({"schedule": "nope"}, "schedule must be one of .*cosine, got 'nope'"),
        ({"schedule": "linear_beta", "beta_start": 0.0}, "every beta must be positive"),
        ({"num_train_timesteps": 0}, "at least"),
    ],
)
def test_a_scheduler_that_makes_no_sense_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BMapDDPMScheduler(**arguments)


@each_scheduler
def test_a_preset_at_other_steps_than_it_presumes_warns_with_both_attenuations(kind: Any) -> None:
    with pytest.warns(UserWarning, match=r"presumes T = 2000 \(176 dB\); with T = 1000 it takes 88 dB"):
        kind(1000, b_map=BMap.preset("paper"))


@pytest.mark.parametrize("call", ["add_noise", "get_velocity", "get_target"])
def test_noise_of_another_shape_than_the_images_is_refused(call: str) -> None:
    images, noise, t = torch.zeros(4, 3, 5, 7), torch.zeros(1, 1, 5, 7), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(
        ValueError, match=r"noise must have the shape of the images, \(4, 3, 5, 7\), got \(1, 1, 5, 7\)"
    ):
        getattr(BMapDDPMScheduler(10), call)(images, noise, t)


def test_images_of_whole_numbers_are_refused() -> None:
    images = torch.zeros(1, 1, 5, 7, dtype=torch.uint8)
    with pytest.raises(ValueError, match="images must be floating point"):
        BMapDDPMScheduler(10).add_noise(images, images, torch.tensor([3]))


@pytest.mark.parametrize("kind", [BMapDDPMScheduler, BMapDDIMScheduler])
@pytest.mark.parametrize("shape", [(1, 2, 5, 7), (3, 2, 5, 6), (3, 1, 5, 7)])
def test_an_output_that_does_not_belong_to_the_sample_is_refused(kind: type, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"does not belong to sample|channels"):
        kind(10).step(torch.zeros(shape), 9, torch.zeros(3, 2, 5, 7))


def test_a_posterior_of_a_later_step_is_refused() -> None:
    images, t = torch.zeros(1, 1, 5, 7), torch.tensor([3])
    with pytest.raises(ValueError, match=r"previous must lie before timesteps, got \[3\] for \[3\]"):
        BMapDDPMScheduler(10).posterior(images, images, t, previous=t)


def test_an_empty_batch_of_depth_maps_is_refused() -> None:
    with pytest.raises(ValueError, match="depth must be a float tensor"):
        BMapDDPMScheduler(10).bind(torch.zeros(0, 1, 5, 7))


def test_a_scheduler_says_what_it_is() -> None:
    bound = BMapDDIMScheduler(1000, b_map=BMap.from_attenuation(db=44.0)).bind(torch.zeros(5, 7))
    assert repr(bound) == "BMapDDIMScheduler(T=1000, 44 dB at full depth, v_prediction, bound to (1, 1, 5, 7))"

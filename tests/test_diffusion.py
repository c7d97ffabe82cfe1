"""The per-pixel algebra: a Markov chain, its posterior, the three predictions, and what stays finite."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from monai_bmaps import diffusion

PREDICTIONS = ("epsilon", "sample", "v_prediction")
law = settings(max_examples=60, deadline=None, derandomize=True, database=None)
# nats of one stride: from the first step of a long cosine schedule to more than a paper's B-map takes in all
strides = st.floats(1e-7, 50.0)


def scalar(value: float) -> Tensor:
    return torch.full((1, 1, 1, 1), value, dtype=torch.float64)


def images(*seeds: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [
        torch.randn(2, 1, 5, 7, generator=torch.Generator().manual_seed(s), dtype=torch.float64).to(dtype)
        for s in seeds
    ]


def levels() -> Tensor:
    """One level per depth row and image, from 1e-6 to 40 nats lost."""
    return -torch.logspace(-6, math.log10(40), 10, dtype=torch.float64).reshape(2, 1, 5, 1)


def posterior_coefficients(current: Tensor, previous: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What the posterior mean multiplies ``x_t`` and ``x_0`` by, and its variance."""
    zero, one = torch.zeros_like(current), torch.ones_like(current)
    from_noisy = diffusion.posterior_mean(zero, one, current, previous)
    from_clean = diffusion.posterior_mean(one, zero, current, previous)
    return from_noisy, from_clean, diffusion.posterior_log_variance(current, previous).exp()


@law
@given(level=strides)
def test_signal_and_noise_power_add_to_one(level: float) -> None:
    power = diffusion.signal_scale(scalar(-level)) ** 2 + diffusion.noise_scale(scalar(-level)) ** 2
    assert float(power) == pytest.approx(1.0, abs=1e-15)


@law
@given(level=st.floats(1e-12, 1e-3))
def test_the_noise_of_an_almost_clean_image_keeps_its_digits(level: float) -> None:
    # s^2 = l - l^2/2 + l^3/6; 1 - exp(-l) would keep 4 digits at l = 1e-12
    expected = math.sqrt(level - level**2 / 2 + level**3 / 6)
    assert float(diffusion.noise_scale(scalar(-level))) == pytest.approx(expected, rel=1e-11)


@law
@given(level=strides)
def test_the_log_snr_is_the_log_of_the_ratio_of_powers(level: float) -> None:
    expected = 2 * (diffusion.signal_scale(scalar(-level)).log() - diffusion.noise_scale(scalar(-level)).log())
    torch.testing.assert_close(diffusion.log_snr(scalar(-level)), expected, rtol=1e-12, atol=1e-12)


def test_the_log_snr_of_a_clean_image_is_infinite() -> None:
    assert float(diffusion.log_snr(scalar(0.0))) == math.inf


@law
@given(first=strides, second=strides)
def test_noising_twice_has_the_mean_and_variance_of_noising_once(first: float, second: float) -> None:
    earlier, later = scalar(-first), scalar(-first - second)
    gain, fresh = diffusion.transition(scalar(1.0), earlier, later)
    torch.testing.assert_close(
        gain * diffusion.signal_scale(earlier), diffusion.signal_scale(later), rtol=1e-12, atol=0
    )
    composed = gain**2 * diffusion.noise_scale(earlier) ** 2 + fresh
    torch.testing.assert_close(composed, diffusion.noise_scale(later) ** 2, rtol=1e-12, atol=0)


@law
@given(first=strides, second=strides)
def test_transition_and_posterior_factor_the_same_joint_distribution(first: float, second: float) -> None:
    """Mean, variance and covariance of ``(x_s, x_t)`` given ``x_0``, put together from either side."""
    earlier, later = scalar(-first), scalar(-first - second)
    gain, _ = diffusion.transition(scalar(1.0), earlier, later)
    from_noisy, from_clean, variance = posterior_coefficients(later, earlier)
    a_s, a_t = diffusion.signal_scale(earlier), diffusion.signal_scale(later)
    s_s, s_t = diffusion.noise_scale(earlier), diffusion.noise_scale(later)
    # a float64 log-variance of up to 50 nats carries 1e-14 of relative error into its exponential
    torch.testing.assert_close(from_noisy * a_t + from_clean, a_s, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(from_noisy * s_t**2, gain * s_s**2, rtol=1e-11, atol=0)
    torch.testing.assert_close(from_noisy**2 * s_t**2 + variance, s_s**2, rtol=1e-11, atol=0)


def test_the_posterior_before_the_clean_image_is_the_clean_image() -> None:
    clean, noisy = images(0, 1)
    torch.testing.assert_close(diffusion.posterior_mean(clean, noisy, levels(), scalar(0.0)), clean, rtol=1e-12, atol=0)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_prediction_of_the_target_gives_back_image_and_noise(prediction: Any) -> None:
    clean, noise = images(2, 3)
    level = levels().clamp(min=-20.0)
    noisy = diffusion.add_noise(clean, noise, level)
    target = diffusion.prediction_target(clean, noise, level, prediction)
    # division by a = exp(-10) or s = 1e-3 costs five digits of float64
    torch.testing.assert_close(diffusion.predict_clean(noisy, target, level, prediction), clean, rtol=0, atol=1e-10)
    torch.testing.assert_close(diffusion.predict_noise(noisy, target, level, prediction), noise, rtol=0, atol=1e-10)


@law
@given(level=st.floats(1e-4, 20.0), noisy=st.floats(-3, 3), output=st.floats(-3, 3))
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_any_output_stands_for_an_image_and_a_noise_that_make_up_the_input(
    prediction: Any, level: float, noisy: float, output: float
) -> None:
    retained, x, out = scalar(-level), scalar(noisy), scalar(output)
    clean = diffusion.predict_clean(x, out, retained, prediction)
    noise = diffusion.predict_noise(x, out, retained, prediction)
    torch.testing.assert_close(diffusion.add_noise(clean, noise, retained), x, rtol=0, atol=1e-10)
    torch.testing.assert_close(diffusion.prediction_target(clean, noise, retained, prediction), out, rtol=0, atol=1e-10)


@pytest.mark.parametrize("level", [-800.0, -100.0, diffusion.MIN_INVERTIBLE_LOG_RETAINED])
def test_a_velocity_without_signal_is_the_negative_image(level: float) -> None:
    clean, noise = images(4, 5)
    noisy = diffusion.add_noise(clean, noise, scalar(level))
    target = diffusion.velocity(clean, noise, scalar(level))
    torch.testing.assert_close(diffusion.clean_from_velocity(noisy, target, scalar(level)), clean, rtol=0, atol=1e-9)


def test_a_noise_prediction_inverts_exactly_down_to_the_documented_level() -> None:
    clean, noise = images(6, 7)
    level = scalar(diffusion.MIN_INVERTIBLE_LOG_RETAINED)
    noisy = diffusion.add_noise(clean, noise, level)
    expected = (noisy - diffusion.noise_scale(level) * noise) / math.exp(-23.0)
    torch.testing.assert_close(diffusion.clean_from_noise(noisy, noise, level), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("level", [-47.0, -200.0, -2000.0])
def test_a_noise_prediction_below_that_level_is_finite_forward_and_backward(level: float, dtype: torch.dtype) -> None:
    noisy, output = (x.requires_grad_() for x in images(8, 9, dtype=dtype))
    clean = diffusion.clean_from_noise(noisy, output, scalar(level))
    clean.sum().backward()
    for values in (clean.detach(), noisy.grad, output.grad):
        assert values is not None
        assert bool(values.isfinite().all())
        # the clamp is at a = 1e-10: neither weaker, nor so strong that it would flatten the image
        assert 1e9 < float(values.abs().max()) < 1e11


def test_learned_values_reach_from_the_posterior_to_the_forward_variance() -> None:
    values = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    log_variance = diffusion.learned_range_log_variance(values, torch.tensor(-2.0), torch.tensor(-6.0))
    torch.testing.assert_close(log_variance, torch.tensor([-6.0, -4.0, -2.0], dtype=torch.float64))


@law
@given(first=strides, second=strides, eta=st.floats(0.0, 1.0))
def test_a_ddim_step_keeps_the_marginal_for_any_eta(first: float, second: float, eta: float) -> None:
    earlier, later = scalar(-first), scalar(-first - second)
    zero, one = scalar(0.0), scalar(1.0)
    from_clean, from_old, from_fresh = (
        diffusion.ddim_step(*parts, later, earlier, eta)
        for parts in ((one, zero, zero), (zero, one, zero), (zero, zero, one))
    )
    torch.testing.assert_close(from_clean, diffusion.signal_scale(earlier), rtol=1e-12, atol=0)
    fresh = from_fresh if eta > 0 else zero
    torch.testing.assert_close(from_old**2 + fresh**2, diffusion.noise_scale(earlier) ** 2, rtol=1e-11, atol=0)


@law
@given(first=st.floats(1e-3, 20.0), second=st.floats(1e-3, 20.0))
def test_a_ddim_step_of_eta_one_is_ancestral(first: float, second: float) -> None:
    earlier, later = scalar(-first), scalar(-first - second)
    clean, noise, zero = scalar(0.4), scalar(-1.3), scalar(0.0)
    noisy = diffusion.add_noise(clean, noise, later)
    mean = diffusion.ddim_step(clean, noise, zero, later, earlier, 1.0)
    # sqrt(s^2 - c^2) cancels up to 1e-13 of s^2 where hardly any noise is kept
    torch.testing.assert_close(mean, diffusion.posterior_mean(clean, noisy, later, earlier), rtol=0, atol=1e-6)
    spread = diffusion.ddim_step(zero, zero, scalar(1.0), later, earlier, 1.0)
    torch.testing.assert_close(2 * spread.log(), diffusion.posterior_log_variance(later, earlier), rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_precision_image_is_noised_in_float32(dtype: torch.dtype) -> None:
    clean, noise = images(10, 11, dtype=dtype)
    exact = diffusion.add_noise(clean.double(), noise.double(), levels())
    # two products and a sum of float32 numbers up to 4
    torch.testing.assert_close(diffusion.add_noise(clean, noise, levels()), exact.float(), rtol=0, atol=2e-6)


def test_noise_scales_taken_in_float64_survive_a_half_precision_image() -> None:
    # s = 1e-3: 1 - a^2 in bfloat16 would be 0
    zero, one = torch.zeros(1, 1, 5, 7), torch.ones(1, 1, 5, 7)
    noisy = diffusion.add_noise(zero.bfloat16(), one.bfloat16(), scalar(-1e-6))
    torch.testing.assert_close(noisy.float(), 1e-3 * one, rtol=2**-8, atol=0)

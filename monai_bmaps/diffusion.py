r"""Per-pixel Gaussian diffusion as pure functions of the retained signal power.

``log_retained`` is :math:`L_t = \log(\bar\alpha_t \bar B_t(d)) \le 0` (natural logarithm, per pixel), so that
:math:`q(x_t | x_0) = N(a_t x_0, s_t^2)` with :math:`a_t = e^{L_t/2}` and :math:`s_t^2 = 1 - e^{L_t}`. Every formula of
scalar diffusion keeps its form; ``1 - e^L`` is always taken with ``expm1``. Subscripts as in ``docs/maths.md``:
``t`` is the current, noisier level and ``s`` any earlier one; ``L_s = 0`` is the clean image. All arguments broadcast.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch

from monai_bmaps.types import Image, Retained

PredictionType = Literal["epsilon", "sample", "v_prediction"]

MIN_INVERTIBLE_LOG_RETAINED = -46.0
"""Signal level in nats (-200 dB) below which `clean_from_noise` no longer follows the exact inversion."""


def signal_scale(log_retained: Retained) -> torch.Tensor:
    """Amplitude ``a`` of the clean image."""
    return torch.exp(0.5 * log_retained)


def noise_scale(log_retained: Retained) -> torch.Tensor:
    """Standard deviation ``s`` of the noise."""
    return torch.sqrt(-torch.expm1(log_retained))


def log_snr(log_retained: Retained) -> torch.Tensor:
    """``log(a^2 / s^2)``; +inf for a clean image."""
    return log_retained - log_noise_power(log_retained)


def log_noise_power(log_retained: Retained) -> torch.Tensor:
    """``log(s^2)``; -inf for a clean image."""
    return torch.log(-torch.expm1(log_retained))


def add_noise(clean: Image, noise: Image, log_retained: Retained) -> Image:
    """A draw of ``q(x_t | x_0)``: ``a x_0 + s noise``."""
    return _combine(signal_scale(log_retained), clean, noise_scale(log_retained), noise)


def transition(noisy: Image, log_retained: Retained, log_retained_later: Retained) -> tuple[Image, torch.Tensor]:
    """Mean and variance of ``q(x_t | x_s)``, from the level of ``noisy`` to a later, noisier one."""
    log_ratio = log_retained_later - log_retained
    return _like(signal_scale(log_ratio), noisy) * noisy, -torch.expm1(log_ratio)


def posterior_mean(clean: Image, noisy: Image, log_retained: Retained, log_retained_previous: Retained) -> Image:
    r"""Mean of ``q(x_s | x_t, x_0)``.

    ``c_t x_t + c_0 x_0`` with ``c_t = sqrt(r) s_s^2 / s_t^2``, ``c_0 = a_s (1 - r) / s_t^2``, ``r = e^{L_t - L_s}``.
    The paper prints square roots over all of the numerators; ``docs/maths.md`` derives where they belong.
    """
    log_ratio = log_retained - log_retained_previous
    noise_power = -torch.expm1(log_retained)
    from_noisy = signal_scale(log_ratio) * -torch.expm1(log_retained_previous) / noise_power
    from_clean = signal_scale(log_retained_previous) * -torch.expm1(log_ratio) / noise_power
    return _combine(from_noisy, noisy, from_clean, clean)


def posterior_log_variance(log_retained: Retained, log_retained_previous: Retained) -> torch.Tensor:
    """``log[(1 - r) s_s^2 / s_t^2]``; -inf where the previous level is the clean image."""
    log_step = log_noise_power(log_retained - log_retained_previous)
    return log_step + log_noise_power(log_retained_previous) - log_noise_power(log_retained)


def learned_range_log_variance(values: torch.Tensor, upper: torch.Tensor, lower: torch.Tensor) -> torch.Tensor:
    """Log-variance between two bounds: ``w upper + (1 - w) lower`` with ``w = (values + 1) / 2``.

    Nichol and Dhariwal 2021, eq. 15 (https://arxiv.org/abs/2102.09672).

    Args:
        values: network output, [-1, 1] spans the range.
        upper: ``log(1 - r)``, the log-variance of the forward step.
        lower: posterior log-variance; finite, so clipped at the step that ends in the clean image.
    """
    share = 0.5 * (values + 1.0)
    return _like(lower, values) + share * _like(upper - lower, values)


def prediction_target(clean: Image, noise: Image, log_retained: Retained, prediction_type: PredictionType) -> Image:
    """What a network of this prediction type is trained to output."""
    if prediction_type == "epsilon":
        return noise
    if prediction_type == "sample":
        return clean
    return velocity(clean, noise, log_retained)


def predict_clean(noisy: Image, output: Image, log_retained: Retained, prediction_type: PredictionType) -> Image:
    """The clean image that a network output stands for."""
    if prediction_type == "epsilon":
        return clean_from_noise(noisy, output, log_retained)
    if prediction_type == "sample":
        return output
    return clean_from_velocity(noisy, output, log_retained)


def predict_noise(noisy: Image, output: Image, log_retained: Retained, prediction_type: PredictionType) -> Image:
    """The noise that a network output stands for."""
    if prediction_type == "epsilon":
        return output
    if prediction_type == "sample":
        return noise_from_clean(noisy, output, log_retained)
    return noise_from_velocity(noisy, output, log_retained)


def velocity(clean: Image, noise: Image, log_retained: Retained) -> Image:
    """``v = a noise - s x_0`` (Salimans and Ho 2022, https://arxiv.org/abs/2202.00512)."""
    return _combine(signal_scale(log_retained), noise, -noise_scale(log_retained), clean)


def clean_from_velocity(noisy: Image, velocity: Image, log_retained: Retained) -> Image:
    """``x_0 = a x_t - s v``: no division, so exact at any signal level."""
    return _combine(signal_scale(log_retained), noisy, -noise_scale(log_retained), velocity)


def noise_from_velocity(noisy: Image, velocity: Image, log_retained: Retained) -> Image:
    """``noise = s x_t + a v``."""
    return _combine(noise_scale(log_retained), noisy, signal_scale(log_retained), velocity)


def clean_from_noise(noisy: Image, noise: Image, log_retained: Retained) -> Image:
    """``x_0 = (x_t - s noise) / a``, with ``a`` not below ``exp(MIN_INVERTIBLE_LOG_RETAINED / 2) = 1e-10``.

    The clamp keeps values and gradients finite in float32. It does not make the inversion well-conditioned: an
    error of the predicted noise is multiplied by ``s / a`` long before that level.
    """
    usable = log_retained.clamp(min=MIN_INVERTIBLE_LOG_RETAINED)
    residual = _combine(1.0, noisy, -noise_scale(log_retained), noise)
    return residual / _like(signal_scale(usable), residual)


def noise_from_clean(noisy: Image, clean: Image, log_retained: Retained) -> Image:
    """``noise = (x_t - a x_0) / s``."""
    residual = _combine(1.0, noisy, -signal_scale(log_retained), clean)
    return residual / _like(noise_scale(log_retained), residual)


def ddim_step(
    clean: Image,
    predicted_noise: Image,
    noise: Image | None,
    log_retained: Retained,
    log_retained_previous: Retained,
    eta: float = 0.0,
) -> Image:
    """``x_s = a_s x_0 + sqrt(s_s^2 - c^2) predicted_noise + c noise``, ``c^2 = eta^2`` times the posterior variance.

    Song et al. 2020, eq. 12 (https://arxiv.org/abs/2010.02502). ``eta = 0`` needs no ``noise``; 1 is ancestral.
    """
    noise_power = -torch.expm1(log_retained_previous)
    if eta > 0.0 and noise is None:
        raise ValueError(f"eta={eta} mixes in fresh noise: give noise")
    if eta == 0.0 or noise is None:
        return _combine(signal_scale(log_retained_previous), clean, torch.sqrt(noise_power), predicted_noise)
    share = -torch.expm1(log_retained - log_retained_previous) / -torch.expm1(log_retained)
    fresh = eta**2 * share * noise_power
    mean = _combine(signal_scale(log_retained_previous), clean, torch.sqrt(noise_power - fresh), predicted_noise)
    return mean + _like(torch.sqrt(fresh), noise) * noise


class Level(NamedTuple):
    """What a solver's coefficients are made of at one noise level; steps meet it repeatedly and keep it."""

    log_retained: Retained
    log_snr: torch.Tensor
    signal: torch.Tensor
    noise: torch.Tensor

    @classmethod
    def of(cls, log_retained: Retained) -> Level:
        """From the retained power; for a clean image the log-SNR is +inf."""
        noise_power = -torch.expm1(log_retained)
        log_snr = log_retained - torch.log(noise_power)
        return cls(log_retained, log_snr, signal_scale(log_retained), torch.sqrt(noise_power))


def half_log_snr_step(level: Level, previous: Level) -> torch.Tensor:
    """``h = lambda_s - lambda_t > 0``, with ``lambda = log(a / s)``: how far one step goes towards the clean image."""
    return 0.5 * (previous.log_snr - level.log_snr)


def solver_coefficients(
    level: Level, previous: Level, h: torch.Tensor, stochastic: bool = False
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    r"""Coefficients of ``x_s = from_noisy x_t + from_clean x_0 + fresh noise`` in DPM-Solver++, ``s`` not clean.

    With ``h`` from :func:`half_log_snr_step`, the ODE's are :math:`s_s / s_t`, :math:`a_s (1 - e^{-h})` and 0, which is
    DDIM; the SDE's are :math:`e^{-h} s_s / s_t`, :math:`a_s (1 - e^{-2h})` and :math:`s_s \sqrt{1 - e^{-2h}}`, which is
    ancestral sampling. Lu et al. 2022, eq. 8 and appendix A (https://arxiv.org/abs/2211.01095).
    """
    ratio = previous.noise / level.noise
    if not stochastic:
        return ratio, -previous.signal * torch.expm1(-h), h.new_zeros(())
    share = -torch.expm1(-2.0 * h)
    return ratio * torch.exp(-h), previous.signal * share, previous.noise * torch.sqrt(share)


def clean_coefficients(level: Level, prediction_type: PredictionType) -> tuple[torch.Tensor, torch.Tensor]:
    """Coefficients of ``x_0 = from_noisy x_t + from_output output``, as :func:`predict_clean` has them."""
    if prediction_type == "sample":
        return torch.zeros_like(level.signal), torch.ones_like(level.signal)
    if prediction_type == "v_prediction":
        return level.signal, -level.noise
    inverse = 1.0 / signal_scale(level.log_retained.clamp(min=MIN_INVERTIBLE_LOG_RETAINED))
    return inverse, -inverse * level.noise


def _combine(first_scale: torch.Tensor | float, first: Image, second_scale: torch.Tensor, second: Image) -> Image:
    """``first_scale first + second_scale second``: coefficients are cast once, here."""
    if isinstance(first_scale, torch.Tensor):
        first = _like(first_scale, first) * first
    return first + _like(second_scale, second) * second


def _like(coefficient: torch.Tensor, image: Image) -> torch.Tensor:
    """On the image's device and in its precision, but never in half: the product is then float32."""
    return coefficient.to(device=image.device, dtype=torch.promote_types(image.dtype, torch.float32))

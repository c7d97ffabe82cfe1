r"""Training losses per pixel: weighted squared errors, and the variational bound that trains a learned variance.

The bound's term of step t is the divergence of :math:`p(x_{t-1} | x_t)` from :math:`q(x_{t-1} | x_t, x_0)`, both
Gaussian in every pixel; of the first step, the likelihood of 8-bit grey levels (Nichol and Dhariwal 2021,
https://arxiv.org/abs/2102.09672). With B-maps all of its levels are maps, and nothing else changes.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import nn

from monai_bmaps import diffusion
from monai_bmaps.diffusion import PredictionType
from monai_bmaps.schedulers.ddpm import BMapDDPMScheduler
from monai_bmaps.training import DenoisingTask
from monai_bmaps.types import Image, Retained

Weighting = Literal["uniform", "min_snr"]

_LEVELS = 256
_MIN_PROBABILITY = 1e-12


class BMapDiffusionLoss(nn.Module):
    """The loss of a :class:`~monai_bmaps.training.DenoisingTask`: squared error, plus the bound where it is asked for.

    With a scheduler of ``variance_type="learned_range"`` the network's second half of channels is trained by the bound
    alone (its mean is held fixed), weighted so that the sum over the chain counts 0.001 times: Improved DDPM's hybrid
    loss.

    Args:
        weighting: of the squared error, per pixel: ``"uniform"``, or ``"min_snr"`` (Hang et al. 2023,
            https://arxiv.org/abs/2303.09556), which keeps nearly clean pixels from dominating. An image's weights have
            the mean that the plain chain has at its step, so that a B-map does not change the learning rate.
        gamma: bound of the SNR in min-SNR.
        variance_weight: weight of the bound, summed over the chain, in bits per pixel.

    Raises:
        ValueError: an unknown weighting, or a bound or weight that is not positive.
    """

    def __init__(self, weighting: Weighting = "uniform", gamma: float = 5.0, variance_weight: float = 0.001) -> None:
        super().__init__()
        if weighting not in get_args(Weighting):
            raise ValueError(f"weighting must be one of {', '.join(get_args(Weighting))}, got {weighting!r}")
        if gamma <= 0.0 or variance_weight <= 0.0:
            raise ValueError(f"gamma and variance_weight must be positive, got {gamma} and {variance_weight}")
        self.weighting = weighting
        self.gamma = gamma
        self.variance_weight = variance_weight

    def forward(self, output: Image, task: DenoisingTask) -> torch.Tensor:
        """The mean over pixels and images, a scalar.

        Args:
            output: network output ``(N, C, H, W)``, ``2 C`` channels for a learned variance.
            task: what the network was asked.

        Raises:
            ValueError: another number of channels, or ``variance_type="learned"``.
        """
        scheduler = task.scheduler
        variance_type = getattr(scheduler, "variance_type", "")
        if variance_type == "learned":
            raise ValueError("variance_type 'learned' can be sampled with but is not trained here; use 'learned_range'")
        learned = variance_type == "learned_range"
        expected = task.clean.shape[1] * (2 if learned else 1)
        if output.shape[1] != expected:
            raise ValueError(f"the network must output {expected} channels for {scheduler}, got {output.shape[1]}")
        mean, *values = output.chunk(2, dim=1) if learned else (output,)
        loss = self._squared_error(mean, task)
        if learned:
            bound = variational_bound(mean.detach(), values[0], task).mean()
            loss = loss + self.variance_weight * scheduler.num_train_timesteps * bound
        return loss

    def _squared_error(self, mean: Image, task: DenoisingTask) -> torch.Tensor:
        squared = (mean - task.target).square()
        if self.weighting == "uniform":
            return squared.mean()
        scheduler = task.scheduler
        levels = scheduler.levels_of(task.clean, task.timesteps)
        plain = scheduler.log_alphas_cumprod.to(levels.device)[task.timesteps].reshape(-1, 1, 1, 1)
        weights, plain_weights = (min_snr_weights(x, scheduler.prediction_type, self.gamma) for x in (levels, plain))  # type: ignore[arg-type]
        weights = weights * (plain_weights / weights.mean(dim=(1, 2, 3), keepdim=True))
        return (weights.to(squared.dtype) * squared).mean()


def min_snr_weights(log_retained: Retained, prediction_type: PredictionType, gamma: float = 5.0) -> torch.Tensor:
    """Weights of the squared error under which a pixel's clean image counts ``min(SNR, gamma)``.

    That is ``min(SNR, gamma)`` on the error of the clean image, divided by SNR on epsilon's and by ``SNR + 1`` on v's.

    Args:
        log_retained: any shape.
        prediction_type: what the error is of.
        gamma: the bound.
    """
    log_snr = diffusion.log_snr(log_retained)
    log_weights = log_snr.clamp(max=math.log(gamma))
    if prediction_type == "epsilon":
        log_weights = log_weights - log_snr
    elif prediction_type == "v_prediction":
        log_weights = log_weights - torch.logaddexp(log_snr, torch.zeros_like(log_snr))
    return torch.exp(log_weights)


def variational_bound(mean_output: Image, values: torch.Tensor, task: DenoisingTask) -> torch.Tensor:
    """The bound's term at each image's step, bits per pixel ``(N, C, H, W)``.

    Args:
        mean_output: what the network says of the image, ``(N, C, H, W)``; hand in a detached one to train the variance
            alone.
        values: its variance channels, [-1, 1] spans the range.
        task: what the network was asked.
    """
    scheduler = task.scheduler
    if not isinstance(scheduler, BMapDDPMScheduler):
        raise ValueError(f"the bound needs a BMapDDPMScheduler, got {type(scheduler).__name__}")
    noisy = scheduler.add_noise(task.clean, task.noise, task.timesteps)
    current = scheduler.levels_of(noisy, task.timesteps)
    previous = scheduler.levels_of(noisy, task.timesteps - 1)
    clean = diffusion.predict_clean(noisy, mean_output, current, scheduler.prediction_type)  # type: ignore[arg-type]
    if scheduler.clip_sample:
        clean = clean.clamp(*scheduler.clip_sample_values)
    first = (task.timesteps == 0).reshape(-1, 1, 1, 1)
    lower = _posterior_log_variance(scheduler, task, current, previous)
    upper = diffusion.log_noise_power(current - previous)
    log_variance = diffusion.learned_range_log_variance(values, upper, lower)
    mean = diffusion.posterior_mean(clean, noisy, current, previous)
    true_mean = diffusion.posterior_mean(task.clean, noisy, current, previous)
    divergence = _gaussian_divergence(true_mean, lower.to(values.dtype), mean, log_variance)
    likelihood = _grey_level_log_likelihood(task.clean, mean, log_variance)
    return torch.where(first, -likelihood, divergence) / math.log(2.0)


def _posterior_log_variance(
    scheduler: BMapDDPMScheduler, task: DenoisingTask, current: Retained, previous: Retained
) -> torch.Tensor:
    """Per pixel; at the first step, whose posterior has no width, that of the second."""
    second = torch.ones_like(task.timesteps)
    levels = (scheduler.levels_of(task.clean, second - shift) for shift in (0, 1))
    first = (task.timesteps == 0).reshape(-1, 1, 1, 1)
    log_retained, before = (torch.where(first, x, y) for x, y in zip(levels, (current, previous), strict=True))
    return diffusion.posterior_log_variance(log_retained, before)


def _gaussian_divergence(
    mean: Image, log_variance: torch.Tensor, other_mean: Image, other_log_variance: torch.Tensor
) -> torch.Tensor:
    """KL(N(mean, variance) || N(other)) in nats, elementwise."""
    spread = torch.exp(log_variance - other_log_variance)
    distance = (mean - other_mean).square() * torch.exp(-other_log_variance)
    return 0.5 * (other_log_variance - log_variance + spread + distance - 1.0)


def _grey_level_log_likelihood(image: Image, mean: Image, log_variance: torch.Tensor) -> torch.Tensor:
    """Log-probability of the 8-bit grey level that ``image`` in [-1, 1] stands for; the end levels take the tails."""
    half = 1.0 / (_LEVELS - 1)
    deviation = torch.exp(0.5 * log_variance)
    above = torch.where(image > 1.0 - half, torch.inf, (image + half - mean) / deviation)
    below = torch.where(image < -1.0 + half, -torch.inf, (image - half - mean) / deviation)
    # in the tail where the difference does not cancel
    flip = below > 0.0
    upper = torch.where(flip, -below, above)
    lower = torch.where(flip, -above, below)
    probability = torch.special.ndtr(upper) - torch.special.ndtr(lower)
    return torch.log(probability.clamp(min=_MIN_PROBABILITY))

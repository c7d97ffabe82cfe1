"""Exact laws that tests compare against: a Gaussian with its exact denoiser, and the B-map as first defined.

Nothing here imports the arithmetic it checks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
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

    The sampler must not remember earlier steps. For a Gaussian each step is affine, ``gain x + offset + spread z``.
    Three columns with known noise z and input x = 0, 0, 1 reveal the three coefficients. Works for MONAI's schedulers
    too (``alphas_cumprod`` instead of ``log_retained``). ``learned`` variances are asked for by ``values=``.
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


@dataclass(frozen=True)
class GaussianColumn:
    """Images of one column, jointly normal with mean 0: what happens at one depth tells about the others.

    Args:
        covariance: ``(H, H)`` float64.
    """

    covariance: Tensor

    @classmethod
    def smooth(cls, rows: int, reach: float) -> GaussianColumn:
        """Unit variance and neighbours correlated over ``reach`` rows, with a little of each row's own."""
        rank = torch.arange(rows, dtype=torch.float64)
        covariance = torch.exp(-0.5 * ((rank[:, None] - rank) / reach) ** 2) + 1e-3 * torch.eye(rows).double()
        return cls(covariance * rows / covariance.trace())

    def denoisers(self, log_retained: Tensor) -> Tensor:
        """The matrices ``W`` of ``E[x_0 | x_t] = W x_t``, ``(..., H, H)``, at levels ``(..., H)``."""
        signal, noise_power = torch.exp(0.5 * log_retained), -torch.expm1(log_retained)
        joint = signal[..., :, None] * self.covariance * signal[..., None, :] + torch.diag_embed(noise_power)
        return torch.linalg.solve(joint, signal[..., :, None] * self.covariance).mT

    def frechet_share(self, covariance: Tensor) -> float:
        """Squared Frechet distance to a normal law of mean 0, as a share of this one's trace."""
        root = _root(self.covariance)
        shared = _root(root @ covariance @ root).trace()
        trace = self.covariance.trace()
        return float((trace + covariance.trace() - 2 * shared) / trace)


def sampled_covariance(scheduler: Any, law: GaussianColumn) -> Tensor:
    """Exact covariance of what a sampler makes of standard normal noise with ``law``'s denoiser.

    ``scheduler`` is bound, predicts the clean image and does not clamp. A step is ``p x_t + q D_t + r D_earlier + c z``
    in every pixel, ``D`` being the clean images predicted now and one step before; the joint covariance of
    ``(x, D_earlier)`` is carried through.
    """
    steps, rows = scheduler.timesteps.tolist(), len(law.covariance)
    denoisers = law.denoisers(torch.stack([scheduler.log_retained(t).flatten() for t in steps]))
    joint = torch.zeros(2 * rows, 2 * rows, dtype=torch.float64)
    joint[:rows, :rows] = torch.eye(rows)
    for position, (t, denoiser) in enumerate(zip(steps, denoisers, strict=True)):
        before = steps[position - 1] if position and hasattr(scheduler, "solver_order") else None
        p, q, r, c = step_coefficients(scheduler, t, before, rows)
        move = torch.zeros_like(joint)
        move[:rows, :rows] = p.diag() + q[:, None] * denoiser
        move[:rows, rows:] = r.diag()
        move[rows:, :rows] = denoiser
        joint = move @ joint @ move.T
        joint[:rows, :rows] += (c**2).diag()
    return joint[:rows, :rows]


def step_coefficients(scheduler: Any, t: int, before: int | None, rows: int) -> Tensor:
    """What a step multiplies ``x_t``, the clean image, the one predicted before and fresh noise by: ``(4, rows)``.

    Seen from outside, with columns of ones in one of the three and known noise. ``before`` is the step taken before
    this one, if there was one and the sampler remembers it.
    """
    ones = torch.eye(4, 3, dtype=torch.float64)[:, :, None, None, None].expand(4, 3, 1, rows, 1)
    noisy, clean, earlier = ones.unbind(1)
    if before is not None:
        scheduler.step(earlier, before, noisy)
    moved, _ = scheduler.step(clean, t, noisy, generator=_seeded(t))
    z = torch.randn(noisy.shape, generator=_seeded(t), dtype=torch.float64).reshape(4, rows)
    moved = moved.reshape(4, rows)
    fresh = moved[3] / z[3]
    return torch.cat([moved[:3] - fresh * z[:3], fresh[None]])


def exact_flow(law: GaussianColumn, levels: Callable[[Tensor], Tensor], start: float, end: float, count: int) -> Tensor:
    """The matrix by which the probability-flow ODE of ``law`` moves ``x`` from time ``start`` to ``end``.

    ``dx = (x - a D) s'/s + a' D`` in every pixel, by the classical Runge-Kutta method in time.

    Args:
        law: the Gaussian.
        levels: log retained power ``(N, H)`` at times ``(N,)``.
        start: time at the noisy end.
        end: time at the clean end.
        count: number of Runge-Kutta steps.
    """
    times = torch.linspace(start, end, 2 * count + 1, dtype=torch.float64).requires_grad_()
    retained = levels(times)
    slopes = torch.stack([torch.autograd.grad(row.sum(), times, retain_graph=True)[0] for row in retained.T], dim=1)
    retained = retained.detach()
    power, noise_power = retained.exp(), -torch.expm1(retained)
    fade, signal = -0.5 * slopes * power / noise_power, torch.exp(0.5 * retained)  # s'/s, a
    field = torch.diag_embed(fade) + (signal * (0.5 * slopes - fade))[..., None] * law.denoisers(retained)
    moved, width = torch.eye(len(law.covariance), dtype=torch.float64), (end - start) / count
    for k in range(0, 2 * count, 2):
        first = field[k] @ moved
        second = field[k + 1] @ (moved + 0.5 * width * first)
        third = field[k + 1] @ (moved + 0.5 * width * second)
        fourth = field[k + 2] @ (moved + width * third)
        moved = moved + width / 6 * (first + 2 * second + 2 * third + fourth)
    return moved


def cosine_levels(depth: Tensor, nats: float) -> Callable[[Tensor], Tensor]:
    """Log retained power of the cosine schedule under a T-invariant B-map, ``(N, H)`` at times ``(N,)`` in [0, 1]."""

    def levels(times: Tensor) -> Tensor:
        angle = (times + 0.008) / 1.008 * (math.pi / 2)
        start = math.cos(0.008 / 1.008 * math.pi / 2)
        return 2 * torch.log(torch.cos(angle) / start)[:, None] - nats * depth * times[:, None] ** 1.5

    return levels


def multistep(noisy: Any, clean: Any, earlier: Any, levels: tuple[Any, Any, Any], noise: Any = None) -> Any:
    """One step of DPM-Solver++(2M) in numpy: algorithm 2 of Lu et al. 2022, https://arxiv.org/abs/2211.01095.

    Args:
        noisy: ``x_t``.
        clean: data prediction at ``t``.
        earlier: data prediction at the step before, or ``None``: first order.
        levels: ``log(alpha^2)`` at the step before, at ``t`` and at the step after.
        noise: standard normal draw of the SDE variant, or ``None`` for the ODE.
    """
    alphas, sigmas = [np.exp(level / 2) for level in levels], [np.sqrt(1 - np.exp(level)) for level in levels]
    before, now, then = (np.log(alpha / sigma) for alpha, sigma in zip(alphas, sigmas, strict=True))
    h, data = then - now, clean
    if earlier is not None:
        r = (now - before) / h
        data = (1 + 1 / (2 * r)) * clean - 1 / (2 * r) * earlier
    if noise is None:
        return sigmas[2] / sigmas[1] * noisy - alphas[2] * (np.exp(-h) - 1) * data
    kept, gained = sigmas[2] / sigmas[1] * np.exp(-h) * noisy, alphas[2] * (1 - np.exp(-2 * h)) * data
    return kept + gained + sigmas[2] * np.sqrt(1 - np.exp(-2 * h)) * noise


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


def _root(matrix: Tensor) -> Tensor:
    """Symmetric square root of a covariance."""
    values, vectors = torch.linalg.eigh(0.5 * (matrix + matrix.T))
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T

r"""A column of correlated Gaussian pixels with its exact denoiser: what samplers draw of it is known in closed form.

16 pixels at depths 0 to 1, Gaussian correlation over two pixels. Its denoiser is linear, so a sampler maps covariances
to covariances: no samples, no noise of measurement. Errors are Bures distances
:math:`\mathrm{tr}(S + C - 2 (C^{1/2} S C^{1/2})^{1/2})` as a share of the trace of C. Nothing here is the package's.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

PIXELS, CORRELATION, RIDGE = 16, 2.0, 1e-3
DEPTH = np.linspace(0.0, 1.0, PIXELS)


@dataclass(frozen=True)
class Setting:
    """A chain over the column.

    Args:
        total: T.
        nats: attenuation at full depth over all steps.
        variance: of a pixel. Frames in [-1, 1] have about 0.1, the customary test case 1.
    """

    total: int
    nats: float
    variance: float = 1.0


@functools.cache
def covariance_of(variance: float) -> np.ndarray:
    """C."""
    distance = np.subtract.outer(np.arange(PIXELS), np.arange(PIXELS))
    found = np.exp(-(distance**2) / (2 * CORRELATION**2)) + RIDGE * np.eye(PIXELS)
    return np.asarray(found * variance / found[0, 0])


@functools.cache
def log_retained(setting: Setting) -> np.ndarray:
    """``log(abar_t Bbar_t(d))``, ``(T, pixels)``: cosine schedule (Nichol and Dhariwal 2021) and Beer-Lambert map."""
    u = np.arange(setting.total + 1) / setting.total
    f = np.cos((u + 0.008) / 1.008 * np.pi / 2) ** 2
    log_alphas = np.log1p(-np.minimum(1 - f[1:] / f[:-1], 0.999))
    return np.asarray(np.cumsum(log_alphas)[:, None] - setting.nats * u[1:, None] ** 1.5 * DEPTH)


@functools.cache
def denoiser(setting: Setting, t: int) -> np.ndarray:
    """W in ``E[x_0 | x_t] = W x_t``."""
    level, covariance = log_retained(setting)[t], covariance_of(setting.variance)
    a, noise_power = np.exp(level / 2), -np.expm1(level)
    return np.asarray(covariance * a @ np.linalg.inv(a[:, None] * covariance * a + np.diag(noise_power)))


def error(setting: Setting, drawn: np.ndarray) -> float:
    """Squared Frechet distance of what was drawn, given its covariance, to the law, as a share of the law's trace."""
    wanted = covariance_of(setting.variance)
    root = _root(wanted)
    distance = np.trace(drawn) + np.trace(wanted) - 2 * np.trace(_root(root @ drawn @ root))
    return float(distance / np.trace(wanted))


def _root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return np.asarray(vectors * np.sqrt(values.clip(min=0)) @ vectors.T)

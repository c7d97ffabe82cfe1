"""The references of the exact-denoiser benchmark, written from the papers' equations over the exact law."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.exact_law import PIXELS, Setting, denoiser, log_retained


def uniform(total: int, count: int) -> list[int]:
    """Evenly spaced steps from T - 1 to 0."""
    return [int(t) for t in np.linspace(total - 1, 0, count).round()]


def ancestral_covariance(setting: Setting, steps: Sequence[int]) -> np.ndarray:
    """What ancestral sampling over ``steps`` draws, with the posterior of Dominguez et al. 2024 between them."""
    levels, covariance = log_retained(setting), np.eye(PIXELS)
    for t, s in zip(steps, [*steps[1:], -1], strict=True):
        now, then = levels[t], levels[s] if s >= 0 else np.zeros(PIXELS)
        ratio, noise_power = now - then, -np.expm1(now)
        from_noisy = np.exp(ratio / 2) * -np.expm1(then) / noise_power
        from_clean = np.exp(then / 2) * -np.expm1(ratio) / noise_power
        step = np.diag(from_noisy) + from_clean[:, None] * denoiser(setting, t)
        variance = -np.expm1(ratio) * -np.expm1(then) / noise_power
        covariance = step @ covariance @ step.T + np.diag(variance)
    return np.asarray(covariance)


def unipc_covariance(setting: Setting, steps: Sequence[int]) -> np.ndarray:
    """What UniPC of second order draws (Zhao et al. 2023, https://arxiv.org/abs/2302.04867), B(h) = e^h - 1.

    The corrector uses the evaluation made at the end of a step to repeat that step; the last evaluation is the result.
    """
    chain, image = _Chain(setting, steps), np.eye(PIXELS)
    before = image
    clean: list[np.ndarray] = []
    for k, t in enumerate(steps):
        clean.append(denoiser(setting, t) @ image)
        if k:
            image = chain.corrected(k, before, clean)
        if k + 1 < len(steps):
            before, image = image, chain.predicted(k + 1, image, clean)
    return np.asarray(clean[-1] @ clean[-1].T)


class _Chain:
    """UniPC's steps: ``k`` is the number of the level arrived at."""

    def __init__(self, setting: Setting, steps: Sequence[int]) -> None:
        levels = log_retained(setting)[list(steps)][..., None]
        self.a, self.s = np.exp(levels / 2), np.sqrt(-np.expm1(levels))
        self.lam = np.log(self.a / self.s)

    def predicted(self, k: int, image: np.ndarray, clean: Sequence[np.ndarray]) -> np.ndarray:
        """UniP-2, which is 2M; of first order at first."""
        moved, scale, _ = self._first_order(k, image, clean)
        return moved if k < 2 else np.asarray(moved + scale * 0.5 * self._slope(k, clean))

    def corrected(self, k: int, image: np.ndarray, clean: Sequence[np.ndarray]) -> np.ndarray:
        """UniC-2: weights that make two conditions of order hold, eq. 10 of the paper."""
        moved, scale, h = self._first_order(k, image, clean)
        change, b = clean[k] - clean[k - 1], np.expm1(-h)
        if k < 2:
            return np.asarray(moved + scale * 0.5 * change)
        first = (b / -h - 1) / b
        second = 2 * (first * b / -h - 0.5) / b
        share = (first - second) / (1 - self._ratio(k))
        return np.asarray(moved + scale * (share * self._slope(k, clean) + (first - share) * change))

    def _first_order(
        self, k: int, image: np.ndarray, clean: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        h = self.lam[k] - self.lam[k - 1]
        scale = -self.a[k] * np.expm1(-h)
        return self.s[k] / self.s[k - 1] * image + scale * clean[k - 1], scale, h

    def _ratio(self, k: int) -> np.ndarray:
        return np.asarray((self.lam[k - 2] - self.lam[k - 1]) / (self.lam[k] - self.lam[k - 1]))

    def _slope(self, k: int, clean: Sequence[np.ndarray]) -> np.ndarray:
        return np.asarray((clean[k - 2] - clean[k - 1]) / self._ratio(k))

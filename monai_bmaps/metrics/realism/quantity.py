"""Real against synthetic values of one quantity: medians, distance, interval and what distance means nothing.

The distance is Wasserstein-1, the area between two distribution functions, in the quantity's own unit. Its interval
resamples groups (patients, sweeps, exams), not images. The floor is the same distance between two halves of the real
images that share no group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp, wasserstein_distance

from monai_bmaps.metrics.findings import Measured, Picks, bootstrap_picks, interval, rows_by_group
from monai_bmaps.metrics.realism.frame import Numbers

_FEWEST = 2  # images with a value, to speak of a distribution
_FEWEST_GROUPS = 4  # for two halves of the real images


@dataclass(frozen=True)
class Quantity:
    """A quantity that an image has.

    Args:
        key: short name.
        name: for people, without the unit.
        unit: of its values and of its distance.
        needs: what an image must have to have a value, and what to do where it has not.
        shape: whether the Kolmogorov-Smirnov statistic is also told.
    """

    key: str
    name: str
    unit: str
    needs: str
    shape: bool = False

    @property
    def label(self) -> str:
        """Name and unit, for an axis."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name


@dataclass(frozen=True)
class Resampling:
    """Which images the bootstrap samples and the halves take, the same for every quantity.

    Args:
        real: groups of the real images.
        synthetic: groups of the synthetic images.
        samples: how many bootstrap samples.
        halvings: how many ways to halve the real images.
        seed: of the draws.
    """

    real: tuple[str, ...]
    synthetic: tuple[str, ...]
    samples: int = 200
    halvings: int = 50
    seed: int = 0

    @cached_property
    def picks(self) -> list[Picks]:
        """Real and synthetic images of every bootstrap sample."""
        return bootstrap_picks(self.real, self.synthetic, self.samples, self.seed)

    @cached_property
    def halves(self) -> list[Picks]:
        """The real images in two halves without a group in common; empty with fewer than four groups."""
        generator, members = np.random.default_rng(self.seed), rows_by_group(self.real)
        if len(members) < _FEWEST_GROUPS:
            return []
        shuffled = [generator.permutation(len(members)) for _ in range(self.halvings)]
        middle = len(members) // 2
        return [
            (np.concatenate([members[k] for k in order[:middle]]), np.concatenate([members[k] for k in order[middle:]]))
            for order in shuffled
        ]


def distance(real: Numbers, synthetic: Numbers) -> float:
    """Wasserstein-1 between values ``(N,)``, or its mean over the columns of ``(N, columns)``; NaN is no value.

    Columns in which either has fewer than two values do not count; NaN where none does.
    """
    columns = [(x[np.isfinite(x)], y[np.isfinite(y)]) for x, y in zip(_columns(real), _columns(synthetic), strict=True)]
    found = [float(wasserstein_distance(x, y)) for x, y in columns if min(len(x), len(y)) >= _FEWEST]
    return float(np.mean(found)) if found else float("nan")


def _columns(values: Numbers) -> NDArray[Any]:
    return values.reshape(len(values), -1).T


def compare(quantity: Quantity, real: Numbers, synthetic: Numbers, resampling: Resampling) -> list[Measured]:
    """The rows of one quantity: distance, floor, medians and, if asked, Kolmogorov-Smirnov's statistic.

    Args:
        quantity: what it is.
        real: ``(N,)``, or ``(N, bins)`` of a profile, which has no medians; NaN where an image has no value.
        synthetic: ``(M,)`` or ``(M, bins)``.
        resampling: of the same N and M images.

    Returns:
        Keys ``<key>_distance``, ``_floor``, ``_real``, ``_synthetic`` and ``_ks``; of what cannot be told, one row
        ``<key>`` that says why.
    """
    counts = {"real": _count(real), "synthetic": _count(synthetic)}
    measured = distance(real, synthetic)
    if min(counts.values()) < _FEWEST or not np.isfinite(measured):
        few = " and ".join(f"{number} of the {which} images" for which, number in counts.items() if number < _FEWEST)
        reason = f"{few or 'no depth at which both sets'} have a value: {quantity.needs}"
        return [Measured(quantity.key, quantity.label, left_out=reason)]
    drawn = np.array([distance(real[rows], synthetic[others]) for rows, others in resampling.picks])
    bounds = interval(measured, drawn[np.isfinite(drawn)], lowest=0.0) if np.isfinite(drawn).any() else None
    rows = [
        Measured(f"{quantity.key}_distance", f"{quantity.label}: distance (W1)", measured, bounds, counts),
        _floor(quantity, real, resampling),
    ]
    if real.ndim == 1:
        picks_real, picks_synthetic = zip(*resampling.picks, strict=True)
        rows.append(_median(quantity, "real", real, picks_real))
        rows.append(_median(quantity, "synthetic", synthetic, picks_synthetic))
    if quantity.shape:
        statistic = float(ks_2samp(_known(real), _known(synthetic), method="asymp").statistic)
        rows.append(Measured(f"{quantity.key}_ks", f"{quantity.name}: Kolmogorov-Smirnov", statistic, counts=counts))
    return rows


def _count(values: Numbers) -> int:
    return int(np.isfinite(_columns(values)).any(0).sum())


def _known(values: Numbers) -> Numbers:
    return values[np.isfinite(values)]


def _median(quantity: Quantity, which: str, values: Numbers, picks: Sequence[NDArray[Any]]) -> Measured:
    """A set's median over images, and its 95 % interval over the bootstrap samples."""
    drawn = np.array([np.median(known) for rows in picks if len(known := _known(values[rows]))])
    low, high = np.quantile(drawn, [0.025, 0.975])
    bounds = (float(low), float(high))
    name = f"{quantity.label}: median, {which}"
    return Measured(f"{quantity.key}_{which}", name, float(np.median(_known(values))), bounds, {which: _count(values)})


def _floor(quantity: Quantity, real: Numbers, resampling: Resampling) -> Measured:
    """The median distance of halves of the real images, and its middle 95 %."""
    key, name = f"{quantity.key}_floor", f"{quantity.label}: floor (W1 of two halves of the real images)"
    found = np.array([distance(real[first], real[second]) for first, second in resampling.halves])
    found = found[np.isfinite(found)]
    if len(found) == 0:
        why = f"halves need {_FEWEST_GROUPS} groups of real images with a value; give more patients"
        return Measured(key, name, left_out=why)
    low, high = np.quantile(found, [0.025, 0.975])
    return Measured(key, name, float(np.median(found)), (float(low), float(high)), {"real": _count(real)})

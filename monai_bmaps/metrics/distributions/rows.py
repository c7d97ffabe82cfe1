"""Numbers that compare distributions of features: Frechet and kernel distance, precision, recall, density, coverage.

Each comes with its interval, the sizes of its sets, and its floor: what it is between real images.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from monai_bmaps.metrics.distributions.feature_sets import Contrast
from monai_bmaps.metrics.distributions.features import POOLS
from monai_bmaps.metrics.distributions.frechet import distances, resampled_distances
from monai_bmaps.metrics.distributions.kernel import KernelDistance
from monai_bmaps.metrics.distributions.manifold import NEIGHBOURS, manifold_measures
from monai_bmaps.metrics.findings import Measured, Picks, bootstrap_picks, interval

_FRECHET = "Frechet distance"
_KERNEL = "Kernel distance (KID, cubic, unbiased)"
_SUBSETS = 20


def distribution_rows(pairs: Sequence[Contrast], *, resamplings: int = 200, verbose: bool = False) -> list[Measured]:
    """Frechet and kernel distances, precision, recall, density and coverage; arguments as :func:`frechet_rows`."""
    return [
        *frechet_rows(pairs, resamplings=resamplings, verbose=verbose),
        *kernel_rows(pairs, resamplings=resamplings),
        *manifold_rows(pairs, resamplings=resamplings),
    ]


def frechet_rows(pairs: Sequence[Contrast], *, resamplings: int = 200, verbose: bool = False) -> list[Measured]:
    """Frechet distances at both max-pools with 95 % bootstrap intervals over groups.

    Args:
        pairs: the comparison and its floor; where that is of more images than the comparison's, its value for as many
            is added.
        resamplings: bootstrap samples.
        verbose: show progress bars.
    """
    rows = [row for pair in pairs for row in _frechet(pair, resamplings, verbose)]
    return rows + [row for floor in pairs[1:] for row in _floor_of_count(floor, len(pairs[0].first))]


def kernel_rows(pairs: Sequence[Contrast], *, resamplings: int = 200) -> list[Measured]:
    """Kernel distances (KID) at both max-pools: mean over subsets, its interval, standard deviation over subsets.

    Args:
        pairs: the comparison and its floor.
        resamplings: bootstrap samples over groups, for the interval.
    """
    return [row for pair in pairs for pool in reversed(POOLS) for row in _kernel(pair, pool, resamplings)]


def manifold_rows(pairs: Sequence[Contrast], *, resamplings: int = 200) -> list[Measured]:
    """Precision, recall, density and coverage at both max-pools.

    The intervals are over the images (by group) that are judged; the balls of the other set stay as they are.

    Args:
        pairs: the comparison and its floor.
        resamplings: bootstrap samples over groups.
    """
    return [row for pair in pairs for pool in reversed(POOLS) for row in _manifold(pair, pool, resamplings)]


def _frechet(contrast: Contrast, resamplings: int, verbose: bool) -> list[Measured]:
    first, second = contrast.first, contrast.second
    if (lacking := _too_few(contrast, 2)) is not None:
        return [_left_out(contrast, "", _FRECHET, pool, lacking) for pool in reversed(POOLS)]
    found = distances(first.features, second.features)
    drawn = resampled_distances(
        first.features,
        second.features,
        _picks(contrast, resamplings),
        description=f"bootstrap, {first.name} against {second.name}" if verbose else None,
    )
    return [
        Measured(
            contrast.key("", pool),
            contrast.named(_FRECHET, pool),
            found[pool],
            interval(found[pool], drawn[pool], lowest=0.0),
            contrast.counts,
        )
        for pool in reversed(POOLS)
    ]


def _floor_of_count(floor: Contrast, count: int) -> list[Measured]:
    """The floor of sets as small as the synthetic one: small sets lie further apart, however good they are."""
    training, real = floor.first, floor.second
    if count >= len(training) or min(count, len(real)) < 2:
        return []
    generator = torch.Generator().manual_seed(0)
    subsets = [training.chosen(torch.randperm(len(training), generator=generator)[:count]) for _ in range(_SUBSETS)]
    found = [distances(subset.features, real.features) for subset in subsets]
    title = f"floor: {count} {training.name} frames (mean of {_SUBSETS} draws)"
    contrast = Contrast(subsets[0], real, title, "floor_same_count_")
    return [
        Measured(
            contrast.key("", pool),
            contrast.named(_FRECHET, pool),
            sum(each[pool] for each in found) / _SUBSETS,
            counts=contrast.counts,
        )
        for pool in reversed(POOLS)
    ]


def _kernel(contrast: Contrast, pool: int, resamplings: int) -> list[Measured]:
    if (lacking := _too_few(contrast, 4)) is not None:
        return [_left_out(contrast, "kernel", _KERNEL, pool, lacking)]
    kernel = KernelDistance(contrast.first.features[pool], contrast.second.features[pool])
    subsets = kernel.of_subsets()
    drawn = kernel.resampled(_picks(contrast, resamplings))
    estimate = float(subsets.mean())
    size = min(contrast.counts.values()) // 2
    return [
        Measured(
            contrast.key("kernel", pool),
            contrast.named(_KERNEL, pool),
            estimate,
            interval(estimate, drawn[np.isfinite(drawn)]),
            contrast.counts,
        ),
        Measured(
            contrast.key("kernel_deviation", pool),
            f"{contrast.named(_KERNEL, pool)}, standard deviation over {len(subsets)} subsets of {size}",
            float(subsets.std(ddof=1)),
            counts=contrast.counts,
        ),
    ]


def _manifold(contrast: Contrast, pool: int, resamplings: int) -> list[Measured]:
    measures = ("precision", "recall", "density", "coverage")
    names = {measure: contrast.named(f"{measure.capitalize()} (k = {NEIGHBOURS})", pool) for measure in measures}
    keys = {measure: contrast.key(measure, pool) for measure in measures}
    if (lacking := _too_few(contrast, NEIGHBOURS + 1)) is not None:
        return [Measured(keys[each], names[each], counts=contrast.counts, left_out=lacking) for each in measures]
    found = manifold_measures(contrast.first.features[pool], contrast.second.features[pool])
    picks = _picks(contrast, resamplings)
    rows = []
    for measure, judged in zip(measures, (0, 1, 0, 1), strict=True):
        values = getattr(found, measure).numpy()
        estimate = float(values.mean())
        drawn = np.array([values[pick[judged]].mean() for pick in picks])
        low, high = interval(estimate, drawn, lowest=0.0)
        high = high if measure == "density" else min(high, 1.0)
        rows.append(Measured(keys[measure], names[measure], estimate, (low, high), contrast.counts))
    return rows


def _picks(contrast: Contrast, resamplings: int) -> list[Picks]:
    return [
        pick
        for pick in bootstrap_picks(contrast.first.groups, contrast.second.groups, resamplings)
        if min(map(len, pick)) > 1
    ]


def _too_few(contrast: Contrast, least: int) -> str | None:
    short = [f"{count} {name}" for name, count in contrast.counts.items() if count < least]
    return f"needs at least {least} images of each set, got {', '.join(short)}; give more" if short else None


def _left_out(contrast: Contrast, measure: str, name: str, pool: int, why: str) -> Measured:
    return Measured(contrast.key(measure, pool), contrast.named(name, pool), counts=contrast.counts, left_out=why)

"""The families of measures that compare distributions, as sections of a report."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from monai_bmaps.metrics.distributions.feature_sets import Contrast
from monai_bmaps.metrics.distributions.features import POOLS
from monai_bmaps.metrics.distributions.figures import draw_beside_floors
from monai_bmaps.metrics.distributions.rows import frechet_rows, kernel_rows, manifold_rows
from monai_bmaps.metrics.findings import Findings

_VARIANT = (
    "Features of the FID Inception's first two max-pools, as pytorch-fid computes them (`dims` 64 and 192): 8-bit "
    "pixels, half-pixel bilinear resize to 299 x 299, spatial mean. Other libraries and layers give other numbers."
)
_FEW = 10
"""Times as many images as features, below which the bias of a Frechet distance is no longer small."""


def measure_frechet(
    pairs: Sequence[Contrast], *, floor_of_halves: bool = False, resamplings: int = 200, verbose: bool = False
) -> Findings:
    """Frechet distances with intervals and floors.

    Args:
        pairs: the comparison and its floor.
        floor_of_halves: whether the floor is of halves of the real frames, which is said then.
        resamplings: bootstrap samples.
        verbose: show progress bars.
    """
    rows = frechet_rows(pairs, resamplings=resamplings, verbose=verbose)
    notes = [_VARIANT, *warnings_of_size([*pairs[0].counts.values()])]
    if floor_of_halves:
        notes.append("The floor is of two halves of the real frames, half as many each: of whole sets it is lower.")
    draw = partial(draw_beside_floors, rows, "", "Frechet distance")
    return Findings("Frechet distance", rows, {"frechet.png": draw}, notes)


def measure_kernel(pairs: Sequence[Contrast], *, resamplings: int = 200) -> Findings:
    """Kernel distances with intervals and floors; arguments as :func:`measure_frechet`."""
    rows = kernel_rows(pairs, resamplings=resamplings)
    notes = [
        "Same features as the Frechet distance, not the 2048 of published KIDs. Without bias for any number of images: "
        "0 is expected of one law, and negative values are noise around it."
    ]
    draw = partial(draw_beside_floors, rows, "kernel_", "Kernel distance")
    return Findings("Kernel distance (KID)", rows, {"kernel.png": draw}, notes)


def measure_manifold(pairs: Sequence[Contrast], *, resamplings: int = 200) -> Findings:
    """Precision, recall, density and coverage with intervals and floors; arguments as :func:`measure_frechet`."""
    rows = manifold_rows(pairs, resamplings=resamplings)
    notes = [
        "Low precision or density: images that look like no real one. Low recall or coverage: real images that nothing "
        "synthetic is like. All depend on the numbers of images; the floor's are other numbers of images."
    ]
    return Findings("Precision, recall, density, coverage", rows, {}, notes)


def warnings_of_size(counts: Sequence[int]) -> list[str]:
    """What to know where sets are too small for the number of features."""
    fewest = min(counts)
    found = []
    for features, place in POOLS.items():
        if fewest <= features:
            found.append(
                f"Too few images for {place}: {fewest} span at most {max(0, fewest - 1)} of its directions. How much "
                "that adds to the Frechet distance, only the floor tells; the kernel distance is without this bias."
            )
        elif fewest < _FEW * features:
            found.append(
                f"Few images for {place}: {fewest}, less than {_FEW} times its features. The Frechet distance lies "
                "above what it would be of many: compare with its floor and with sets of the same sizes only."
            )
    return found

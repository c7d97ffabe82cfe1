"""The families of measures that a report has: each a function of what is compared, listed in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from monai_bmaps.metrics.comparison.inputs import Inputs
from monai_bmaps.metrics.comparison.overview import measure_images
from monai_bmaps.metrics.distributions import POOLS, measure_frechet, measure_kernel, measure_manifold
from monai_bmaps.metrics.findings import Findings, Measured
from monai_bmaps.metrics.memorisation import measure_memorisation
from monai_bmaps.metrics.obedience import measure_obedience
from monai_bmaps.metrics.pairs import measure_pairs

Family: TypeAlias = Callable[[Inputs], Findings]


def _images(inputs: Inputs) -> Findings:
    """How many images there are, and samples of them."""
    return measure_images(inputs.real, inputs.synthetic, inputs.training)


def _frechet(inputs: Inputs) -> Findings:
    """Frechet distances between synthetic and real images."""
    settings, halves = inputs.settings, inputs.training is None
    return measure_frechet(
        inputs.contrasts, floor_of_halves=halves, resamplings=settings.resamplings, verbose=inputs.verbose
    )


def _kernel(inputs: Inputs) -> Findings:
    """Kernel distances between synthetic and real images."""
    return measure_kernel(inputs.contrasts, resamplings=inputs.settings.resamplings)


def _manifold(inputs: Inputs) -> Findings:
    """Whether synthetic images lie where real ones do."""
    return measure_manifold(inputs.contrasts, resamplings=inputs.settings.resamplings)


def _pairs(inputs: Inputs) -> Findings:
    """LPIPS, SSIM and PSNR of corresponding pairs."""
    settings = inputs.settings
    return measure_pairs(
        inputs.real,
        inputs.synthetic,
        lpips=settings.lpips,
        net=settings.lpips_net,
        resamplings=settings.resamplings,
    )


def _realism(inputs: Inputs) -> Findings:
    """Depth profiles, speckle, contrast and beam."""
    from monai_bmaps.metrics.realism import measure_realism  # needs the extra

    settings = inputs.settings
    return measure_realism(
        inputs.real,
        inputs.synthetic,
        dynamic_range_db=settings.dynamic_range_db,
        resamplings=settings.resamplings,
    )


def _memorisation(inputs: Inputs) -> Findings:
    """Nearness to training images, in pixels and at the Inception's second max-pool."""
    if inputs.training is None:
        return _without_training("memorisation", "Memorisation")
    try:
        sets = inputs.features | inputs.mirrored_features
        features = {role: found.features[max(POOLS)] for role, found in sets.items()}
    except (OSError, ValueError):
        features = None  # the distances say why
    return measure_memorisation(inputs.real, inputs.synthetic, inputs.training, features=features)


def _obedience(inputs: Inputs) -> Findings:
    """Dice of a segmenter that was trained on the training images."""
    if inputs.training is None:
        return _without_training("obedience", "Obedience")
    bar = "obedience: segmenter" if inputs.verbose else None
    sets = (inputs.real, inputs.synthetic, inputs.training)
    return measure_obedience(*sets, settings=inputs.settings.segmenter, cache=inputs.segmenters, description=bar)


FAMILIES: Mapping[str, Family] = {
    "images": _images,
    "frechet": _frechet,
    "kernel": _kernel,
    "manifold": _manifold,
    "pairs": _pairs,
    "realism": _realism,
    "obedience": _obedience,
    "memorisation": _memorisation,
}
"""What a report has, in this order; a further family is one line here."""


def _without_training(key: str, title: str) -> Findings:
    reason = "the images that the model was trained on are not known; name their data set (--train)"
    return Findings(title, [Measured(key, title, left_out=reason)])

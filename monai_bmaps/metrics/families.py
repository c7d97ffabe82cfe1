"""The families of measures that a report has: each a function of what is compared, listed in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeAlias

import torch

from monai_bmaps.metrics.compared import Compared
from monai_bmaps.metrics.distributions import POOLS, measure_frechet, measure_kernel, measure_manifold
from monai_bmaps.metrics.figures import draw_samples
from monai_bmaps.metrics.findings import Findings, Measured
from monai_bmaps.metrics.images import ImageSet
from monai_bmaps.metrics.memorisation import measure_memorisation
from monai_bmaps.metrics.obedience import measure_obedience
from monai_bmaps.metrics.pairs import measure_pairs, pairs_of

Family: TypeAlias = Callable[[Compared], Findings]
Figures: TypeAlias = dict[str, Callable[[Path], None]]


def _images(compared: Compared) -> Findings:
    """How many images there are, and which of them cannot be ultrasound."""
    rows, notes = [], []
    for images in (compared.real, compared.synthetic, compared.training):
        if images is not None:
            rows += _counted(images)
            notes += [f"{images.name}: {note}" for note in images.notes]
    pairs = pairs_of(compared.real, compared.synthetic) or [
        (row, row) for row in range(min(len(compared.real), len(compared.synthetic)))
    ]
    draw = partial(draw_samples, pairs, compared.real, compared.synthetic)
    return Findings("The images", rows, {"samples.png": draw}, notes)


def _frechet(compared: Compared) -> Findings:
    """Frechet distances between synthetic and real images."""
    settings, halves = compared.settings, compared.training is None
    return measure_frechet(
        compared.contrasts, floor_of_halves=halves, resamplings=settings.resamplings, verbose=compared.verbose
    )


def _kernel(compared: Compared) -> Findings:
    """Kernel distances between synthetic and real images."""
    return measure_kernel(compared.contrasts, resamplings=compared.settings.resamplings)


def _manifold(compared: Compared) -> Findings:
    """Whether synthetic images lie where real ones do."""
    return measure_manifold(compared.contrasts, resamplings=compared.settings.resamplings)


def _pairs(compared: Compared) -> Findings:
    """LPIPS, SSIM and PSNR of corresponding pairs."""
    settings = compared.settings
    return measure_pairs(
        compared.real,
        compared.synthetic,
        lpips=settings.lpips,
        net=settings.lpips_net,
        resamplings=settings.resamplings,
    )


def _realism(compared: Compared) -> Findings:
    """Depth profiles, speckle, contrast and beam."""
    from monai_bmaps.metrics.realism import measure_realism  # needs the extra

    settings = compared.settings
    return measure_realism(
        compared.real,
        compared.synthetic,
        dynamic_range_db=settings.dynamic_range_db,
        resamplings=settings.resamplings,
    )


def _memorisation(compared: Compared) -> Findings:
    """Nearness to training images, in pixels and at the Inception's second max-pool."""
    if compared.training is None:
        return _without_training("memorisation", "Memorisation")
    try:
        sets = compared.features | compared.mirrored_features
        features = {role: found.features[max(POOLS)] for role, found in sets.items()}
    except (OSError, ValueError):
        features = None  # the distances say why
    return measure_memorisation(compared.real, compared.synthetic, compared.training, features=features)


def _obedience(compared: Compared) -> Findings:
    """Dice of a segmenter that was trained on the training images."""
    if compared.training is None:
        return _without_training("obedience", "Obedience")
    bar = "obedience: segmenter" if compared.verbose else None
    sets = (compared.real, compared.synthetic, compared.training)
    return measure_obedience(*sets, settings=compared.settings.segmenter, cache=compared.segmenters, description=bar)


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


def _counted(images: ImageSet) -> list[Measured]:
    flat = images.images.flatten(1)
    constant = (flat.amax(1) == flat.amin(1)).tolist()
    counts = {images.name: len(images)}
    groups = float(len(set(images.groups)))
    repeated = float(len(images) - len(torch.unique(flat, dim=0)))
    rows = [
        Measured(f"{images.name}_groups", f"Patients, sweeps or exams, {images.name}", groups, None, counts),
        Measured(f"{images.name}_repeated", f"Images equal to another one, {images.name}", repeated, None, counts),
    ]
    if any(constant):
        named = ", ".join([name for name, blank in zip(images.names, constant, strict=True) if blank][:3])
        title = f"Images of one grey level ({named}), {images.name}; take them out"
        rows.append(Measured(f"{images.name}_constant", title, float(sum(constant)), None, counts))
    return rows

"""The families of measures that a report has: each a function of what is compared, listed in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeAlias

import torch

from monai_bmaps.metrics.compared import Compared
from monai_bmaps.metrics.comparison import POOLS
from monai_bmaps.metrics.distribution import frechet_rows, kernel_rows, manifold_rows, warnings_of_size
from monai_bmaps.metrics.figures import draw_samples, draw_values
from monai_bmaps.metrics.findings import BLUE, GREY, Findings, Measured
from monai_bmaps.metrics.images import ImageSet
from monai_bmaps.metrics.memorisation import measure_memorisation
from monai_bmaps.metrics.obedience import measure_obedience
from monai_bmaps.metrics.pairs import measure_perceptual, pairs_of

Family: TypeAlias = Callable[[Compared], Findings]
Figures: TypeAlias = dict[str, Callable[[Path], None]]

_VARIANT = (
    "Features of the FID Inception's first two max-pools, as pytorch-fid computes them (`dims` 64 and 192): 8-bit "
    "pixels, half-pixel bilinear resize to 299 x 299, spatial mean. Other libraries and layers give other numbers."
)


def measure_images(compared: Compared) -> Findings:
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


def measure_frechet(compared: Compared) -> Findings:
    """Frechet distances with intervals and floors."""
    pairs = compared.contrasts
    rows = frechet_rows(pairs, resamplings=compared.settings.resamplings, verbose=compared.verbose)
    notes = [_VARIANT, *warnings_of_size([*pairs[0].counts.values()])]
    if compared.training is None:
        notes.append("The floor is of two halves of the real frames, half as many each: of whole sets it is lower.")
    return Findings("Frechet distance", rows, {"frechet.png": partial(_draw, rows, "", "Frechet distance")}, notes)


def measure_kernel(compared: Compared) -> Findings:
    """Kernel distances with intervals and floors."""
    rows = kernel_rows(compared.contrasts, resamplings=compared.settings.resamplings)
    notes = [
        "Same features as the Frechet distance, not the 2048 of published KIDs. Without bias for any number of images: "
        "0 is expected of one law, and negative values are noise around it."
    ]
    figures: Figures = {"kernel.png": partial(_draw, rows, "kernel_", "Kernel distance")}
    return Findings("Kernel distance (KID)", rows, figures, notes)


def measure_manifold(compared: Compared) -> Findings:
    """Precision, recall, density and coverage with intervals and floors."""
    rows = manifold_rows(compared.contrasts, resamplings=compared.settings.resamplings)
    notes = [
        "Low precision or density: images that look like no real one. Low recall or coverage: real images that nothing "
        "synthetic is like. All depend on the numbers of images; the floor's are other numbers of images."
    ]
    return Findings("Precision, recall, density, coverage", rows, {}, notes)


def measure_pairs(compared: Compared) -> Findings:
    """LPIPS, SSIM and PSNR of corresponding pairs."""
    settings = compared.settings
    return measure_perceptual(
        compared.real,
        compared.synthetic,
        lpips=settings.lpips,
        net=settings.lpips_net,
        resamplings=settings.resamplings,
    )


def measure_ultrasound(compared: Compared) -> Findings:
    """Depth profiles, speckle, contrast and beam."""
    from monai_bmaps.metrics.realism import measure_realism  # needs the extra

    settings = compared.settings
    return measure_realism(
        compared.real,
        compared.synthetic,
        dynamic_range_db=settings.dynamic_range_db,
        resamplings=settings.resamplings,
    )


def measure_copies(compared: Compared) -> Findings:
    """Nearness to training images, in pixels and at the Inception's second max-pool."""
    if compared.training is None:
        return _without_training("memorisation", "Memorisation")
    try:
        sets = compared.features | compared.mirrored_features
        features = {role: found.features[max(POOLS)] for role, found in sets.items()}
    except (OSError, ValueError):
        features = None  # the distances say why
    return measure_memorisation(compared.real, compared.synthetic, compared.training, features=features)


def measure_labels(compared: Compared) -> Findings:
    """Dice of a segmenter that was trained on the training images."""
    if compared.training is None:
        return _without_training("obedience", "Obedience")
    bar = "obedience: segmenter" if compared.verbose else None
    sets = (compared.real, compared.synthetic, compared.training)
    return measure_obedience(*sets, settings=compared.settings.segmenter, cache=compared.segmenters, description=bar)


FAMILIES: Mapping[str, Family] = {
    "images": measure_images,
    "frechet": measure_frechet,
    "kernel": measure_kernel,
    "manifold": measure_manifold,
    "pairs": measure_pairs,
    "realism": measure_ultrasound,
    "obedience": measure_labels,
    "memorisation": measure_copies,
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


def _draw(rows: list[Measured], measure: str, label: str, path: Path) -> None:
    """The value beside its floors, one panel a max-pool."""
    known = {row.key: row for row in rows}
    places = {
        "synthetic\nagainst real": ("", BLUE),
        "floor:\nreal against real": ("floor_", GREY),
        "floor of as few\nas synthetic": ("floor_same_count_", GREY),
    }
    panels = {}
    for index, pool in enumerate(POOLS, 1):
        keys = {name: (f"{prefix}{measure}max_pool_{index}", colour) for name, (prefix, colour) in places.items()}
        entries = [(name, known[key], colour) for name, (key, colour) in keys.items() if key in known]
        panels[f"{label},\n{POOLS[pool]}"] = entries
    draw_values(panels, path)

"""All realism measures of two image sets: a value of every quantity for every image, compared."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import numpy as np

from monai_bmaps.metrics.findings import Findings
from monai_bmaps.metrics.images import ImageSet
from monai_bmaps.metrics.realism import contrast, depth_profile, sector, speckle, speckle_size
from monai_bmaps.metrics.realism.figures import Material, figures
from monai_bmaps.metrics.realism.frame import Numbers, frames_of
from monai_bmaps.metrics.realism.quantity import Quantity, Resampling, compare
from monai_bmaps.metrics.realism.settings import Settings, blood_labels

_FAMILIES: tuple[ModuleType, ...] = (depth_profile, speckle, speckle_size, contrast, sector)


def measure_realism(
    real: ImageSet,
    synthetic: ImageSet,
    *,
    dynamic_range_db: float = 60.0,
    blood: Sequence[int] | None = None,
    resamplings: int = 200,
    seed: int = 0,
) -> Findings:
    """Compare what ultrasound looks like in two sets: depth profiles, speckle, contrast, beam.

    Args:
        real: real images.
        synthetic: images to judge. Quantities of labels need label maps of both sets.
        dynamic_range_db: from black to white, in dB; assumed of all images, real and synthetic.
        blood: labels without echoes of their own; ``None``: those whose class names say so (``blood_labels``).
        resamplings: bootstrap samples behind an interval, of groups; at least 1.
        seed: of these samples and of the halves behind the floor.

    Returns:
        Of each quantity the distance of the two sets (Wasserstein-1, in the quantity's unit, with its interval), the
        floor, both medians, or why there are none; and figures.

    Raises:
        ValueError: sets that name their classes differently, or a setting out of its range.
    """
    if resamplings < 1:
        raise ValueError(f"resamplings must be at least 1, got {resamplings}; 200 give a usable interval")
    settings = _settings(real, synthetic, dynamic_range_db, blood)
    values = {"real": values_of(real, settings), "synthetic": values_of(synthetic, settings)}
    asked = _quantities(settings, same_size=real.size == synthetic.size)
    resampling = Resampling(real.groups, synthetic.groups, samples=resamplings, seed=seed)
    compared = [compare(q, values["real"][q.key], values["synthetic"][q.key], resampling) for q in asked]
    rows = [row for found in compared for row in found]
    return Findings(
        "Ultrasound realism",
        rows,
        figures(Material(asked, values, rows)),
        _notes(real, synthetic, settings),
    )


def values_of(images: ImageSet, settings: Settings) -> dict[str, Numbers]:
    """Every quantity of every image, by key: ``(N,)`` or ``(N, bins)``; NaN where an image has no value."""
    found = [
        {key: value for family in _FAMILIES for key, value in family.measure(frame, settings).items()}
        for frame in frames_of(images, labelled=bool(settings.classes))
    ]
    return {key: np.array([values[key] for values in found]) for key in found[0]}


def _quantities(settings: Settings, same_size: bool) -> list[Quantity]:
    return [
        *depth_profile.quantities(settings),
        *speckle.quantities(settings),
        *speckle_size.quantities(settings, same_size=same_size),
        *contrast.quantities(settings),
        *sector.quantities(settings),
    ]


def _settings(real: ImageSet, synthetic: ImageSet, dynamic_range_db: float, blood: Sequence[int] | None) -> Settings:
    """What is assumed; without classes unless both sets have labels."""
    if real.classes and synthetic.classes and real.classes != synthetic.classes:
        raise ValueError(
            f"both sets must name their classes alike, got {real.classes} and {synthetic.classes}; map one to the other"
        )
    classes = real.classes or synthetic.classes
    if real.labels is None or synthetic.labels is None:
        return Settings(dynamic_range_db)
    highest = int(max(real.labels.max(), synthetic.labels.max()))
    classes = (*classes, *(f"label {label}" for label in range(len(classes) + 1, highest + 1)))
    return Settings(dynamic_range_db, classes, blood_labels(classes) if blood is None else tuple(blood))


def _notes(real: ImageSet, synthetic: ImageSet, settings: Settings) -> list[str]:
    blood = ", ".join(settings.names[label] for label in settings.blood) or "none of the labels"
    notes = [
        "Distances are Wasserstein-1 in the quantity's unit; the intervals resample patients (groups), not images. "
        "A distance within its floor's interval is no more than two halves of the real images differ by.",
        f"A dynamic range of {settings.dynamic_range_db:g} dB is assumed of all images: dB/cm, Nakagami m, "
        "envelope SNR and the speckle contrast hang on it; widths and gCNR do not.",
    ]
    if settings.classes:
        notes.append(f"Tissue is the beam without the blood, which is: {blood}.")
    else:
        bare = (
            " and ".join(images.name for images in (real, synthetic) if images.labels is None) or "real and synthetic"
        )
        notes.append(f"Tissue is all of the beam, blood included: the {bare} images have no labels.")
    if real.size != synthetic.size:
        notes.append(
            f"Real images have {real.size} pixels, synthetic ones {synthetic.size}: widths in pixels are left out."
        )
    return notes

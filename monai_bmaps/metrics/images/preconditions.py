"""What must hold before sets of images can be compared: each function returns why it does not, or ``None``."""

from __future__ import annotations

from monai_bmaps.metrics.images.image_set import ImageSet


def too_few(least: int, *sets: ImageSet) -> str | None:
    """Sets of fewer than ``least`` images."""
    for images in sets:
        if len(images) < least:
            return f"needs at least {least} {images.name} images, got {len(images)}; give more"
    return None


def unlabelled(*sets: ImageSet) -> str | None:
    """Sets without label maps, or whose label maps are all 0."""
    for images in sets:
        if images.labels is None:
            return f"the {images.name} images have no label maps; give them"
        if not bool(images.labels.any()):
            return f"the label maps of the {images.name} images hold no label; check that they were read as labels"
        if int(images.labels.max()) > len(images.classes):
            return (
                f"the {images.name} labels go up to {int(images.labels.max())}, but {len(images.classes)} classes are "
                "named; name them all"
            )
    return None


def unlike(*sets: ImageSet) -> str | None:
    """Sets of other classes or sizes than the first."""
    first, *others = sets
    for images in others:
        if images.classes != first.classes:
            return (
                f"the {images.name} images have the classes {', '.join(images.classes) or 'none'}, the {first.name} "
                f"ones {', '.join(first.classes) or 'none'}; map them to the same"
            )
        if images.size != first.size:
            return f"the {images.name} images are {_size(images)}, the {first.name} ones {_size(first)}; resize them"
    return None


def shared_groups(held_out: ImageSet, training: ImageSet) -> str | None:
    """Patients who are in both sets."""
    if shared := sorted(set(held_out.groups) & set(training.groups)):
        return (
            f"{len(shared)} patients or sweeps are among the {held_out.name} images and the {training.name} ones "
            f"({', '.join(shared[:3])}); divide them by patient, as monai_bmaps.data.split does"
        )
    return None


def unfit_for_segmenter(real: ImageSet, synthetic: ImageSet, training: ImageSet) -> str | None:
    """Sets of which no segmenter can learn from ``training`` and be asked about the others."""
    return (
        too_few(2, real, synthetic, training)
        or unlabelled(training, real, synthetic)
        or unlike(training, real, synthetic)
        or shared_groups(real, training)
    )


def _size(images: ImageSet) -> str:
    return "{} x {}".format(*images.size)

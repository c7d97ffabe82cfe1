"""Image sets of phantom hearts: every image another anatomy, two of each patient."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from monai_bmaps.data.phantoms import PHASES, VIEWS, heart_beam, heart_labels
from monai_bmaps.data.speckle import speckle_image
from monai_bmaps.metrics.images.image_set import ImageSet

CLASSES = ("left-ventricle cavity", "myocardium", "left atrium")


def phantom_hearts(name: str, numbers: Sequence[int], shape: tuple[int, int] = (32, 48)) -> ImageSet:
    """Hearts 0, 1, ...: each number is one image, whatever set it is in."""
    images, labels, inside = [], [], []
    for number in numbers:
        generator = torch.Generator().manual_seed(number)
        beam = heart_beam(shape, generator=generator)
        drawn = heart_labels(
            shape, view=VIEWS[number % 2], phase=PHASES[number // 2 % 2], generator=generator, beam=beam
        )
        images.append(speckle_image(drawn, beam, generator=generator)[None])
        labels.append(drawn)
        inside.append(beam.mask(shape))
    return ImageSet(
        name,
        tuple(f"heart_{number}" for number in numbers),
        torch.stack(images),
        labels=torch.stack(labels).long(),
        inside=torch.stack(inside),
        groups=tuple(f"patient_{number // 2}" for number in numbers),
        classes=CLASSES,
    )

"""What the realism measures assume: the scanner's dynamic range, and which labels are blood."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from monai_bmaps.metrics.realism.frame import Frame, Mask

_BLOOD = ("cavity", "atrium", "lumen", "blood", "artery", "vein", "aorta")
UNLABELLED = 0


@dataclass(frozen=True)
class Settings:
    """What is assumed of every image.

    Args:
        dynamic_range_db: from black to white, in dB, above 0. The scanner's setting, rarely kept with the image; 60 dB
            is usual.
        classes: names of the labels 1, 2, ...; empty: images without labels.
        blood: labels without echoes of their own.

    Raises:
        ValueError: a dynamic range that is not positive, or a blood label that is no class.
    """

    dynamic_range_db: float = 60.0
    classes: tuple[str, ...] = ()
    blood: tuple[int, ...] = field(default=())

    def __post_init__(self) -> None:
        if not (self.dynamic_range_db > 0 and math.isfinite(self.dynamic_range_db)):
            raise ValueError(
                f"dynamic_range_db must be positive and finite, got {self.dynamic_range_db!r}; scanners use 40 to 80"
            )
        if strange := [label for label in self.blood if label not in self.names]:
            raise ValueError(f"blood labels must be among {sorted(self.names)}, got {strange}; 0 is no label")

    @property
    def names(self) -> dict[int, str]:
        """Names of the labels, unlabelled left out."""
        return dict(enumerate(self.classes, start=1))

    @property
    def tissues(self) -> dict[int, str]:
        """Names of the labels that are not blood."""
        return {label: name for label, name in self.names.items() if label not in self.blood}

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Labels whose contrast is measured: every two, and each with unlabelled tissue, but not blood with blood."""
        every = combinations([*self.names, UNLABELLED], 2)
        return [pair for pair in every if not set(pair) <= set(self.blood)]

    def named(self, label: int) -> str:
        """The name of a label, or of what has none."""
        return "unlabelled" if label == UNLABELLED else self.names[label]


def blood_labels(classes: Sequence[str]) -> tuple[int, ...]:
    """Labels whose class names speak of blood: cavity, atrium, lumen, artery, vein, aorta.

    >>> blood_labels(["left-ventricle cavity", "myocardium", "left atrium"])
    (1, 3)
    """
    return tuple(label for label, name in enumerate(classes, start=1) if any(word in name.lower() for word in _BLOOD))


def tissue(frame: Frame, settings: Settings) -> Mask | None:
    """Where a frame shows tissue: inside the beam, outside of blood; ``None`` without a field of view."""
    if frame.inside is None:
        return None
    return frame.inside if frame.labels is None else frame.inside & ~np.isin(frame.labels, settings.blood)


def region(frame: Frame, label: int) -> Mask | None:
    """Where a frame has a label, or inside the beam none; ``None`` where that is not known."""
    if frame.labels is None or (label == UNLABELLED and frame.inside is None):
        return None
    found: Mask = frame.labels == label
    return found if frame.inside is None else found & frame.inside

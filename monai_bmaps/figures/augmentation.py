"""What augmentation makes of a frame and of its labels, side by side."""

from __future__ import annotations

from pathlib import Path

import torch

from monai_bmaps.figures.grid import image_grid, save
from monai_bmaps.geometry import Beam
from monai_bmaps.pictures import Pixels, colour_labels, to_grey
from monai_bmaps.transforms import BeamDepth, DepthAttenuation, LabelToCondition, RandAnatomyDeform, RandBMapNoise

LEVEL = 0.05
"""Share of the chain in the picture: the upper end of what ``RandBMapNoise`` draws by default."""

DECIBELS = (15.0, -8.0)


def draw_augmentation(path: str | Path, image: torch.Tensor, label: torch.Tensor, beam: Beam, seed: int = 0) -> None:
    """Draw a frame with noise and other gains, and below it its labels deformed.

    Args:
        path: the picture.
        image: ``(H, W)`` in [-1, 1].
        label: ``(H, W)``, whole numbers.
        beam: in pixels.
        seed: of noise and deformations.
    """
    depth, sector = BeamDepth()(beam, image[None])
    frames = [image[None]]
    for renormalise in (False, True):
        noise = RandBMapNoise((LEVEL, LEVEL), renormalise=renormalise, prob=1.0).set_random_state(seed=seed)
        frames.append(noise(image[None], depth, sector))
    frames += [DepthAttenuation(decibels)(image[None], depth, sector) for decibels in DECIBELS]
    deform = RandAnatomyDeform().set_random_state(seed=seed)
    labels = [label[None], *(deform(label[None], sector) for _ in frames[1:])]
    channels = LabelToCondition(num_labels=int(label.max()))
    rows: list[list[Pixels]] = [
        [to_grey(frame[0]) for frame in frames],
        [colour_labels(channels(one.float(), sector.float())) for one in labels],
    ]
    titles = ["as it was", f"noise at {LEVEL:g} T", "mean kept", *(f"{-decibels:+g} dB" for decibels in DECIBELS)]
    save(image_grid(rows, ["image", "labels, deformed"], titles), path)

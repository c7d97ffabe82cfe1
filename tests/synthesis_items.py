"""A tiny model that draws something, and small items to draw for."""

from __future__ import annotations

from typing import Any

import torch
from conftest import small_unet
from monai.data import MetaTensor

from monai_bmaps import BMap, BMapDiffusionInferer, BMapDPMSolverScheduler, BMapSynthesisInferer, SectorBeam
from monai_bmaps.data.phantoms import heart_beam
from monai_bmaps.transforms import BeamDepthd, SynthesisModel

GRID, SHAPE = (16, 24), (20, 28)
FAN = SectorBeam(apex=(0.5, 13.5), radii=(1.0, 18.0), half_angle_deg=42.0)
CLASSES = ("cavity", "wall")


def sampler(steps: int = 2, **options: Any) -> BMapSynthesisInferer:
    scheduler = BMapDPMSolverScheduler(num_train_timesteps=50, b_map=BMap.from_attenuation(db=44.0))
    return BMapSynthesisInferer(
        BMapDiffusionInferer(scheduler, noise_level_channel=True), num_inference_steps=steps, **options
    )


def model(classes: tuple[str, ...] = CLASSES, steps: int = 2, **options: Any) -> SynthesisModel:
    network = small_unet(1 + len(classes) + 2 + 1, channels=(4, 8), norm_num_groups=2)
    settings = {"image_size": GRID, "name": "tiny", "weights_sha256": "abc"} | options
    return SynthesisModel(network, sampler(steps), classes=classes, **settings)


def fan(shape: tuple[int, int]) -> SectorBeam:
    return FAN if shape == SHAPE else heart_beam(shape)


def item(number: int = 0, shape: tuple[int, int] = SHAPE, **more: Any) -> dict[str, Any]:
    """A frame in [0, 1] with blocks of labels in a fan, all of one affine, no spacing."""
    made = BeamDepthd(beam=fan(shape))({"image": MetaTensor(torch.zeros(1, *shape))})
    noise = torch.rand(1, *shape, generator=torch.Generator().manual_seed(number))
    blocks = (torch.arange(shape[0])[:, None] // 6 + torch.arange(shape[1]) // 9 + number) % (len(CLASSES) + 1)
    inside = made["sector"].as_tensor()
    frame = {"image": MetaTensor(noise * inside), "label": MetaTensor(blocks[None] * inside)}
    return {**made, **frame, **more}

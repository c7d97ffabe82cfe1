"""Frames on a model's grid: as in training, and back to where they were."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from monai.data import MetaTensor
from PIL import Image
from synthesis_items import GRID, SHAPE, fan, item, model

from monai_bmaps.transforms import DrawingFrames
from monai_bmaps.transforms.synthesis.frames import FrameSynthesis
from monai_bmaps.transforms.synthesis.grid import Placement


@pytest.mark.parametrize("crop", [False, True])
@pytest.mark.parametrize("shape", [SHAPE, (40, 44), (16, 24), (17, 30)])
def test_a_frame_lies_on_the_grid_as_the_bundles_own_frames_do(
    shape: tuple[int, int], crop: bool, tmp_path: Path
) -> None:
    frame, drawing = item(shape=shape), model(crop_to_beam=crop)
    for key in ("label", "sector"):
        Image.fromarray(frame[key][0].to(torch.uint8).numpy()).save(tmp_path / f"{key}.png")
    expected = DrawingFrames(GRID, 2, beam=fan(shape), crop_to_beam=crop)(
        {key: str(tmp_path / f"{key}.png") for key in ("label", "sector")}
    )
    condition = FrameSynthesis(drawing).condition(frame)
    place = drawing.place(condition.sector)
    assert torch.equal(drawing.channels(place, condition), expected["seg"].as_tensor())
    assert torch.equal(place.onto(condition.depth, "nearest"), expected["depth"].as_tensor())


@pytest.mark.parametrize("crop", [False, True])
def test_what_was_put_on_a_grid_of_the_same_scale_comes_back_as_it_was(crop: bool) -> None:
    sector = torch.zeros(1, 16, 20)
    sector[:, 2:14, 4:15] = 1
    frame = torch.rand(1, 16, 20) * sector
    place = Placement.of(sector, (12, 30) if crop else (16, 33), crop)
    assert torch.equal(place.back(place.onto(frame, "area")), frame)


@pytest.mark.parametrize("shape", [(40, 56), (7, 9), (20, 28), (15, 30)])
def test_a_smooth_frame_comes_back_to_its_own_place(shape: tuple[int, int]) -> None:
    rows, columns = (torch.linspace(0, 1, n) for n in shape)
    frame = (rows[:, None] + columns)[None]
    place = Placement.of(torch.ones_like(frame), GRID)
    there = place.back(place.onto(frame, "area"))
    assert there.shape == frame.shape
    error = (there - frame).abs()[:, 2:-2, 2:-2]
    assert float(error.max()) < 1.2 / min(*shape, *place.scaled)  # about a pixel of the coarser grid, of a ramp to 2


def test_stretch_is_the_same_either_way() -> None:
    wide, tall = (Placement.of(torch.ones(1, *size), (10, 20)) for size in ((10, 60), (30, 20)))
    assert wide.stretch == pytest.approx(3.0)
    assert tall.stretch == pytest.approx(3.0)


def test_pixels_lie_under_one_affine_and_are_not_metadata() -> None:
    place = Placement.of(MetaTensor(torch.ones(1, 4, 6)), (4, 6))
    assert place.size == (4, 6)

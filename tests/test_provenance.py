"""The text of a PNG changes with everything that decides the image, and with nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image

from monai_bmaps.provenance import condition_digest, read_record, record_of, write_png

PIXELS = np.arange(35, dtype=np.uint8).reshape(5, 7)


def item(**changes: Any) -> dict[str, Any]:
    seg = torch.zeros(3, 5, 7)
    seg[1] = 1
    return {"name": "a", "seed": 5, "seg": seg, "depth": torch.full((1, 5, 7), 0.25), **changes}


def test_a_record_is_read_from_the_png_as_it_was_written(tmp_path: Path) -> None:
    record = record_of(item(), {"Model": "tiny", "Guidance": None, "Steps": 3, "Note": "größer, 漢"})
    write_png(tmp_path / "a.png", PIXELS, record)
    assert read_record(tmp_path / "a.png") == record
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), PIXELS)


def test_a_record_holds_seed_settings_and_the_name_of_the_label_map() -> None:
    label = MetaTensor(torch.zeros(1, 5, 7), meta={"filename_or_obj": "/some/where/heart.png"})
    record = record_of(item(label=label), {"Steps": 3})
    assert record == {
        "Synthetic": "true",
        "Seed": "5",
        "Label": "heart.png",
        "Condition": condition_digest(item()),
        "Steps": "3",
    }


@pytest.mark.parametrize(
    "change",
    [
        {"seg": torch.zeros(3, 5, 7)},
        {"seg": torch.zeros(3, 7, 5)},
        {"depth": torch.full((1, 5, 7), 0.26)},
        {"image": torch.zeros(1, 5, 7)},
        {"keep": torch.zeros(1, 5, 7)},
    ],
    ids=["labels", "shape", "depth", "an image to change", "a mask"],
)
def test_what_an_image_is_drawn_from_changes_the_digest(change: dict[str, torch.Tensor]) -> None:
    assert condition_digest(item(**change)) != condition_digest(item())


def test_an_image_and_a_mask_of_the_same_values_are_told_apart() -> None:
    values = torch.zeros(1, 5, 7)
    assert condition_digest(item(image=values)) != condition_digest(item(keep=values))


def test_what_an_item_is_called_and_how_it_lies_in_memory_change_no_digest() -> None:
    turned = item()["seg"].transpose(1, 2).contiguous().transpose(1, 2)
    same = item(name="b", seed=6, seg=MetaTensor(turned, meta={"filename_or_obj": "x"}))
    assert condition_digest(same) == condition_digest(item())


@pytest.mark.parametrize("keep", [0, 8, 60, -30])
def test_a_damaged_png_has_no_record(tmp_path: Path, keep: int) -> None:
    write_png(tmp_path / "a.png", PIXELS, {"Seed": "5"})
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:keep])
    assert read_record(tmp_path / "a.png") is None


def test_no_file_or_another_file_has_no_record(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").rename(tmp_path / "jpeg.png")
    assert [read_record(tmp_path / f"{name}.png") for name in ("none", "text", "jpeg")] == [None] * 3

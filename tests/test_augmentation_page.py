"""What docs/augmentation.md shows runs, and what it says of levels is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_bmaps import BMap
from monai_bmaps.figures.__main__ import main
from monai_bmaps.schedulers import BMapDDPMScheduler

PAGE = (Path(__file__).parents[1] / "docs" / "augmentation.md").read_text()


def test_the_example_without_a_network_changes_the_image_and_draws_new_anatomy() -> None:
    names: dict[str, Any] = {}
    exec(compile(re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)[0], "augmentation.md", "exec"), names)
    item, drawn_for = names["item"], names["drawn_for"]
    outside = item["sector"].as_tensor() == 0
    assert torch.equal(item["image"][outside], names["image"][None][outside])
    assert not torch.equal(item["image"], names["image"][None])
    assert not torch.equal(drawn_for["label"], names["label"][None])
    assert torch.equal(drawn_for["sector"].as_tensor(), item["sector"].as_tensor())


@pytest.mark.parametrize(("share", "deviation"), [(0.05, "0.34"), (0.15, "0.69")])
def test_the_deviations_that_the_page_states_are_the_maps(share: float, deviation: str) -> None:
    scheduler = BMapDDPMScheduler(1000, "cosine", BMap.preset("physical")).bind(torch.ones(1, 1))
    retained = scheduler.log_retained(round(1000 * share) - 1).exp()
    assert f"{float((1 - retained).sqrt()):.2f}" == deviation
    assert re.search(rf"{deviation}[^.]* at {share}", PAGE)


@pytest.mark.parametrize("kind", ["heart", "thyroid"])
def test_the_command_of_the_page_draws_its_picture(tmp_path: Path, kind: str) -> None:
    assert "python -m monai_bmaps.figures augmentation --output augmentation.png" in PAGE
    assert main(["augmentation", "--output", str(tmp_path / "augmentation.png"), "--kind", kind]) == 0
    assert (tmp_path / "augmentation.png").stat().st_size > 10_000

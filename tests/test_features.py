"""Features of images as files hold them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from metric_inputs import drawn_features
from PIL import Image

from monai_bmaps.metrics import InceptionStem, stem_features
from monai_bmaps.metrics.distributions.features import as_files, as_rows, file_features, from_rows
from monai_bmaps.metrics.distributions.frechet import distances
from monai_bmaps.pictures import to_grey


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def stem() -> InceptionStem:
    torch.manual_seed(0)
    return InceptionStem().eval().requires_grad_(False)


def test_an_image_is_what_its_file_holds(tmp_path: Path) -> None:
    image = torch.rand(1, 5, 7, generator=generator()) * 2 - 1
    Image.fromarray(to_grey(image[0])).save(tmp_path / "image.png")
    read = torch.as_tensor(np.asarray(Image.open(tmp_path / "image.png"), np.float32)) / 255
    assert torch.equal(as_files(image)[0], read)


def test_an_image_of_a_file_is_not_changed() -> None:
    levels = torch.arange(256.0) / 127.5 - 1
    assert torch.equal((as_files(levels) * 255).round(), torch.arange(256.0))


def test_less_than_half_a_grey_level_beyond_the_range_is_round_off() -> None:
    assert as_files(torch.tensor([-1.003, 1.003])).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.full((1, 5, 7), 255.0), r"lie in \[-1, 1\], got \[255, 255\]; scale 8-bit images"),
        (torch.full((1, 5, 7), -1.01), r"got \[-1.01, -1.01\]"),
        (torch.full((1, 5, 7), torch.nan), r"got \[nan, nan\].*a network that gave NaN"),
        (torch.full((1, 5, 7), torch.inf), r"got \[inf, inf\]"),
        (torch.zeros(0, 1, 5, 7), r"must not be empty, got shape \(0, 1, 5, 7\)"),
    ],
)
def test_images_out_of_range_are_refused(image: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_files(image)


def test_one_bad_pixel_among_good_ones_is_found() -> None:
    images = torch.zeros(2, 1, 5, 7)
    images[1, 0, 2, 3] = torch.nan
    with pytest.raises(ValueError, match="network that gave NaN"):
        as_files(images)


def test_features_are_those_of_the_rounded_images_however_they_come(stem: InceptionStem) -> None:
    images = torch.rand(3, 1, 5, 7, generator=generator()) * 2 - 1
    expected = stem_features(torch.stack([as_files(image) for image in images]), stem)
    for packaging in (images, [images[:2], images[2:]], (image for image in images)):
        torch.testing.assert_close(file_features(packaging, stem), expected)
    assert not torch.equal(expected[64], stem_features((images + 1) / 2, stem)[64])


def test_rows_hold_all_features() -> None:
    drawn = drawn_features(3, seed=0)
    assert as_rows(drawn).shape == (3, 256)
    assert all(torch.equal(from_rows(as_rows(drawn))[pool], values) for pool, values in drawn.items())
    assert [values.shape[1] for values in drawn.values()] == [*drawn] == [64, 192]


def test_the_quality_script_reports_the_same_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    quality = pytest.importorskip("benchmarks.cardiac_quality")
    monkeypatch.setattr(quality, "RESAMPLINGS", 5)
    sets = {"ode:5": drawn_features(7, seed=0, shift=0.1), quality.REFERENCE: drawn_features(7, seed=1, shift=0.2)}
    known, real = drawn_features(12, seed=2), drawn_features(6, seed=3)
    runs = {name: {"features": as_rows(found).numpy()} for name, found in sets.items()}
    found = json.loads(json.dumps(quality.report(runs, known, real, 7)))
    assert found["runs"]["ode:5"]["distance"] == pytest.approx([*distances(sets["ode:5"], real).values()], abs=1e-4)
    assert found["training_frames_against_held_out"] == pytest.approx([*distances(known, real).values()], abs=1e-4)
    assert found["held_out_frames"] == 6
    low, high = found["runs"]["ode:5"]["minus_reference_interval"][1]
    assert low < distances(sets["ode:5"], real)[192] - distances(sets[quality.REFERENCE], real)[192] < high

"""Corresponding pairs: which they are, what is reported of them, and their floor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from metric_inputs import noisy, textures, write_trunk

from monai_bmaps.metrics.findings.measured import Findings
from monai_bmaps.metrics.images.image_set import ImageSet
from monai_bmaps.metrics.pairs.measuring import measure_pairs, pairs_of
from monai_bmaps.metrics.pairs.pair_metric import PairMetric
from monai_bmaps.metrics.pairs.perceptual import peak_signal_to_noise, structural_similarity


def a_set(name: str, images: torch.Tensor, **arguments: Any) -> ImageSet:
    return ImageSet(name, tuple(f"{name}_{row}" for row in range(len(images))), images, **arguments)


def rows_of(found: Findings) -> dict[str, Any]:
    return {row.key: row for row in found.rows}


@pytest.fixture(scope="module")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_trunk(tmp_path_factory.mktemp("weights") / "alex.pth")


def test_variants_correspond_to_the_frame_of_their_item() -> None:
    real = ImageSet("real", ("a", "a_1", "b"), textures(3))
    synthetic = ImageSet("synthetic", ("b_1", "b_2", "a_1", "c"), textures(4))
    assert pairs_of(real, synthetic) == [(0, 2), (1, 2), (2, 1)]


def test_mean_spread_and_range_of_the_pairs_are_reported_by_variant(trunk: Path) -> None:
    images = textures(4)
    real = a_set("frame", images, groups=("p", "p", "q", "r"))
    synthetic = ImageSet("synthetic", real.names, noisy(images))
    rows = rows_of(measure_pairs(real, synthetic, lpips=trunk, resamplings=20))
    values = peak_signal_to_noise(synthetic.images, images)
    assert rows["psnr"].value == pytest.approx(values.mean().item(), rel=1e-6)
    assert rows["psnr_deviation"].value == pytest.approx(values.std().item(), rel=1e-6)
    assert (rows["psnr_lowest"].value, rows["psnr_highest"].value) == pytest.approx(
        (values.min().item(), values.max().item())
    )
    assert "LPIPS v0.1, alex" in rows["lpips"].name
    assert "window 11 x 11, sigma 1.5, data range 1" in rows["ssim"].name
    low, high = rows["ssim"].interval
    assert low < rows["ssim"].value < high


def test_frames_of_other_patients_are_the_measure_to_read_pairs_by(trunk: Path) -> None:
    """Two patients of two frames each, which are nearly equal: between patients is far, whatever frames are near."""
    one, other = textures(1, 1), textures(1, 2)
    images = torch.cat([one, noisy(one, 0.01), other, noisy(other, 0.01)])
    real = a_set("real", images, groups=("p", "p", "q", "q"))
    synthetic = ImageSet("synthetic", real.names, noisy(images, 0.02))
    rows = rows_of(measure_pairs(real, synthetic, lpips=trunk, resamplings=5))
    assert rows["ssim_between"].value < 0.2 < 0.9 < rows["ssim"].value
    assert rows["ssim_between"].counts == {"pairs": 4}


def test_copies_are_reported_as_such_and_not_as_infinite(trunk: Path) -> None:
    images = textures(3)
    real = a_set("real", images)
    mixed = ImageSet("synthetic", real.names, torch.cat([images[:1], noisy(images[1:])]))
    found = measure_pairs(real, mixed, lpips=trunk, resamplings=5)
    assert rows_of(found)["psnr"].counts == {"pairs": 2}
    assert any("1 pairs are equal in every pixel" in note for note in found.notes)
    copied = rows_of(measure_pairs(real, ImageSet("synthetic", real.names, images), lpips=trunk, resamplings=5))
    assert "all pairs are equal in every pixel" in copied["psnr"].left_out
    assert copied["ssim"].value == pytest.approx(1.0)


def test_what_cannot_be_measured_says_why(trunk: Path, tmp_path: Path) -> None:
    real, strangers = a_set("real", textures(2)), a_set("synthetic", textures(2))
    assert "give the --labels they were drawn for" in rows_of(measure_pairs(real, strangers))["pairs"].left_out
    small = ImageSet("synthetic", real.names, textures(2, size=(16, 35)))
    assert "give --size" in rows_of(measure_pairs(real, small))["pairs"].left_out
    drawn = ImageSet("synthetic", real.names, noisy(real.images))
    rows = rows_of(measure_pairs(real, drawn, lpips=tmp_path / "absent.pth", resamplings=5))
    assert "no weights of LPIPS" in rows["lpips"].left_out
    assert rows["ssim"].value > 0
    tiny = [a_set("real", textures(2, size=(12, 14))) for _ in range(2)]
    rows = rows_of(measure_pairs(*tiny, lpips=trunk, resamplings=5))
    assert "at least 32 pixels" in rows["lpips"].left_out


def test_batches_of_pairs_give_the_mean_of_all_and_nothing_stays_after_a_reset() -> None:
    first, second = textures(5) * 2 - 1, noisy(textures(5)) * 2 - 1
    metric = PairMetric("ssim")
    for part in ((0, 2), (2, 5)):
        metric(first[slice(*part)], second[slice(*part)])
    expected = structural_similarity((first + 1) / 2, (second + 1) / 2).mean()
    torch.testing.assert_close(metric.aggregate(), expected)
    metric.reset()
    metric(first[:2], first[:2])
    assert metric.aggregate().item() == pytest.approx(1.0)


def test_a_measure_of_pairs_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="one of lpips, ssim, psnr, got 'fid'"):
        PairMetric("fid")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="real images must come with"):
        PairMetric("psnr")(textures(2))

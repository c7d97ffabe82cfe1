"""LPIPS against its oracle, SSIM and PSNR against a second library, pairs and their floor."""

from __future__ import annotations

import sys
import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from monai_bmaps.metrics.distributions.distribution_metric import DistributionMetric
from monai_bmaps.metrics.distributions.inception import InceptionStem
from monai_bmaps.metrics.findings.measured import Findings
from monai_bmaps.metrics.images.image_set import ImageSet
from monai_bmaps.metrics.pairs.measuring import measure_pairs, pairs_of
from monai_bmaps.metrics.pairs.pair_metric import PairMetric
from monai_bmaps.metrics.pairs.perceptual import Lpips, peak_signal_to_noise, structural_similarity

WEIGHTS = Path(__file__).parents[2] / "shared" / "weights"
ALEX = WEIGHTS / "lpips_alex_v0.1.npz"
needs_weights = pytest.mark.skipif(not ALEX.is_file(), reason="needs ../shared/weights (LPIPS trunks)")


def textures(count: int, seed: int = 0, size: tuple[int, int] = (33, 35)) -> torch.Tensor:
    return torch.rand(count, 1, *size, generator=torch.Generator().manual_seed(seed))


def noisy(images: torch.Tensor, amount: float = 0.1) -> torch.Tensor:
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(9))
    return (images + amount * noise).clamp(0, 1)


def a_set(name: str, images: torch.Tensor, **arguments: Any) -> ImageSet:
    return ImageSet(name, tuple(f"{name}_{row}" for row in range(len(images))), images, **arguments)


def rows_of(found: Findings) -> dict[str, Any]:
    return {row.key: row for row in found.rows}


@pytest.fixture(scope="module")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """AlexNet's features with random weights, as torchvision names them."""
    torchvision = pytest.importorskip("torchvision")
    path = tmp_path_factory.mktemp("weights") / "alex.pth"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(torchvision.models.alexnet(weights=None).state_dict(), path)
    return path


def oracle(name: str) -> torch.Tensor:
    with Image.open(WEIGHTS / "lpips_oracle" / name) as picture:
        return torch.from_numpy(np.asarray(picture.convert("RGB"), np.float32) / 255).permute(2, 0, 1)[None]


@needs_weights
@pytest.mark.parametrize(("net", "far", "near"), [("alex", 0.7219, 0.1376), ("squeeze", 0.7110, 0.1479)])
def test_known_distances_of_known_images_are_met(net: str, far: float, near: float) -> None:
    measure = Lpips(WEIGHTS / f"lpips_{net}_v0.1.npz")
    assert measure.variant == f"LPIPS v0.1, {net}"
    reference = oracle("ex_ref.png")
    assert measure(reference, oracle("ex_p0.png")).item() == pytest.approx(far, abs=2e-3)
    assert measure(reference, oracle("ex_p1.png")).item() == pytest.approx(near, abs=2e-3)


@needs_weights
def test_noise_on_a_real_texture_costs_more_the_more_there_is() -> None:
    measure, images = Lpips(ALEX), textures(1, size=(64, 48)).repeat(3, 1, 1, 1)
    found = measure(torch.stack([noisy(images[0], amount) for amount in (0.0, 0.05, 0.3)]), images)
    assert found[0] == 0
    assert 0 < found[1] < found[2]


def test_a_trunk_of_torchvision_loads_by_its_own_names(trunk: Path) -> None:
    before = torch.random.get_rng_state()
    measure = Lpips(trunk)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert measure.net == "alex"
    saved = torch.load(trunk, weights_only=True)
    loaded = measure._model.state_dict()
    for number, part in ((0, 1), (3, 2), (6, 3), (8, 4), (10, 5)):
        assert torch.equal(loaded[f"net.slice{part}.{number}.weight"], saved[f"features.{number}.weight"])


def test_an_image_is_at_no_distance_from_itself_however_it_is_batched(trunk: Path) -> None:
    measure, images = Lpips(trunk), textures(18)
    assert float(measure(images, images).abs().max()) == 0
    together = measure(images, noisy(images))
    torch.testing.assert_close(together[17:], measure(images[17:], noisy(images)[17:]), rtol=1e-4, atol=1e-7)


def test_a_trunk_that_lacks_a_tensor_is_another_net_or_absent_is_refused(trunk: Path, tmp_path: Path) -> None:
    tensors = torch.load(trunk, weights_only=True)
    del tensors["features.6.bias"]
    torch.save(tensors, tmp_path / "part.pth")
    with pytest.raises(ValueError, match=r"part\.pth lacks features\.6\.bias of a trunk of alex"):
        Lpips(tmp_path / "part.pth")
    with pytest.raises(ValueError, match="holds a trunk of alex, not of vgg"):
        Lpips(trunk, "vgg")
    with pytest.raises(FileNotFoundError, match=r"no weights of LPIPS at .*absent"):
        Lpips(tmp_path / "absent.npz")


def test_offline_the_error_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route")

    pytest.importorskip("torchvision")
    monkeypatch.setattr("torchvision._internally_replaced_utils.load_state_dict_from_url", download, raising=False)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    with pytest.raises(OSError, match=r"cannot download torchvision's alex .*; offline, give the file: --lpips FILE"):
        Lpips()


def test_without_the_packages_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch, trunk: Path) -> None:
    monkeypatch.setitem(sys.modules, "lpips", None)
    monkeypatch.setitem(sys.modules, "torchmetrics.functional", None)
    with pytest.raises(ImportError, match=r"LPIPS needs lpips: pip install \"monai-bmaps\[metrics\]\""):
        Lpips(trunk)
    with pytest.raises(ImportError, match=r"SSIM and PSNR need torchmetrics: pip install"):
        structural_similarity(textures(1), textures(1))


def test_similarity_is_that_of_scikit_image_on_mirrored_images() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    first, second = textures(2).double(), noisy(textures(2)).double()
    settings = {"data_range": 1.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    # scikit-image leaves out a rim as wide as half the window: give it one to leave out
    mirrored = [[np.pad(x[0].numpy(), 5, "reflect") for x in images] for images in (first, second)]
    expected = [metrics.structural_similarity(*pair, **settings) for pair in zip(*mirrored, strict=True)]
    assert structural_similarity(first, second).tolist() == pytest.approx(expected, abs=1e-6)


def test_signal_to_noise_is_that_of_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    first, second = textures(2).double(), noisy(textures(2)).double()
    expected = [
        metrics.peak_signal_noise_ratio(x.numpy(), y.numpy(), data_range=1.0)
        for x, y in zip(first, second, strict=True)
    ]
    # torchmetrics takes the logarithm of 10 in single precision
    assert peak_signal_to_noise(first, second).tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (torch.zeros(2, 1, 33, 35), torch.zeros(3, 1, 33, 35), r"got \(2, 1, 33, 35\) and \(3, 1, 33, 35\)"),
        (torch.zeros(2, 1, 33, 35), torch.zeros(2, 3, 33, 35), r"and \(2, 3, 33, 35\)"),
        (torch.zeros(2, 1, 7, 35), torch.zeros(2, 1, 7, 35), r"at least 11 pixels a side, got \(7, 35\)"),
        (torch.zeros(2, 1, 33, 35), torch.full((2, 1, 33, 35), torch.nan), r"got \[nan, nan\]"),
        (torch.full((2, 1, 33, 35), -1.0), torch.zeros(2, 1, 33, 35), r"got \[-1, -1\]"),
    ],
)
def test_what_does_not_correspond_is_refused(first: torch.Tensor, second: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        structural_similarity(first, second)


# Pairs


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


# MONAI's form


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


def test_distances_of_batches_are_those_of_the_whole_sets(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        stem = {name: value.numpy() for name, value in InceptionStem().state_dict().items()}
    np.savez(tmp_path / "stem.npz", **stem)
    first, second = (textures(6, seed, (9, 7)) * scale for seed, scale in ((0, 1.0), (1, 0.5)))
    for measure in ("frechet", "kernel"):
        whole, parts = (DistributionMetric(measure, tmp_path / "stem.npz", pool=64) for _ in range(2))
        whole(first, second)
        parts(first[:2], second[:2])
        parts(first[2:], second[2:])
        assert parts.aggregate() == pytest.approx(whole.aggregate(), rel=1e-3)
        whole.reset()
        whole(first, first)
        assert whole.aggregate() < 0.2 * abs(parts.aggregate())


def test_measures_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match="one of lpips, ssim, psnr, got 'fid'"):
        PairMetric("fid")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="got 'kernel' at 2048"):
        DistributionMetric("kernel", pool=2048)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="real images must come with"):
        PairMetric("psnr")(textures(2))

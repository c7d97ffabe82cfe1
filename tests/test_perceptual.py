"""LPIPS against its oracle, SSIM and PSNR against a second library."""

from __future__ import annotations

import sys
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch
from metric_inputs import noisy, textures, write_trunk
from PIL import Image

from monai_bmaps.metrics.pairs.perceptual import Lpips, peak_signal_to_noise, structural_similarity

WEIGHTS = Path(__file__).parents[2] / "shared" / "weights"
ALEX = WEIGHTS / "lpips_alex_v0.1.npz"
needs_weights = pytest.mark.skipif(not ALEX.is_file(), reason="needs ../shared/weights (LPIPS trunks)")


@pytest.fixture(scope="module")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_trunk(tmp_path_factory.mktemp("weights") / "alex.pth")


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

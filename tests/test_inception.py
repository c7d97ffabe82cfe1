"""Features of the Inception's first two max-pools: pytorch-fid's arithmetic, its weights, real frames."""

import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch
from metric_inputs import FRAMES, SHARED, STEM, needs_frames, needs_weights
from torch.nn import functional

from monai_bmaps.metrics import InceptionStem, stem_features


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


PARTIAL = SHARED / "weights" / "fid_inception_2015_partial_exact.npz"
WEIGHTS_FILE = "pt_inception-2015-12-05-6726825d.pth"


# layer: (input channels, output channels, kernel, stride, padding)
LAYERS = {
    "Conv2d_1a_3x3": (3, 32, 3, 2, 0),
    "Conv2d_2a_3x3": (32, 32, 3, 1, 0),
    "Conv2d_2b_3x3": (32, 64, 3, 1, 1),
    "Conv2d_3b_1x1": (64, 80, 1, 1, 0),
    "Conv2d_4a_3x3": (80, 192, 3, 1, 0),
}


def random_checkpoint() -> dict[str, torch.Tensor]:
    """A state dict keyed as pytorch-fid's, float64, variances small enough for BatchNorm's eps to matter."""
    g = generator()

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    state = {"fc.bias": draw(7)}  # the full network has more than the stem reads
    for layer, (channels_in, channels_out, kernel, _, _) in LAYERS.items():
        fan_in = channels_in * kernel**2
        state[f"{layer}.conv.weight"] = draw(channels_out, channels_in, kernel, kernel) * 0.1 / fan_in**0.5
        state[f"{layer}.bn.weight"] = 1 + 0.1 * draw(channels_out)
        state[f"{layer}.bn.bias"] = 0.3 * draw(channels_out)
        state[f"{layer}.bn.running_mean"] = 0.05 * draw(channels_out)
        state[f"{layer}.bn.running_var"] = 0.01 * (0.5 + draw(channels_out).abs())
    return state


def reference_features(images: torch.Tensor, state: dict[str, torch.Tensor]) -> dict[int, torch.Tensor]:
    """pytorch-fid's arithmetic spelled out: convolution, then BatchNorm with eps 1e-3, then ReLU."""
    x = images.double().repeat(1, 3 // images.shape[1], 1, 1)
    x = 2 * functional.interpolate(x, size=(299, 299), mode="bilinear", align_corners=False) - 1
    pooled = {}
    for layer, (_, channels_out, _, stride, padding) in LAYERS.items():
        x = functional.conv2d(x, state[f"{layer}.conv.weight"], stride=stride, padding=padding)
        norm = [state[f"{layer}.bn.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
        x = functional.relu(functional.batch_norm(x, *norm, training=False, eps=1e-3))
        if layer in ("Conv2d_2b_3x3", "Conv2d_4a_3x3"):
            x = functional.max_pool2d(x, 3, stride=2)
            pooled[channels_out] = functional.adaptive_avg_pool2d(x, 1).flatten(1)
    return pooled


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(random_checkpoint(), path)
    return path


@pytest.fixture(scope="module")
def stem(checkpoint: Path) -> InceptionStem:
    return InceptionStem.load(checkpoint)


@pytest.mark.parametrize("channels", [1, 3])
def test_folded_network_equals_convolution_then_batch_norm(stem: InceptionStem, channels: int) -> None:
    images = torch.rand(2, channels, 37, 53, generator=generator(), dtype=torch.float64)
    expected, found = reference_features(images, random_checkpoint()), stem(images)
    assert list(found) == [64, 192]
    for pool in found:
        assert (expected[pool].std(0) > 1e-6).float().mean() > 0.5  # most features see the images
        torch.testing.assert_close(found[pool], expected[pool], rtol=1e-11, atol=1e-12)  # float64 round-off


def test_folded_npz_and_pytorch_fid_checkpoint_load_alike(stem: InceptionStem, tmp_path: Path) -> None:
    state, folded = random_checkpoint(), {}
    for layer in LAYERS:
        scale = state[f"{layer}.bn.weight"] / (state[f"{layer}.bn.running_var"] + 1e-3).sqrt()
        folded[f"{layer}.weight"] = state[f"{layer}.conv.weight"] * scale.reshape(-1, 1, 1, 1)
        folded[f"{layer}.bias"] = state[f"{layer}.bn.bias"] - state[f"{layer}.bn.running_mean"] * scale
    np.savez(tmp_path / "folded.npz", **{name: value.numpy() for name, value in folded.items()})
    loaded = InceptionStem.load(tmp_path / "folded.npz").state_dict()
    assert loaded.keys() == stem.state_dict().keys() == folded.keys()
    for name, value in stem.state_dict().items():
        torch.testing.assert_close(loaded[name], value, rtol=1e-13, atol=1e-15)


def test_loading_is_frozen_and_leaves_the_global_generator_alone(checkpoint: Path) -> None:
    before = torch.random.get_rng_state()
    loaded = InceptionStem.load(checkpoint)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_autocast_does_not_change_the_features(stem: InceptionStem) -> None:
    image = torch.rand(1, 1, 5, 7, generator=generator())
    single = InceptionStem()
    single.load_state_dict(stem.state_dict())
    with torch.no_grad():
        expected = single(image)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = single(image)
    assert torch.equal(found[192], expected[192])


def test_no_path_asks_torch_hub_for_the_checked_public_file(
    stem: InceptionStem, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def download(url: str, **options: object) -> dict[str, torch.Tensor]:
        asked.update(options, url=url)
        return random_checkpoint()

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", download)
    loaded = InceptionStem.load()
    assert asked["url"].endswith(f"/mseitzer/pytorch-fid/releases/download/fid_weights/{WEIGHTS_FILE}")
    assert asked["check_hash"] is True
    assert torch.equal(loaded.Conv2d_4a_3x3.weight, stem.Conv2d_4a_3x3.weight)


def test_offline_error_names_the_file_and_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(url: str, **options: object) -> dict[str, torch.Tensor]:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", download)
    with pytest.raises(OSError, match=rf"cannot download {WEIGHTS_FILE} .*InceptionStem\.load\('path/to/"):
        InceptionStem.load()


def test_a_missing_file_and_a_foreign_checkpoint_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"no weights at .*absent.npz; give {WEIGHTS_FILE}"):
        InceptionStem.load(tmp_path / "absent.npz")
    state = random_checkpoint()
    del state["Conv2d_3b_1x1.bn.running_var"]
    torch.save(state, tmp_path / "foreign.pth")
    with pytest.raises(ValueError, match=r"weights lack 'Conv2d_3b_1x1\.bn\.running_var'"):
        InceptionStem.load(tmp_path / "foreign.pth")


def test_batching_and_packaging_change_no_feature(stem: InceptionStem) -> None:
    images = torch.rand(3, 1, 5, 7, generator=generator())
    one_by_one = stem_features(images, stem, batch_size=1)
    packagings = [images, [images[:2], images[2]], (image for image in images)]
    for packaging in packagings:
        together = stem_features(packaging, stem, batch_size=2)
        for pool, values in one_by_one.items():
            assert values.shape == (3, pool)
            torch.testing.assert_close(together[pool], values, rtol=1e-12, atol=1e-13)  # float64 round-off


def test_images_of_different_sizes_keep_their_order(stem: InceptionStem) -> None:
    g = generator()
    images = [torch.rand(1, height, width, generator=g) for height, width in ((5, 7), (11, 6), (5, 7))]
    together = stem_features(images, stem)
    for index, image in enumerate(images):
        torch.testing.assert_close(together[64][index], stem(image[None])[64][0], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.full((2, 1, 5, 7), -0.2), r"lie in \[0, 1\], got \[-0.2, -0.2\]"),
        (torch.full((2, 1, 5, 7), 1.4), r"lie in \[0, 1\], got \[1.4, 1.4\]"),
        (torch.full((2, 1, 5, 7), torch.nan), r"lie in \[0, 1\], got \[nan, nan\]"),
        (torch.zeros(2, 1, 5, 7, dtype=torch.uint8), "got torch.uint8; divide 8-bit images by 255"),
        (torch.zeros(2, 2, 5, 7), r"shape \(N, 1 or 3, H, W\) and not be empty, got \(2, 2, 5, 7\)"),
        (torch.zeros(5, 7), r"got \(5, 7\)"),
        (torch.zeros(0, 1, 5, 7), "images is empty"),
        ([], "images is empty"),
    ],
)
def test_images_the_network_was_not_made_for_are_refused(
    stem: InceptionStem, images: torch.Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        stem_features(images, stem)


def test_one_bad_pixel_among_good_ones_is_found(stem: InceptionStem) -> None:
    images = torch.rand(3, 1, 5, 7, generator=generator())
    images[1, 0, 2, 3] = torch.nan
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
        stem_features(images, stem)


def test_dictionaries_and_empty_batches_are_refused(stem: InceptionStem) -> None:
    with pytest.raises(TypeError, match=r"got dict; of a loader, pass \(batch\['image'\]"):
        stem_features([{"image": torch.zeros(1, 1, 5, 7)}], stem)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        stem_features(torch.zeros(1, 1, 5, 7), stem, batch_size=0)


@needs_weights
def test_published_first_layer_is_the_exact_one_scaled_per_channel() -> None:
    folded = InceptionStem.load(STEM).Conv2d_1a_3x3.weight.numpy()
    with np.load(PARTIAL) as exact:
        kernel = exact["Conv2d_1a_3x3.conv.weight"]
    scale = (folded * kernel).sum((1, 2, 3)) / np.square(kernel).sum((1, 2, 3))
    assert (scale > 0).all()
    # the folded file's kernels were rounded to 5 decimals (5e-6) before scaling
    np.testing.assert_allclose(folded / scale[:, None, None, None], kernel, rtol=0, atol=6e-6)


def resized(image: np.ndarray) -> np.ndarray:
    """Half-pixel bilinear interpolation to 299 x 299, without a library's."""
    for axis in (0, 1):
        place = np.clip((np.arange(299) + 0.5) * image.shape[axis] / 299 - 0.5, 0, None)
        low = np.minimum(place.astype(int), image.shape[axis] - 1)
        high = np.minimum(low + 1, image.shape[axis] - 1)
        share = (place - low)[:, None] if axis == 0 else place - low
        image = np.take(image, low, axis) * (1 - share) + np.take(image, high, axis) * share
    return image


def convolved(x: np.ndarray, weights: dict[str, np.ndarray], layer: str) -> np.ndarray:
    """ReLU of a convolution ``(C, H, W)`` with the folded weights, as one product of matrices."""
    _, _, kernel, stride, padding = LAYERS[layer]
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(1, 2))[:, ::stride, ::stride]
    product = np.tensordot(weights[f"{layer}.weight"], windows, ((1, 2, 3), (0, 3, 4)))
    return np.maximum(product + weights[f"{layer}.bias"][:, None, None], 0)


def pooled(x: np.ndarray) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))[:, ::2, ::2].max((3, 4))


@needs_weights
@needs_frames
def test_published_features_of_a_real_frame_are_those_of_an_independent_computation() -> None:
    image_module = pytest.importorskip("PIL.Image")
    frame = np.asarray(image_module.open(sorted(FRAMES.glob("*.png"))[0]), np.float64)[:, 16:240] / 255
    with np.load(STEM) as arrays:
        weights = {name: arrays[name].astype(np.float64) for name in arrays.files}
    x = np.repeat(2 * resized(frame)[None] - 1, 3, 0)
    for layer in ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3"):
        x = convolved(x, weights, layer)
    first = pooled(x)
    second = pooled(convolved(convolved(first, weights, "Conv2d_3b_1x1"), weights, "Conv2d_4a_3x3"))
    found = stem_features(torch.from_numpy(frame).float()[None, None], InceptionStem.load(STEM))
    for pool, expected in ((64, first), (192, second)):
        np.testing.assert_allclose(found[pool][0], expected.mean((1, 2)), rtol=1e-3, atol=1e-6)

"""Frechet distance of two sets of features: laws, closed forms, real frames."""

import doctest

import numpy as np
import pytest
import torch
from metric_inputs import FRAMES, STEM, drawn_features, needs_frames, needs_weights

from monai_bmaps.metrics import FeatureStatistics, InceptionStem, frechet_distance, stem_features
from monai_bmaps.metrics.distributions import frechet
from monai_bmaps.metrics.distributions.frechet import distances, resampled_distances


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def features(count: int, size: int, seed: int = 0) -> torch.Tensor:
    """Correlated Gaussian features, eigenvalues over four decades as the Inception's."""
    g = generator(seed)
    mix = torch.randn(size, size, generator=g, dtype=torch.float64) * torch.logspace(0, -2, size)
    return torch.randn(count, size, generator=g, dtype=torch.float64) @ mix + seed


def statistics(count: int, size: int, seed: int = 0) -> FeatureStatistics:
    return FeatureStatistics.from_features(features(count, size, seed))


def gaussian(mean: list[float], variances: list[float]) -> FeatureStatistics:
    return FeatureStatistics(
        mean=torch.tensor(mean, dtype=torch.float64),
        covariance=torch.diag(torch.tensor(variances, dtype=torch.float64)),
        count=100,
    )


@pytest.mark.parametrize("size", [1, 5, 64, 192])
def test_distance_equals_the_matrix_square_root_of_the_product(size: int) -> None:
    linalg = pytest.importorskip("scipy.linalg")
    a, b = statistics(600, size, seed=1), statistics(400, size, seed=2)
    root = linalg.sqrtm(a.covariance.numpy() @ b.covariance.numpy()).real
    offset = (a.mean - b.mean).numpy()
    expected = offset @ offset + np.trace(a.covariance) + np.trace(b.covariance) - 2 * np.trace(root)
    # sqrtm loses about half the digits of the smallest of four decades of eigenvalues
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6 if size == 192 else 1e-8)


def test_diagonal_gaussians_have_the_closed_form() -> None:
    a, b = gaussian([0.0, 1.0, 2.0], [1.0, 4.0, 0.0]), gaussian([3.0, 1.0, 0.0], [9.0, 0.25, 16.0])
    # squared offsets of the means, then of the standard deviations (1, 2, 0) and (3, .5, 4)
    assert frechet_distance(a, b) == pytest.approx((9 + 0 + 4) + (4 + 2.25 + 16), rel=1e-13)


def test_distance_is_symmetric() -> None:
    a, b = statistics(40, 17, seed=1), statistics(30, 17, seed=2)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-12)


@pytest.mark.parametrize("count", [3, 30, 300])
def test_identical_sets_have_distance_zero(count: int) -> None:
    a = statistics(count, 64)
    assert 0 <= frechet_distance(a, a) <= 1e-12 * a.covariance.trace().item()  # round-off of the two traces


def test_a_shift_alone_costs_its_squared_length() -> None:
    values, shift = features(50, 9), torch.linspace(-1, 2, 9, dtype=torch.float64)
    a, b = FeatureStatistics.from_features(values), FeatureStatistics.from_features(values + shift)
    assert frechet_distance(a, b) == pytest.approx((shift @ shift).item(), rel=1e-10)


@pytest.mark.parametrize("count", [2, 5, 60])
def test_fewer_images_than_features_keep_full_precision(count: int) -> None:
    values, others = features(count, 192, seed=1), features(count, 192, seed=2)
    # the nuclear norm of X Y^T needs no square root of a singular covariance
    deviations = [(v - v.mean(0)) / (count - 1) ** 0.5 for v in (values, others)]
    nuclear = torch.linalg.svdvals(deviations[0] @ deviations[1].T).sum()
    offset = values.mean(0) - others.mean(0)
    expected = offset @ offset + sum(d.square().sum() for d in deviations) - 2 * nuclear
    distance = frechet_distance(*(FeatureStatistics.from_features(v) for v in (values, others)))
    assert distance == pytest.approx(expected.item(), rel=1e-12)


def test_the_documented_example_runs() -> None:
    outcome = doctest.testmod(frechet)
    assert (outcome.attempted, outcome.failed) == (3, 0)


def test_sets_of_different_features_are_refused() -> None:
    with pytest.raises(ValueError, match="same features, got 3 and 5"):
        frechet_distance(statistics(9, 3), statistics(9, 5))


def test_statistics_are_numpys_in_float64() -> None:
    values = features(7, 5).float()
    a = FeatureStatistics.from_features(values)
    assert a.count == 7
    assert a.covariance.dtype == torch.float64
    np.testing.assert_allclose(a.mean, values.double().mean(0), rtol=1e-14)
    np.testing.assert_allclose(a.covariance, np.cov(values.double().numpy(), rowvar=False), rtol=1e-12)
    assert repr(a) == "FeatureStatistics(5 features of 7 images)"


def test_one_image_has_no_statistics() -> None:
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        FeatureStatistics.from_features(torch.zeros(1, 5))


def test_features_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="mean must be finite"):
        FeatureStatistics.from_features(torch.tensor([[0.0, 1.0], [torch.nan, 1.0]]))


@pytest.mark.parametrize(
    ("mean", "covariance", "count", "message"),
    [
        (torch.zeros(2).double(), torch.eye(2).double(), 1, "count must be at least 2"),
        (torch.zeros(2).double(), torch.eye(3).double(), 9, r"got \(2,\) and \(3, 3\)"),
        (torch.zeros(2), torch.eye(2), 9, "float64 on the CPU, got torch.float32"),
        (
            torch.zeros(2).double(),
            torch.eye(2).double() + torch.eye(2).double()[[1, 1]],
            9,
            "must be symmetric",
        ),
    ],
)
def test_inconsistent_statistics_are_refused(
    mean: torch.Tensor, covariance: torch.Tensor, count: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        FeatureStatistics(mean=mean, covariance=covariance, count=count)


@needs_weights
@needs_frames
def test_noise_on_real_frames_is_far_above_the_real_to_real_distance() -> None:
    image_module = pytest.importorskip("PIL.Image")
    by_patient = {path.name.split("_")[0]: path for path in sorted(FRAMES.glob("*.png"))}
    frames = [np.asarray(image_module.open(path), np.float32) / 255 for path in list(by_patient.values())[:12]]
    real = torch.from_numpy(np.stack(frames))[:, None, :, 16:240]  # (12, 1, 256, 224)
    noisy = (real[6:] + 0.1 * torch.randn(real[6:].shape, generator=generator())).clamp(0, 1)
    found = stem_features([real, noisy], InceptionStem.load(STEM))
    for values in found.values():
        first, second, degraded = (FeatureStatistics.from_features(part) for part in values.split(6))
        assert frechet_distance(first, degraded) > 30 * frechet_distance(first, second)


# at both max-pools


def test_a_set_is_at_no_distance_from_itself() -> None:
    drawn = drawn_features(20, seed=0)
    assert max(distances(drawn, drawn).values()) < 1e-12


def test_the_order_of_images_does_not_matter() -> None:
    first, second = drawn_features(20, seed=0), drawn_features(9, seed=1)
    turned = {pool: values.flip(0) for pool, values in first.items()}
    assert distances(turned, second) == pytest.approx(distances(first, second), rel=1e-10)


def test_one_image_has_no_distance() -> None:
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        distances(drawn_features(1, seed=0), drawn_features(9, seed=1))


def test_a_sample_that_takes_every_image_once_is_the_set() -> None:
    first, second = drawn_features(6, seed=0), drawn_features(5, seed=1)
    drawn = resampled_distances(first, second, [(np.arange(6)[::-1].copy(), np.arange(5))])
    assert {pool: values[0] for pool, values in drawn.items()} == pytest.approx(distances(first, second), rel=1e-10)

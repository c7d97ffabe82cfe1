"""Distances between images, in pixels after a blur and in features."""

from __future__ import annotations

import pytest
import torch

from monai_bmaps.metrics.images.image_set import ImageSet
from monai_bmaps.metrics.memorisation.neighbours import Blurred, Pose, in_features, pixel_distances

SHAPE = (64, 48)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def three_sets() -> dict[str, torch.Tensor]:
    return {name: torch.randn(5, 3, generator=generator(k)) for k, name in enumerate(("synthetic", "real", "training"))}


def test_the_unit_of_a_feature_does_not_matter() -> None:
    features = three_sets()
    scaled = {name: values * torch.tensor([1.0, 100.0, 0.01]) for name, values in features.items()}
    torch.testing.assert_close(
        in_features(scaled).synthetic_training, in_features(features).synthetic_training, rtol=1e-5, atol=1e-5
    )


def test_a_constant_feature_tells_nothing() -> None:
    features = three_sets()
    more = {name: torch.cat([values, torch.full((5, 1), 7.0)], 1) for name, values in features.items()}
    torch.testing.assert_close(in_features(more).synthetic_training, in_features(features).synthetic_training)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training": None}, "training is missing"),
        ({"real": torch.zeros(5, 4)}, "equally many"),
        ({"real": torch.full((5, 3), torch.nan)}, "must be finite"),
    ],
)
def test_features_that_do_not_fit_are_refused(change: dict[str, torch.Tensor | None], message: str) -> None:
    features = {name: torch.rand(5, 3, generator=generator()) for name in ("synthetic", "real", "training")}
    with pytest.raises(ValueError, match=message):
        in_features({name: values for name, values in {**features, **change}.items() if values is not None})


def plain(images: torch.Tensor, inside: torch.Tensor | None = None) -> ImageSet:
    return ImageSet("real", tuple(f"image_{k}" for k in range(len(images))), images, inside=inside)


def test_a_distance_is_the_root_mean_square_of_the_difference_of_standardised_images() -> None:
    first, second = (torch.rand(n, 1, 32, 32, generator=generator(n)).double() for n in (2, 3))
    scaled = [(x - x.mean((2, 3), keepdim=True)) / x.std((2, 3), correction=0, keepdim=True) for x in (first, second)]
    expected = (scaled[0][:, None] - scaled[1][None]).square().mean((2, 3, 4)).sqrt()
    torch.testing.assert_close(
        pixel_distances(Blurred.of(plain(first.float())), Blurred.of(plain(second.float()))),
        expected,
        atol=1e-6,
        rtol=1e-6,
    )


def test_brightness_and_contrast_do_not_count() -> None:
    images = torch.rand(3, 1, 40, 56, generator=generator())
    distances = pixel_distances(Blurred.of(plain(images)), Blurred.of(plain(0.2 + 0.5 * images)))
    assert float(distances.diagonal().max()) < 1e-5


def test_a_constant_image_is_as_far_from_all() -> None:
    images = torch.rand(3, 1, 40, 56, generator=generator())
    constant = Blurred.of(plain(torch.full((1, 1, 40, 56), 0.3)))
    torch.testing.assert_close(pixel_distances(constant, Blurred.of(plain(images))), torch.ones(1, 3).double())


def test_a_pose_moves_and_leaves_nothing_behind() -> None:
    maps = torch.arange(1.0, 7.0).reshape(1, 2, 3)
    assert Pose(mirrored=True)(maps).tolist() == [[[3, 2, 1], [6, 5, 4]]]
    assert Pose(down=1, right=-1)(maps).tolist() == [[[0, 0, 0], [2, 3, 0]]]


def test_what_lies_outside_either_beam_does_not_count() -> None:
    images = torch.rand(2, 1, 64, 64, generator=generator())
    inside = torch.ones(2, 64, 64, dtype=torch.bool)
    inside[0, :, :32] = False
    inside[1, :20] = False
    changed = images.clone()
    changed[0, :, :, :32] = 0.9
    changed[1, :, :20] = 0.1
    first, second = (Blurred.of(plain(each, inside)) for each in (images, changed))
    torch.testing.assert_close(pixel_distances(first, first), pixel_distances(second, second))


def test_beams_that_do_not_meet_are_infinitely_far() -> None:
    inside = torch.zeros(2, 32, 32, dtype=torch.bool)
    inside[0, :16] = True
    inside[1, 16:] = True
    distances = pixel_distances(*[Blurred.of(plain(torch.rand(2, 1, 32, 32, generator=generator()), inside))] * 2)
    assert distances.isinf().tolist() == [[False, True], [True, False]]


def test_an_image_is_at_no_distance_from_itself() -> None:
    images = Blurred.of(plain(torch.rand(3, 1, 40, 56, generator=generator())))
    assert float(pixel_distances(images, images).diagonal().max()) < 1e-6

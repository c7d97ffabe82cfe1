"""Images as files hold them, and what bootstrap samples say about a distance."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from monai_bmaps.metrics import InceptionStem, stem_features
from monai_bmaps.metrics.distributions.features import as_files, as_rows, file_features, from_rows
from monai_bmaps.metrics.distributions.frechet import distances, resampled_distances
from monai_bmaps.metrics.findings.bootstrap import bootstrap_picks, interval
from monai_bmaps.pictures import to_grey

Drawn = dict[int, torch.Tensor]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def features(count: int, seed: int, shift: float = 0.0) -> Drawn:
    """Like an Inception's: the variances of the later features are ever smaller."""
    scale = torch.logspace(0, -2, 256, dtype=torch.float64)
    return from_rows(scale * torch.randn(count, 256, generator=generator(seed), dtype=torch.float64) + shift * scale)


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
    drawn = features(3, seed=0)
    assert as_rows(drawn).shape == (3, 256)
    assert all(torch.equal(from_rows(as_rows(drawn))[pool], values) for pool, values in drawn.items())
    assert [values.shape[1] for values in drawn.values()] == [*drawn] == [64, 192]


def test_a_set_is_at_no_distance_from_itself() -> None:
    drawn = features(20, seed=0)
    assert max(distances(drawn, drawn).values()) < 1e-12


def test_the_order_of_images_does_not_matter() -> None:
    first, second = features(20, seed=0), features(9, seed=1)
    turned = {pool: values.flip(0) for pool, values in first.items()}
    assert distances(turned, second) == pytest.approx(distances(first, second), rel=1e-10)


def test_one_image_has_no_distance() -> None:
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        distances(features(1, seed=0), features(9, seed=1))


def test_samples_are_drawn_from_all_images_and_again_the_same() -> None:
    picks = bootstrap_picks(5, 9, resamplings=60)
    assert [pick.tolist() for pick in picks[7]] == [pick.tolist() for pick in bootstrap_picks(5, 9, 60)[7]]
    for part, count in enumerate((5, 9)):
        assert {len(pick[part]) for pick in picks} == {count}
        assert set(np.concatenate([pick[part] for pick in picks])) == set(range(count))


def test_a_group_comes_whole_into_a_sample_or_not_at_all() -> None:
    groups = ["a", "b", "a", "c", "b", "a"]
    picks = [mine.tolist() for mine, _ in bootstrap_picks(groups, 4, resamplings=40)]
    for pick in picks:
        assert pick.count(0) == pick.count(2) == pick.count(5)
        assert pick.count(1) == pick.count(4)
    assert len({tuple(sorted(pick)) for pick in picks}) > 5


def test_groups_of_one_image_are_drawn_as_images_are() -> None:
    by_group, by_image = bootstrap_picks(["x", "y", "z"], 4, 7), bootstrap_picks(3, 4, 7)
    assert [[p.tolist() for p in pick] for pick in by_group] == [[p.tolist() for p in pick] for pick in by_image]


def test_intervals_over_groups_are_wider_where_the_images_of_a_group_are_alike() -> None:
    first, second = features(15, seed=0), features(40, seed=1)
    repeated = {pool: values.repeat(4, 1) for pool, values in first.items()}
    groups = [str(row) for row in range(15)] * 4
    widths = []
    for given in (60, groups):
        drawn = resampled_distances({64: repeated[64]}, {64: second[64]}, bootstrap_picks(given, 40, 60))[64]
        widths.append(np.ptp(interval(1.0, drawn)))
    assert widths[1] > 1.3 * widths[0]


def test_a_sample_that_takes_every_image_once_is_the_set() -> None:
    first, second = features(6, seed=0), features(5, seed=1)
    drawn = resampled_distances(first, second, [(np.arange(6)[::-1].copy(), np.arange(5))])
    assert {pool: values[0] for pool, values in drawn.items()} == pytest.approx(distances(first, second), rel=1e-10)


def test_an_interval_holds_its_estimate_where_percentiles_of_the_samples_do_not() -> None:
    """Sets of one law: repeated images raise the distance of almost every bootstrap sample."""
    first, second = features(60, seed=0), features(40, seed=1)
    estimate = distances(first, second)[192]
    drawn = resampled_distances(first, second, bootstrap_picks(60, 40, 40))[192]
    assert np.percentile(drawn, 2.5) > estimate
    low, high = interval(estimate, drawn, lowest=0.0)
    assert 0.0 <= low < estimate < high


def test_an_interval_is_as_wide_as_its_samples_spread() -> None:
    drawn = np.linspace(3.0, 4.0, 1001)
    assert interval(1.0, drawn) == pytest.approx((0.525, 1.475))
    assert interval(1.0, drawn, share=0.5) == pytest.approx((0.75, 1.25))
    assert interval(0.1, drawn, lowest=0.0)[0] == 0.0


def test_intervals_hold_the_expected_distance_nearly_always() -> None:
    """At these sizes: the mean over 60 pairs of sets. 16 of 20 would be too few for 95 %."""
    pairs = [(features(30, 2 * k, shift=0.4), features(20, 2 * k + 1)) for k in range(60)]
    found = [distances(*pair)[64] for pair in pairs]
    picks = bootstrap_picks(30, 20, 50)
    held = 0
    for estimate, (first, second) in list(zip(found, pairs, strict=True))[:20]:
        drawn = resampled_distances({64: first[64]}, {64: second[64]}, picks)[64]
        low, high = interval(estimate, drawn, lowest=0.0)
        held += low <= np.mean(found) <= high
    assert held > 16


def test_the_quality_script_reports_the_same_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    quality = pytest.importorskip("benchmarks.cardiac_quality")
    monkeypatch.setattr(quality, "RESAMPLINGS", 5)
    sets = {"ode:5": features(7, seed=0, shift=0.1), quality.REFERENCE: features(7, seed=1, shift=0.2)}
    known, real = features(12, seed=2), features(6, seed=3)
    runs = {name: {"features": as_rows(found).numpy()} for name, found in sets.items()}
    found = json.loads(json.dumps(quality.report(runs, known, real, 7)))
    assert found["runs"]["ode:5"]["distance"] == pytest.approx([*distances(sets["ode:5"], real).values()], abs=1e-4)
    assert found["training_frames_against_held_out"] == pytest.approx([*distances(known, real).values()], abs=1e-4)
    assert found["held_out_frames"] == 6
    low, high = found["runs"]["ode:5"]["minus_reference_interval"][1]
    assert low < distances(sets["ode:5"], real)[192] - distances(sets[quality.REFERENCE], real)[192] < high

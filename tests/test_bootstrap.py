"""Bootstrap samples take whole groups, and their intervals hold what they should."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
import torch
from metric_inputs import drawn_features

from monai_bmaps.metrics.distributions.frechet import distances, resampled_distances
from monai_bmaps.metrics.findings import bootstrap
from monai_bmaps.metrics.findings.bootstrap import bootstrap_picks, interval, mean_by_group


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
    first, second = drawn_features(15, seed=0), drawn_features(40, seed=1)
    repeated = {pool: values.repeat(4, 1) for pool, values in first.items()}
    groups = [str(row) for row in range(15)] * 4
    widths = []
    for given in (60, groups):
        drawn = resampled_distances({64: repeated[64]}, {64: second[64]}, bootstrap_picks(given, 40, 60))[64]
        widths.append(np.ptp(interval(1.0, drawn)))
    assert widths[1] > 1.3 * widths[0]


def test_an_interval_holds_its_estimate_where_percentiles_of_the_samples_do_not() -> None:
    """Sets of one law: repeated images raise the distance of almost every bootstrap sample."""
    first, second = drawn_features(60, seed=0), drawn_features(40, seed=1)
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
    pairs = [(drawn_features(30, 2 * k, shift=0.4), drawn_features(20, 2 * k + 1)) for k in range(60)]
    found = [distances(*pair)[64] for pair in pairs]
    picks = bootstrap_picks(30, 20, 50)
    held = 0
    for estimate, (first, second) in list(zip(found, pairs, strict=True))[:20]:
        drawn = resampled_distances({64: first[64]}, {64: second[64]}, picks)[64]
        low, high = interval(estimate, drawn, lowest=0.0)
        held += low <= np.mean(found) <= high
    assert held > 16


def test_images_of_one_patient_widen_the_interval() -> None:
    values = torch.randn(40, generator=torch.Generator().manual_seed(0)).repeat_interleave(5)
    alone = mean_by_group(values, [str(index) for index in range(200)])[1]
    grouped_ = mean_by_group(values, [str(index // 5) for index in range(200)])[1]
    assert alone is not None
    assert grouped_ is not None
    # five copies of a value are one witness, so that the width grows by the root of 5
    assert (grouped_[1] - grouped_[0]) / (alone[1] - alone[0]) == pytest.approx(5**0.5, rel=0.15)


def test_one_patient_has_a_mean_without_interval() -> None:
    assert mean_by_group(torch.tensor([1.0, 3.0, torch.nan]), ["a", "a", "b"]) == (2.0, None)


def test_no_value_is_no_mean() -> None:
    mean, interval = mean_by_group(torch.full((2,), torch.nan), ["a", "b"])
    assert math.isnan(mean)
    assert interval is None


def test_examples_hold() -> None:
    result = doctest.testmod(bootstrap)
    assert (result.failed, result.attempted) == (0, 1)

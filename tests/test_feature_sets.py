"""Which sets are compared: halves divide no group."""

from __future__ import annotations

import torch

from monai_bmaps.metrics.distributions.feature_sets import FeatureSet, contrasts, halves_of


def test_halves_divide_no_group_and_are_about_as_large() -> None:
    groups = ["a"] * 5 + ["b"] * 3 + ["c"] * 3 + ["d"]
    one, other = halves_of(groups)
    assert sorted(one + other) == list(range(12))
    assert not {groups[row] for row in one} & {groups[row] for row in other}
    assert abs(len(one) - len(other)) <= 2


def test_a_single_patient_gives_no_floor() -> None:
    features = {64: torch.rand(4, 64), 192: torch.rand(4, 192)}
    real = FeatureSet("real", features, ("p",) * 4)
    assert len(contrasts(FeatureSet("synthetic", features), real)) == 1

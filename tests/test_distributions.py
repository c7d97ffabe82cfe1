"""Measures that compare distributions: their rows and warnings, and their form in MONAI."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from metric_inputs import textures

from monai_bmaps.metrics.distributions.distribution_metric import DistributionMetric
from monai_bmaps.metrics.distributions.feature_sets import FeatureSet, contrasts
from monai_bmaps.metrics.distributions.inception import InceptionStem
from monai_bmaps.metrics.distributions.measuring import warnings_of_size
from monai_bmaps.metrics.distributions.rows import frechet_rows


def test_the_floor_of_as_few_images_stands_beside_that_of_all() -> None:
    generator = torch.Generator().manual_seed(0)
    sets = [
        FeatureSet(name, {pool: torch.randn(count, pool, generator=generator) for pool in (64, 192)})
        for name, count in (("synthetic", 6), ("real", 8), ("training", 20))
    ]
    rows = {row.key: row for row in frechet_rows(contrasts(*sets), resamplings=3)}
    few, every = rows["floor_same_count_max_pool_2"], rows["floor_max_pool_2"]
    assert few.counts == {"training": 6, "real": 8}
    assert few.value is not None
    assert every.value is not None
    assert few.value > every.value


@pytest.mark.parametrize(("fewest", "expected"), [(61, ["Too few", "Too few"]), (300, ["Few", "Few"]), (700, ["Few"])])
def test_small_sets_are_warned_of(fewest: int, expected: list[str]) -> None:
    assert [note.partition(" images")[0] for note in warnings_of_size([fewest, 5000])] == expected


def test_large_sets_are_not() -> None:
    assert warnings_of_size([1920, 5000]) == []


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


def test_a_distance_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="got 'kernel' at 2048"):
        DistributionMetric("kernel", pool=2048)  # type: ignore[arg-type]

"""Which images come is decided by seed and number of workers: not by the kind of data set, nor how workers start."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator

import pytest
import torch
from monai.data import CacheDataset, DataLoader, Dataset, PersistentDataset, ThreadDataLoader
from monai.transforms import Compose, RandFlipd
from monai.utils import set_determinism
from synthesis_items import item, model

from monai_bmaps.transforms import RandBMapSynthesisd, SynthesisModel

DATASETS = ("Dataset", "CacheDataset", "PersistentDataset")
WORKERS = ("none", "fork", "spawn")


@pytest.fixture(autouse=True)
def undetermined() -> Iterator[None]:
    yield
    set_determinism(None)


def dataset(kind: str) -> Dataset:
    keys = ["image", "label", "depth", "sector"]
    flip = RandFlipd(keys, prob=0.5, spatial_axis=1)
    chain = Compose([flip, RandBMapSynthesisd("image", model(steps=1), prob=0.7, strength=(0.5, 1.0))])
    items = [item(k) for k in range(6)]
    if kind == "CacheDataset":
        return CacheDataset(items, chain, progress=False)
    if kind == "PersistentDataset":
        return PersistentDataset(items, chain, cache_dir=tempfile.mkdtemp())
    return Dataset(items, chain)


def epoch(kind: str, workers: str, seed: int) -> tuple[torch.Tensor, list[int]]:
    """Images of one epoch, and their seeds, -1 of real ones."""
    set_determinism(seed)
    started = {} if workers == "none" else {"num_workers": 2, "multiprocessing_context": workers}
    batches = [batch["image"] for batch in DataLoader(dataset(kind), batch_size=2, **started)]
    seeds = [seed for images in batches for seed in images.meta["synthesis"]["seed"].tolist()]
    return torch.cat([images.as_subclass(torch.Tensor) for images in batches]), seeds


once = functools.cache(epoch)


@pytest.mark.parametrize("kind", DATASETS)
@pytest.mark.parametrize("workers", ["none", "fork"])
def test_a_seed_repeats_an_epoch_and_another_gives_another(workers: str, kind: str) -> None:
    first, seeds = once(kind, workers, 1)
    again, seeds_again = epoch(kind, workers, 1)
    other, other_seeds = once(kind, workers, 2)
    assert torch.equal(first, again)
    assert seeds == seeds_again
    assert -1 in seeds or -1 in other_seeds
    drawn = [seed for seed in seeds if seed >= 0]
    assert len(set(drawn)) == len(drawn) > 1
    assert not set(drawn) & set(other_seeds)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("kind", DATASETS)
def test_spawned_workers_draw_what_forked_ones_draw(kind: str) -> None:
    spawned, seeds = once(kind, "spawn", 1)
    forked, forked_seeds = once(kind, "fork", 1)
    assert seeds == forked_seeds
    assert torch.equal(spawned, forked)


@pytest.mark.parametrize("workers", WORKERS)
def test_every_kind_of_data_set_gives_the_same(workers: str) -> None:
    expected, seeds = once(DATASETS[0], workers, 1)
    for kind in DATASETS[1:]:
        found, found_seeds = once(kind, workers, 1)
        assert found_seeds == seeds
        assert torch.equal(found, expected)


def test_a_thread_loader_of_one_thread_repeats_too() -> None:
    made = []
    for _ in range(2):
        set_determinism(1)
        loader = ThreadDataLoader(dataset("Dataset"), batch_size=2, num_workers=0)
        made.append(torch.cat([batch["image"].as_subclass(torch.Tensor) for batch in loader]))
    assert torch.equal(*made)


def test_a_gpu_in_forked_workers_is_refused_where_the_user_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataset("Dataset")
    data.transform.transforms[1].synthesis.prob = 1.0
    monkeypatch.setattr(SynthesisModel, "device", torch.device("cuda"))
    loader = DataLoader(data, batch_size=2, num_workers=1, multiprocessing_context="fork")
    with pytest.raises(RuntimeError, match="a forked worker cannot use it"):
        next(iter(loader))

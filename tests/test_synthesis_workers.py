"""Which images come is decided by seed and number of workers: not by the kind of data set, nor how workers start."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from monai.data import CacheDataset, DataLoader, Dataset, PersistentDataset, ThreadDataLoader
from monai.data.utils import set_rnd
from monai.transforms import Compose, RandFlipd
from monai.utils import set_determinism
from synthesis_items import item, model

from monai_bmaps.transforms import RandBMapSynthesisd, SynthesisModel

# on a machine of one core PyTorch advises against two workers
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker")

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
    items = [item(k) for k in range(8)]
    if kind == "CacheDataset":
        return CacheDataset(items, chain, progress=False)
    if kind == "PersistentDataset":
        return PersistentDataset(items, chain, cache_dir=tempfile.mkdtemp())
    return Dataset(items, chain)


class Together(torch.utils.data.Dataset[Any]):
    """Several data sets one after the other, seeded alike: spawned workers take long to start, so these do it once."""

    def __init__(self, datasets: Sequence[Dataset]) -> None:
        self.datasets = datasets

    def __len__(self) -> int:
        return sum(map(len, self.datasets))

    def __getitem__(self, index: int) -> Any:
        number, index = divmod(index, len(self.datasets[0]))
        return self.datasets[number][index]

    def set_random_state(self, seed: int) -> None:
        for one in self.datasets:
            set_rnd(one, seed)


Epoch = tuple[torch.Tensor, list[int]]
"""Images, and their seeds, -1 of real ones."""


def gathered(batches: Sequence[Any]) -> Epoch:
    seeds = [seed for images in batches for seed in images.meta["synthesis"]["seed"].tolist()]
    return torch.cat([images.as_subclass(torch.Tensor) for images in batches]), seeds


def epoch(kind: str, workers: str, seed: int) -> Epoch:
    """An epoch of batches of two with no or two workers."""
    if workers == "spawn":
        return spawned(seed)[DATASETS.index(kind)]
    data = dataset(kind)  # before, since a new network draws its weights
    set_determinism(seed)
    started = {} if workers == "none" else {"num_workers": 2, "multiprocessing_context": workers}
    return gathered([batch["image"] for batch in DataLoader(data, batch_size=2, **started)])


@functools.cache
def spawned(seed: int) -> list[Epoch]:
    together = Together([dataset(kind) for kind in DATASETS])
    set_determinism(seed)
    loader = DataLoader(together, batch_size=2, num_workers=2, multiprocessing_context="spawn")
    batches = [batch["image"] for batch in loader]
    return [gathered(batches[4 * k : 4 * k + 4]) for k in range(len(DATASETS))]


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
    images, seeds = once(kind, "spawn", 1)
    forked, forked_seeds = once(kind, "fork", 1)
    assert seeds == forked_seeds
    assert torch.equal(images, forked)


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
        data = dataset("Dataset")
        set_determinism(1)
        loader = ThreadDataLoader(data, batch_size=2, num_workers=0)
        made.append(torch.cat([batch["image"].as_subclass(torch.Tensor) for batch in loader]))
    assert torch.equal(*made)


def test_a_gpu_in_forked_workers_is_refused_where_the_user_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataset("Dataset")
    data.transform.transforms[1].synthesis.prob = 1.0
    monkeypatch.setattr(SynthesisModel, "device", torch.device("cuda"))
    loader = DataLoader(data, batch_size=2, num_workers=1, multiprocessing_context="fork")
    with pytest.raises(RuntimeError, match="a forked worker cannot use it"):
        next(iter(loader))

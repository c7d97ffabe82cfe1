"""Draws are a function of seed and number: the same for any start, number of workers and number of processes."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import CacheDataset
from monai.transforms import Compose, RandAdjustContrastd, RandFlipd, RandGaussianNoised

from monai_bmaps.draws import DrawLoader, DrawnDataset, DrawSampler, draw_at, seed_of

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),  # workers of a multi-threaded process
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),  # on machines of one core
]


def batches(sampler: DrawSampler, count: int) -> list[list[tuple[int, int]]]:
    return [[tuple(draw) for draw in batch] for batch in islice(sampler, count)]


def data(count: int = 5) -> CacheDataset:
    items = [{"image": torch.arange(6.0).reshape(1, 2, 3) + index, "name": str(index)} for index in range(count)]
    random = [RandFlipd("image", prob=0.5, spatial_axis=1), RandGaussianNoised("image", prob=1.0)]
    return CacheDataset(items, Compose([*random, RandAdjustContrastd("image", prob=0.5)]), progress=False)


@given(items=st.integers(1, 30), seed=st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_every_pass_visits_every_item_once(items: int, seed: int) -> None:
    drawn = [draw_at(number, items, seed).item for number in range(3 * items)]
    assert all(sorted(drawn[start : start + items]) == list(range(items)) for start in (0, items, 2 * items))


def test_passes_are_in_orders_of_their_own() -> None:
    drawn = [draw_at(number, 20, seed=0).item for number in range(40)]
    assert drawn[:20] != drawn[20:]
    assert drawn[:20] != list(range(20))


def test_no_two_draws_of_a_run_share_a_seed() -> None:
    seeds = Counter(seed_of(0, number) for number in range(3000))
    assert max(seeds.values()) == 1  # 32 bits: one pair in 3000 is expected with probability 1e-3, and this is fixed


def test_neighbouring_runs_share_no_seeds() -> None:
    assert {seed_of(0, n) for n in range(1000)}.isdisjoint({seed_of(1, n) for n in range(1000)})


@given(start=st.integers(0, 40), batch_size=st.integers(1, 7))
@settings(max_examples=30, deadline=None)
def test_a_sampler_started_later_goes_on_as_one_that_was_there_all_along(start: int, batch_size: int) -> None:
    whole, late = (DrawSampler(11, batch_size, seed=3) for _ in range(2))
    late.next_iteration = start
    assert batches(late, 4) == batches(whole, start + 4)[start:]


@given(world_size=st.integers(1, 5), batch_size=st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_processes_share_the_batches_of_one_with_the_whole_batch(world_size: int, batch_size: int) -> None:
    alone = batches(DrawSampler(7, batch_size * world_size, seed=1), 5)
    ranks = [batches(DrawSampler(7, batch_size, 1, None, rank, world_size), 5) for rank in range(world_size)]
    assert [[draw for rank in ranks for draw in rank[i]] for i in range(5)] == alone


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_validation_draws_are_finite_repeated_and_shared_out(world_size: int) -> None:
    ranks = [DrawSampler(5, 2, passes=3, rank=rank, world_size=world_size) for rank in range(world_size)]
    drawn = [list(rank) for rank in ranks]
    assert drawn == [list(rank) for rank in ranks]
    assert [len(rank) for rank in ranks] == [len(batches) for batches in drawn]
    flat = [draw for rank in drawn for batch in rank for draw in batch]
    assert Counter(draw.item for draw in flat) == dict.fromkeys(range(5), 3)
    assert len({draw.seed for draw in flat}) == 15


@pytest.mark.parametrize("wrong", [{"items": 0}, {"batch_size": 0}, {"passes": 0}])
def test_nothing_to_draw_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        DrawSampler(**{"items": 3, "batch_size": 2, **wrong})


def test_more_processes_than_validation_draws_are_refused() -> None:
    with pytest.raises(ValueError, match="3 draws do not reach 4 processes"):
        DrawSampler(3, 2, passes=1, world_size=4)


def test_the_same_draw_is_augmented_the_same_way_whatever_came_before() -> None:
    dataset, draws = DrawnDataset(data()), [draw_at(number, 5, seed=0) for number in range(6)]
    first = [dataset[draw]["image"].clone() for draw in draws]
    again = [dataset[draw]["image"].clone() for draw in reversed(draws)][::-1]
    torch.testing.assert_close(first, again, atol=0, rtol=0)


def test_two_draws_of_one_item_are_augmented_differently() -> None:
    dataset = DrawnDataset(data(1))
    first, second = (dataset[draw_at(number, 1, seed=0)]["image"] for number in (0, 1))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_no_draw(workers: int) -> None:
    alone, shared = (list(islice(DrawLoader(data(), 3, seed=5, num_workers=n), 4)) for n in (0, workers))
    for one, other in zip(alone, shared, strict=True):
        assert torch.equal(one["image"], other["image"])
        assert torch.equal(one["draw"], other["draw"])
        assert one["name"] == other["name"]


def test_a_loader_that_starts_later_yields_the_later_batches() -> None:
    whole, late = DrawLoader(data(), 3, seed=5), DrawLoader(data(), 3, seed=5)
    late.draws.next_iteration = 2
    expected, found = list(islice(whole, 4))[2:], list(islice(late, 2))
    for one, other in zip(expected, found, strict=True):
        assert torch.equal(one["image"], other["image"])


def test_a_list_of_items_is_drawn_as_it_is() -> None:
    dataset = DrawnDataset([{"image": torch.ones(1, 2, 3)}])
    item = dataset[draw_at(0, 1, seed=0)]
    assert torch.equal(item["image"], torch.ones(1, 2, 3))
    assert item["draw"] == seed_of(0, 0)

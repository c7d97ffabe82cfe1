"""Training draws: which item, which augmentation and which noise come at an iteration, as a function of it alone.

Draw ``n`` of a run is an item and a seed, both made from the run's seed and ``n``. Iteration ``i`` of a global batch
of ``G`` images takes draws ``i G`` to ``(i + 1) G - 1``, and each process its share of them. So a resumed run goes on
with the data it would have had, and any number of workers or processes sees the same draws.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized
from functools import lru_cache
from itertools import count
from typing import Any, NamedTuple

import numpy as np
from monai.data import DataLoader
from torch.utils.data import Dataset, Sampler

DRAW_KEY = "draw"
"""Key of a draw's seed in the items that :class:`DrawLoader` yields."""


class Draw(NamedTuple):
    """One training example: an item of the data set and the seed of everything random about it."""

    item: int
    seed: int


def draw_at(number: int, items: int, seed: int) -> Draw:
    """Draw ``number`` of a run over ``items`` items: each pass visits all of them once, in an order of its own."""
    order = _order_of_pass(seed, number // items, items)
    return Draw(int(order[number % items]), seed_of(seed, number))


def seed_of(seed: int, number: int) -> int:
    """A 32-bit seed for one draw; neighbouring draws and neighbouring runs get unrelated ones."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


@lru_cache(maxsize=8)
def _order_of_pass(seed: int, number: int, items: int) -> Any:
    return np.random.default_rng([seed, number]).permutation(items)


class DrawSampler(Sampler[list[Draw]]):
    """Batches of draws of one process: endless, or with ``passes`` the same finite list at every visit.

    Args:
        items: how many items there are.
        batch_size: images per batch of this process.
        seed: the run's seed.
        passes: ``None`` for training: endless batches, all of one size, every pass shuffled. A number for validation:
            each item that often, in order, always with the same seeds.
        rank: number of this process.
        world_size: how many processes share the draws.

    Raises:
        ValueError: no items, a batch size or number of passes below 1, or fewer validation draws than processes.
    """

    def __init__(
        self, items: int, batch_size: int, seed: int = 0, passes: int | None = None, rank: int = 0, world_size: int = 1
    ) -> None:
        if items < 1 or batch_size < 1 or (passes is not None and passes < 1):
            raise ValueError(
                f"items, batch_size and passes must be at least 1, got {items}, {batch_size}, {passes}; is the split "
                "empty?"
            )
        if passes is not None and items * passes < world_size:
            raise ValueError(f"{items * passes} draws do not reach {world_size} processes; give more passes")
        self.items, self.batch_size, self.seed, self.passes = items, batch_size, seed, passes
        self.rank, self.world_size = rank, world_size
        self.next_iteration = 0

    def batch(self, iteration: int) -> list[Draw]:
        """The draws of this process at an iteration, counted from 0."""
        start = (iteration * self.world_size + self.rank) * self.batch_size
        return [draw_at(number, self.items, self.seed) for number in range(start, start + self.batch_size)]

    def __iter__(self) -> Iterator[list[Draw]]:
        """Batches from ``next_iteration`` on, or the finite list."""
        if self.passes is None:
            return map(self.batch, count(self.next_iteration))
        mine = range(self.rank, self.items * self.passes, self.world_size)
        draws = [Draw(number % self.items, seed_of(self.seed, number)) for number in mine]
        return (draws[i : i + self.batch_size] for i in range(0, len(draws), self.batch_size))

    def __len__(self) -> int:
        """Number of batches; of an endless sampler, those of one pass over the items."""
        share = self.items * (self.passes or 1)
        mine = len(range(self.rank, share, self.world_size)) if self.passes else share // self.world_size
        return max(1, -(-mine // self.batch_size))


class DrawnDataset(Dataset[Mapping[str, Any]]):
    """A data set whose random transforms take their seed from the draw.

    Args:
        dataset: of dictionaries; random is what its ``transform`` does, as in MONAI's ``Dataset`` and ``CacheDataset``,
            where it has ``set_random_state``. A list, or another transform, is taken to have nothing random.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        """Number of items."""
        return len(self.dataset)

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        """The item, augmented from the draw's seed, which it holds under ``"draw"``."""
        transform: Any = getattr(self.dataset, "transform", None)
        if hasattr(transform, "set_random_state"):
            transform.set_random_state(seed=draw.seed)
        return {**self.dataset[draw.item], DRAW_KEY: draw.seed}


class DrawLoader(DataLoader):  # type: ignore[misc]
    """Batches for MONAI's engines whose order and randomness can be repeated from any iteration.

    Args:
        dataset: a MONAI data set.
        batch_size: images per batch of each process.
        seed: the run's seed.
        passes: see :class:`DrawSampler`.
        num_workers: worker processes; the draws do not depend on it.
        arguments: as for ``torch.utils.data.DataLoader``.

    The number of this process and of all comes from ``ignite.distributed``.
    """

    def __init__(
        self,
        dataset: Sized,
        batch_size: int,
        seed: int = 0,
        passes: int | None = None,
        num_workers: int = 0,
        **arguments: Any,
    ) -> None:
        import ignite.distributed as idist

        self.draws = DrawSampler(len(dataset), batch_size, seed, passes, idist.get_rank(), idist.get_world_size())
        super().__init__(DrawnDataset(dataset), num_workers, batch_sampler=self.draws, **arguments)

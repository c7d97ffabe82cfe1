"""What MONAI expects of every transform, for each of ours: seeds, data sets, workers, neighbours, copies, refusals.

To hold a new dictionary transform to it, add a line to ``RANDOM`` (or ``DETERMINISTIC``).
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import monai.transforms as stock
import pytest
import torch
from monai.data import CacheDataset, DataLoader, Dataset, MetaTensor, PersistentDataset
from monai.utils import set_determinism

from monai_bmaps import transforms
from monai_bmaps.data.phantoms import heart_beam, heart_labels
from monai_bmaps.transforms import (
    BeamDepthd,
    DepthAttenuationd,
    RandAnatomyDeformd,
    RandBeamDeformd,
    RandBMapNoised,
    RandDepthAttenuationd,
)

Factory = Callable[..., Any]

SHAPE = (32, 40)
KEYS = ("image", "label", "sector", "depth")

# (name, factory): the factory takes prob and allow_missing_keys
RANDOM: list[tuple[str, Factory]] = [
    ("RandBMapNoise", lambda **more: RandBMapNoised("image", levels=(0.02, 0.1), **more)),
    ("RandDepthAttenuation", lambda **more: RandDepthAttenuationd("image", attenuation_db=(2.0, 10.0), **more)),
    ("RandBeamDeform", lambda **more: RandBeamDeformd(KEYS, **more)),
    ("RandAnatomyDeform", lambda **more: RandAnatomyDeformd("label", image_key=None, **more)),
]
DETERMINISTIC: list[tuple[str, Factory]] = [
    ("DepthAttenuation", lambda **more: DepthAttenuationd("image", attenuation_db=6.0, **more)),
]
EVERY = [*RANDOM, *DETERMINISTIC]

random_ones = pytest.mark.parametrize("make", [m for _, m in RANDOM], ids=[n for n, _ in RANDOM])
every_one = pytest.mark.parametrize("make", [m for _, m in EVERY], ids=[n for n, _ in EVERY])


class Flat:
    """Reduces an item to plain tensors: module level, so that spawned workers can unpickle it."""

    def __call__(self, data: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        return {key: data[key].as_tensor().float() for key in ("image", "label")}


def items(count: int = 4) -> list[dict[str, Any]]:
    made = []
    for number in range(count):
        generator = torch.Generator().manual_seed(number)
        label = MetaTensor(heart_labels(SHAPE, generator=generator)[None].float(), affine=torch.eye(3))
        item = BeamDepthd(reference_key="label", beam=heart_beam(SHAPE))({"label": label})
        image = torch.rand(1, *SHAPE, generator=generator) * 1.2 - 0.6
        image = torch.where(item["sector"].as_tensor() > 0, image, -1.0)
        made.append(item | {"image": MetaTensor(image, affine=torch.eye(3)), "name": f"item_{number}"})
    return made


@pytest.fixture(autouse=True)
def own_seed() -> Iterator[None]:
    set_determinism(seed=None)
    yield
    set_determinism(seed=None)


def same(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    return all(torch.equal(torch.as_tensor(first[k]), torch.as_tensor(second[k])) for k in ("image", "label"))


def pixels(data: Mapping[str, Any]) -> torch.Tensor:
    return torch.cat([torch.as_tensor(data[key]).float() for key in ("image", "label")])


def through(dataset: Dataset, workers: int, context: str | None, seed: int = 3) -> torch.Tensor:
    """Everything a loader gives in one epoch, after one seed."""
    set_determinism(seed=seed)
    loader = DataLoader(dataset, batch_size=2, num_workers=workers, multiprocessing_context=context, shuffle=False)
    return torch.cat([torch.cat([batch["image"], batch["label"]], 1) for batch in loader])


# seeds


@random_ones
def test_a_seed_gives_the_same_again_and_another_another(make: Factory) -> None:
    first, again, other = (make(prob=1.0).set_random_state(seed=seed)(items(1)[0]) for seed in (1, 1, 2))
    assert same(first, again)
    assert not same(first, other)


@random_ones
def test_a_composed_chain_hands_its_seed_down(make: Factory) -> None:
    chain = stock.Compose([make(prob=1.0), stock.RandFlipd(KEYS, prob=0.5)])
    first, again = (chain.set_random_state(seed=5)(items(1)[0]) for _ in range(2))
    assert same(first, again)


@random_ones
def test_set_determinism_fixes_chains_made_after_it(make: Factory) -> None:
    results = []
    for seed in (7, 7, 8):
        set_determinism(seed=seed)
        results.append(stock.Compose([make(prob=1.0)])(items(1)[0]))
    assert same(results[0], results[1])
    assert not same(results[0], results[2])


@random_ones
def test_the_global_generator_is_neither_read_nor_moved(make: Factory) -> None:
    results = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        before = torch.random.get_rng_state()
        results.append(make(prob=1.0).set_random_state(seed=4)(items(1)[0]))
        assert torch.equal(torch.random.get_rng_state(), before)
    assert same(*results)


@random_ones
def test_calls_after_one_another_differ(make: Factory) -> None:
    transform = make(prob=1.0).set_random_state(seed=0)
    assert not same(transform(items(1)[0]), transform(items(1)[0]))


@random_ones
def test_probability_zero_changes_nothing_and_one_half_about_half(make: Factory) -> None:
    item = items(1)[0]
    assert same(make(prob=0.0)(item), item)
    half = make(prob=0.5).set_random_state(seed=0)
    assert 8 <= sum(not same(half(item), item) for _ in range(30)) <= 22


# data sets and workers


@random_ones
@pytest.mark.parametrize("kind", ["Dataset", "CacheDataset", "PersistentDataset"])
def test_every_kind_of_data_set_gives_the_same_for_one_seed(make: Factory, kind: str, tmp_path: Path) -> None:
    def dataset(fresh: str) -> Dataset:
        chain = stock.Compose([make(prob=1.0), Flat()])
        if kind == "CacheDataset":
            return CacheDataset(items(), chain, progress=False)
        if kind == "PersistentDataset":
            return PersistentDataset([{"number": n} for n in range(4)], _after_reading(chain), tmp_path / fresh)
        return Dataset(items(), chain)

    first, again = (through(dataset(fresh), 0, None) for fresh in ("a", "b"))
    assert torch.equal(first, again)
    assert not torch.equal(first[:1], first[1:2])
    plain = through(Dataset(items(), stock.Compose([make(prob=1.0), Flat()])), 0, None)
    assert torch.equal(first, plain)


class Read:
    """Stands for reading from disk, for data sets that keep what follows it."""

    def __call__(self, data: Mapping[str, int]) -> dict[str, Any]:
        return items()[data["number"]]


def _after_reading(chain: stock.Compose) -> stock.Compose:
    return stock.Compose([Read(), *chain.transforms])


@random_ones
def test_a_cache_holds_what_comes_before_and_the_epochs_differ(make: Factory) -> None:
    dataset = CacheDataset(items(2), stock.Compose([make(prob=1.0)]), progress=False)
    assert not same(dataset[0], dataset[0])
    before = items(2)[0]
    assert same(dataset._cache[0], before)


class SideBySide(stock.Randomizable, stock.Transform):
    """All random transforms on the same item: one start of workers serves all."""

    def __init__(self) -> None:
        self.made = [make(prob=1.0) for _, make in RANDOM]

    def set_random_state(self, seed: int | None = None, state: Any = None) -> SideBySide:
        for transform in self.made:
            transform.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        flat = [Flat()(transform(data)) for transform in self.made]
        return {key: torch.cat([one[key] for one in flat]) for key in ("image", "label")}


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes:UserWarning")
def test_forked_and_spawned_workers_give_the_same_for_one_seed() -> None:
    # the main process seeds transforms otherwise than workers do (MONAI's DataLoader): it has a test of its own
    dataset = Dataset(items(), SideBySide())
    first, again, spawned = (through(dataset, 2, context) for context in ("fork", "fork", "spawn"))
    assert torch.equal(first, again)
    assert torch.equal(first, spawned)
    assert not torch.equal(first, through(dataset, 2, "fork", seed=4))


def test_the_main_process_gives_the_same_for_one_seed() -> None:
    first, again, other = (through(Dataset(items(), SideBySide()), 0, None, seed) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


# copies


@every_one
def test_it_survives_pickling_and_deep_copies(make: Factory) -> None:
    transform = make()
    if hasattr(transform, "set_random_state"):
        transform.set_random_state(seed=6)
    item = items(1)[0]
    copies = [pickle.loads(pickle.dumps(transform)), copy.deepcopy(transform)]
    expected = transform(item)
    assert all(same(one(item), expected) for one in copies)


# keys


@every_one
def test_the_given_item_is_left_as_it_was_and_other_keys_pass(make: Factory) -> None:
    before, kept = items(1)[0], items(1)[0]
    after = make()(before)
    assert all(torch.equal(before[key].as_tensor(), kept[key].as_tensor()) for key in KEYS)
    assert all(before[key].applied_operations == [] for key in KEYS)
    assert after["name"] == "item_0"


@every_one
def test_a_missing_key_is_refused_by_name_or_allowed_on_request(make: Factory) -> None:
    key = make().keys[0]
    item = {k: v for k, v in items(1)[0].items() if k != key}
    with pytest.raises(KeyError, match=key):
        make()(item)
    assert key not in make(allow_missing_keys=True)(item)


@every_one
def test_a_metatensor_keeps_its_kind_affine_and_type(make: Factory) -> None:
    before = items(1)[0]
    after = make()(before)
    for key in ("image", "label"):
        assert isinstance(after[key], MetaTensor)
        assert torch.equal(after[key].affine, before[key].affine)
        assert after[key].dtype == before[key].dtype


@every_one
@pytest.mark.parametrize("ending", ["D", "Dict"])
def test_it_has_the_other_names_that_dictionary_transforms_have(make: Factory, ending: str) -> None:
    kind = type(make())
    assert getattr(transforms, kind.__name__.removesuffix("d") + ending) is kind


# neighbours


@every_one
def test_lazy_neighbours_change_nothing(make: Factory) -> None:
    results = []
    for lazy in (False, True):
        chain = stock.Compose([stock.Flipd(KEYS, spatial_axis=1), make(), stock.Rotate90d(KEYS, k=2)], lazy=lazy)
        results.append(chain.set_random_state(seed=2)(items(1)[0]))
    assert torch.allclose(pixels(results[0]), pixels(results[1]), atol=1e-5)


@every_one
def test_the_inverse_of_a_chain_undoes_its_neighbours_and_what_can_be_undone(make: Factory) -> None:
    before, flip = items(1)[0], stock.Flipd(KEYS, spatial_axis=1)
    transform = make()
    chain = stock.Compose([flip, transform, stock.Rotate90d(KEYS, k=1)])
    back = chain.inverse(_seeded(chain, transform)(before))
    kept = isinstance(transform, stock.InvertibleTransform)
    expected = before if kept else flip.inverse(_seeded(stock.Compose([flip, transform]), transform)(before))
    assert torch.allclose(pixels(back), pixels(expected), atol=1e-6)  # float32
    assert back["image"].applied_operations == []


def _seeded(chain: stock.Compose, transform: Any) -> stock.Compose:
    if hasattr(transform, "set_random_state"):
        transform.set_random_state(seed=2)
    return chain

"""What is computed once for a step and a depth map, and what a sampling loop therefore never does."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from monai_bmaps import (
    BMap,
    BMapDDIMScheduler,
    BMapDDPMScheduler,
    BMapDiffusionInferer,
    BMapDPMSolverScheduler,
    BMapSynthesisInferer,
)
from monai_bmaps.inferers import Edit
from monai_bmaps.schedulers.plan import Maps, StepPlan

SHAPE = (8, 12)
CLASSES = 3
MAP = BMap.from_attenuation(db=44.0)

WAITING = {"_local_scalar_dense", "item", "is_nonzero", "nonzero", "equal", "masked_select", "index by mask"}
"""Operations that wait for a device to tell a number or a shape."""

TRANSCENDENTAL = {"exp", "expm1", "log", "log1p", "sqrt"}
"""Operations that coefficients are made with; between images there are only products and sums."""


# The plan by itself


def maker(size: int, calls: list[int], dtype: torch.dtype = torch.float32) -> Callable[[], Maps]:
    def make() -> Maps:
        calls.append(size)
        return (torch.zeros(size, dtype=dtype),)

    return make


def test_maps_are_made_once_and_handed_out_again() -> None:
    plan, calls = StepPlan(), list[int]()
    first, second = (plan.kept("key", maker(3, calls)) for _ in range(2))
    assert first is second
    assert len(calls) == 1


def test_another_key_has_maps_of_its_own() -> None:
    plan, calls = StepPlan(), list[int]()
    maps = [plan.kept(key, maker(size, calls))[0] for key, size in ((1, 3), (2, 4), (1, 3), (2, 4))]
    assert [len(x) for x in maps] == [3, 4, 3, 4]
    assert calls == [3, 4]


@pytest.mark.parametrize(("limit", "made"), [(40, [0, 1, 1]), (79, [0, 1, 1]), (80, [0, 1])])
def test_maps_are_kept_up_to_the_limit_in_bytes_and_beyond_it_made_anew(limit: int, made: list[int]) -> None:
    plan, calls = StepPlan(limit_bytes=limit), list[int]()

    def make(key: int) -> Maps:
        calls.append(key)
        return torch.zeros(3, dtype=torch.float64), torch.zeros(4)  # 40 bytes

    for key in (0, 1, 0, 1):
        plan.kept(key, functools.partial(make, key))
    assert calls == made


def test_small_maps_are_kept_after_large_ones_did_not_fit() -> None:
    plan, calls = StepPlan(limit_bytes=16), list[int]()
    for key, size in (("large", 100), ("small", 4), ("large", 100), ("small", 4)):
        plan.kept(key, maker(size, calls))
    assert calls == [100, 4, 100]


def test_recent_maps_are_kept_while_few_others_are_asked_for() -> None:
    plan, calls = StepPlan(), list[int]()
    for key in (1, 2, 1, 3, 2, 3, 4, 1):
        plan.recent(key, maker(key, calls))
    assert calls == [1, 2, 3, 4]


def test_the_recent_maps_that_were_not_asked_for_longest_are_forgotten_first() -> None:
    plan, calls = StepPlan(), list[int]()
    for key in (1, 2, 3, 4, 1, 5):  # 2 is now the oldest
        plan.recent(key, maker(key, calls))
    del calls[:]
    for key in (1, 3, 4, 5, 2):
        plan.recent(key, maker(key, calls))
    assert calls == [2]


@pytest.mark.parametrize("hold", [StepPlan.kept, StepPlan.recent])
def test_maps_made_while_sampling_can_be_trained_with(hold: Callable[..., Maps]) -> None:
    plan, weight = StepPlan(), torch.ones(3, requires_grad=True)
    with torch.inference_mode():
        hold(plan, "key", lambda: (weight.detach() * 2,))
    (maps,) = hold(plan, "key", lambda: (weight * 3,))
    (maps * weight).sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [2.0, 2.0, 2.0]
    assert not maps.requires_grad


# Sampling, seen from below


class Operations(TorchDispatchMode):
    """Counts what is asked of the backend, and the bytes of all new storages."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.counts[func.overloadpacket.__name__] += 1
        if func.overloadpacket.__name__ == "index" and any(x is not None and x.dtype == torch.bool for x in args[1]):
            self.counts["index by mask"] += 1
        known = {x.untyped_storage()._cdata for x in args if isinstance(x, Tensor)}
        for x in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(x, Tensor) and x.untyped_storage()._cdata not in known:
                self.bytes += x.untyped_storage().nbytes()
        return result


class Tenth(nn.Module):
    """A network that answers a tenth of its first channel, and notes what was counted when it was called."""

    def __init__(self, counting: Operations | None = None, ask: Callable[[Tensor], Any] | None = None) -> None:
        super().__init__()
        self.counting, self.ask = counting, ask
        self.seen: list[Counter[str]] = []

    def forward(self, x: Tensor, **_: Any) -> Tensor:
        if self.counting is not None:
            self.seen.append(self.counting.counts.copy())
        if self.ask is not None:
            self.ask(x)
        return 0.1 * x[:, :1]


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def segmentation(batch: int) -> Tensor:
    labels = torch.randint(CLASSES, (batch, *SHAPE), generator=torch.Generator().manual_seed(0))
    return functional.one_hot(labels, CLASSES).movedim(-1, 1).float()


def depths(batch: int = 2) -> Tensor:
    """A ramp down the rows for each image, each of another length."""
    ramp = torch.linspace(0.0, 1.0, SHAPE[0]).reshape(1, 1, -1, 1).expand(batch, 1, *SHAPE)
    return ramp * torch.linspace(0.4, 1.0, batch).reshape(-1, 1, 1, 1)


SAMPLERS: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "ddpm": (BMapDDPMScheduler, {}, {}),
    "ddpm, large variance": (BMapDDPMScheduler, {"variance_type": "fixed_large"}, {}),
    "ddim": (BMapDDIMScheduler, {}, {}),
    "ddim, eta 1": (BMapDDIMScheduler, {}, {"eta": 1.0}),
    "solver": (BMapDPMSolverScheduler, {}, {}),
    "solver, sde": (BMapDPMSolverScheduler, {"algorithm": "sde"}, {}),
    "solver, epsilon": (BMapDPMSolverScheduler, {"prediction_type": "epsilon"}, {}),
    "dynamic threshold": (BMapDPMSolverScheduler, {"dynamic_threshold": 0.95}, {}),
    "growing zone": (BMapDPMSolverScheduler, {"b_map": BMap(0.97, preserve_length=True)}, {}),
    "guided": (BMapDPMSolverScheduler, {}, {"cfg": 2.0, "cfg_interval": (0.2, 0.6)}),
    "kept part": (
        BMapDPMSolverScheduler,
        {},
        {"edit": Edit(torch.zeros(2, 1, *SHAPE), 0.7, (depths(1) > 0.5).float(), repeats=2)},
    ),
}


def counted(sampler: str, ask: Callable[[Tensor], Any] | None = None) -> Counter[str]:
    """What a loop does between the first call of the network, which may ask for something, and the last."""
    kind, arguments, options = SAMPLERS[sampler]
    inferer = BMapDiffusionInferer(kind(100, **{"b_map": MAP, **arguments}), noise_level_channel=True)
    inferer.scheduler.set_timesteps(6)
    counting = Operations()
    network = Tenth(counting, ask)
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    with counting:
        inferer.sample(
            randn(2, 1, *SHAPE),
            network,
            seg=segmentation(2),
            depth=depths(),
            generator=generators,
            verbose=False,
            **options,
        )
    assert len(network.seen) >= 4
    return network.seen[-1] - network.seen[0]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_between_steps_nothing_waits_for_the_device(sampler: str) -> None:
    operations = counted(sampler)
    assert operations["mul"] > 3  # it does see what happens
    assert WAITING & set(operations) == set()


@pytest.mark.parametrize(
    "ask",
    [
        lambda x: x.sum().item(),
        lambda x: float(x[0, 0, 0, 0]),
        lambda x: bool(x.sum() > 0),
        Tensor.nonzero,
        lambda x: x[x > 0],
    ],
)
def test_what_waits_for_the_device_is_seen(ask: Callable[[Tensor], Any]) -> None:
    assert WAITING & set(counted("solver", ask))


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "kept part"])
def test_a_device_that_tells_nothing_can_sample_with_tables_that_are_elsewhere(sampler: str) -> None:
    """Tensors of the meta device have no values: whoever asks for one fails."""
    kind, arguments, options = SAMPLERS[sampler]
    view = kind(100, **{"b_map": MAP, **arguments}).bind(depths())
    view.set_timesteps(6)
    noise, seg = (x.to("meta") for x in (randn(2, 1, *SHAPE), segmentation(2)))
    inferer = BMapDiffusionInferer(view, noise_level_channel=True)
    image = inferer.sample(noise, Tenth(), seg=seg, verbose=False, **options)
    assert (image.device.type, image.shape) == ("meta", noise.shape)


STEPS = [400, 250, 120, 30]


@pytest.mark.parametrize(
    "b_map", [None, MAP, BMap(0.97), BMap(0.97, preserve_length=True)], ids=["none", "44 dB", "paper", "growing zone"]
)
@pytest.mark.parametrize("kind", [BMapDDPMScheduler, BMapDDIMScheduler, BMapDPMSolverScheduler])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_step_allocates_nothing_that_grows_with_the_chain(device: str, kind: Any, b_map: BMap | None) -> None:
    """On another device than the tables' from the second step on: the first takes them there."""
    allocated = []
    for count in (500, 4000):
        view, sample = kind(count, b_map=b_map).bind(depths()), randn(2, 1, *SHAPE).to(device)
        view.set_timesteps(timesteps=STEPS)
        view.step(sample, STEPS[0], sample)
        with Operations() as counting:
            for t in STEPS[1:]:
                view.step(sample, t, sample)
        allocated.append(counting.bytes)
    assert allocated[0] > 4 * sample.nbytes  # it does see what is allocated
    # a row of a B-map's table for each level, of at most 24 numbers and sometimes a few more when T is larger
    assert abs(allocated[1] - allocated[0]) <= 8 * 24 * 8


# Batches of the same depth


def made_with(inferer: BMapSynthesisInferer, depth: Tensor) -> int:
    """How many transcendental operations a batch takes."""
    with Operations() as counting:
        inferer(segmentation(len(depth)), Tenth(), depth)
    return sum(counting.counts[name] for name in TRANSCENDENTAL)


@pytest.fixture
def synthesis() -> BMapSynthesisInferer:
    inferer = BMapDiffusionInferer(BMapDPMSolverScheduler(100, b_map=MAP), noise_level_channel=True)
    return BMapSynthesisInferer(inferer, num_inference_steps=5, verbose=False)


def test_coefficients_are_computed_once_for_all_batches_of_the_same_depth(synthesis: BMapSynthesisInferer) -> None:
    assert made_with(synthesis, depths(2)) > 20
    assert made_with(synthesis, depths(2).clone()) == 0


def test_a_depth_map_that_all_images_share_serves_batches_of_any_size(synthesis: BMapSynthesisInferer) -> None:
    one = depths(1)
    assert made_with(synthesis, one.expand(3, -1, -1, -1)) > 20
    assert made_with(synthesis, one.expand(2, -1, -1, -1)) == 0


def test_another_depth_has_coefficients_of_its_own(synthesis: BMapSynthesisInferer) -> None:
    first, second = (synthesis(segmentation(2), Tenth(), depth) for depth in (depths(), depths().flip(0)))
    fresh = BMapSynthesisInferer(synthesis.inferer, num_inference_steps=5, verbose=False)
    assert torch.equal(second, fresh(segmentation(2), Tenth(), depths().flip(0)))
    assert not torch.allclose(first, second)


def test_a_scheduler_bound_once_is_not_planned_again_by_sampling() -> None:
    view = BMapDPMSolverScheduler(100, b_map=MAP).bind(depths())
    view.set_timesteps(5)
    inferer, taken = BMapDiffusionInferer(view), []
    for _ in range(2):
        with Operations() as counting:
            inferer.sample(randn(2, 1, *SHAPE), Tenth(), verbose=False)
        taken.append(sum(counting.counts[name] for name in TRANSCENDENTAL))
    assert taken[0] > 20
    assert taken[1] == 0

"""What reaches the network and what leaves the sampler: segmentation, guidance, seeds, noise levels, precision."""

from __future__ import annotations

import functools
import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import monai.inferers
import monai.networks.nets
import monai.networks.schedulers as stock
import pytest
import torch
from conftest import small_unet
from monai.data import DataLoader
from torch import nn
from torch.nn import functional

from monai_bmaps import (
    BMap,
    BMapDDIMScheduler,
    BMapDDPMScheduler,
    BMapDiffusionInferer,
    BMapDPMSolverScheduler,
    BMapSynthesisInferer,
)
from monai_bmaps.inferers import network_call
from monai_bmaps.pictures import to_grey
from monai_bmaps.schedulers.base import BMapScheduler
from monai_bmaps.schedulers.images import draw_noise
from monai_bmaps.training import SynthesisPrepareBatch

Maker = Callable[..., nn.Module]
SHAPE = (8, 12)
CLASSES = 3
FLOAT32 = {"atol": 2e-5, "rtol": 1e-5}  # float32 convolutions in another batch or another order of sums
MAP = BMap.from_attenuation(db=44.0)


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def segmentation(batch: int, seed: int = 0) -> torch.Tensor:
    labels = torch.randint(CLASSES, (batch, *SHAPE), generator=torch.Generator().manual_seed(seed))
    return functional.one_hot(labels, CLASSES).movedim(-1, 1).float()


def depths(batch: int) -> torch.Tensor:
    """A ramp down the rows for each image, each of another length."""
    ramp = torch.linspace(0.0, 1.0, SHAPE[0]).reshape(1, 1, -1, 1).expand(batch, 1, *SHAPE)
    return ramp * torch.linspace(0.4, 1.0, batch).reshape(-1, 1, 1, 1)


def ddim(b_map: BMap | None = MAP, steps: int = 4) -> BMapDDIMScheduler:
    scheduler = BMapDDIMScheduler(num_train_timesteps=100, b_map=b_map)
    scheduler.set_timesteps(steps)
    return scheduler


class Recorder(nn.Module):
    """A network that answers a tenth of its first channel and remembers its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[dict[str, torch.Tensor | None]] = []

    def forward(self, x: torch.Tensor, **keywords: torch.Tensor | None) -> torch.Tensor:
        self.calls.append({"x": x.clone(), **keywords})
        return 0.1 * x[:, :1]


# a stock network with MONAI's signature


@pytest.mark.parametrize("name", ["__call__", "sample"])
def test_parameters_begin_with_monais_in_order_and_with_its_defaults(name: str) -> None:
    theirs, ours = (
        list(inspect.signature(getattr(kind, name)).parameters.values())
        for kind in (monai.inferers.DiffusionInferer, BMapDiffusionInferer)
    )
    for their, our in zip(theirs, ours, strict=False):
        assert (our.name, our.default) == (their.name, their.default)
    assert all(extra.default is not inspect.Parameter.empty for extra in ours[len(theirs) :])


def pair(name: str) -> tuple[BMapScheduler, stock.Scheduler]:
    """Our scheduler without a B-map, and MONAI's, over a full chain of ten steps, where theirs has no defect."""
    ours, theirs = {
        "ddim": (BMapDDIMScheduler, stock.DDIMScheduler),
        "ddpm": (BMapDDPMScheduler, stock.DDPMScheduler),
    }[name]
    schedule = {"schedule": "linear_beta", "beta_start": 0.01, "beta_end": 0.4}
    made = [kind(num_train_timesteps=10, prediction_type="epsilon", **schedule) for kind in (ours, theirs)]
    for scheduler in made:
        scheduler.set_timesteps(10)
    return made[0], made[1]


@pytest.mark.parametrize("mode", ["crossattn", "concat"])
def test_the_training_pass_without_b_map_is_monais(tiny_unet: Maker, mode: str) -> None:
    ours, theirs = pair("ddpm")
    crossed = {"with_conditioning": True, "cross_attention_dim": 5}
    network = tiny_unet(1, **crossed) if mode == "crossattn" else tiny_unet(3)
    condition = randn(2, 4, 5, seed=3) if mode == "crossattn" else randn(2, 2, *SHAPE, seed=3)
    arguments = (randn(2, 1, *SHAPE), network, randn(2, 1, *SHAPE, seed=1), torch.tensor([0, 7]), condition, mode)
    with torch.no_grad():
        result = BMapDiffusionInferer(ours)(*arguments)
        expected = monai.inferers.DiffusionInferer(theirs)(*arguments)
    assert float(expected.std()) > 0.05
    torch.testing.assert_close(result, expected, **FLOAT32)


@pytest.mark.parametrize("name", ["ddim", "ddpm"])
def test_samples_without_b_map_are_monais(tiny_unet: Maker, name: str) -> None:
    ours, theirs = pair(name)
    network, noise = tiny_unet(), randn(2, 1, *SHAPE)
    samples = []
    for inferer in (BMapDiffusionInferer(ours), monai.inferers.DiffusionInferer(theirs)):
        torch.manual_seed(5)
        samples.append(inferer.sample(noise, network, verbose=False))
    assert float(samples[0].std()) > 0.1
    torch.testing.assert_close(*samples, atol=1e-4, rtol=0)  # MONAI's tables are float32, over ten steps


def test_a_stock_spade_network_is_conditioned_as_by_monai(tiny_spade: Maker) -> None:
    ours, theirs = pair("ddim")
    network, noise, seg = tiny_spade(monai.networks.nets.SPADEDiffusionModelUNet), randn(2, 1, *SHAPE), segmentation(2)
    result = BMapDiffusionInferer(ours, "spade").sample(noise, network, seg=seg, verbose=False)
    expected = monai.inferers.DiffusionInferer(theirs).sample(noise, network, seg=seg, verbose=False)
    torch.testing.assert_close(result, expected, atol=1e-4, rtol=0)  # as above


def test_intermediates_are_kept_at_the_steps_monai_keeps(tiny_unet: Maker) -> None:
    ours, theirs = pair("ddim")
    kept = [
        inferer.sample(randn(1, 1, *SHAPE), tiny_unet(), save_intermediates=True, intermediate_steps=3, verbose=False)[
            1
        ]
        for inferer in (BMapDiffusionInferer(ours), monai.inferers.DiffusionInferer(theirs))
    ]
    assert len(kept[0]) == 4  # 9, 6, 3, 0
    torch.testing.assert_close(kept[0], kept[1], atol=1e-4, rtol=0)  # as above


# segmentation through wrappers


@pytest.fixture
def gloo(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def conditioned(tiny_unet: Maker, tiny_spade: Maker, conditioning: str) -> nn.Module:
    return tiny_spade() if conditioning == "spade" else tiny_unet(1 + CLASSES)


def both_uses(conditioning: str, network: Callable[..., torch.Tensor], seg: torch.Tensor) -> list[torch.Tensor]:
    """The training pass and two sampling steps."""
    inferer = BMapDiffusionInferer(ddim(steps=2), conditioning)
    images, noise, depth = randn(2, 1, *SHAPE), randn(2, 1, *SHAPE, seed=1), depths(2)
    with torch.no_grad():
        output = inferer(images, network, noise, torch.tensor([20, 80]), seg=seg, depth=depth)
    return [output, inferer.sample(noise, network, seg=seg, depth=depth, verbose=False)]


@pytest.mark.parametrize("conditioning", ["spade", "concat"])
def test_the_segmentation_changes_what_the_network_says(tiny_unet: Maker, tiny_spade: Maker, conditioning: str) -> None:
    network = conditioned(tiny_unet, tiny_spade, conditioning)
    one, other = (both_uses(conditioning, network, segmentation(2, seed)) for seed in (0, 1))
    for first, second in zip(one, other, strict=True):
        assert float((first - second).abs().max()) > 0.02


@pytest.mark.parametrize("conditioning", ["spade", "concat"])
def test_the_segmentation_reaches_a_distributed_network(
    tiny_unet: Maker, tiny_spade: Maker, gloo: None, conditioning: str
) -> None:
    network = conditioned(tiny_unet, tiny_spade, conditioning)
    wrapped = nn.parallel.DistributedDataParallel(network)
    expected = both_uses(conditioning, network, segmentation(2))
    assert all(map(torch.equal, both_uses(conditioning, wrapped, segmentation(2)), expected))


@pytest.mark.parametrize("conditioning", ["spade", "concat"])
def test_the_segmentation_reaches_a_compiled_network(tiny_unet: Maker, tiny_spade: Maker, conditioning: str) -> None:
    network = conditioned(tiny_unet, tiny_spade, conditioning)
    compiled = torch.compile(network, backend="eager")
    assert not isinstance(compiled, type(network))  # what MONAI's inferer asks before it passes a segmentation
    expected = both_uses(conditioning, network, segmentation(2))
    for result, plain in zip(both_uses(conditioning, compiled, segmentation(2)), expected, strict=True):
        torch.testing.assert_close(result, plain, **FLOAT32)
    torch._dynamo.reset()


def test_concatenated_channels_are_image_condition_segmentation_and_noise_level_in_this_order() -> None:
    network, seg, condition = Recorder(), segmentation(2), randn(2, 2, *SHAPE, seed=3)
    inferer = BMapDiffusionInferer(ddim(), noise_level_channel=True)
    inferer(
        randn(2, 1, *SHAPE), network, randn(2, 1, *SHAPE), torch.tensor([3, 60]), condition, "concat", seg, depths(2)
    )
    x = network.calls[0]["x"]
    assert x.shape == (2, 1 + 2 + CLASSES + 1, *SHAPE)
    assert torch.equal(x[:, 1:3], condition)
    assert torch.equal(x[:, 3:6], seg)
    assert network.calls[0]["context"] is None


# guidance


def guided_by_hand(
    inferer: BMapDiffusionInferer, network: nn.Module, noise: torch.Tensor, seg: torch.Tensor, weight: float
) -> torch.Tensor:
    """One sampling step, conditional and null outputs from separate calls."""
    depth, t = depths(len(noise)), int(inferer.scheduler.timesteps[0])
    scheduler = inferer.scheduler.bind(depth)
    level = (diffusion_level(scheduler, t, len(noise)),)

    def output(condition: torch.Tensor) -> torch.Tensor:
        timesteps = torch.full((len(noise),), t)
        if inferer.conditioning == "spade":
            return network(noise, timesteps, seg=condition)
        return network(torch.cat([noise, condition, *level], dim=1), timesteps)

    with torch.no_grad():
        null, conditional = output(torch.zeros_like(seg)), output(seg)
    return scheduler.step(null + weight * (conditional - null), t, noise)[0]


def diffusion_level(scheduler: BMapScheduler, t: int, batch: int) -> torch.Tensor:
    """``clip(log SNR, -10, 10) / 10`` from the retained share itself, in float64."""
    retained = scheduler.log_retained(torch.full((batch,), t)).exp()
    return ((retained / (1 - retained)).log().clamp(-10, 10) / 10).float().expand(batch, 1, *SHAPE)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("conditioning", ["spade", "concat"])
def test_guidance_is_null_plus_weight_times_the_difference(
    tiny_unet: Maker, tiny_spade: Maker, conditioning: str, batch: int
) -> None:
    network = tiny_spade() if conditioning == "spade" else tiny_unet(1 + CLASSES + 1)
    inferer = BMapDiffusionInferer(ddim(steps=1), conditioning, noise_level_channel=conditioning == "concat")
    inferer.scheduler.set_timesteps(timesteps=[60])
    noise, seg = randn(batch, 1, *SHAPE), segmentation(batch)

    def sample(weight: float | None) -> torch.Tensor:
        return inferer.sample(noise, network, seg=seg, cfg=weight, depth=depths(batch), verbose=False)

    expected = guided_by_hand(inferer, network, noise, seg, 3.0)
    assert float((expected - sample(None)).abs().max()) > 0.02  # guidance does something here
    torch.testing.assert_close(sample(3.0), expected, **FLOAT32)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("weight", [1.0, 1.0 + 1e-9])  # the second is not skipped
def test_guidance_of_weight_one_is_no_guidance(tiny_spade: Maker, batch: int, weight: float) -> None:
    inferer, network = BMapDiffusionInferer(ddim(), "spade"), tiny_spade()
    guided, plain = (
        inferer.sample(
            randn(batch, 1, *SHAPE), network, seg=segmentation(batch), cfg=cfg, depth=depths(batch), verbose=False
        )
        for cfg in (weight, None)
    )
    torch.testing.assert_close(guided, plain, atol=1e-4, rtol=0)  # float32 over four steps


@pytest.mark.parametrize("batch", [1, 2])
def test_guidance_doubles_segmentation_and_noise_level_with_the_null_half_first(batch: int) -> None:
    network, seg = Recorder(), segmentation(batch)
    inferer = BMapDiffusionInferer(ddim(steps=2), noise_level_channel=True)
    inferer.sample(randn(batch, 1, *SHAPE), network, seg=seg, cfg=2.0, depth=depths(batch), verbose=False)
    null, conditional = network.calls[1]["x"].chunk(2)
    assert len(conditional) == batch
    assert torch.equal(null[:, 1:-1], torch.zeros_like(seg))
    assert torch.equal(conditional[:, 1:-1], seg)
    assert torch.equal(null[:, :1], conditional[:, :1])
    assert torch.equal(null[:, -1:], conditional[:, -1:])


def test_guidance_fills_monais_condition_in_the_null_half() -> None:
    network, condition = Recorder(), randn(2, 4, 5)
    BMapDiffusionInferer(ddim(None, 1)).sample(
        randn(2, 1, *SHAPE), network, conditioning=condition, cfg=2.0, cfg_fill_value=-7.0, verbose=False
    )
    null, conditional = network.calls[0]["context"].chunk(2)
    assert torch.equal(null, torch.full_like(condition, -7.0))
    assert torch.equal(conditional, condition)


def test_guidance_without_a_condition_is_refused() -> None:
    with pytest.raises(ValueError, match="give seg or conditioning, or leave cfg out"):
        BMapDiffusionInferer(ddim(None)).sample(randn(1, 1, *SHAPE), Recorder(), cfg=2.0, verbose=False)


# guidance interval

STEPS = [99, 70, 50, 30, 0]  # of 100: shares of the chain 1, 0.71, 0.51, 0.30, 0


def guided(
    network: Callable[..., torch.Tensor], interval: tuple[float, float], cfg: float | None = 3.0, **options: object
) -> Any:
    inferer = BMapDiffusionInferer(ddim(), noise_level_channel=True)
    inferer.scheduler.set_timesteps(timesteps=STEPS)
    return inferer.sample(
        randn(2, 1, *SHAPE),
        network,
        seg=segmentation(2),
        cfg=cfg,
        cfg_interval=interval,
        depth=depths(2),
        verbose=False,
        **options,
    )


@pytest.mark.parametrize(
    ("interval", "doubled"),
    [
        ((0.0, 1.0), [4, 4, 4, 4, 4]),
        ((0.2, 0.6), [2, 2, 4, 4, 2]),
        ((0.0, 0.4), [2, 2, 2, 4, 4]),
        ((0.6, 1.0), [4, 4, 2, 2, 2]),
        ((70 / 99, 70 / 99), [2, 4, 2, 2, 2]),  # ends included
        ((0.8, 0.9), [2, 2, 2, 2, 2]),
    ],
)
def test_steps_inside_the_guidance_interval_cost_two_evaluations_and_the_others_one(
    interval: tuple[float, float], doubled: list[int]
) -> None:
    network = Recorder()
    guided(network, interval)
    assert [len(call["x"]) for call in network.calls] == doubled
    assert [len(call["timesteps"]) for call in network.calls] == doubled


def test_steps_outside_the_guidance_interval_are_conditional_and_see_their_own_noise_level() -> None:
    network, plain = Recorder(), Recorder()
    guided(network, (0.8, 0.9))
    guided(plain, (0.0, 1.0), cfg=None)
    for call, expected in zip(network.calls, plain.calls, strict=True):
        assert torch.equal(call["x"], expected["x"])


def test_guidance_over_the_whole_chain_is_guidance_without_an_interval(tiny_unet: Maker) -> None:
    network, inferer = tiny_unet(1 + CLASSES + 1), BMapDiffusionInferer(ddim(), noise_level_channel=True)
    inferer.scheduler.set_timesteps(timesteps=STEPS)
    arguments = {"seg": segmentation(2), "cfg": 3.0, "depth": depths(2), "verbose": False}
    expected = inferer.sample(randn(2, 1, *SHAPE), network, **arguments)
    assert torch.equal(guided(network, (0.0, 1.0)), expected)


@pytest.mark.parametrize("conditioning", ["spade", "concat"])
def test_a_guidance_interval_without_a_step_is_no_guidance(
    tiny_unet: Maker, tiny_spade: Maker, conditioning: str
) -> None:
    network = conditioned(tiny_unet, tiny_spade, conditioning)
    inferer = BMapDiffusionInferer(ddim(steps=3), conditioning)  # steps 99, 50 and 0
    arguments = {"seg": segmentation(2), "depth": depths(2), "verbose": False}
    none = inferer.sample(randn(2, 1, *SHAPE), network, cfg=3.0, cfg_interval=(0.6, 0.9), **arguments)
    assert torch.equal(none, inferer.sample(randn(2, 1, *SHAPE), network, **arguments))


def test_a_step_inside_the_interval_is_guided_as_without_and_a_step_outside_is_not(tiny_unet: Maker) -> None:
    network, images = tiny_unet(1 + CLASSES + 1), {}
    for name, interval in {"all": (0.0, 1.0), "noisy": (0.6, 1.0), "none": (0.8, 0.9)}.items():
        images[name] = guided(network, interval, save_intermediates=True, intermediate_steps=1)[1]
    first, last = ([images[name][k] for name in ("all", "noisy", "none")] for k in (0, -1))
    assert torch.equal(first[0], first[1])
    assert float((first[1] - first[2]).abs().max()) > 0.01
    assert float((last[0] - last[1]).abs().max()) > 0.01


@pytest.mark.parametrize("interval", [(0.6, 0.4), (-0.1, 1.0), (0.0, 1.1), (float("nan"), 1.0)])
def test_a_guidance_interval_that_is_none_is_refused(interval: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"cfg_interval must be two ascending shares of the chain in \[0, 1\]"):
        guided(Recorder(), interval)


def test_the_synthesis_hands_its_guidance_interval_on() -> None:
    network = Recorder()
    BMapSynthesisInferer(
        BMapDiffusionInferer(ddim()), num_inference_steps=3, cfg=2.0, cfg_interval=(0.0, 0.6), verbose=False
    )(segmentation(1), network, depths(1))
    assert [len(call["x"]) for call in network.calls] == [1, 2, 2]


# one seed per image

SAMPLERS: dict[str, tuple[Callable[..., BMapScheduler], float]] = {
    "ddim": (BMapDDIMScheduler, 0.0),
    "ancestral ddim": (BMapDDIMScheduler, 1.0),
    "ddpm": (BMapDDPMScheduler, 0.0),
    "solver": (BMapDPMSolverScheduler, 0.0),
    "stochastic solver": (functools.partial(BMapDPMSolverScheduler, algorithm="sde"), 0.0),
}


@pytest.fixture(params=SAMPLERS)
def synthesis(request: pytest.FixtureRequest) -> BMapSynthesisInferer:
    kind, eta = SAMPLERS[request.param]
    diffusion_inferer = BMapDiffusionInferer(kind(num_train_timesteps=100, b_map=MAP), noise_level_channel=True)
    return BMapSynthesisInferer(diffusion_inferer, num_inference_steps=5, seed=40, eta=eta, verbose=False)


def test_an_image_depends_on_its_seed_and_not_on_its_batch(synthesis: BMapSynthesisInferer, tiny_unet: Maker) -> None:
    network, seg, depth, seeds = tiny_unet(1 + CLASSES + 1), segmentation(3), depths(3), [7, 3, 11]
    together = synthesis(seg, network, depth, seeds)
    alone = torch.cat([synthesis(seg[[k]], network, depth[[k]], [seeds[k]]) for k in (0, 1, 2)])
    assert float(together.std()) > 0.1
    torch.testing.assert_close(together, alone, atol=1e-3, rtol=0)  # float32 convolutions add in another order
    difference = torch.as_tensor(to_grey(together[:, 0])).int() - torch.as_tensor(to_grey(alone[:, 0])).int()
    assert int(difference.abs().max()) <= 1  # a value may lie at the edge between two grey levels


def test_another_seed_gives_another_image(synthesis: BMapSynthesisInferer, tiny_unet: Maker) -> None:
    network, seg, depth = tiny_unet(1 + CLASSES + 1), segmentation(1), depths(1)
    first, second = (synthesis(seg, network, depth, [seed]) for seed in (7, 8))
    assert float((first - second).abs().mean()) > 0.05


def test_seeds_count_up_from_the_inferers_own(synthesis: BMapSynthesisInferer, tiny_unet: Maker) -> None:
    network, seg, depth = tiny_unet(1 + CLASSES + 1), segmentation(2), depths(2)
    assert torch.equal(synthesis(seg, network, depth), synthesis(seg, network, depth, [40, 41]))


def test_the_global_random_state_is_neither_read_nor_changed(synthesis: BMapSynthesisInferer, tiny_unet: Maker) -> None:
    network, seg, depth = tiny_unet(1 + CLASSES + 1), segmentation(1), depths(1)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = synthesis(seg, network, depth)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(synthesis(seg, network, depth), first)


def test_seeds_from_a_data_loader_are_those_given_as_numbers(tiny_unet: Maker) -> None:
    synthesis = BMapSynthesisInferer(
        BMapDiffusionInferer(ddim(), noise_level_channel=True), num_inference_steps=2, eta=1.0, verbose=False
    )
    network, seg, depth = tiny_unet(1 + CLASSES + 1), segmentation(2), depths(2)
    items = [{"seg": seg[k], "depth": depth[k], "seed": seed} for k, seed in enumerate((21, 5))]
    batch = next(iter(DataLoader(items, batch_size=2)))
    inputs, target, positional, keywords = SynthesisPrepareBatch()(batch)
    assert isinstance(keywords["seeds"], torch.Tensor)
    assert (target, positional) == (None, ())
    assert torch.equal(synthesis(inputs, network, **keywords), synthesis(seg, network, depth, [21, 5]))


def test_items_without_seeds_are_prepared_without() -> None:
    keywords = SynthesisPrepareBatch()({"seg": segmentation(1), "depth": depths(1)})[3]
    assert set(keywords) == {"depth"}


def test_real_images_of_a_batch_can_be_compared_with_and_not_drawn_from() -> None:
    batch = {"seg": segmentation(1), "depth": depths(1), "image": randn(1, 1, *SHAPE), "keep": torch.ones(1, 1, *SHAPE)}
    _, target, _, keywords = SynthesisPrepareBatch(image_name=None, target_name="image")(batch)
    assert set(keywords) == {"depth"}
    assert torch.equal(target, batch["image"])


def test_an_image_is_not_compared_with_what_it_was_drawn_from() -> None:
    with pytest.raises(ValueError, match="set image_name to None to draw from noise"):
        SynthesisPrepareBatch(target_name="image")


def test_the_number_of_seeds_must_be_the_batchs() -> None:
    synthesis = BMapSynthesisInferer(BMapDiffusionInferer(ddim()), num_inference_steps=2, verbose=False)
    with pytest.raises(ValueError, match="got 3 generators for 2 images"):
        synthesis(segmentation(2), Recorder(), depths(2), [1, 2, 3])


def test_synthesis_is_the_plain_sampler_started_from_each_seeds_noise(tiny_unet: Maker) -> None:
    inferer, network = BMapDiffusionInferer(ddim()), tiny_unet(1 + CLASSES)
    synthesis = BMapSynthesisInferer(inferer, num_inference_steps=4, cfg=1.5, outside=None, verbose=False)
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    noise = draw_noise(torch.zeros(2, 1, *SHAPE), generators)
    expected = inferer.sample(noise, network, seg=segmentation(2), cfg=1.5, depth=depths(2), verbose=False)
    result = synthesis(segmentation(2), network, depths(2), [1, 2])
    assert torch.equal(result, expected.clamp(-1, 1))


def test_pixels_outside_the_beam_are_black_and_the_others_as_the_network_drew_them(tiny_unet: Maker) -> None:
    inferer, network, seg = BMapDiffusionInferer(ddim()), tiny_unet(1 + CLASSES), segmentation(2)
    masked, drawn = (
        BMapSynthesisInferer(inferer, num_inference_steps=2, outside=value, verbose=False)(seg, network, depths(2))
        for value in (-1.0, None)
    )
    outside = seg[:, :1] == 1
    assert torch.equal(masked, torch.where(outside, -1.0, drawn))
    assert not bool((drawn[outside] == -1).all())


def test_synthesised_images_stay_within_minus_one_and_one() -> None:
    scheduler = BMapDDIMScheduler(num_train_timesteps=100, b_map=MAP, clip_sample=False)
    synthesis = BMapSynthesisInferer(BMapDiffusionInferer(scheduler), num_inference_steps=2, verbose=False)
    image = synthesis(segmentation(1), lambda x, **_: -9.0 * x[:, :1], depths(1))
    assert (float(image.min()), float(image.max())) == (-1.0, 1.0)


def test_two_samplers_over_one_scheduler_keep_their_own_number_of_steps() -> None:
    inferer = BMapDiffusionInferer(ddim(steps=4))
    counts = []
    for synthesis in [BMapSynthesisInferer(inferer, num_inference_steps=n, verbose=False) for n in (3, 5)]:
        network = Recorder()
        synthesis(segmentation(1), network, depths(1))
        counts.append(len(network.calls))
    assert (*counts, len(inferer.scheduler.timesteps)) == (3, 5, 4)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_one_depth_map_for_all_images_gives_what_the_same_map_for_each_gives(tiny_unet: Maker, sampler: str) -> None:
    kind, eta = SAMPLERS[sampler]
    inferer = BMapDiffusionInferer(kind(num_train_timesteps=100, b_map=MAP), noise_level_channel=True)
    inferer.scheduler.set_timesteps(5)
    shared, images = depths(1), []
    for depth in (shared, shared.expand(3, -1, -1, -1).clone()):
        generators = [torch.Generator().manual_seed(seed) for seed in range(3)]
        noise = draw_noise(torch.zeros(3, 1, *SHAPE), generators)
        network = tiny_unet(1 + CLASSES + 1)
        images.append(
            inferer.sample(
                noise, network, seg=segmentation(3), depth=depth, generator=generators, eta=eta, verbose=False
            )
        )
    assert torch.equal(images[0], images[1])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_scheduler_samples_again_as_it_did_after_other_batches(tiny_unet: Maker, sampler: str) -> None:
    """Views, plans and buffers are used again; nothing of one batch is in the next."""
    kind, eta = SAMPLERS[sampler]
    inferer = BMapDiffusionInferer(kind(num_train_timesteps=100, b_map=MAP), noise_level_channel=True)
    synthesis = BMapSynthesisInferer(inferer, num_inference_steps=5, eta=eta, cfg=2.0, verbose=False)
    network = tiny_unet(1 + CLASSES + 1)
    first = synthesis(segmentation(2), network, depths(2))
    synthesis(segmentation(3, seed=1), network, depths(3), [5, 6, 7])
    synthesis(segmentation(1), network, depths(2)[1:])
    assert torch.equal(synthesis(segmentation(2), network, depths(2)), first)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_sampling_leaves_the_inferers_scheduler_as_it_was(sampler: str) -> None:
    scheduler = SAMPLERS[sampler][0](num_train_timesteps=100, b_map=MAP)
    scheduler.set_timesteps(3)
    steps = scheduler.timesteps.tolist()
    synthesis = BMapSynthesisInferer(BMapDiffusionInferer(scheduler), num_inference_steps=5, verbose=False)
    synthesis(segmentation(1), Recorder(), depths(1))
    assert scheduler.depth is None
    assert scheduler.timesteps.tolist() == steps


def test_a_callback_changes_nothing(synthesis: BMapSynthesisInferer, tiny_unet: Maker) -> None:
    network, seg, depth = tiny_unet(1 + CLASSES + 1), segmentation(2), depths(2)
    told = synthesis(seg, network, depth, callback=lambda done, total, clean: None)
    assert torch.equal(told, synthesis(seg, network, depth))


RANK = """
import sys, torch, test_inferers
torch.set_num_threads(1)
torch.save(test_inferers.half_of_six(sys.argv[1]), sys.argv[2])
"""


def half_of_six(meeting: str) -> torch.Tensor:
    """This rank's share of six seeds, through a distributed network; the environment is torchrun's."""
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=size, timeout=timedelta(minutes=2)
    )
    try:
        return drawn(range(6)[rank::size], nn.parallel.DistributedDataParallel)
    finally:
        torch.distributed.destroy_process_group()


def drawn(seeds: Sequence[int], wrap: Callable[[nn.Module], nn.Module] = nn.Module.eval) -> torch.Tensor:
    """Images of these seeds, each with a segmentation and a depth map of its own, by the stochastic solver."""
    network = small_unet(1 + CLASSES + 1)
    scheduler = BMapDPMSolverScheduler(num_train_timesteps=100, b_map=MAP, algorithm="sde")
    inferer = BMapDiffusionInferer(scheduler, noise_level_channel=True)
    synthesis = BMapSynthesisInferer(inferer, num_inference_steps=5, outside=None, verbose=False)
    chosen = list(seeds)
    return synthesis(segmentation(6)[chosen], wrap(network), depths(6)[chosen], chosen)


def test_two_processes_draw_the_images_that_one_draws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """This process is one of the two."""
    here = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("WORLD_SIZE", "2")
    expected, meeting = drawn(range(6)), str(tmp_path / "meeting")
    command = [sys.executable, "-W", "ignore", "-c", RANK, meeting, str(tmp_path / "second")]
    second = subprocess.Popen(command, env={**os.environ, "RANK": "1"})
    monkeypatch.setenv("RANK", "0")
    halves = [half_of_six(meeting)]
    assert second.wait(timeout=60) == 0
    halves.append(torch.load(tmp_path / "second"))
    for rank, images in enumerate(halves):
        # batches of three and of six add in another order, as above
        torch.testing.assert_close(images, expected[rank::2], atol=1e-3, rtol=0)
    assert float((expected[0] - expected[1]).abs().max()) > 0.1


# dynamic threshold


def one_step(images: torch.Tensor, threshold: float | None, kind: Callable[..., BMapScheduler]) -> torch.Tensor:
    """The clean image of a scheduler that is told ``images``."""
    scheduler = kind(num_train_timesteps=100, prediction_type="sample", dynamic_threshold=threshold)
    return scheduler.step(images, 60, torch.zeros_like(images))[1]


each_kind = pytest.mark.parametrize("kind", [BMapDDPMScheduler, BMapDDIMScheduler, BMapDPMSolverScheduler])


@each_kind
def test_a_saturating_image_comes_back_into_range_and_keeps_its_contrast(kind: Callable[..., BMapScheduler]) -> None:
    ramp = torch.linspace(-4.0, 4.0, 96).reshape(1, 1, *SHAPE)
    dynamic, clamped = (one_step(ramp, threshold, kind) for threshold in (1.0, None))
    torch.testing.assert_close(dynamic, ramp / 4)
    assert len(clamped.unique()) < 30
    assert len(dynamic.unique()) == 96


@each_kind
def test_values_beyond_the_quantile_are_clamped_to_it(kind: Callable[..., BMapScheduler]) -> None:
    image = randn(1, 1, *SHAPE)
    image[0, 0, 3, 4] = 50.0
    bounded = one_step(image, 0.9, kind)
    reach = image.abs().flatten().quantile(0.9)
    assert float(reach) > 1.5
    torch.testing.assert_close(bounded, image.clamp(-reach, reach) / reach)


@each_kind
def test_each_image_has_a_threshold_of_its_own(kind: Callable[..., BMapScheduler]) -> None:
    images = torch.cat([4 * randn(1, 1, *SHAPE), 0.2 * randn(1, 1, *SHAPE, seed=1)])
    together = one_step(images, 0.95, kind)
    alone = torch.cat([one_step(image[None], 0.95, kind) for image in images])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)


@each_kind
def test_a_dynamic_threshold_within_the_range_is_the_plain_clamp(kind: Callable[..., BMapScheduler]) -> None:
    images = 0.4 * randn(2, 1, *SHAPE)
    images[:, :, 0, 0] = 3.0
    assert float(images.abs().flatten(1).quantile(0.95, dim=1).max()) < 1
    assert torch.equal(one_step(images, 0.95, kind), one_step(images, None, kind))


# noise level, precision


@pytest.mark.parametrize("t", [0, 30, 99])
def test_the_noise_level_channel_is_the_clipped_log_snr_of_each_pixel(t: int) -> None:
    network, scheduler = Recorder(), ddim()
    inferer = BMapDiffusionInferer(scheduler, noise_level_channel=True)
    inferer(randn(2, 1, *SHAPE), network, randn(2, 1, *SHAPE), torch.tensor([t, t]), depth=depths(2))
    expected = diffusion_level(scheduler.bind(depths(2)), t, 2)
    torch.testing.assert_close(network.calls[0]["x"][:, -1:], expected, atol=1e-6, rtol=0)  # cast to float32 once


def test_the_noise_level_falls_with_depth_and_ends_at_minus_one() -> None:
    network = Recorder()
    inferer = BMapDiffusionInferer(ddim(), noise_level_channel=True)
    inferer(randn(1, 1, *SHAPE), network, randn(1, 1, *SHAPE), torch.tensor([90]), depth=depths(2)[1:])
    column = network.calls[0]["x"][0, -1, :, 5]
    assert bool((column.diff()[:4] < 0).all())
    assert float(column[-1]) == -1.0


def test_the_noise_level_of_the_first_step_is_clipped_to_one() -> None:
    network = Recorder()
    scheduler = BMapDDIMScheduler(100, "linear_beta", beta_start=1e-6, beta_end=1e-2)
    inferer = BMapDiffusionInferer(scheduler, noise_level_channel=True)
    inferer(randn(1, 1, *SHAPE), network, randn(1, 1, *SHAPE), torch.tensor([0]))
    assert torch.equal(network.calls[0]["x"][:, 1], torch.ones(1, *SHAPE))


def test_sampling_shows_the_noise_level_of_each_step() -> None:
    network, scheduler = Recorder(), ddim(steps=3)
    BMapDiffusionInferer(scheduler, noise_level_channel=True).sample(
        randn(2, 1, *SHAPE), network, depth=depths(2), verbose=False
    )
    for call, t in zip(network.calls, scheduler.timesteps.tolist(), strict=True):
        expected = diffusion_level(scheduler.bind(depths(2)), t, 2)
        torch.testing.assert_close(call["x"][:, -1:], expected, atol=1e-6, rtol=0)  # cast to float32 once
        assert call["timesteps"].tolist() == [t, t]


def test_amp_runs_the_network_under_autocast_and_the_schedule_outside() -> None:
    seen: list[tuple[str, bool, torch.dtype]] = []

    def network(x: torch.Tensor, **_: object) -> torch.Tensor:
        seen.append(("network", torch.is_autocast_enabled("cpu"), x.dtype))
        return functional.conv2d(x, torch.full((1, 1, 1, 1), 0.1))

    def callback(done: int, total: int, clean: torch.Tensor) -> None:
        seen.append(("schedule", torch.is_autocast_enabled("cpu"), clean.dtype))

    inferer = BMapDiffusionInferer(ddim(steps=2), amp_dtype=torch.bfloat16)
    image = inferer.sample(randn(1, 1, *SHAPE), network, depth=depths(1), callback=callback, verbose=False)
    assert seen == [("network", True, torch.float32), ("schedule", False, torch.float32)] * 2
    assert image.dtype == torch.float32


def test_amp_rounds_the_networks_output_and_nothing_else() -> None:
    def network(x: torch.Tensor, **_: object) -> torch.Tensor:
        return functional.conv2d(x, torch.full((1, 1, 1, 1), 0.37))

    scheduler, images, noise, t = ddim(), randn(1, 1, *SHAPE), randn(1, 1, *SHAPE, seed=1), torch.tensor([40])
    noisy = scheduler.bind(depths(1)).add_noise(images, noise, t)
    with torch.autocast("cpu", torch.bfloat16):
        expected = network(noisy)
    output = BMapDiffusionInferer(scheduler, amp_dtype=torch.bfloat16)(images, network, noise, t, depth=depths(1))
    assert expected.dtype == torch.bfloat16
    assert torch.equal(output, expected.float())


@pytest.mark.parametrize("dtype", [torch.bfloat16, None])
def test_automatic_precision_is_the_devices_fast_one(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype | None
) -> None:
    asked: list[torch.device] = []
    monkeypatch.setattr(network_call, "fast_dtype", lambda device: asked.append(device) or dtype)
    seen: list[tuple[bool, torch.dtype]] = []

    def network(x: torch.Tensor, **_: object) -> torch.Tensor:
        output = functional.conv2d(x, torch.full((1, 1, 1, 1), 0.37))
        seen.append((torch.is_autocast_enabled("cpu"), output.dtype))
        return output

    inferer = BMapDiffusionInferer(ddim(steps=1), amp_dtype="auto")
    image = inferer.sample(randn(1, 1, *SHAPE), network, depth=depths(1), verbose=False)
    assert seen == [(dtype is not None, dtype or torch.float32)]
    assert asked == [torch.device("cpu")]
    assert image.dtype == torch.float32


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="amp_dtype must be a torch dtype, 'auto' or None, got 'bf16'"):
        BMapDiffusionInferer(ddim(), amp_dtype="bf16")


# progress


def test_the_callback_is_told_of_every_step_and_sees_the_clean_image() -> None:
    told: list[tuple[int, int]] = []
    cleans: list[torch.Tensor] = []

    def callback(done: int, total: int, clean: torch.Tensor) -> None:
        told.append((done, total))
        cleans.append(clean)

    image = BMapDiffusionInferer(ddim(steps=3)).sample(
        randn(2, 1, *SHAPE), Recorder(), depth=depths(2), callback=callback, verbose=False
    )
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert torch.equal(cleans[-1], image)


def test_an_exception_in_the_callback_cancels_sampling() -> None:
    class CancelledError(Exception):
        pass

    def callback(done: int, total: int, clean: torch.Tensor) -> None:
        if done == 2:
            raise CancelledError

    network = Recorder()
    synthesis = BMapSynthesisInferer(BMapDiffusionInferer(ddim()), num_inference_steps=6, verbose=False)
    with pytest.raises(CancelledError):
        synthesis(segmentation(1), network, depths(1), callback=callback)
    assert len(network.calls) == 2


def test_verbose_shows_a_bar_and_quiet_none(capsys: pytest.CaptureFixture[str]) -> None:
    inferer = BMapDiffusionInferer(ddim(None, 2))
    inferer.sample(randn(1, 1, *SHAPE), Recorder(), verbose=False)
    assert capsys.readouterr().err == ""
    inferer.sample(randn(1, 1, *SHAPE), Recorder())
    assert "denoising: 100%" in capsys.readouterr().err


# what is refused


@pytest.mark.parametrize(
    ("seg", "message"),
    [
        (segmentation(2).long(), "float channels, one per class, got torch.int64; make them .* LabelToConditiond"),
        (segmentation(2).bool(), "got torch.bool"),
        (segmentation(2)[..., :-1], r"\(2, 3, 8, 11\) does not match the images \(2, 1, 8, 12\)"),
        (segmentation(3), r"\(3, 3, 8, 12\) does not match"),
        (segmentation(2)[:, 0], r"\(2, 8, 12\) does not match .* \(N, classes, H, W\)"),
    ],
)
def test_a_segmentation_of_wrong_type_or_shape_is_refused(seg: torch.Tensor, message: str) -> None:
    inferer = BMapDiffusionInferer(ddim())
    with pytest.raises(ValueError, match=message):
        inferer.sample(randn(2, 1, *SHAPE), Recorder(), seg=seg, depth=depths(2), verbose=False)


def test_an_unknown_conditioning_is_refused() -> None:
    with pytest.raises(ValueError, match="one of concat, spade, none, got 'film'"):
        BMapDiffusionInferer(ddim(), "film")


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="'crossattn' or 'concat', got 'sum'"):
        BMapDiffusionInferer(ddim(None)).sample(randn(1, 1, *SHAPE), Recorder(), mode="sum", verbose=False)


def test_concat_mode_without_a_condition_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a condition"):
        BMapDiffusionInferer(ddim(None)).sample(randn(1, 1, *SHAPE), Recorder(), mode="concat", verbose=False)


def test_a_b_map_without_depth_is_refused() -> None:
    with pytest.raises(ValueError, match="bind"):
        BMapDiffusionInferer(ddim()).sample(randn(1, 1, *SHAPE), Recorder(), verbose=False)


def test_depth_of_another_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="do not match the bound depth"):
        BMapDiffusionInferer(ddim()).sample(randn(2, 1, *SHAPE), Recorder(), depth=depths(3), verbose=False)


def test_the_likelihood_of_a_scalar_chain_is_not_offered() -> None:
    with pytest.raises(TypeError, match="one noise level per image"):
        BMapDiffusionInferer(ddim()).get_likelihood(randn(1, 1, *SHAPE), Recorder())


def test_samples_can_be_trained_on(tiny_unet: Maker) -> None:
    """Synthetic images go into other networks: they must not be inference-mode tensors."""
    inferer = BMapDiffusionInferer(ddim())
    inferer.scheduler.set_timesteps(2)
    noise = draw_noise(torch.zeros(1, 1, *SHAPE), torch.Generator().manual_seed(0))
    image = inferer.sample(noise, tiny_unet(1 + CLASSES), seg=segmentation(1), depth=depths(1), verbose=False)
    convolution = torch.nn.Conv2d(1, 1, 3)
    convolution(image).sum().backward()
    assert convolution.weight.grad is not None


def test_fresh_noise_for_a_sampler_without_that_share_is_refused() -> None:
    inferer = BMapDiffusionInferer(BMapDDPMScheduler(10))
    with pytest.raises(ValueError, match=r"eta=0.5 is for BMapDDIMScheduler"):
        inferer.sample(torch.zeros(1, 1, *SHAPE), Recorder(), eta=0.5, verbose=False)

"""What reaches the network and what leaves the sampler: segmentation, guidance, seeds, noise levels, precision."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path

import monai.inferers
import monai.networks.nets
import monai.networks.schedulers as stock
import pytest
import torch
from monai.data import DataLoader
from torch import nn
from torch.nn import functional

from monai_bmaps import (
    BMap,
    BMapDDIMScheduler,
    BMapDDPMScheduler,
    BMapDiffusionInferer,
    BMapSynthesisInferer,
)
from monai_bmaps.pictures import to_grey
from monai_bmaps.schedulers.base import BMapScheduler, draw_noise
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


# one seed per image

SAMPLERS = {
    "ddim": (BMapDDIMScheduler, 0.0),
    "ancestral ddim": (BMapDDIMScheduler, 1.0),
    "ddpm": (BMapDDPMScheduler, 0.0),
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
    with pytest.raises(ValueError, match="one of concat, spade, got 'film'"):
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

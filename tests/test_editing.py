"""Editing: the chain entered or held at known levels, pixel by pixel; its ends are the input and free generation."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from oracles import GaussianColumn
from torch import Tensor
from torch.nn import functional

from monai_bmaps import (
    BMap,
    BMapDDIMScheduler,
    BMapDDPMScheduler,
    BMapDiffusionInferer,
    BMapDPMSolverScheduler,
    BMapSynthesisInferer,
)
from monai_bmaps.inferers import Edit
from monai_bmaps.schedulers.base import BMapScheduler
from monai_bmaps.schedulers.images import draw_noise

SHAPE = (2, 1, 5, 7)
CLASSES = 3
MAP = BMap.from_attenuation(db=44.0)
SAMPLERS: dict[str, tuple[Callable[..., BMapScheduler], float]] = {
    "ddpm": (BMapDDPMScheduler, 0.0),
    "ddim": (BMapDDIMScheduler, 0.0),
    "ancestral ddim": (BMapDDIMScheduler, 1.0),
    "solver": (BMapDPMSolverScheduler, 0.0),
    "stochastic solver": (functools.partial(BMapDPMSolverScheduler, algorithm="sde"), 0.0),
}
each_sampler = pytest.mark.parametrize("sampler", SAMPLERS)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(seed: int, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.randn(shape, generator=seeded(seed))


def picture(shape: tuple[int, ...] = SHAPE) -> Tensor:
    """Images in [-1, 1], both ends among them."""
    image = torch.rand(shape, generator=seeded(3)) * 2 - 1
    image[:, :, 0, 0], image[:, :, 1, 1] = -1.0, 1.0
    return image


def mask(shape: tuple[int, ...] = SHAPE) -> Tensor:
    """Another part of every image stays."""
    return (torch.rand(shape, generator=seeded(4)) > 0.5).float()


def depths() -> Tensor:
    """Another depth in every pixel of two images, and both ends."""
    depth = torch.rand(SHAPE, generator=seeded(9))
    depth[:, :, 0], depth[:, :, -1] = 0.0, 1.0
    return depth


def segmentation() -> Tensor:
    labels = torch.randint(CLASSES, (2, *SHAPE[2:]), generator=seeded(5))
    return functional.one_hot(labels, CLASSES).movedim(-1, 1).float()


class Spy:
    """A network that answers a share of its first channel, and remembers what it was given."""

    def __init__(self) -> None:
        self.images: list[Tensor] = []
        self.steps: list[int] = []

    def __call__(self, x: Tensor, timesteps: Tensor, **_: Any) -> Tensor:
        self.images.append(x[:, :1].clone())
        self.steps.append(int(timesteps[0]))
        return (0.2 + 0.005 * timesteps.reshape(-1, 1, 1, 1)) * x[:, :1]


def inferer_of(sampler: str = "solver", steps: int = 10, **options: Any) -> BMapDiffusionInferer:
    scheduler = SAMPLERS[sampler][0](num_train_timesteps=100, b_map=MAP, **options)
    scheduler.set_timesteps(steps)
    return BMapDiffusionInferer(scheduler)


def sampled(edit: Edit | None, sampler: str = "solver", network: Any = None, dtype: Any = None, **options: Any) -> Any:
    """Ten steps, with a generator for each image."""
    return inferer_of(sampler).sample(
        randn(0).to(dtype or torch.float32),
        network or Spy(),
        depth=depths(),
        generator=[seeded(1), seeded(2)],
        eta=SAMPLERS[sampler][1],
        edit=edit,
        verbose=False,
        **options,
    )


def synthesised(sampler: str = "solver", outside: float | None = -1.0, **call: Any) -> Tensor:
    settings = {name: call.pop(name) for name in ("strength", "repeats") if name in call}
    synthesis = BMapSynthesisInferer(
        inferer_of(sampler), None, 10, eta=SAMPLERS[sampler][1], outside=outside, verbose=False, **settings
    )
    return synthesis(segmentation(), Spy(), depths(), **call)


# The ends


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("keep", [None, mask()], ids=["all", "part"])
@pytest.mark.parametrize("strength", [0.0, 0.04])  # less than half a step is none
@each_sampler
def test_strength_zero_returns_the_image_without_asking_the_network(
    sampler: str, strength: float, keep: Tensor | None, dtype: torch.dtype
) -> None:
    network, image = Spy(), picture().to(dtype)
    result = sampled(Edit(image, strength, keep, repeats=2), sampler, network, dtype)
    assert torch.equal(result, image)
    assert result.dtype == dtype
    assert network.steps == []


@pytest.mark.parametrize("outside", [-1.0, None])
@each_sampler
def test_strength_zero_returns_the_image_through_the_synthesis(sampler: str, outside: float | None) -> None:
    assert torch.equal(synthesised(sampler, outside, strength=0.0, image=picture()), picture())


@each_sampler
def test_full_strength_is_free_generation(sampler: str) -> None:
    assert torch.equal(sampled(Edit(picture()), sampler), sampled(None, sampler))


@each_sampler
def test_full_strength_is_free_generation_through_the_synthesis(sampler: str) -> None:
    free, edited = (synthesised(sampler, None, image=image) for image in (None, picture()))
    assert torch.equal(edited, free)


def test_to_keep_nothing_is_not_to_keep() -> None:
    none, empty = (sampled(Edit(picture(), 0.6, keep)) for keep in (None, torch.zeros(SHAPE)))
    assert torch.equal(none, empty)


def test_a_stronger_edit_moves_further_from_the_image() -> None:
    far = [float((sampled(Edit(picture(), k / 5)) - picture()).square().mean()) for k in range(6)]
    assert far == sorted(far)
    assert len(set(far)) == 6


# The kept part


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("strength", [0.3, 0.7, 1.0])
@each_sampler
def test_the_kept_part_is_the_images_bit_by_bit_and_the_rest_is_not(
    sampler: str, strength: float, repeats: int
) -> None:
    result, kept = sampled(Edit(picture(), strength, mask(), repeats), sampler), mask() > 0
    assert torch.equal(result[kept], picture()[kept])
    assert float((result - picture())[~kept].abs().min()) > 1e-5


@pytest.mark.parametrize("outside", [-1.0, None])
@pytest.mark.parametrize(("strength", "repeats"), [(0.5, 1), (1.0, 2)])
def test_the_synthesis_keeps_it_too(outside: float | None, strength: float, repeats: int) -> None:
    result = synthesised("solver", outside, strength=strength, repeats=repeats, image=picture(), keep=mask())
    assert torch.equal(result[mask() > 0], picture()[mask() > 0])


def test_pixels_outside_the_beam_stay_as_they_were_in_an_edited_image() -> None:
    result, outside = synthesised(strength=0.5, image=picture()), segmentation()[:, :1] > 0.5
    assert torch.equal(result[outside], picture()[outside])
    assert not torch.equal(result[~outside], picture()[~outside])


def test_a_mask_may_be_boolean_and_shared_by_all_images() -> None:
    shared = mask()[:1]
    results = [
        sampled(Edit(picture(), 0.6, keep)) for keep in (shared, shared > 0, shared.expand(SHAPE), shared.double())
    ]
    assert all(torch.equal(result, results[0]) for result in results)


def test_an_edited_image_depends_on_its_seed_and_not_on_its_batch() -> None:
    inferer, keep = inferer_of("stochastic solver"), mask()[:1]

    def edited(which: list[int]) -> Tensor:
        generators = [seeded(10 + k) for k in which]
        noise = draw_noise(torch.zeros(len(which), *SHAPE[1:]), generators)
        edit = Edit(picture()[which], 0.6, keep, repeats=2)
        return inferer.sample(noise, Spy(), depth=depths()[which], generator=generators, edit=edit, verbose=False)

    together = edited([0, 1])
    torch.testing.assert_close(together, torch.cat([edited([0]), edited([1])]), rtol=0, atol=1e-6)


# Levels


def coefficients(t: int) -> tuple[Tensor, Tensor]:
    """``a`` and ``s`` of every pixel at a step, from the retained share itself."""
    retained = inferer_of().scheduler.bind(depths().double()).log_retained(t).exp()
    return retained.sqrt(), (1 - retained).sqrt()


@each_sampler
def test_sampling_begins_with_the_image_noised_to_the_level_of_each_pixel(sampler: str) -> None:
    network = Spy()
    sampled(Edit(picture(), 0.6), sampler, network)
    signal, noise = coefficients(network.steps[0])
    assert float(signal.max() / signal.min()) > 3  # the levels of pixels differ
    expected = signal * picture() + noise * randn(0)
    torch.testing.assert_close(network.images[0].double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("strength", "count"), [(0.1, 1), (0.5, 5), (0.74, 7), (0.76, 8), (0.96, 10), (1.0, 10)])
def test_the_last_share_of_the_steps_is_taken(strength: float, count: int) -> None:
    network = Spy()
    sampled(Edit(picture(), strength), network=network)
    assert network.steps == inferer_of().scheduler.timesteps.tolist()[-count:]


@pytest.mark.parametrize("repeats", [1, 3])
@each_sampler
def test_every_step_sees_the_kept_part_at_its_own_level(sampler: str, repeats: int) -> None:
    """Mean and variance of a pixel, over images that differ in their noise only."""
    count, depth, network = 4000, depths()[:1, :, :, :2], Spy()
    image = picture()[:1, :, :, :2].expand(count, -1, -1, -1)
    edit = Edit(image, 0.5, torch.ones_like(image), repeats=repeats)
    inferer = inferer_of(sampler)
    inferer.sample(randn(6, image.shape), network, depth=depth, generator=seeded(7), edit=edit, verbose=False)
    assert network.steps == [t for t in inferer.scheduler.timesteps.tolist()[-5:] for _ in range(repeats)]
    for t, seen in zip(network.steps, network.images, strict=True):
        signal, noise = (x[:1, :, :, :2] for x in coefficients(t))
        mean, deviation = seen.double().mean(0), seen.double().std(0)
        # five standard errors of a mean and of a deviation
        assert bool(((mean - signal[0] * image[0]).abs() < 5 * noise[0] / math.sqrt(count)).all())
        assert bool(((deviation / noise[0] - 1).abs() < 5 / math.sqrt(2 * count)).all())


def test_a_repeated_step_is_undone_with_fresh_noise() -> None:
    network = Spy()
    sampled(Edit(picture(), 0.5, mask(), repeats=2), "ddim", network)
    free = (mask() == 0).expand(SHAPE)
    for once, again in zip(network.images[::2], network.images[1::2], strict=True):
        assert float((once - again)[free].abs().max()) > 0.05


# A law: the rest is drawn to fit what is kept


@pytest.mark.parametrize("nats", [0.0, 10.0])
@pytest.mark.parametrize("algorithm", ["ode", "sde"])
def test_repeats_bring_what_is_drawn_closer_to_what_the_kept_part_says(algorithm: Any, nats: float) -> None:
    """The conditional law of four rows of a Gaussian column, given the four above, with its exact denoiser."""
    rows, count, known = 8, 1500, torch.arange(8) < 4
    law = GaussianColumn(0.09 * GaussianColumn.smooth(rows, 2.0).covariance)
    seen = torch.tensor([0.5, 0.55, 0.5, 0.4], dtype=torch.float64)
    weights = torch.linalg.solve(law.covariance[known][:, known], law.covariance[known][:, ~known]).T
    mean = weights @ seen
    spread = GaussianColumn(law.covariance[~known][:, ~known] - weights @ law.covariance[known][:, ~known])

    scheduler = BMapDPMSolverScheduler(
        1000, "cosine", BMap.from_attenuation(nats=nats), "sample", clip_sample=False, algorithm=algorithm
    ).bind(torch.linspace(0, 1, rows, dtype=torch.float64)[:, None])
    scheduler.set_timesteps(20)

    def denoise(x: Tensor, timesteps: Tensor, **_: Any) -> Tensor:
        denoiser = law.denoisers(scheduler.log_retained(timesteps[:1]).flatten())
        return (x.flatten(1) @ denoiser.T).reshape(x.shape)

    image = torch.zeros(count, 1, rows, 1, dtype=torch.float64)
    image[:, 0, :4, 0] = seen
    errors, misfits = [], []
    for repeats in (1, 10):
        edit = Edit(image, 1.0, known.reshape(1, 1, rows, 1), repeats)
        noise = randn(0, image.shape).double()
        drawn = BMapDiffusionInferer(scheduler).sample(noise, denoise, generator=seeded(1), edit=edit, verbose=False)
        rest = drawn.flatten(1)[:, ~known]
        errors.append(float((rest.mean(0) - mean).norm() / mean.norm()))
        misfits.append(spread.frechet_share(torch.cov(rest.T)))
    # measured: the mean is 0.38 to 0.57 off at first, then 0.15 to 0.21; its standard error is 0.03
    assert errors[0] > 0.3
    assert errors[1] < 0.5 * errors[0]
    assert misfits[1] < 0.2 * misfits[0]


# Callback, types


@pytest.mark.parametrize(("strength", "repeats", "total"), [(1.0, 1, 10), (0.5, 1, 5), (0.5, 3, 15), (0.0, 3, 0)])
def test_the_callback_counts_every_evaluation(strength: float, repeats: int, total: int) -> None:
    told: list[tuple[int, int]] = []
    cleans: list[Tensor] = []
    image = sampled(
        Edit(picture(), strength, repeats=repeats),
        callback=lambda done, total, clean: (told.append((done, total)), cleans.append(clean)),
    )
    assert told == [(k, total) for k in range(1, total + 1)]
    assert not cleans or torch.equal(cleans[-1], image)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("edit", [Edit(picture(), 0.5), Edit(picture(), 1.0, mask()), Edit(picture(), 0.5, None, 2)])
@each_sampler
def test_an_edited_image_has_the_precision_of_the_noise(sampler: str, edit: Edit, dtype: torch.dtype) -> None:
    result = sampled(edit, sampler, dtype=dtype)
    assert result.dtype == dtype
    assert bool(result.isfinite().all())


def test_images_and_masks_with_meta_data_give_plain_images() -> None:
    plain = synthesised(strength=0.5, image=picture(), keep=mask())
    result = synthesised(strength=0.5, image=MetaTensor(picture()), keep=MetaTensor(mask()))
    assert type(result) is Tensor
    assert torch.equal(result, plain)


def test_an_edit_changes_neither_the_image_nor_the_noise() -> None:
    image, noise = picture(), randn(0)
    inferer_of().sample(noise, Spy(), depth=depths(), edit=Edit(image, 0.5, mask()), verbose=False)
    assert torch.equal(image, picture())
    assert torch.equal(noise, randn(0))


# What is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": picture().mul(127).byte()}, r"must be float \(N, C, H, W\), got torch.uint8"),
        ({"image": picture()[0]}, r"must be float \(N, C, H, W\), got torch.float32 \(1, 5, 7\)"),
        ({"image": 255 * picture()}, r"must lie in \[-1, 1\], got \[-255, 255\]; scale it first"),
        ({"image": picture() * math.nan}, r"must lie in \[-1, 1\], got \[nan, nan\]"),
        ({"strength": -0.1}, r"strength must lie in \[0, 1\], got -0.1"),
        ({"strength": 1.1}, r"strength must lie in \[0, 1\], got 1.1"),
        ({"strength": math.nan}, r"strength must lie in \[0, 1\], got nan"),
        ({"repeats": 0}, "repeats must be at least 1, got 0"),
        ({"keep": mask()[0]}, r"keep must be \(N or 1, 1, H, W\) for images \(2, 1, 5, 7\), got \(1, 5, 7\)"),
        ({"keep": mask().expand(2, 3, 5, 7)}, r"keep must be \(N or 1, 1, H, W\)"),
        ({"keep": mask((3, 1, 5, 7))}, r"keep must be \(N or 1, 1, H, W\)"),
        ({"keep": mask((2, 1, 7, 5))}, r"keep must be \(N or 1, 1, H, W\)"),
        ({"keep": 255 * mask()}, "keep must be 1 where the image stays and 0 elsewhere"),
        ({"keep": 0.5 * mask()}, "keep must be 1 where the image stays and 0 elsewhere"),
        ({"keep": mask() * math.nan}, "keep must be 1 where the image stays and 0 elsewhere"),
    ],
)
def test_an_edit_that_makes_no_sense_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Edit(**{"image": picture(), **arguments})


@pytest.mark.parametrize("shape", [(1, 1, 5, 7), (2, 2, 5, 7), (2, 1, 7, 5)])
def test_an_image_of_another_shape_than_the_noise_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"the image to edit has shape .* the noise \(2, 1, 5, 7\); resample one"):
        sampled(Edit(picture(shape), 0.5))


def test_a_mask_without_an_image_is_refused() -> None:
    with pytest.raises(ValueError, match="give that image too"):
        synthesised(keep=mask())

"""Noise and attenuation along the beam: laws of the process and of decibels, limits, what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.networks.schedulers import DDPMScheduler

from monai_bmaps.bmaps import BMap
from monai_bmaps.geometry import LinearBeam, SectorBeam
from monai_bmaps.schedulers import BMapDDPMScheduler
from monai_bmaps.transforms import (
    BeamDepth,
    DepthAttenuation,
    DepthAttenuationd,
    RandBMapNoise,
    RandBMapNoised,
    RandDepthAttenuation,
    RandDepthAttenuationd,
)

SHAPE = (14, 19)
FAN = SectorBeam(apex=(0.0, 9.0), radii=(1.0, 13.0), half_angle_deg=40.0)
DEPTH, SECTOR = (x.as_tensor() for x in BeamDepth()(FAN, torch.zeros(1, *SHAPE)))
INSIDE = SECTOR > 0
RAMP = torch.linspace(0.01, 1.0, 12)[:, None].expand(12, 400)[None]


def image(seed: int = 0, low: float = -0.8, high: float = 0.8) -> torch.Tensor:
    return torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(seed)) * (high - low) + low


def noise_at(share: float, **options: Any) -> RandBMapNoise:
    return RandBMapNoise(levels=(share, share), prob=1.0, **options).set_random_state(seed=0)


def drawn_noise(transform: RandBMapNoise, like: torch.Tensor) -> torch.Tensor:
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(transform.seed), dtype=like.dtype)


# noise: laws of the process


@pytest.mark.parametrize("renormalise", [False, True])
def test_share_zero_is_the_identity(renormalise: bool) -> None:
    assert torch.equal(noise_at(0.0, renormalise=renormalise)(image(), DEPTH, SECTOR), image())


@pytest.mark.parametrize("share", [0.001, 0.2, 1.0])
def test_without_a_b_map_it_is_monais_forward_noise(share: float) -> None:
    transform = noise_at(share, b_map=BMap(minimum=1.0), schedule="linear_beta", clip=False)
    clean = image()
    noisy = transform(clean, DEPTH, torch.ones(1, *SHAPE))
    step = torch.tensor([round(1000 * share) - 1])
    stock = DDPMScheduler(num_train_timesteps=1000, schedule="linear_beta")
    expected = stock.add_noise(clean[None], drawn_noise(transform, clean)[None], step)[0]
    torch.testing.assert_close(noisy, expected, atol=2e-4, rtol=0)  # MONAI's tables are float32


def test_it_is_the_schedulers_forward_noise_of_the_same_map() -> None:
    transform = noise_at(0.3, clip=False)
    noisy = transform(image(), DEPTH, SECTOR)
    scheduler = BMapDDPMScheduler(1000, "cosine", BMap.preset("physical")).bind(DEPTH[None])
    expected = scheduler.add_noise(image()[None], drawn_noise(transform, image())[None], torch.tensor([299]))[0]
    torch.testing.assert_close(noisy[INSIDE], expected[INSIDE])


@pytest.mark.parametrize("renormalise", [False, True])
def test_mean_and_variance_follow_the_analytic_law_at_every_depth(renormalise: bool) -> None:
    share, db, clean = 0.1, 44.0, torch.full((8, 12, 400), 0.4)
    noisy = noise_at(share, clip=False, renormalise=renormalise)(clean, RAMP)
    s = 8e-3
    log_abar = 2 * math.log(math.cos((share + s) / (1 + s) * math.pi / 2)) - 2 * math.log(
        math.cos(s / (1 + s) * math.pi / 2)
    )
    retained = np.exp(log_abar - db * math.log(10) / 10 * share**1.5 * RAMP[0, :, 0].double().numpy())
    mean, variance = 0.4 * np.sqrt(retained), 1 - retained
    if renormalise:
        mean, variance = np.full(12, 0.4), variance / retained
    rows = noisy.movedim(1, 0).flatten(1).double()
    np.testing.assert_allclose(rows.mean(1), mean, atol=5 * np.sqrt(variance.max() / 3200))  # 5 standard errors
    np.testing.assert_allclose(rows.var(1), variance, rtol=5 * math.sqrt(2 / 3200))


def test_the_gain_of_renormalising_is_limited() -> None:
    transform = noise_at(1.0, clip=False, renormalise=True, max_gain_db=6.0)
    noisy = transform(torch.zeros(8, 12, 400), RAMP)
    assert float(noisy.std()) == pytest.approx(10 ** (6 / 20), rel=0.02)  # noise alone is left, of deviation 1


def test_levels_are_drawn_over_their_whole_range() -> None:
    transform = RandBMapNoise(levels=(0.1, 0.3), prob=1.0).set_random_state(seed=0)
    steps = []
    for _ in range(300):
        transform.randomize()
        steps.append(transform.timestep)
    assert (min(steps), max(steps)) == pytest.approx((99, 299), abs=4)


def test_the_process_does_not_depend_on_the_value_range() -> None:
    plain = noise_at(0.05)(image(), DEPTH, SECTOR)
    scaled = noise_at(0.05, value_range=(0.0, 255.0))((image() + 1) * 127.5, DEPTH, SECTOR)
    torch.testing.assert_close(scaled / 127.5 - 1, plain, atol=1e-5, rtol=0)  # float32


# noise: where, and in what form


def test_outside_the_beam_nothing_changes_and_inside_almost_everything() -> None:
    changed = noise_at(0.1)(image(), DEPTH, SECTOR) != image()
    assert not bool(changed[~INSIDE].any())
    assert float(changed[INSIDE].float().mean()) > 0.98


def test_without_a_sector_depth_zero_is_outside() -> None:
    assert torch.equal(noise_at(0.1)(image(), DEPTH) != image(), (noise_at(0.1)(image(), DEPTH, DEPTH > 0) != image()))


def test_a_beam_does_as_well_as_its_depth_map() -> None:
    assert torch.equal(noise_at(0.1, beam=FAN)(image()), noise_at(0.1)(image(), DEPTH, SECTOR))
    item = {"image": image(), "beam": FAN.to_dict()}
    with_maps = {"image": image(), "depth": DEPTH, "sector": SECTOR}
    first, second = (RandBMapNoised("image", prob=1.0).set_random_state(seed=1)(x) for x in (item, with_maps))
    assert torch.equal(first["image"], second["image"])


def test_a_beam_that_is_given_goes_before_the_items_depth() -> None:
    wrong = {"image": image(), "depth": torch.ones(1, *SHAPE)}
    given = RandBMapNoised("image", beam=FAN, prob=1.0).set_random_state(seed=1)(wrong)
    own = RandBMapNoised("image", prob=1.0).set_random_state(seed=1)(
        {"image": image(), "depth": DEPTH, "sector": SECTOR}
    )
    assert torch.equal(given["image"], own["image"])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float16, torch.bfloat16, torch.float64])
def test_type_and_range_are_the_inputs(dtype: torch.dtype) -> None:
    whole = (image(low=0.0, high=255.0)).to(dtype)
    for transform in (noise_at(0.3, value_range=(0, 255)), DepthAttenuation(-20.0, value_range=(0, 255))):
        out = transform(whole, DEPTH, SECTOR)
        assert out.dtype == dtype
        assert 0 <= float(out.min()) <= float(out.max()) <= 255
        assert not torch.equal(out, whole)


def test_whole_numbers_are_rounded_not_cut() -> None:
    grey = DepthAttenuation(-6.0, dynamic_range_db=60.0, value_range=(0, 255))  # 25.5 grey levels at full depth
    depth = torch.tensor([[[0.98, 0.99]]])
    assert grey(torch.full((1, 1, 2), 10, dtype=torch.uint8), depth).tolist() == [[[35, 35]]]
    assert grey(torch.full((1, 1, 2), 10, dtype=torch.uint8), depth * 0.97).tolist() == [[[34, 34]]]


def test_arrays_stay_arrays_and_three_dimensions_are_fine() -> None:
    volume = np.zeros((2, 5, 6, 7), dtype=np.float32)
    depth = np.linspace(0.1, 1, 5, dtype=np.float32)[:, None, None] * np.ones((1, 6, 7), np.float32)
    for transform in (noise_at(0.1), DepthAttenuation(12.0, invertible=False)):
        out = transform(volume, depth)
        assert isinstance(out, np.ndarray)
        assert out.shape == volume.shape
        assert not np.array_equal(out, volume)


def test_keys_of_one_size_get_one_noise() -> None:
    item = {"image": image(), "other": image(), "depth": DEPTH}
    noisy = RandBMapNoised(("image", "other"), prob=1.0).set_random_state(seed=0)(item)
    assert torch.equal(noisy["image"], noisy["other"])


# attenuation: laws of decibels


def test_the_slope_of_a_compressed_image_is_recovered() -> None:
    depth = torch.linspace(0, 1, 40, dtype=torch.float64)[:, None].expand(40, 3)[None]
    grey = DepthAttenuation(12.0, dynamic_range_db=50.0, value_range=(0, 255))(torch.full_like(depth, 200.0), depth)
    slope, start = np.polyfit(depth[0, :, 0], grey[0, :, 0] / 255 * 50.0, 1)
    assert (slope, start) == pytest.approx((-12.0, 200 / 255 * 50))


def test_the_slope_of_an_envelope_is_recovered() -> None:
    depth = torch.linspace(0, 1, 40, dtype=torch.float64)[:, None].expand(40, 3)[None]
    envelope = DepthAttenuation(12.0, compressed=False, value_range=(0, 1))(torch.full_like(depth, 0.7), depth)
    slope, start = np.polyfit(depth[0, :, 0], 20 * torch.log10(envelope[0, :, 0]), 1)
    assert (slope, start) == pytest.approx((-12.0, 20 * math.log10(0.7)))


@pytest.mark.parametrize("compressed", [True, False])
def test_an_attenuation_and_its_opposite_are_the_identity(compressed: bool) -> None:
    there, back = (DepthAttenuation(x, compressed=compressed, clip=False) for x in (25.0, -25.0))
    clean = image(low=-1.0, high=1.0).double()
    middle = there(clean, DEPTH, SECTOR)
    assert float((middle - clean).abs().max()) > 0.3
    torch.testing.assert_close(back(middle, DEPTH, SECTOR), clean)


@pytest.mark.parametrize("compressed", [True, False])
def test_the_inverse_is_exact_without_clipping(compressed: bool) -> None:
    transform = RandDepthAttenuation((-30, 30), compressed=compressed, clip=False, prob=1.0).set_random_state(seed=0)
    clean = MetaTensor(image(low=-1.0, high=1.0), meta={"name": "a"})
    changed = transform(clean, DEPTH, SECTOR)
    assert [op["class"] for op in changed.applied_operations] == ["RandDepthAttenuation"]
    back = transform.inverse(changed)
    torch.testing.assert_close(back.as_tensor(), clean.as_tensor(), atol=1e-6, rtol=0)  # float32
    assert (back.applied_operations, back.meta["name"]) == ([], "a")


def test_the_inverse_warns_of_what_was_clipped_and_returns_the_rest() -> None:
    transform = DepthAttenuation(30.0)
    clean = MetaTensor(image(low=-1.0, high=1.0))
    changed = transform(clean, DEPTH, SECTOR)
    with pytest.warns(UserWarning, match="clip=False keeps them"):
        back = transform.inverse(changed.clone())
    whole = changed.as_tensor() > -1
    assert bool((~whole & INSIDE).any())
    torch.testing.assert_close(back.as_tensor()[whole], clean.as_tensor()[whole], atol=1e-6, rtol=0)  # float32


def test_an_inverse_that_was_not_wanted_leaves_predictions_alone() -> None:
    transform = DepthAttenuationd("image", 12.0, invertible=False)
    item = {"image": MetaTensor(image()), "depth": DEPTH}
    changed = transform(item)
    assert changed["image"].applied_operations == []
    assert torch.equal(transform.inverse(changed)["image"], changed["image"])


def test_a_draw_that_changes_nothing_is_inverted_to_itself() -> None:
    transform = RandDepthAttenuationd("image", prob=0.0)
    changed = transform({"image": MetaTensor(image()), "depth": DEPTH})
    assert torch.equal(changed["image"].as_tensor(), image())
    back = transform.inverse(changed)["image"]
    assert torch.equal(back.as_tensor(), image())
    assert back.applied_operations == []


def test_attenuations_are_drawn_over_their_whole_range() -> None:
    transform = RandDepthAttenuation((-3.0, 9.0), prob=1.0).set_random_state(seed=0)
    values = []
    for _ in range(300):
        transform.randomize()
        values.append(transform.attenuation_db)
    assert (min(values), max(values)) == pytest.approx((-3, 9), abs=0.2)


def test_outside_the_beam_nothing_is_attenuated() -> None:
    changed = DepthAttenuation(12.0)(image(), torch.ones(1, *SHAPE), SECTOR) != image()
    assert torch.equal(changed, INSIDE)


# refusals


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandBMapNoised("image", prob=1.2), r"prob must lie in \[0, 1\], got 1\.2"),
        (lambda: RandDepthAttenuationd("image", prob=-0.1), r"prob must lie in \[0, 1\], got -0\.1"),
        (lambda: RandBMapNoise(prob=math.nan), "prob must lie in"),
        (lambda: RandBMapNoise(levels=(0.2, 0.1)), r"levels must be \(least, greatest\) in \[0, 1\], got \(0\.2, 0\.1"),
        (lambda: RandBMapNoise(levels=(0.0, 1.5)), r"levels must be .* got \(0\.0, 1\.5\)"),
        (lambda: RandBMapNoise(levels=0.1), "give two equal ones for one value"),
        (lambda: RandBMapNoise(max_gain_db=-1.0), "max_gain_db must be finite and at least 0, got -1"),
        (lambda: RandBMapNoise(value_range=(1, 1)), r"\(black, white\) with black below white, got \[1, 1\]"),
        (lambda: RandDepthAttenuation(attenuation_db=(3.0, math.inf)), r"attenuation_db must be \(least, greatest\)"),
        (lambda: DepthAttenuation(math.nan), "attenuation_db must be finite, got nan"),
        (lambda: DepthAttenuation(3.0, dynamic_range_db=0.0), "dynamic_range_db must be finite and above 0, got 0"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


NOISED, ATTENUATED = RandBMapNoised("image", prob=0.0), DepthAttenuationd("image", 6.0)


@pytest.mark.parametrize("transform", [NOISED, ATTENUATED], ids=["noise", "attenuation"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": torch.zeros(1, 3, 4)}, r"depth must be \(1, 14, 19\), as the image .* got \(1, 3, 4\); resize"),
        ({"sector": torch.ones(1, 3, 4)}, r"sector must be \(1, 14, 19\)"),
        ({"depth": DEPTH * 2}, r"depth must lie in \[0, 1\], got .*; normalise with BeamDepthd"),
        ({"depth": DEPTH * math.nan}, "depth must lie in .* nan"),
        ({"image": image() * 255}, r"image must lie in value_range \[-1, 1\], got .*value_range=\(0, 255\)"),
        ({"image": image() * math.nan}, r"image holds values that are not finite \(NaN or infinity\); replace them"),
    ],
)
def test_items_that_make_no_sense_are_refused_whatever_the_draw(
    transform: Any, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        transform({"image": image(), "depth": DEPTH, "sector": SECTOR} | change)


@pytest.mark.parametrize("transform", [NOISED, ATTENUATED], ids=["noise", "attenuation"])
def test_an_item_without_depth_and_beam_is_told_what_to_do(transform: Any) -> None:
    with pytest.raises(KeyError, match=r"no depth for 'image'.*'depth'.*'beam'; run BeamDepthd before, or give beam"):
        transform({"image": image(), "label": image()})


def test_an_array_without_depth_and_beam_is_told_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"no beam for image: give the maps that BeamDepth makes"):
        noise_at(0.1)(image())


def test_a_beam_for_a_volume_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a beam has two dimensions, image 3; give a depth map \(1, 4, 5, 6\)"):
        noise_at(0.1, beam=LinearBeam())(torch.zeros(1, 4, 5, 6))


def test_whole_numbers_cannot_go_unclipped() -> None:
    with pytest.raises(ValueError, match=r"clip=False needs floating point, got image of torch\.uint8"):
        DepthAttenuation(3.0, clip=False, value_range=(0, 255))(torch.zeros(1, *SHAPE, dtype=torch.uint8), DEPTH)


def test_without_clipping_a_wrong_range_is_still_noticed() -> None:
    with pytest.raises(ValueError, match="must lie in value_range"):
        DepthAttenuation(3.0, clip=False)(image(low=0, high=255), DEPTH)

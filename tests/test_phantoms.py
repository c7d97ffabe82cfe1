from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from monai_bmaps.data.phantoms import (
    ECHOGENICITY_DB,
    heart_beam,
    heart_labels,
    speckle_image,
    thyroid_beam,
    thyroid_labels,
)
from monai_bmaps.geometry import LinearBeam, SectorBeam

VIEWS = ("4CH", "2CH")
PHASES = ("ED", "ES")
CASES = [(view, phase) for view in VIEWS for phase in PHASES]
DRAWS = [None, *range(8)]  # None: the mean anatomy
SHAPE = (96, 112)

# Mean and standard deviation over 312 CAMUS frames of the share of the fan: cavity, myocardium, atrium.
CAMUS_SHARES = {
    ("4CH", "ED"): ((0.195, 0.148, 0.080), (0.060, 0.046, 0.030)),
    ("4CH", "ES"): ((0.142, 0.152, 0.107), (0.065, 0.051, 0.028)),
    ("2CH", "ED"): ((0.215, 0.195, 0.069), (0.075, 0.058, 0.029)),
    ("2CH", "ES"): ((0.125, 0.193, 0.094), (0.048, 0.056, 0.031)),
}


def seeded(seed: int | None) -> torch.Generator | None:
    return None if seed is None else torch.Generator().manual_seed(seed)


def shares(labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return torch.bincount(labels[mask], minlength=4) / mask.sum()


def grown(mask: torch.Tensor) -> torch.Tensor:
    """The mask and its 8 neighbours."""
    return functional.max_pool2d(mask[None, None].float(), 3, stride=1, padding=1)[0, 0] > 0


def is_connected(mask: torch.Tensor) -> bool:
    reached = torch.zeros_like(mask)
    reached.view(-1)[mask.flatten().nonzero()[0]] = True
    while not torch.equal(reached, wider := grown(reached) & mask):
        reached = wider
    return torch.equal(reached, mask)


def level_db(image: torch.Tensor, dynamic_range_db: float) -> torch.Tensor:
    return (image.double() - 1) * dynamic_range_db


def homogeneous_level_db(beam: LinearBeam | SectorBeam, shape: tuple[int, int]) -> torch.Tensor:
    """Level of lossless speckle of mean power -40 dB, at the pixels inside the beam."""
    image = speckle_image(
        torch.zeros(shape, dtype=torch.int64),
        beam,
        kind={0: -40.0},
        attenuation_db=0.0,
        specular_db=None,
        dynamic_range_db=200.0,
        generator=seeded(3),
    )
    return level_db(image, 200.0)[beam.mask(shape)]


BEAMS = [(heart_beam((224, 256)), (224, 256)), (thyroid_beam((160, 224)), (160, 224))]
beams = pytest.mark.parametrize(("beam", "shape"), BEAMS, ids=["sector", "linear"])
cases = pytest.mark.parametrize(("view", "phase"), CASES)


@beams
def test_homogeneous_speckle_has_the_mean_to_deviation_ratio_of_rayleigh(beam, shape):
    envelope = 10 ** (homogeneous_level_db(beam, shape) / 20)
    # About 2000 independent speckle cells: the ratio's own deviation is near 2 %.
    assert float(envelope.mean() / envelope.std()) == pytest.approx(
        math.sqrt(math.pi / (4 - math.pi)), rel=0.06
    )


@beams
def test_homogeneous_speckle_has_the_decibel_spread_of_rayleigh(beam, shape):
    expected = 10 / math.log(10) * math.pi / math.sqrt(6)  # 5.57 dB
    assert float(homogeneous_level_db(beam, shape).std()) == pytest.approx(expected, rel=0.06)


@beams
def test_homogeneous_speckle_has_the_mean_power_that_was_set(beam, shape):
    power = (10 ** (homogeneous_level_db(beam, shape) / 10)).mean()
    assert 10 * math.log10(power) == pytest.approx(-40.0, abs=0.5)


@beams
@pytest.mark.parametrize("tgc", [0.0, 0.5])
def test_the_mean_level_falls_with_depth_by_the_uncompensated_loss(beam, shape, tgc):
    image = speckle_image(
        torch.zeros(shape, dtype=torch.int64),
        beam,
        kind={0: -20.0},
        attenuation_db=60.0,
        tgc=tgc,
        specular_db=None,
        dynamic_range_db=200.0,
        generator=seeded(4),
    )
    inside, depth = beam.mask(shape), beam.depth_map(shape).double()
    level = level_db(image, 200.0)[inside]
    x = depth[inside] - depth[inside].mean()
    assert float((x * level).sum() / (x * x).sum()) == pytest.approx(-60.0 * (1 - tgc), rel=0.10)


def test_chambers_are_darker_than_myocardium_by_the_set_decibels():
    beam, labels = heart_beam((192, 224)), heart_labels((192, 224))
    image = speckle_image(
        labels, beam, attenuation_db=0.0, specular_db=None, dynamic_range_db=200.0, generator=seeded(5)
    )
    level = level_db(image, 200.0)

    def power_db(label: int) -> float:
        # Away from borders, where the point spread function mixes tissues.
        inside = ~grown(grown(labels != label))
        return 10 * math.log10((10 ** (level[inside] / 10)).mean())

    expected = ECHOGENICITY_DB["heart"][2] - ECHOGENICITY_DB["heart"][1]
    assert power_db(2) - power_db(1) == pytest.approx(expected, abs=1.5)


def test_speckle_widens_with_depth_in_a_fan():
    shape = (224, 256)
    beam = heart_beam(shape)
    image = speckle_image(
        torch.zeros(shape, dtype=torch.int64), beam, kind={0: -30.0}, specular_db=None, generator=seeded(6)
    )

    def neighbours_correlation(low: float, high: float) -> float:
        # Lag of 2 columns, in the narrow cone where columns are azimuth.
        row = [int(beam.apex[0] + share * beam.radii[1]) for share in (low, high)]
        window = image[row[0] : row[1], 108:148]
        pairs = torch.stack((window[:, :-2].flatten(), window[:, 2:].flatten()))
        return float(torch.corrcoef(pairs)[0, 1])

    assert neighbours_correlation(0.75, 0.95) > neighbours_correlation(0.35, 0.55) + 0.1


def test_an_interface_square_to_the_beam_is_brighter_than_one_along_it():
    shape = (96, 128)
    rows, columns = torch.meshgrid(torch.arange(96), torch.arange(128), indexing="ij")
    box = ((rows > 30) & (rows < 70) & (columns > 40) & (columns < 90)).long()
    image = speckle_image(
        box, thyroid_beam(shape), kind={0: -60.0, 1: -60.0}, attenuation_db=0.0, generator=seeded(7)
    )
    assert float(image[29:33, 50:80].amax(dim=0).mean()) > float(image[40:60, 39:43].amax(dim=1).mean()) + 0.3


@pytest.mark.parametrize("kind", ["heart", "thyroid"])
def test_images_are_black_outside_the_beam_and_in_the_unit_range_inside(kind):
    labels, beam = heart_labels(SHAPE), heart_beam(SHAPE)
    image = speckle_image(labels, beam, kind=kind, generator=seeded(8))
    assert image.dtype == torch.float32
    assert tuple(image.shape) == SHAPE
    assert float(image[~beam.mask(SHAPE)].abs().max()) == 0.0
    assert float(image.min()) >= 0.0
    assert 0.1 < float(image[beam.mask(SHAPE)].mean()) < float(image.max()) <= 1.0


def test_the_same_seed_gives_the_same_image_and_another_seed_another():
    labels, beam = thyroid_labels((40, 56)), thyroid_beam((40, 56))
    first, again, other = (
        speckle_image(labels, beam, kind="thyroid", generator=seeded(s)) for s in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@cases
def test_the_same_seed_gives_the_same_heart_and_another_seed_another(view, phase):
    first, again, other = (
        heart_labels(SHAPE, view=view, phase=phase, generator=seeded(s)) for s in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_mean_heart_consumes_no_random_numbers():
    before = torch.random.get_rng_state()
    heart_labels(SHAPE)
    assert torch.equal(before, torch.random.get_rng_state())


@cases
def test_the_mean_heart_has_the_area_shares_measured_on_camus(view, phase):
    means, deviations = CAMUS_SHARES[view, phase]
    found = shares(heart_labels((192, 192), view=view, phase=phase), heart_beam((192, 192)).mask((192, 192)))
    for share, mean, deviation in zip(found[1:], means, deviations, strict=True):
        assert float(share) == pytest.approx(mean, abs=0.5 * deviation)


@cases
@pytest.mark.parametrize("seed", [None, 2])
def test_hearts_are_the_same_anatomy_at_every_resolution(view, phase, seed):
    small, large = (
        shares(
            heart_labels((side, side), view=view, phase=phase, generator=seeded(seed)),
            heart_beam((side, side)).mask((side, side)),
        )
        for side in (64, 192)
    )
    # One pixel row at 64 is about 1 % of the ventricle.
    torch.testing.assert_close(small, large, atol=0.012, rtol=0.0)


def test_thyroids_are_the_same_anatomy_at_every_resolution():
    small, large = (
        shares(thyroid_labels(shape, generator=seeded(2)), torch.ones(shape, dtype=torch.bool))
        for shape in ((64, 80), (192, 240))
    )
    torch.testing.assert_close(small, large, atol=0.004, rtol=0.0)


def test_a_wide_image_shows_the_heart_of_a_square_one_as_the_beam_does():
    wide = heart_labels((128, 200))
    square = heart_labels((128, 128), beam=heart_beam((128, 200)).shifted(0, -36))
    assert torch.equal(wide[:, 36:164], square)


def test_steering_the_fan_turns_the_heart_with_it():
    beam = SectorBeam(apex=(10, 64), radii=(1, 100), half_angle_deg=38, steering_deg=15)
    columns = [
        (heart_labels((120, 128), beam=b) == 1).nonzero()[:, 1].double().mean()
        for b in (SectorBeam(apex=(10, 64), radii=(1, 100), half_angle_deg=38), beam)
    ]
    assert columns[1] > columns[0] + 5


@cases
@pytest.mark.parametrize("seed", DRAWS)
def test_each_part_of_the_heart_is_one_piece(view, phase, seed):
    # In a fan wide enough not to cut the wall, which the usual one does in 3 % of draws and of CAMUS frames.
    fan = replace(heart_beam(SHAPE), half_angle_deg=70)
    labels = heart_labels(SHAPE, view=view, phase=phase, generator=seeded(seed), beam=fan)
    assert [label for label in (1, 2, 3) if not is_connected(labels == label)] == []


@cases
@pytest.mark.parametrize("seed", DRAWS)
def test_inside_the_beam_the_cavity_touches_background_only_at_the_valve(view, phase, seed):
    labels = heart_labels(SHAPE, view=view, phase=phase, generator=seeded(seed))
    hinges = grown(grown(labels == 3))
    background = (labels == 0) & heart_beam(SHAPE).mask(SHAPE) & ~hinges
    assert int((grown(labels == 1) & background).sum()) == 0


@cases
@pytest.mark.parametrize("seed", DRAWS)
def test_the_atrium_lies_deeper_than_the_ventricle(view, phase, seed):
    labels = heart_labels(SHAPE, view=view, phase=phase, generator=seeded(seed))
    depth = heart_beam(SHAPE).depth_map(SHAPE)
    assert float(depth[labels == 3].mean()) > float(depth[labels == 1].max()) - 0.05


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("seed", DRAWS)
def test_systole_shrinks_the_cavity_of_the_same_heart(view, seed):
    diastole, systole = (heart_labels(SHAPE, view=view, phase=p, generator=seeded(seed)) == 1 for p in PHASES)
    assert int(systole.sum()) < 0.9 * int(diastole.sum())


@pytest.mark.parametrize("view", VIEWS)
def test_systole_enlarges_the_atrium(view):
    diastole, systole = (heart_labels(SHAPE, view=view, phase=p) == 3 for p in PHASES)
    assert int(systole.sum()) > int(diastole.sum())


@pytest.mark.parametrize("seed", DRAWS)
def test_nothing_of_the_heart_lies_outside_the_fan(seed):
    assert int(heart_labels(SHAPE, generator=seeded(seed))[~heart_beam(SHAPE).mask(SHAPE)].sum()) == 0


@pytest.mark.parametrize("seed", DRAWS)
def test_each_part_of_the_neck_is_present_and_one_piece(seed):
    labels = thyroid_labels((72, 96), generator=seeded(seed))
    assert [label for label in (1, 2, 3) if not is_connected(labels == label)] == []


@pytest.mark.parametrize("seed", DRAWS)
def test_the_vessels_lie_on_the_same_side_of_the_gland(seed):
    labels = thyroid_labels((72, 96), generator=seeded(seed))
    gland, carotid, jugular = ((labels == k).nonzero()[:, 1].double().mean() for k in (1, 2, 3))
    assert (carotid - gland) * (jugular - gland) > 0


def test_the_carotid_is_deeper_than_the_jugular_vein():
    labels = thyroid_labels((72, 96))
    carotid, jugular = ((labels == k).nonzero()[:, 0].double().mean() for k in (2, 3))
    assert carotid > jugular


@pytest.mark.parametrize("shape", [(128, 128), (96, 200), (200, 96)])
def test_the_fan_fits_the_image(shape):
    beam = heart_beam(shape)
    half_width = beam.radii[1] * math.sin(math.radians(beam.half_angle_deg))
    assert 0 <= beam.apex[0] < beam.apex[0] + beam.radii[1] <= shape[0] - 1
    assert half_width <= beam.apex[1] + 1e-9


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: heart_labels(SHAPE, view="3CH"), "'4CH' or '2CH'.*'3CH'"),
        (lambda: heart_labels(SHAPE, phase="mid"), "'ED' or 'ES'.*'mid'"),
        (lambda: heart_labels((15, 64)), r"at least 16.*\(15, 64\)"),
        (lambda: heart_labels((64, 64), beam=LinearBeam()), "must be a SectorBeam"),
        (lambda: thyroid_labels((64,)), r"\(height, width\)"),
        (lambda: heart_beam((64, 8)), "at least 16"),
    ],
)
def test_impossible_anatomy_is_refused_with_what_is_allowed(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": torch.zeros(32, 40)}, "integer.*float32"),
        ({"labels": torch.zeros(1, 32, 40, dtype=torch.int64)}, "drop the batch"),
        ({"labels": torch.full((32, 40), 7)}, r"labels \[7\] have no echogenicity"),
        ({"kind": "liver"}, "'heart', 'thyroid'.*'liver'"),
        ({"kind": {1: -20.0}}, r"labels \[0\] have no echogenicity"),
        ({"attenuation_db": -1.0}, "attenuation_db must be"),
        ({"tgc": 1.5}, "tgc must be"),
        ({"dynamic_range_db": 0.0}, "dynamic_range_db must be"),
        ({"attenuation_db": math.nan}, "attenuation_db must be finite"),
    ],
)
def test_impossible_images_are_refused_with_what_is_allowed(change, message):
    arguments = {"labels": torch.zeros((32, 40), dtype=torch.int64), "beam": thyroid_beam((32, 40))} | change
    with pytest.raises(ValueError, match=message):
        speckle_image(**arguments)

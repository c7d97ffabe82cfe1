"""Speckle images: Rayleigh statistics, the set levels and losses, interfaces, determinism, refusals."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from monai_bmaps.data.phantoms import heart_beam, heart_labels, thyroid_beam, thyroid_labels
from monai_bmaps.data.speckle import ECHOGENICITY_DB, speckle_image
from monai_bmaps.geometry import LinearBeam, SectorBeam

SHAPE = (96, 112)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def grown(mask: torch.Tensor) -> torch.Tensor:
    """The mask and its 8 neighbours."""
    return functional.max_pool2d(mask[None, None].float(), 3, stride=1, padding=1)[0, 0] > 0


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


@beams
def test_homogeneous_speckle_has_the_mean_to_deviation_ratio_of_rayleigh(beam, shape):
    envelope = 10 ** (homogeneous_level_db(beam, shape) / 20)
    # About 2000 independent speckle cells: the ratio's own deviation is near 2 %.
    assert float(envelope.mean() / envelope.std()) == pytest.approx(math.sqrt(math.pi / (4 - math.pi)), rel=0.06)


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
    image = speckle_image(box, thyroid_beam(shape), kind={0: -60.0, 1: -60.0}, attenuation_db=0.0, generator=seeded(7))
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
    first, again, other = (speckle_image(labels, beam, kind="thyroid", generator=seeded(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


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

"""Anatomy deformed inside a fan that stays: what is counted as plausible, and that nothing else comes out."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from monai.data import MetaTensor

from monai_bmaps.data.phantoms import heart_beam, heart_labels
from monai_bmaps.transforms import BeamDepth, RandAnatomyDeform, RandAnatomyDeformd, RandBeamDeform
from monai_bmaps.transforms.anatomy import Plausible, pieces, stretch

SHAPE = (48, 60)
WILD = {"rotate_deg": 20.0, "translate": 0.2, "scale": (0.6, 1.6)}
STILL = {"rotate_deg": 0.0, "translate": 0.0, "scale": (1.0, 1.0), "shear_deg": 0.0, "max_displacement": 0.0}


def heart(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    label = heart_labels(SHAPE, generator=generator)[None].float()
    return label, BeamDepth()(heart_beam(SHAPE), label)[1].as_tensor()


def block(top: int, bottom: int, left: int = 20, right: int = 40) -> torch.Tensor:
    label = torch.zeros(SHAPE)
    label[top:bottom, left:right] = 1
    return label


EVERYWHERE, ONES = torch.ones(SHAPE, dtype=torch.bool), torch.ones(SHAPE)


# what is plausible


def test_an_unchanged_label_map_is_plausible() -> None:
    assert Plausible().refusal(block(10, 30), block(10, 30), EVERYWHERE, ONES) is None


def test_the_share_that_leaves_the_sector_is_counted() -> None:
    inside = torch.arange(SHAPE[0])[:, None].expand(SHAPE) < 30
    after = block(15, 35)  # a quarter of the block is below the sector
    assert "25% of label 1 leave" in str(Plausible(max_lost=0.2).refusal(block(10, 30), after, inside, ONES))
    assert Plausible(max_lost=0.26).refusal(block(10, 30), after, inside, ONES) is None


@pytest.mark.parametrize(("bottom", "refused"), [(28, False), (32, False), (34, True), (25, False), (23, True)])
def test_areas_may_change_by_their_factor_either_way(bottom: int, refused: bool) -> None:
    shown = torch.full(SHAPE, 20 / (bottom - 8))  # all of it is seen, at another scale
    refusal = Plausible(max_area_factor=1.25).refusal(block(8, 28), block(8, bottom), EVERYWHERE, shown)
    assert (refusal is not None) == refused
    assert not refused or "of its area" in str(refusal)


def test_a_structure_that_falls_apart_is_refused() -> None:
    torn = block(10, 30) * (torch.arange(SHAPE[0])[:, None] != 20)
    refusal = Plausible().refusal(block(10, 30), torn, EVERYWHERE, ONES)
    assert refusal == "label 1 falls into 2 pieces"


def test_a_cut_that_comes_to_lie_inside_is_refused() -> None:
    after = block(10, 30)
    shown = torch.where(torch.arange(SHAPE[0])[:, None] < 30, ONES, 0.0)  # nothing is known from row 30 on
    refusal = Plausible().refusal(block(10, 30), after, EVERYWHERE, shown)
    assert "a cut shows" in str(refusal)
    assert Plausible(max_cut=0.3).refusal(block(10, 30), after, EVERYWHERE, shown) is None


def test_pieces_touch_at_corners_and_specks_are_none() -> None:
    diagonal = torch.zeros(9, 11, dtype=torch.bool)
    diagonal[:4, :4] = diagonal[4:8, 4:8] = True
    assert pieces(diagonal) == 1
    diagonal[:, 10] = True
    assert pieces(diagonal) == 2
    assert pieces(diagonal, least=0.3) == 1
    assert pieces(torch.zeros(9, 11)) == 0


def test_pieces_that_meet_further_down_are_one() -> None:
    ring = torch.zeros(7, 9, dtype=torch.bool)
    ring[1:6, 1:8] = True
    ring[2:5, 2:7] = False
    ring[1, 4] = False
    assert pieces(ring) == 1
    ring[5, 4] = False
    assert pieces(ring) == 2


def test_stretch_is_the_area_that_a_magnification_shows() -> None:
    deform = RandBeamDeform(**STILL | {"scale": (1.25, 1.25)})
    deform.randomize()
    torch.testing.assert_close(stretch(deform.coordinates((7, 9))), torch.full((7, 9), 1.25**-2, dtype=torch.float64))


# what comes out


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_drawn_the_result_keeps_its_structures_whole_and_inside(seed: int) -> None:
    label, sector = heart(seed)
    new = RandAnatomyDeform(RandBeamDeform(**WILD)).set_random_state(seed=seed)(label, sector)
    assert not bool(new[sector == 0].any())
    for value in (1, 2, 3):
        before, after = label == value, new == value
        assert 1 / 1.61 < float(after.sum() / before.sum()) < 1.61
        assert pieces(after[0]) <= pieces(before[0])


def test_wild_fields_are_refused_and_tried_again_weaker() -> None:
    label, sector = heart()
    transform, refused = RandAnatomyDeform(RandBeamDeform(**WILD)).set_random_state(seed=0), []
    for _ in range(4):
        transform(label, sector)
        refused.append(len(transform.refusals))
        assert transform.strength == pytest.approx(1 - refused[-1] / 10)
    assert max(refused) > 1


def test_anatomy_that_nothing_plausible_was_drawn_for_stays() -> None:
    label, sector = heart()
    transform = RandAnatomyDeform(RandBeamDeform(**WILD), max_lost=0.0, max_area_factor=1.0, attempts=3)
    assert torch.equal(transform(label, sector), label)
    assert len(transform.refusals) == 3


def test_labels_move_as_the_field_of_the_deformation_says() -> None:
    label, sector = heart()
    transform = RandAnatomyDeform(max_lost=1.0, max_area_factor=math.inf, max_cut=math.inf).set_random_state(seed=3)
    new = transform(label, torch.ones_like(sector))
    assert transform.strength == 1.0
    moved = transform.deform(label, "nearest", randomize=False)
    assert float((new == moved).float().mean()) > 0.998  # ties of rounding apart


def test_an_item_keeps_its_fan_and_its_beam() -> None:
    label, sector = heart()
    item = {"label": MetaTensor(label), "sector": sector, "beam": heart_beam(SHAPE)}
    new = RandAnatomyDeformd().set_random_state(seed=0)(item)
    assert not torch.equal(new["label"].as_tensor(), label)
    assert (new["sector"] is sector, new["beam"]) == (True, heart_beam(SHAPE))


@pytest.mark.parametrize("known", ["sector", "depth", "beam", "given"])
def test_sector_depth_or_beam_tell_where_the_fan_is(known: str) -> None:
    label, sector = heart()
    depth = BeamDepth()(heart_beam(SHAPE), label)[0]
    maps: dict[str, Any] = {"sector": sector, "depth": depth, "beam": heart_beam(SHAPE)}
    item = {"label": label} | ({known: maps[known]} if known in maps else {})
    transform = RandAnatomyDeformd(beam=heart_beam(SHAPE) if known == "given" else None)
    new = transform.set_random_state(seed=0)(item)["label"]
    expected = RandAnatomyDeform().set_random_state(seed=0)(label, sector)
    assert float((new == expected).float().mean()) > 0.998  # depth is 0 at the face


# refusals


def test_an_image_that_would_stay_behind_is_refused() -> None:
    label, sector = heart()
    with pytest.raises(ValueError, match=r"'image' would show the anatomy that was; remove it .*DeleteItemsd"):
        RandAnatomyDeformd()({"label": label, "sector": sector, "image": label})


def test_an_item_without_a_fan_is_told_what_to_do() -> None:
    with pytest.raises(KeyError, match=r"neither a sector 'sector' nor a beam 'beam'; run BeamDepthd"):
        RandAnatomyDeformd()({"label": heart()[0]})


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (torch.zeros(3, *SHAPE), r"label must be \(1, H, W\), got \(3, 48, 60\); deform before one-hot"),
        (torch.full((1, *SHAPE), 0.5), r"whole numbers from 0, got 0\.5; resize label maps with mode='nearest'"),
        (torch.full((1, *SHAPE), math.nan), "whole numbers from 0, got nan"),
        (torch.full((1, *SHAPE), -1), "whole numbers from 0, got -1"),
    ],
)
def test_what_is_no_label_map_is_refused(label: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RandAnatomyDeform()(label, torch.ones(1, *SHAPE))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prob": 2.0}, r"prob must lie in \[0, 1\], got 2"),
        ({"attempts": 0}, "attempts must be at least 1, got 0"),
        ({"max_lost": 1.5}, r"max_lost must lie in \[0, 1\], got 1\.5"),
        ({"max_area_factor": 0.9}, r"max_area_factor must be at least 1, got 0\.9"),
        ({"max_cut": -0.1}, r"max_cut must be at least 0, got -0\.1"),
        ({"deform": RandBeamDeform(prob=0.5)}, r"deform must have prob=1, got 0\.5; give the probability as prob="),
    ],
)
def test_arguments_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RandAnatomyDeformd(**options)

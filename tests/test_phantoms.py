"""Procedural anatomy: the shares measured on CAMUS, connectedness, neighbours, determinism, files, refusals."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from monai_bmaps.data.camus import CLASSES
from monai_bmaps.data.phantoms import (
    convex_beam,
    heart_beam,
    heart_labels,
    main,
    thyroid_labels,
    write_items,
)
from monai_bmaps.geometry import LinearBeam, SectorBeam, beam_from_dict

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


cases = pytest.mark.parametrize(("view", "phase"), CASES)


@cases
def test_the_same_seed_gives_the_same_heart_and_another_seed_another(view, phase):
    first, again, other = (heart_labels(SHAPE, view=view, phase=phase, generator=seeded(s)) for s in (1, 1, 2))
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


def read(path) -> torch.Tensor:
    with Image.open(path) as picture:
        assert picture.mode == "L"
        return torch.from_numpy(np.array(picture)).long()


def test_written_hearts_are_read_back_with_their_beams_and_labels(tmp_path):
    write_items(tmp_path, 4, shape=(48, 56), seed=3)
    items = json.loads((tmp_path / "dataset.json").read_text())["test"]
    assert [item["label"] for item in items] == [f"labels/heart_{k}.png" for k in (1, 2, 3, 4)]
    for item in items:
        labels, beam = read(tmp_path / item["label"]), beam_from_dict(item["beam"])
        assert tuple(labels.shape) == (48, 56)
        assert labels.unique().tolist() == [0, 1, 2, 3]
        assert not labels[~beam.mask((48, 56))].any()


def test_written_hearts_have_the_classes_of_camus(tmp_path):
    write_items(tmp_path, 1, shape=(32, 32))
    named = json.loads((tmp_path / "dataset.json").read_text())["labels"]
    assert named == {"0": "background", **{str(value): name for value, name in CLASSES.items()}}


def test_four_written_hearts_show_every_view_at_every_phase(tmp_path):
    items = write_items(tmp_path, 4, shape=(32, 32))
    assert sorted((item["view"], item["phase"]) for item in items) == sorted(CASES)
    assert [item["view"] for item in items] == ["4CH", "2CH"] * 2


def test_a_written_heart_depends_on_its_seed_and_number_alone(tmp_path):
    for folder, count, seed in (("few", 1, 5), ("many", 3, 5), ("other", 1, 6)):
        write_items(tmp_path / folder, count, shape=(48, 48), seed=seed)
    few, many, other = ((tmp_path / x / "labels" / "heart_1.png").read_bytes() for x in ("few", "many", "other"))
    assert few == many
    assert few != other


def test_hearts_that_are_there_are_kept_unless_overwriting_is_asked_for(tmp_path):
    main([str(tmp_path), "--count", "2", "--size", "32"])
    before = (tmp_path / "dataset.json").read_bytes()
    with pytest.raises(FileExistsError, match=r"dataset\.json.*overwrite"):
        write_items(tmp_path, 2, shape=(32, 32), seed=1)
    assert (tmp_path / "dataset.json").read_bytes() == before
    main([str(tmp_path), "--count", "2", "--size", "32", "--seed", "1", "--overwrite"])
    assert (tmp_path / "dataset.json").read_bytes() != before


def test_a_single_label_map_in_the_way_stops_before_anything_is_written(tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "heart_2.png").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="heart_2"):
        write_items(tmp_path, 2, shape=(32, 32))
    assert [p.name for p in tmp_path.rglob("*.*")] == ["heart_2.png"]


def test_writing_leaves_no_partial_files_behind(tmp_path):
    write_items(tmp_path, 1, shape=(32, 32))
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["dataset.json", "heart_1.png", "labels"]


def test_the_command_refuses_with_the_reason_and_no_traceback(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--size", "8"])
    assert "at least 16" in capsys.readouterr().err


@pytest.mark.parametrize("change", [{"count": 0}, {"seed": -1}])
def test_impossible_counts_and_seeds_are_refused(tmp_path, change):
    with pytest.raises(ValueError, match="count must be at least 1 and seed at least 0"):
        write_items(tmp_path, **change)


@pytest.mark.parametrize(("kind", "key", "labels"), [("thyroid", "label", {0, 1}), ("convex", "sector", {0, 1})])
def test_items_of_other_kinds_have_files_beams_and_names(kind: str, key: str, labels: set[int], tmp_path: Path) -> None:
    items = write_items(tmp_path, 2, kind=kind, shape=(40, 56), seed=1)
    assert json.loads((tmp_path / "dataset.json").read_text())["test"] == items
    for number, item in enumerate(items, start=1):
        pixels = np.asarray(Image.open(tmp_path / item[key]))
        assert item["name"] == f"{kind}_{number}"
        assert pixels.shape == (40, 56)
        assert set(np.unique(pixels)) == labels


def test_a_convex_fan_fills_the_width_and_lies_inside_the_image() -> None:
    for seed in range(20):
        beam = convex_beam((72, 96), generator=torch.Generator().manual_seed(seed))
        mask = beam.mask((72, 96))
        assert bool(mask.any(0).float().mean() > 0.85)
        assert not bool(mask[-1, 0])
        assert beam.radii[0] > 0.2 * beam.radii[1]


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="kind must be one of heart, thyroid, convex, got 'liver'"):
        write_items(tmp_path, 1, kind="liver")

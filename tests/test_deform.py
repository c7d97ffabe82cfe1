"""Deformation: one field for image, labels and depth; laws of the field; an independent resampling; seeds."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from scipy.ndimage import map_coordinates

from monai_bmaps.geometry import LinearBeam, SectorBeam
from monai_bmaps.transforms import BeamDepthd, RandBeamDeform, RandBeamDeformd, deformations

SHAPE = (44, 61)
FAN = SectorBeam(apex=(1.0, 29.5), radii=(3.0, 40.0), half_angle_deg=36.0, steering_deg=3.0)
KEYS = ("image", "label", "sector", "depth")
STILL = {"rotate_deg": 0.0, "translate": 0.0, "scale": (1.0, 1.0), "shear_deg": 0.0, "max_displacement": 0.0}


def drawn(seed: int = 0, **options: Any) -> RandBeamDeform:
    deform = RandBeamDeform(**options).set_random_state(seed=seed)
    deform.randomize()
    return deform


def item(**more: Any) -> dict[str, Any]:
    """Blocks of labels, an image that is its own depth map, and the fan."""
    made = BeamDepthd(beam=FAN)({"image": MetaTensor(torch.zeros(1, *SHAPE))})
    blocks = (torch.arange(SHAPE[0])[:, None] // 9 + torch.arange(SHAPE[1]) // 13) % 4
    return made | {"image": made["depth"].clone(), "label": MetaTensor(blocks[None].float()) * made["sector"]} | more


def deep_inside(sector: torch.Tensor, pixels: int = 2) -> torch.Tensor:
    """Pixels whose neighbours all lie inside too."""
    return torch.nn.functional.avg_pool2d(sector.as_tensor().float(), 2 * pixels + 1, 1, pixels) > 1 - 1e-6


def as_images(shape: tuple[int, int]) -> torch.Tensor:
    """Each pixel's row and column, as two channels."""
    return torch.stack(torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in shape), indexing="ij"))


# the depth map moves with the image


@pytest.mark.parametrize("seed", range(5))
def test_depth_moves_exactly_as_an_image_of_depth_would(seed: int) -> None:
    before = item()
    after = RandBeamDeformd().set_random_state(seed=seed)(before)
    inside = deep_inside(after["sector"])
    assert int(inside.sum()) > 300
    assert not torch.allclose(after["depth"].as_tensor(), before["depth"].as_tensor(), atol=0.02)
    torch.testing.assert_close(
        after["depth"].as_tensor()[inside], after["image"].as_tensor()[inside], atol=1e-5, rtol=0
    )  # float32


@pytest.mark.parametrize("seed", range(3))
def test_depth_is_the_beams_own_depth_where_the_field_reads(seed: int) -> None:
    deform = drawn(seed)
    depth, sector = item()["depth"], item()["sector"]
    rows, columns = deform.coordinates(SHAPE)
    radius = torch.hypot(rows - FAN.apex[0], columns - FAN.apex[1])
    expected = (radius - FAN.radii[0]) / (FAN.radii[1] - FAN.radii[0])
    moved, inside = deform.depth(depth, sector), deep_inside(deform(sector, "nearest", randomize=False))
    error = (moved.as_tensor() - expected).abs()[inside]
    assert float(error.max()) < 0.003  # bilinear between pixels of a curved map, 1 / 37 of depth apart


@pytest.mark.parametrize("seed", range(4))
def test_depth_stays_in_its_range_without_a_rim_and_is_zero_outside(seed: int) -> None:
    after = RandBeamDeformd().set_random_state(seed=seed)(item())
    depth, outside = after["depth"].as_tensor(), after["sector"].as_tensor() == 0
    assert float(depth[outside].abs().max()) == 0.0
    assert 0.0 <= float(depth.min()) < float(depth.max()) <= 1.0
    # At the far end an interpolated rim would bring depths far below those beside it.
    rows, columns = torch.nonzero(~outside[0], as_tuple=True)
    last = {int(column): int(rows[columns == column].max()) for column in columns.unique()}
    ends = torch.stack([depth[0, row, column] for column, row in last.items()])
    above = torch.stack([depth[0, max(row - 3, 0), column] for column, row in last.items()])
    assert float((above - ends).max()) < 0.1


def test_the_face_of_a_linear_array_keeps_depth_zero_with_a_sector() -> None:
    deform = drawn(**STILL | {"translate": 0.1}, seed=4)
    beam = LinearBeam(top=6, bottom=38)
    depth, sector = (x[None].float() for x in (beam.depth_map(SHAPE), beam.mask(SHAPE)))
    shift = float(deform.coordinates(SHAPE)[0, 0, 0])
    rows = torch.arange(SHAPE[0]) + shift
    moved = deform.depth(depth, sector)[0, :, 30]
    expected = ((rows - 6) / 32).clamp(0, 1) * ((rows > 5.5) & (rows < 38.5))
    torch.testing.assert_close(moved, expected.float(), atol=1e-5, rtol=0)


def test_a_depth_map_left_out_of_the_keys_is_refused() -> None:
    with pytest.raises(ValueError, match="depth, sector would stay behind; list it among the keys"):
        RandBeamDeformd(["image", "label"], ["bilinear", "nearest"])(item())


def test_a_beam_that_would_stay_behind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a beam cannot be deformed.*BeamDepthd before"):
        RandBeamDeformd()(item(beam=FAN))


def test_an_item_without_depth_is_deformed_all_the_same() -> None:
    plain = {"image": torch.rand(1, *SHAPE), "name": "a"}
    after = RandBeamDeformd(allow_missing_keys=True).set_random_state(seed=0)(plain)
    assert set(after) == {"image", "name"}
    assert not torch.equal(after["image"], plain["image"])


# one field


@pytest.mark.parametrize("seed", range(3))
def test_labels_lie_where_the_images_coordinates_went(seed: int) -> None:
    before = item(image=MetaTensor(as_images(SHAPE)))
    after = RandBeamDeformd().set_random_state(seed=seed)(before)
    place = after["image"].as_tensor()
    row, column = place.round().long()
    clear = ((place - place.floor() - 0.5).abs() > 0.01).all(0) & deep_inside(after["sector"])[0]
    assert int(clear.sum()) > 300
    assert torch.equal(after["label"].as_tensor()[0][clear], before["label"].as_tensor()[0, row, column][clear])
    assert torch.equal(after["sector"].as_tensor()[0][clear], before["sector"].as_tensor()[0, row, column][clear])


@pytest.mark.parametrize("seed", range(3))
def test_an_independent_resampling_gives_the_same_image_and_labels(seed: int) -> None:
    deform, generator = drawn(seed), torch.Generator().manual_seed(seed)
    image = torch.rand(2, *SHAPE, generator=generator)
    positions = deform.coordinates(SHAPE).numpy()
    expected = np.stack([map_coordinates(c, positions, order=1, mode="grid-constant") for c in image.numpy()])
    np.testing.assert_allclose(deform(image, randomize=False).numpy(), expected, atol=1e-5)  # float32
    labels = item()["label"].as_tensor()
    expected = map_coordinates(labels[0].numpy(), positions, order=0, mode="grid-constant")
    agree = deform(labels, "nearest", randomize=False)[0].numpy() == expected
    assert agree.mean() > 0.999  # ties of rounding apart


def test_nearest_keeps_the_type_and_makes_no_new_labels() -> None:
    labels = torch.tensor([0, 3, 7], dtype=torch.uint8)[torch.arange(44 * 61).reshape(1, 44, 61) % 3]
    moved = drawn()(labels, "nearest")
    assert moved.dtype == torch.uint8
    assert set(moved.unique().tolist()) == {0, 3, 7}


# the field


def test_without_ranges_nothing_moves() -> None:
    image = torch.rand(1, *SHAPE)
    torch.testing.assert_close(RandBeamDeform(**STILL)(image), image, atol=1e-6, rtol=0)  # float32
    label = item()["label"]
    assert torch.equal(RandBeamDeform(**STILL)(label, "nearest").as_tensor(), label.as_tensor())


def test_equal_control_points_shift_everything_alike() -> None:
    deform = RandBeamDeform(**STILL)
    deform.randomize()
    deform._control = np.stack([np.full((7, 7), 0.1), np.full((7, 7), -0.05)])
    moved = deform.coordinates(SHAPE) - as_images(SHAPE)
    torch.testing.assert_close(moved[0], torch.full(SHAPE, 4.4, dtype=torch.float64))
    torch.testing.assert_close(moved[1], torch.full(SHAPE, -3.05, dtype=torch.float64))


@pytest.mark.parametrize("seed", range(20))
def test_no_field_folds_the_image_over(seed: int) -> None:
    deform = drawn(seed, control_points=9, max_displacement=0.081)
    # The strongest legal field has every control point at its end.
    deform._control = np.sign(deform._control) * 0.081
    positions = deform.coordinates((90, 70))
    by_row, by_column = torch.diff(positions, dim=1)[:, :, :-1], torch.diff(positions, dim=2)[:, :-1]
    assert float((by_row[0] * by_column[1] - by_row[1] * by_column[0]).min()) > 0


def test_affine_parts_are_drawn_over_their_whole_ranges_and_not_beyond() -> None:
    deform = RandBeamDeform(max_displacement=0.0, shear_deg=0.0).set_random_state(seed=1)
    turns, sizes, shifts = [], [], []
    for _ in range(200):
        deform.randomize()
        matrix = np.linalg.inv(deform._inverse(SHAPE, (1.0, 1.0)).numpy())
        turns.append(math.degrees(math.atan2(matrix[1, 0], matrix[0, 0])))
        sizes.append(math.sqrt(np.linalg.det(matrix)))
        shifts.append(matrix[:2, 2] / SHAPE)
    assert (np.abs(turns).max(), np.abs(shifts).max()) < (5.0 + 1e-9, 0.05 + 1e-9)
    assert (min(turns), max(turns)) == pytest.approx((-5, 5), abs=0.2)
    assert (min(sizes), max(sizes)) == pytest.approx((0.8, 1.05), abs=0.01)
    assert np.min(shifts) == pytest.approx(-0.05, abs=0.002)


def test_a_magnified_image_is_larger_and_a_shift_goes_down_and_right() -> None:
    deform = RandBeamDeform(**STILL | {"scale": (1.25, 1.25)})
    square = torch.zeros(1, 60, 60)
    square[0, 20:40, 20:40] = 1.0
    assert float(deform(square).sum()) == pytest.approx(400 * 1.25**2, rel=0.01)
    deform = RandBeamDeform(**STILL)
    deform.randomize()
    deform._affine = (0.0, 1.0, 0.0, 0.0, 0.1, 0.05)
    assert torch.nonzero(deform(square, randomize=False)[0] > 0.5).amin(0).tolist() == [26, 23]


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.3, 0.7)])
def test_a_rotation_keeps_lengths_in_millimetres(spacing: tuple[float, float]) -> None:
    deform = drawn(3, **STILL | {"rotate_deg": 20.0})
    positions = deform.coordinates(SHAPE, spacing) * torch.tensor(spacing)[:, None, None]
    steps = [torch.diff(positions, dim=axis).norm(dim=0).mean() for axis in (1, 2)]
    assert [float(step) for step in steps] == pytest.approx(spacing)


def test_the_spacing_is_read_from_the_affine() -> None:
    pixels = torch.rand(1, *SHAPE)
    affine = torch.diag(torch.tensor([0.3, 0.7, 1.0, 1.0], dtype=torch.float64))
    deform = drawn(3, **STILL | {"rotate_deg": 20.0})
    positions = deform.coordinates(SHAPE, (0.3, 0.7)).numpy()
    expected = map_coordinates(pixels[0].numpy(), positions, order=1, mode="grid-constant")
    moved = deform(MetaTensor(pixels, affine=affine), randomize=False)
    np.testing.assert_allclose(moved.as_tensor()[0].numpy(), expected, atol=1e-5)  # float32
    assert torch.equal(moved.affine, affine)


def test_everything_stays_a_metatensor_with_its_affine_and_meta() -> None:
    affine = torch.diag(torch.tensor([0.3, 0.7, 1.0, 1.0], dtype=torch.float64))
    before = {key: MetaTensor(x, affine=affine, meta={"name": key}) for key, x in item().items()}
    after = RandBeamDeformd().set_random_state(seed=0)(before)
    for key in KEYS:
        assert torch.equal(after[key].affine, affine)
        assert after[key].meta["name"] == key


def test_the_given_item_is_left_as_it_was() -> None:
    before, copy = item(), item()
    RandBeamDeformd().set_random_state(seed=0)(before)
    assert all(torch.equal(before[key].as_tensor(), copy[key].as_tensor()) for key in KEYS)


# chance


def test_a_seed_gives_the_same_deformation_again_and_another_another() -> None:
    first, again, other = (RandBeamDeformd().set_random_state(seed=s)(item())["image"] for s in (5, 5, 6))
    assert torch.equal(first.as_tensor(), again.as_tensor())
    assert not torch.allclose(first.as_tensor(), other.as_tensor())


def test_probability_zero_moves_nothing_and_one_half_about_half() -> None:
    before = item()
    still = RandBeamDeformd(prob=0.0)(before)
    assert all(torch.equal(still[key].as_tensor(), before[key].as_tensor()) for key in KEYS)
    half = RandBeamDeformd(prob=0.5).set_random_state(seed=0)
    moved = [not torch.equal(half(before)["label"].as_tensor(), before["label"].as_tensor()) for _ in range(60)]
    assert 15 < sum(moved) < 45


def test_deformations_depend_on_seed_and_number_alone() -> None:
    five = [x["image"].as_tensor() for x in deformations(item(), 5, seed=3)]
    two = [x["image"].as_tensor() for x in deformations(item(), 2, seed=3)]
    assert len(five) == 5
    assert all(torch.equal(a, b) for a, b in zip(five, two, strict=False))
    assert all(not torch.allclose(five[i], five[j]) for i in range(5) for j in range(i))
    assert not torch.allclose(five[0], next(deformations(item(), 1, seed=4))["image"].as_tensor())


def test_deformations_take_a_transform_of_ones_own() -> None:
    still = RandBeamDeformd(**STILL)
    (only,) = deformations(item(), 1, 0, transform=still)
    torch.testing.assert_close(only["image"].as_tensor(), item()["image"].as_tensor(), atol=1e-6, rtol=0)  # float32


def test_it_survives_pickling_and_a_loader_batches_what_it_gives() -> None:
    transform = pickle.loads(pickle.dumps(RandBeamDeformd()))
    batch = next(iter(DataLoader(Dataset([item(), item()], transform), batch_size=2, num_workers=0)))
    assert batch["depth"].shape == (2, 1, *SHAPE)


# refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rotate_deg": -1.0}, r"rotate_deg must lie in \[0, 180\], got -1"),
        ({"translate": math.nan}, "translate must lie in"),
        ({"shear_deg": 45.0}, r"shear_deg must lie in \[0, 40\]"),
        ({"scale": (1.1, 0.9)}, r"scale must be \(least, greatest\)"),
        ({"scale": (0.0, 1.0)}, "above 0"),
        ({"control_points": 3}, "at least 4, got 3"),
        ({"max_displacement": 0.13}, r"\[0, 0\.1222\) with 7 control points, got 0\.13; .*fold over"),
    ],
)
def test_ranges_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RandBeamDeformd(**options)


def test_keys_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one size, got .*'label': \(5, 7\)"):
        RandBeamDeformd()(item(label=torch.zeros(1, 5, 7)))

"""Frames with rows in depth, depth maps that travel with the image, conditioning channels."""

from __future__ import annotations

import pickle
from pathlib import Path

import monai.transforms as mt
import nibabel
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from PIL import Image

from monai_bmaps.geometry import LinearBeam, SectorBeam
from monai_bmaps.transforms import BeamDepth, BeamDepthd, LabelToCondition, LabelToConditiond, LoadFrame, LoadFramed

SHAPE = (5, 7)
PIXELS = (np.arange(5)[:, None] * 20 + np.arange(7)).astype(np.uint8)  # 20 a row, 1 a column
FAN_SHAPE = (48, 60)
FAN = SectorBeam(apex=(2.0, 27.5), radii=(4.0, 44.0), half_angle_deg=35.0, steering_deg=4.0)


def save_png(path: Path, pixels: np.ndarray) -> str:
    Image.fromarray(pixels).save(path)
    return str(path)


def save_nifti(path: Path, pixels: np.ndarray, affine: np.ndarray | None = None) -> str:
    """As (column, row), the order of NIfTI's indices."""
    nibabel.save(nibabel.Nifti1Image(pixels, np.eye(4) if affine is None else affine), path)
    return str(path)


# LoadFrame


def test_a_png_is_loaded_with_rows_in_depth(tmp_path: Path) -> None:
    frame = LoadFrame()(save_png(tmp_path / "a.png", PIXELS))
    assert frame.dtype == torch.float32
    assert frame.as_tensor().tolist() == [PIXELS.tolist()]


@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 1), (7, 5, 1, 1)])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_the_same_picture_as_nifti_is_the_same_frame(tmp_path: Path, suffix: str, shape: tuple[int, ...]) -> None:
    frame = LoadFrame()(save_nifti(tmp_path / f"a{suffix}", PIXELS.T.reshape(shape)))
    assert frame.as_tensor().tolist() == [PIXELS.tolist()]


def test_colour_is_averaged(tmp_path: Path) -> None:
    colour = np.stack([PIXELS, PIXELS + 30, PIXELS + 60], axis=-1)
    frame = LoadFrame()(save_png(tmp_path / "a.PNG", colour))
    assert frame.as_tensor().tolist() == [(PIXELS.astype(int) + 30).tolist()]


def test_an_alpha_channel_is_dropped_beside_colour_and_beside_grey(tmp_path: Path) -> None:
    alpha = np.full_like(PIXELS, 9)
    rgba = save_png(tmp_path / "rgba.png", np.stack([PIXELS, PIXELS, PIXELS, alpha], axis=-1))
    grey = save_png(tmp_path / "la.png", np.stack([PIXELS, alpha], axis=-1))
    for path in (rgba, grey):
        assert LoadFrame()(path).as_tensor().tolist() == [PIXELS.tolist()]


def test_a_narrow_picture_is_not_taken_for_colour(tmp_path: Path) -> None:
    frame = LoadFrame()(save_png(tmp_path / "a.png", PIXELS[:, :3]))
    assert frame.as_tensor().tolist() == [PIXELS[:, :3].tolist()]


def test_a_file_of_several_frames_is_refused(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii", np.stack([PIXELS.T, PIXELS.T], axis=-1))
    with pytest.raises(ValueError, match=r"shape \(7, 5, 2\), not one frame; export single frames"):
        LoadFrame()(path)


def test_the_affine_maps_row_and_column_where_the_files_maps_column_and_row(tmp_path: Path) -> None:
    affine = np.array([[0.5, 0.1, 0, 3], [0, 0.25, 0, 4], [0, 0, 1, 5], [0, 0, 0, 1]], dtype=float)
    frame = LoadFrame()(save_nifti(tmp_path / "a.nii", PIXELS.T, affine))
    row, column = 4, 2
    point = frame.affine.numpy() @ [row, column, 0, 1]
    np.testing.assert_allclose(point, affine @ [column, row, 0, 1], atol=1e-6)  # NIfTI stores float32


def test_the_dictionary_version_replaces_paths_and_skips_missing_keys_if_allowed(tmp_path: Path) -> None:
    path = save_png(tmp_path / "a.png", PIXELS)
    item = LoadFramed(["image", "label"], allow_missing_keys=True)({"image": path, "name": "a"})
    assert set(item) == {"image", "name"}
    assert item["image"].as_tensor().tolist() == [PIXELS.tolist()]


# BeamDepth


def test_depth_and_sector_are_the_beams_own_for_the_references_grid() -> None:
    depth, sector = BeamDepth()(FAN, torch.zeros(3, *FAN_SHAPE))
    assert torch.equal(depth.as_tensor()[0], FAN.depth_map(FAN_SHAPE))
    assert torch.equal(sector.as_tensor()[0], FAN.mask(FAN_SHAPE).float())


def test_depth_has_the_references_affine() -> None:
    reference = MetaTensor(torch.zeros(1, *SHAPE), affine=torch.diag(torch.tensor([2.0, 3.0, 1.0, 1.0])))
    depth, sector = BeamDepth()(LinearBeam(), reference)
    assert torch.equal(depth.affine, reference.affine)
    assert torch.equal(sector.affine, reference.affine)


def test_a_beam_in_millimetres_needs_the_spacing() -> None:
    scaled, _ = BeamDepth(spacing=0.5)(FAN.scaled(0.5), torch.zeros(1, *FAN_SHAPE))
    torch.testing.assert_close(scaled.as_tensor()[0], FAN.depth_map(FAN_SHAPE), atol=1e-6, rtol=0)  # float32


@pytest.mark.parametrize("as_dictionary", [False, True])
@pytest.mark.parametrize("given", ["transform", "item"])
def test_the_beam_comes_from_the_transform_or_the_item_as_object_or_dictionary(given: str, as_dictionary: bool) -> None:
    beam = FAN.to_dict() if as_dictionary else FAN
    item = {"image": torch.zeros(1, *FAN_SHAPE)} | ({"beam": beam} if given == "item" else {})
    result = BeamDepthd(beam=beam if given == "transform" else None)(item)
    assert torch.equal(result["depth"].as_tensor()[0], FAN.depth_map(FAN_SHAPE))


def test_a_given_beam_goes_before_the_items_and_the_items_before_its_mask() -> None:
    item = {"image": torch.zeros(1, *FAN_SHAPE), "beam": LinearBeam(), "sector": FAN.mask(FAN_SHAPE)[None].float()}
    assert torch.equal(BeamDepthd(beam=FAN)(item)["depth"].as_tensor()[0], FAN.depth_map(FAN_SHAPE))
    assert torch.equal(BeamDepthd()(item)["depth"].as_tensor()[0], LinearBeam().depth_map(FAN_SHAPE))


def test_a_beam_is_fitted_to_the_items_mask_and_replaces_it() -> None:
    item = {"image": torch.zeros(1, *FAN_SHAPE), "sector": MetaTensor(FAN.mask(FAN_SHAPE)[None].float() * 255)}
    result = BeamDepthd(kind="sector")(item)
    inside = FAN.mask(FAN_SHAPE)
    error = (result["depth"].as_tensor()[0] - FAN.depth_map(FAN_SHAPE)).abs()[inside]
    assert float(error.mean()) < 0.02  # the fit sees the mask's pixels only: under one pixel of 40
    assert set(result["sector"].unique().tolist()) == {0.0, 1.0}


def test_the_given_item_is_left_as_it_was() -> None:
    item = {"image": torch.zeros(1, *FAN_SHAPE), "beam": FAN}
    BeamDepthd()(item)
    assert set(item) == {"image", "beam"}


def test_an_item_without_any_beam_is_refused_with_what_it_has() -> None:
    with pytest.raises(KeyError, match=r"give BeamDepthd a beam, or the item a 'beam' .* 'sector'; it has image, name"):
        BeamDepthd()({"image": torch.zeros(1, *SHAPE), "name": "a"})


def test_keys_can_be_renamed() -> None:
    item = {"label": torch.zeros(1, *FAN_SHAPE), "probe": FAN}
    result = BeamDepthd("label", beam_key="probe", depth_key="d", sector_key="s")(item)
    assert set(result) == {"label", "d", "s"}


def test_items_with_beams_of_every_kind_make_one_batch() -> None:
    beams = [FAN, FAN.to_dict(), LinearBeam(), LinearBeam().to_dict()]
    mixed = [{"image": torch.zeros(1, *FAN_SHAPE), "beam": beam} for beam in beams]
    mixed.append({"image": torch.zeros(1, *FAN_SHAPE), "sector": FAN.mask(FAN_SHAPE)[None].float()})
    batch = next(iter(DataLoader(Dataset(mixed, BeamDepthd(kind="sector")), batch_size=5)))
    assert batch["depth"].shape == (5, 1, *FAN_SHAPE)
    assert torch.equal(batch["depth"][2].as_tensor()[0], LinearBeam().depth_map(FAN_SHAPE))


# depth among ordinary spatial transforms


def item_whose_image_is_its_depth() -> dict[str, MetaTensor]:
    depth = BeamDepthd(beam=FAN)({"image": MetaTensor(torch.zeros(1, *FAN_SHAPE))})["depth"]
    return {"image": depth.clone(), "depth": depth}


@pytest.mark.parametrize(
    "transform",
    [
        mt.RandFlipd(["image", "depth"], prob=1.0, spatial_axis=1),
        mt.RandAffined(
            ["image", "depth"],
            prob=1.0,
            rotate_range=0.3,
            translate_range=5,
            scale_range=0.1,
            mode="nearest",
            padding_mode="zeros",
        ),
        mt.Resized(["image", "depth"], (36, 30), mode="nearest"),
    ],
    ids=lambda transform: type(transform).__name__,
)
def test_a_spatial_transform_carries_depth_as_it_carries_the_image(transform: mt.Transform) -> None:
    if isinstance(transform, mt.Randomizable):
        transform.set_random_state(seed=3)
    before = item_whose_image_is_its_depth()
    after = transform(before)
    assert not torch.equal(after["depth"].as_tensor(), before["depth"].as_tensor())
    assert torch.equal(after["depth"].as_tensor(), after["image"].as_tensor())
    assert 0.0 <= float(after["depth"].min()) < float(after["depth"].max()) <= 1.0


def test_a_flipped_depth_map_is_that_of_the_mirrored_beam() -> None:
    item = mt.RandFlipd("depth", prob=1.0, spatial_axis=1)(item_whose_image_is_its_depth())
    mirrored = SectorBeam((2.0, FAN_SHAPE[1] - 1 - 27.5), FAN.radii, FAN.half_angle_deg, -FAN.steering_deg)
    torch.testing.assert_close(
        item["depth"].as_tensor()[0], mirrored.depth_map(FAN_SHAPE), atol=1e-6, rtol=0
    )  # float32


def test_a_resized_depth_map_is_that_of_the_resampled_beam() -> None:
    small = (FAN_SHAPE[0] // 2, FAN_SHAPE[1] // 2)
    item = mt.Resized("depth", small, mode="area")(item_whose_image_is_its_depth())
    beam = FAN.resampled(FAN_SHAPE, small)
    deep_inside = torch.nn.functional.avg_pool2d(beam.mask(small)[None].float(), 3, 1, 1)[0] == 1.0
    error = (item["depth"].as_tensor()[0] - beam.depth_map(small)).abs()[deep_inside]
    assert float(error.max()) < 0.01  # a mean over 2 x 2 pixels of a curved map, beside the map at their centre


# LabelToCondition


def test_channels_are_outside_then_anatomy_then_unlabelled() -> None:
    label, sector = torch.tensor([[[0, 1, 2], [0, 2, 1]]]), torch.tensor([[[1, 1, 1], [0, 1, 0]]])
    condition = LabelToCondition(2)(label, sector)
    assert condition.dtype == torch.float32
    assert condition.argmax(0).tolist() == [[3, 1, 2], [0, 2, 0]]
    assert torch.equal(condition.sum(0), torch.ones(2, 3))


def test_labels_outside_the_beam_are_dropped() -> None:
    label = torch.ones(1, *FAN_SHAPE)
    condition = LabelToCondition(3)(label, FAN.mask(FAN_SHAPE)[None])
    assert torch.equal(condition[1] == 1, FAN.mask(FAN_SHAPE))
    assert torch.equal(condition[0] == 1, ~FAN.mask(FAN_SHAPE))


def test_a_class_absent_from_the_label_map_still_has_its_channel() -> None:
    assert LabelToCondition(3)(torch.zeros(1, *SHAPE), torch.ones(1, *SHAPE)).shape == (5, *SHAPE)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32, torch.float64])
def test_label_maps_of_any_number_type_give_the_same_condition(dtype: torch.dtype) -> None:
    label, sector = torch.tensor([[[0, 1, 2], [0, 2, 1]]]), torch.tensor([[[1, 1, 1], [0, 1, 0]]])
    expected = LabelToCondition(2)(label, sector)
    assert torch.equal(LabelToCondition(2)(label.to(dtype), sector.to(dtype)), expected)


def test_label_and_sector_may_be_boolean() -> None:
    label, sector = torch.tensor([[[False, True], [True, True]]]), torch.tensor([[[True, True], [False, True]]])
    assert LabelToCondition(1)(label, sector).argmax(0).tolist() == [[2, 1], [0, 1]]


@pytest.mark.parametrize(("bad", "named"), [(4.0, "0, 4"), (-1.0, "-1, 0"), (0.5, "0, 0.5"), (float("nan"), "nan")])
def test_label_values_the_model_does_not_know_are_refused(bad: float, named: str) -> None:
    label = torch.zeros(1, *SHAPE)
    label[0, 2, 3] = bad
    with pytest.raises(ValueError, match=rf"whole numbers 0\.\.3, got .*{named}.*mode='nearest'"):
        LabelToCondition(3)(label, torch.ones(1, *SHAPE))


@pytest.mark.parametrize(("label", "sector"), [((1, 5, 7), (1, 7, 5)), ((2, 5, 7), (2, 5, 7)), ((5, 7), (5, 7))])
def test_label_and_sector_of_other_shapes_are_refused(label: tuple[int, ...], sector: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must both be \(1, H, W\)"):
        LabelToCondition(3)(torch.zeros(label), torch.ones(sector))


def test_a_negative_number_of_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="num_labels must be at least 0, got -1"):
        LabelToCondition(num_labels=-1)


def test_unlabelled_items_are_conditioned_on_the_field_of_view() -> None:
    sector = torch.tensor([[[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]]])
    seg = LabelToConditiond("label", num_labels=0)({"sector": sector})["seg"]
    assert torch.equal(seg, torch.cat([1 - sector, sector]))


def test_the_condition_keeps_the_label_maps_affine() -> None:
    label = MetaTensor(torch.zeros(1, *SHAPE), affine=torch.diag(torch.tensor([2.0, 3.0, 1.0, 1.0])))
    assert torch.equal(LabelToCondition(2)(label, torch.ones(1, *SHAPE)).affine, label.affine)


def test_the_dictionary_version_adds_a_key_or_replaces_the_label_map() -> None:
    item = {"label": torch.ones(1, *SHAPE), "sector": torch.ones(1, *SHAPE)}
    assert LabelToConditiond("label", 2)(item)["seg"].shape == (4, *SHAPE)
    replaced = LabelToConditiond("label", 2, output_key=None)(item)
    assert replaced["label"].shape == (4, *SHAPE)
    assert "seg" not in replaced


def test_one_output_key_for_two_label_maps_is_refused() -> None:
    with pytest.raises(ValueError, match="needs exactly one key"):
        LabelToConditiond(["label", "other"], 2)


# in a data loader


def pipeline() -> mt.Compose:
    return mt.Compose(
        [
            LoadFramed(["image", "label", "sector"]),
            BeamDepthd(kind="sector"),
            mt.RandFlipd(["image", "label", "sector", "depth"], prob=0.0, spatial_axis=1),
            LabelToConditiond("label", num_labels=3),
        ]
    )


def items(folder: Path) -> list[dict[str, str]]:
    mask = FAN.mask(FAN_SHAPE).numpy()
    labels = (np.arange(FAN_SHAPE[0])[:, None] // 12 * mask).astype(np.uint8)
    made = []
    for number in range(4):
        image = (mask * (40 * number + 50)).astype(np.uint8)
        files = {"image": image, "label": labels, "sector": mask.astype(np.uint8) * 255}
        made.append({key: save_png(folder / f"{key}{number}.png", pixels) for key, pixels in files.items()})
    return made


def test_transforms_survive_pickling(tmp_path: Path) -> None:
    item = items(tmp_path)[1]
    first, second = (transform(item) for transform in (pipeline(), pickle.loads(pickle.dumps(pipeline()))))
    for key in ("image", "depth", "sector", "seg"):
        assert torch.equal(first[key].as_tensor(), second[key].as_tensor())


def test_two_worker_processes_give_what_none_give(tmp_path: Path) -> None:
    data = Dataset(items(tmp_path), pipeline())
    alone = list(DataLoader(data, batch_size=2))
    forked = list(DataLoader(data, batch_size=2, num_workers=2, multiprocessing_context="fork"))
    assert [batch["image"].shape for batch in alone] == [(2, 1, *FAN_SHAPE)] * 2
    for one, other in zip(alone, forked, strict=True):
        for key in ("image", "depth", "sector", "seg"):
            assert torch.equal(one[key].as_tensor(), other[key].as_tensor())


def test_a_mask_of_another_size_than_its_image_is_refused() -> None:
    item = {"label": torch.zeros(1, 16, 24), "sector": torch.ones(1, 32, 48)}
    with pytest.raises(ValueError, match=r"sector is \(32, 48\), but the label beside it \(16, 24\)"):
        BeamDepthd(reference_key="label")(item)


def test_a_beam_that_misses_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"covers no pixel of an image of 16 x 24.*in pixels"):
        BeamDepth()(SectorBeam((1000.0, 1000.0), (0.0, 50.0), 30.0), torch.zeros(1, 16, 24))


def test_an_item_without_its_reference_says_what_it_has() -> None:
    with pytest.raises(KeyError, match="no 'label', whose pixels count; it has image, beam"):
        BeamDepthd(reference_key="label")({"image": torch.zeros(1, 5, 7), "beam": LinearBeam()})

"""The realism of whole sets: planted faults move what they should, real images from real ones move nothing."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from monai_bmaps.data.phantoms import heart_labels, thyroid_beam, thyroid_labels
from monai_bmaps.data.speckle import speckle_image
from monai_bmaps.geometry import Beam, SectorBeam
from monai_bmaps.metrics.findings.measured import Findings, Measured
from monai_bmaps.metrics.images.image_set import ImageSet
from monai_bmaps.metrics.realism import measure_realism
from monai_bmaps.metrics.realism.quantity import Quantity, Resampling, compare, distance

SHAPE = (104, 120)
CLASSES = ("left-ventricle cavity", "myocardium", "left atrium")
# leans to the right, so that a mirrored image is another one
FAN = SectorBeam(apex=(2, 48), radii=(1, 98), half_angle_deg=33, steering_deg=12)
PATIENTS, FRAMES = 6, 2

Fault = Callable[[torch.Tensor], torch.Tensor]


def hearts(name: str = "real", seed: int = 0) -> ImageSet:
    """Two frames each of six phantom hearts, brighter and darker by patient."""
    images, labels = [], []
    for index in range(PATIENTS * FRAMES):
        generator = torch.Generator().manual_seed(1000 * seed + index)
        drawn = heart_labels(SHAPE, view="4CH", phase="ED", generator=generator, beam=FAN)
        gain = 1.5 * (index // FRAMES % 3 - 1)
        levels = {0: -24.0 + gain, 1: -42.0 + gain, 2: -20.0 + gain, 3: -41.0 + gain}
        images.append(speckle_image(drawn, FAN, kind=levels, attenuation_db=20.0, tgc=0.5, generator=generator))
        labels.append(drawn)
    return as_set(name, images, labels, FAN, CLASSES)


def thyroids(name: str = "real", seed: int = 0) -> ImageSet:
    """Two frames each of six phantom necks, whose gland echoes as its surroundings do."""
    images, labels, beam = [], [], thyroid_beam(SHAPE)
    for index in range(PATIENTS * FRAMES):
        generator = torch.Generator().manual_seed(1000 * seed + index)
        drawn = thyroid_labels(SHAPE, generator=generator)
        levels = {0: -25.0, 1: -25.0, 2: -45.0, 3: -45.0}
        images.append(
            speckle_image(drawn, beam, kind=levels, attenuation_db=20.0, tgc=0.5, specular_db=None, generator=generator)
        )
        labels.append(drawn)
    return as_set(name, images, labels, beam, ("thyroid", "carotid artery", "jugular vein"))


def as_set(
    name: str, images: list[torch.Tensor], labels: list[torch.Tensor], beam: Beam, classes: tuple[str, ...]
) -> ImageSet:
    count = len(images)
    return ImageSet(
        name,
        tuple(f"frame {index}" for index in range(count)),
        as_8_bit(torch.stack(images)[:, None]),
        torch.stack(labels),
        beam.depth_map(SHAPE).expand(count, -1, -1),
        beam.mask(SHAPE).expand(count, -1, -1),
        spacing=((0.5, 0.5),) * count,
        beams=(beam,) * count,
        groups=tuple(f"patient {index // FRAMES}" for index in range(count)),
        classes=classes,
    )


def as_8_bit(images: torch.Tensor) -> torch.Tensor:
    return (images.clamp(0, 1) * 255).round() / 255


def blurred(images: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(gaussian_filter(images.numpy(), (0, 0, 1.5, 1.5)))


def noisy(images: torch.Tensor) -> torch.Tensor:
    noise = 0.08 * torch.randn(images.shape, generator=torch.Generator().manual_seed(5))
    return torch.where(images > 0, images + noise, images)


def steeper(images: torch.Tensor) -> torch.Tensor:
    ramp = 0.5 * (0.5 - FAN.depth_map(SHAPE))
    return torch.where(images > 0, images + ramp, images)


def mirrored(images: torch.Tensor) -> torch.Tensor:
    return images.flip(-1)


def faulty(images: ImageSet, fault: Fault) -> ImageSet:
    return replace(images, name="synthetic", images=as_8_bit(fault(images.images)).contiguous())


def found(findings: Findings) -> dict[str, Measured]:
    return {row.key: row for row in findings.rows}


def value(rows: dict[str, Measured], key: str) -> float:
    assert rows[key].value is not None, rows[key].left_out
    return float(rows[key].value)


@pytest.fixture(scope="module")
def real() -> ImageSet:
    return hearts()


@pytest.fixture(scope="module")
def measured(real: ImageSet) -> dict[str, dict[str, Measured]]:
    """What is found in the same hearts with a fault, and in other hearts without."""
    others = hearts("synthetic", seed=1)
    faults = {"blur": blurred, "noise": noisy, "slope": steeper, "mirror": mirrored}
    sets = {"none": others} | {name: faulty(others, fault) for name, fault in faults.items()}
    return {name: found(measure_realism(real, images, resamplings=40)) for name, images in sets.items()}


MOVES = [
    ("blur", "axial_px", +1),
    ("blur", "lateral_px", +1),
    ("blur", "axial_mm", +1),
    ("blur", "std_db", -1),
    ("blur", "envelope_snr", +1),
    ("blur", "nakagami_m", +1),
    ("noise", "axial_px", -1),
    ("noise", "lateral_px", -1),
    ("noise", "std_db", +1),
    ("noise", "envelope_snr", -1),
    ("noise", "gcnr_1_2", -1),
    ("slope", "slope_tissue", -1),
    ("slope", "slope_db_tissue", -1),
    ("slope", "slope_label_2", -1),
    ("mirror", "outside_share", +1),
    ("mirror", "outside_level", +1),
    ("mirror", "black_inside", +1),
    ("mirror", "gcnr_1_2", -1),
]


@pytest.mark.parametrize(("fault", "key", "sign"), MOVES, ids=[f"{fault} moves {key}" for fault, key, _ in MOVES])
def test_a_planted_fault_moves_what_it_should_where_it_should(
    measured: dict[str, dict[str, Measured]], fault: str, key: str, sign: int
) -> None:
    rows = measured[fault]
    assert sign * (value(rows, f"{key}_synthetic") - value(rows, f"{key}_real")) > 0
    floor = rows[f"{key}_floor"].interval
    assert floor is not None
    assert value(rows, f"{key}_distance") > floor[1]
    assert value(rows, f"{key}_distance") > 2 * value(measured["none"], f"{key}_distance")


@pytest.mark.parametrize("key", ["profile_tissue", "spread_tissue"])
def test_a_wrong_slope_and_noise_are_seen_in_the_profiles(measured: dict[str, dict[str, Measured]], key: str) -> None:
    fault = {"profile_tissue": "slope", "spread_tissue": "noise"}[key]
    assert value(measured[fault], f"{key}_distance") > 2 * value(measured["none"], f"{key}_distance")


def test_the_planted_slope_is_found_to_its_number(measured: dict[str, dict[str, Measured]]) -> None:
    change = value(measured["slope"], "slope_tissue_synthetic") - value(measured["none"], "slope_tissue_synthetic")
    assert change == pytest.approx(-0.5 * 255, rel=0.1)


def test_a_slope_in_db_per_cm_is_the_phantom_s(measured: dict[str, dict[str, Measured]]) -> None:
    # 20 dB, half of it compensated, over 97 pixels of 0.5 mm; walls and pools leave their mark in the medians of depths
    assert value(measured["none"], "slope_db_label_2_real") == pytest.approx(-10 / 4.85, abs=1.0)


def test_a_set_is_at_distance_zero_of_itself(real: ImageSet) -> None:
    rows = found(measure_realism(real, replace(real, name="synthetic"), resamplings=3))
    assert {row.value for key, row in rows.items() if key.endswith(("_distance", "_ks"))} == {0.0}


def test_linear_beams_are_measured_too() -> None:
    rows = found(measure_realism(thyroids(), thyroids("synthetic", seed=1), resamplings=3))
    # 10 dB over 103 pixels of 0.5 mm
    assert value(rows, "slope_db_tissue_real") == pytest.approx(-10 / 5.15, rel=0.1)
    assert value(rows, "axial_mm_real") == pytest.approx(0.5 * value(rows, "axial_px_real"))
    assert value(rows, "gcnr_1_2_real") > value(rows, "gcnr_1_0_real") + 0.4


def test_depth_maps_serve_as_well_as_beams(real: ImageSet) -> None:
    bare = replace(real, name="synthetic", beams=())
    rows = found(measure_realism(real, bare, resamplings=3))
    # the sides are read off pixels' centres, up to a pixel within them
    assert value(rows, "lateral_px_synthetic") == pytest.approx(value(rows, "lateral_px_real"), rel=0.02)
    assert value(rows, "slope_db_tissue_synthetic") == pytest.approx(value(rows, "slope_db_tissue_real"), rel=1e-3)


def test_beams_alone_serve_as_well_as_depth_maps(real: ImageSet) -> None:
    rows = found(measure_realism(real, replace(real, name="synthetic", depth=None, inside=None), resamplings=3))
    assert value(rows, "profile_tissue_distance") == 0.0
    assert value(rows, "outside_share_distance") == 0.0


def left_out(real: ImageSet, **changes: object) -> dict[str, str]:
    """What is left out, and why, when a set lacks something."""
    findings = measure_realism(real, replace(real, name="synthetic", **changes), resamplings=3)
    return {row.key: row.left_out for row in findings.rows if row.left_out is not None}


def test_without_labels_contrast_is_left_out_and_tissue_is_the_whole_beam(real: ImageSet) -> None:
    findings = measure_realism(real, replace(real, name="synthetic", labels=None), resamplings=3)
    missing = {row.key for row in findings.rows if row.left_out}
    assert missing == {"gcnr", "anechoic_floor"}
    assert "--labels" in found(findings)["gcnr"].left_out
    assert any("synthetic images have no labels" in note for note in findings.notes)


def test_without_a_beam_depth_and_sector_are_left_out_and_speckle_stays(real: ImageSet) -> None:
    missing = left_out(real, depth=None, inside=None, beams=())
    assert {"slope_tissue", "profile_tissue", "axial_px", "lateral_depth", "outside_share", "black_inside"} <= set(
        missing
    )
    assert "give --depth" in missing["slope_tissue"]
    assert not {"nakagami_m", "gcnr_1_2", "anechoic_floor"} & set(missing)


def test_without_spacing_millimetres_are_left_out(real: ImageSet) -> None:
    missing = left_out(real, spacing=())
    assert set(missing) == {"slope_db_tissue", "slope_db_label_2", "axial_mm", "lateral_mm"}
    assert "0 of the synthetic images have a value" in missing["axial_mm"]
    assert "spacing" in missing["axial_mm"]


def test_an_empty_label_leaves_out_its_rows(real: ImageSet) -> None:
    assert real.labels is not None
    missing = left_out(real, labels=torch.where(real.labels == 2, 0, real.labels))
    own = {f"{what}_label_2" for what in ("slope", "slope_db", "profile", "spread")}
    assert set(missing) == own | {"gcnr_1_2", "gcnr_2_3", "gcnr_2_0"}


def test_constant_images_have_no_speckle_but_a_level(real: ImageSet) -> None:
    missing = left_out(real, images=torch.full_like(real.images, 0.5))
    assert {"nakagami_m", "envelope_snr", "std_db", "axial_px", "lateral_px", "lateral_widening"} <= set(missing)
    assert "profile_tissue" not in missing


def test_sets_of_other_sizes_are_compared_where_pixels_do_not_count(real: ImageSet) -> None:
    maps = {key: getattr(real, key)[:, :100] for key in ("labels", "depth", "inside")}
    shorter = replace(real, name="synthetic", images=real.images[:, :, :100], **maps)
    findings = measure_realism(real, shorter, resamplings=3)
    keys = set(found(findings))
    assert "axial_mm_distance" in keys
    assert not {key for key in keys if key.startswith(("axial_px", "lateral_px", "lateral_widening"))}
    assert any("widths in pixels are left out" in note for note in findings.notes)


def test_one_image_is_too_few_and_said_to_be(real: ImageSet) -> None:
    findings = measure_realism(real, replace(real.chosen([0]), name="synthetic"), resamplings=3)
    assert {row.left_out is not None for row in findings.rows} == {True}
    assert "1 of the synthetic images" in findings.rows[0].left_out
    assert findings.figures == {}


def test_nan_is_refused_with_the_image_s_name(real: ImageSet) -> None:
    spoilt = real.images.clone()
    spoilt[3, 0, 5, 7] = torch.nan
    with pytest.raises(ValueError, match=r"NaN.*frame 3"):
        measure_realism(real, replace(real, images=spoilt))


def test_classes_that_differ_are_refused(real: ImageSet) -> None:
    with pytest.raises(ValueError, match="name their classes alike"):
        measure_realism(real, replace(real, classes=("cavity", "wall", "atrium")))


def test_no_resamplings_are_refused(real: ImageSet) -> None:
    with pytest.raises(ValueError, match="resamplings must be at least 1"):
        measure_realism(real, real, resamplings=0)


def test_the_dynamic_range_is_named_where_it_matters(real: ImageSet) -> None:
    rows = found(measure_realism(real, real, dynamic_range_db=48.0, resamplings=3))
    assert all(
        "48 dB" in rows[f"{key}_real"].name for key in ("slope_db_tissue", "nakagami_m", "envelope_snr", "std_db")
    )
    assert "dB" not in rows["axial_px_real"].name


def test_keys_are_unique_and_figures_draw(real: ImageSet, tmp_path: Path) -> None:
    findings = measure_realism(real, faulty(real, blurred), resamplings=3)
    keys = [row.key for row in findings.rows]
    assert len(set(keys)) == len(keys)
    expected = {"realism_overview", "depth_profiles", "depth_slopes", "speckle", "speckle_size", "contrast"}
    assert {Path(name).stem for name in findings.figures} == expected
    for name, draw in findings.figures.items():
        draw(tmp_path / name)
        # lines in colour on white: a figure without content is white
        assert np.asarray(Image.open(tmp_path / name).convert("RGB")).std() > 5


def test_figures_without_matplotlib_name_the_extra(
    real: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    findings = measure_realism(real, faulty(real, blurred), resamplings=3)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"monai-bmaps\[metrics\]"):
        findings.figures["speckle.png"](tmp_path / "speckle.png")


def test_realism_without_scipy_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("monai_bmaps.metrics.realism")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match=r"monai-bmaps\[metrics\]"):
        importlib.import_module("monai_bmaps.metrics.realism")


# distances


QUANTITY = Quantity("size", "size", "mm", "look harder", shape=True)


def test_the_distance_of_shifted_values_is_the_shift() -> None:
    values = np.random.default_rng(0).random(50)
    assert distance(values, values + 3) == pytest.approx(3)


def test_the_distance_of_profiles_is_the_mean_over_columns_that_both_know() -> None:
    first = np.array([[1.0, 5.0, np.nan], [2.0, 6.0, 1.0]])
    assert distance(first, first + np.array([1.0, 3.0, 9.0])) == pytest.approx(2.0)


def test_the_floor_halves_groups_and_not_images() -> None:
    # every patient's two frames agree: halves of images would nearly agree too
    groups = tuple(f"p{k // 2}" for k in range(12))
    halves = Resampling(groups, groups).halves
    assert all({groups[k] for k in first}.isdisjoint(groups[k] for k in second) for first, second in halves)
    assert all(sorted((*first, *second)) == list(range(12)) for first, second in halves)


def test_bootstrap_samples_take_whole_groups() -> None:
    groups = ("a", "a", "a", "b", "c", "c")
    for rows, _ in Resampling(groups, groups, samples=20).picks:
        counts = np.bincount(rows, minlength=6)
        assert counts[0] == counts[1] == counts[2]
        assert counts[4] == counts[5]


def test_the_interval_of_few_patients_is_wider_than_that_of_as_many_images() -> None:
    rng = np.random.default_rng(1)
    values = np.repeat(rng.normal(size=8), 10) + 0.01 * rng.normal(size=80)
    other = rng.normal(0.5, 1.0, 80)
    images, patients = tuple(map(str, range(80))), tuple(str(k // 10) for k in range(80))

    def width(groups: tuple[str, ...]) -> float:
        low, high = compare(QUANTITY, values, other, Resampling(groups, images))[0].interval or (0.0, 0.0)
        return high - low

    assert width(patients) > 1.5 * width(images)


def test_a_quantity_without_values_says_what_it_needs() -> None:
    groups = ("a", "b", "c")
    (row,) = compare(QUANTITY, np.full(3, np.nan), np.array([1.0, 2.0, 3.0]), Resampling(groups, groups))
    assert row.left_out == "0 of the real images have a value: look harder"


def test_three_patients_have_no_floor() -> None:
    values, groups = np.array([1.0, 2.0, 3.0]), ("a", "b", "c")
    rows = {row.key: row for row in compare(QUANTITY, values, values, Resampling(groups, groups))}
    assert "4 groups" in str(rows["size_floor"].left_out)
    assert rows["size_distance"].value == 0.0

"""Memorisation: copies are found, whatever was done to them; new images are flagged as rarely as is said."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from ultrasound_phantoms import phantom_hearts

from monai_bmaps.metrics.findings.measured import Findings
from monai_bmaps.metrics.images.image_set import ImageSet
from monai_bmaps.metrics.memorisation.detection import CopyDetector, Threshold
from monai_bmaps.metrics.memorisation.measuring import measure_memorisation

SHAPE = (64, 48)
COPIES = 8


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def training() -> ImageSet:
    return phantom_hearts("training", range(40), SHAPE)


@pytest.fixture(scope="module")
def held_out() -> ImageSet:
    return phantom_hearts("real", range(1000, 1099), SHAPE)


@pytest.fixture(scope="module")
def fresh() -> ImageSet:
    return phantom_hearts("synthetic", range(2000, 2060), SHAPE)


@pytest.fixture(scope="module")
def found(training: ImageSet, held_out: ImageSet, fresh: ImageSet) -> Findings:
    """Of new images."""
    return measure_memorisation(held_out, fresh, training)


def copies(training: ImageSet, change: Callable[[torch.Tensor], torch.Tensor] = lambda images: images) -> ImageSet:
    """Training images as a model would give them back, under names of their own."""
    chosen = training.chosen(range(COPIES), "synthetic")
    changed = {"images": change(chosen.images).clamp(0, 1), "inside": chosen.inside}
    if change is mirrored:
        changed["inside"] = chosen.inside.flip(-1)
    return replace(chosen, groups=tuple(f"drawn_{k}" for k in range(COPIES)), **changed)


def mirrored(images: torch.Tensor) -> torch.Tensor:
    return images.flip(-1)


CHANGES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "exact": lambda images: images,
    "noisy": lambda images: images + 0.05 * torch.randn(images.shape, generator=generator()) * (images > 0),
    "mirrored": mirrored,
    "a pixel to the right": lambda images: images.roll(1, -1),
    "a pixel down": lambda images: images.roll(1, -2),
    "two pixels down, darker": lambda images: 0.7 * images.roll(2, -2),
    "darker": lambda images: 0.7 * images,
}


@pytest.mark.parametrize("change", CHANGES)
def test_copies_are_flagged(change: str, training: ImageSet, held_out: ImageSet) -> None:
    assert bool(CopyDetector(training, held_out).flags(copies(training, CHANGES[change])).all())


def test_mirror_images_are_none_where_training_flips_none(training: ImageSet, held_out: ImageSet) -> None:
    flags = CopyDetector(training, held_out, mirrored=False).flags(copies(training, mirrored))
    assert not bool(flags.any())


def test_new_images_are_flagged_as_rarely_as_is_said(training: ImageSet, held_out: ImageSet, fresh: ImageSet) -> None:
    rows = {row.key: row for row in measure_memorisation(held_out, fresh, training).rows}
    # 1 of 100 on average: of 99 held-out images the nearest sets the threshold
    assert rows["flagged_expected_pixel"].value == pytest.approx(0.01)
    low, high = rows["flagged_expected_pixel"].interval
    assert low <= rows["flagged_pixel"].value <= high < 0.06


def test_new_images_lie_no_nearer_to_training_than_held_out_ones_do(found: Findings) -> None:
    rows = {row.key: row for row in found.rows}
    assert rows["ratio_pixel"].value == pytest.approx(rows["ratio_real_pixel"].value, abs=0.05)


def test_a_share_of_copies_among_new_images_is_found_exactly(
    training: ImageSet, held_out: ImageSet, fresh: ImageSet
) -> None:
    some = copies(training)
    mixed = replace(
        fresh.chosen(range(24)),
        names=tuple(f"image_{k}" for k in range(24)),
        images=torch.cat([some.images, fresh.images[:16]]),
        inside=torch.cat([some.inside, fresh.inside[:16]]),
    )
    rows = {row.key: row for row in measure_memorisation(held_out, mixed, training).rows}
    assert rows["flagged_pixel"].value == pytest.approx(COPIES / 24)
    assert COPIES <= 24 * rows["flagged_ratio_pixel"].value <= COPIES + 2
    assert rows["flagged_pixel"].value > rows["flagged_expected_pixel"].interval[1]


def test_average_images_lie_near_everything_and_the_ratio_says_so(
    training: ImageSet, held_out: ImageSet, fresh: ImageSet
) -> None:
    sizes = {"training": 40, "real": 99, "synthetic": len(fresh)}
    features = {name: torch.randn(size, 64, generator=generator(k)) for k, (name, size) in enumerate(sizes.items())}
    features["synthetic"] *= 0.1
    rows = {row.key: row for row in measure_memorisation(held_out, fresh, training, features=features).rows}
    assert rows["flagged_feature"].value > 0.9
    assert rows["flagged_ratio_feature"].value <= rows["flagged_expected_feature"].interval[1]


def test_features_find_copies_that_are_handed_in(training: ImageSet, held_out: ImageSet, fresh: ImageSet) -> None:
    sizes = {"training": 40, "real": 99, "synthetic": len(fresh)}
    features = {name: torch.randn(size, 64, generator=generator(k)) for k, (name, size) in enumerate(sizes.items())}
    features["synthetic"][:10] = features["training"][:10]
    features["training mirrored"] = features["training"] + 5
    features["synthetic"][10:15] = features["training mirrored"][:5] + 1e-3
    rows = {row.key: row for row in measure_memorisation(held_out, fresh, training, features=features).rows}
    low, high = rows["flagged_expected_feature"].interval
    assert 0.25 + low <= rows["flagged_feature"].value <= 0.25 + high


# thresholds


@pytest.mark.parametrize(("held_out", "expected"), [(39, 1 / 40), (99, 0.01), (400, 0.01)])
def test_the_expected_share_is_what_new_images_have(held_out: int, expected: float) -> None:
    draws = torch.rand(2000, held_out, generator=generator(), dtype=torch.float64)
    thresholds = [Threshold.of(each) for each in draws]
    assert thresholds[0].expected == pytest.approx(expected)
    # of uniform draws the share below a threshold is the threshold itself
    assert float(torch.tensor([each.distance for each in thresholds]).mean()) == pytest.approx(expected, rel=0.08)


def test_the_null_range_holds_what_new_images_do_19_times_in_20() -> None:
    """Simulated: 61 held-out and 122 new images, again and again."""
    held_out, new = (torch.rand(4000, count, generator=generator(count), dtype=torch.float64) for count in (61, 122))
    thresholds = held_out.amin(1, keepdim=True)
    shares = (new < thresholds).double().mean(1)
    low, high = Threshold.of(held_out[0]).null_range(122)
    within = float(((shares >= low) & (shares <= high)).double().mean())
    assert 0.95 <= within < 0.985
    assert math.isclose(high * 122, round(high * 122), abs_tol=1e-9)


# the detector


def test_a_detector_names_the_image_that_was_copied(training: ImageSet, held_out: ImageSet) -> None:
    detector = CopyDetector(training, held_out)
    distances, which = detector.nearest(copies(training))
    assert which.tolist() == list(range(COPIES))
    assert float(distances.max()) < 1e-6


def test_a_detector_judges_image_by_image(training: ImageSet, held_out: ImageSet, fresh: ImageSet) -> None:
    detector = CopyDetector(training, held_out)
    alone = [bool(detector.flags(fresh.chosen([row]))) for row in range(6)]
    assert alone == detector.flags(fresh).tolist()[:6]


def test_held_out_images_themselves_are_not_flagged(training: ImageSet, held_out: ImageSet) -> None:
    assert not bool(CopyDetector(training, held_out).flags(held_out).any())


# bad input


def test_too_few_or_shared_patients_are_left_out(training: ImageSet, held_out: ImageSet, fresh: ImageSet) -> None:
    cases = {
        "needs at least 20 real images, got 19": (held_out.chosen(range(19)), training),
        "needs at least 20 training images, got 3": (held_out, training.chosen(range(3))),
        "1 patients or sweeps are among": (replace(held_out, groups=("patient_4", *held_out.groups[1:])), training),
    }
    for reason, (real, known) in cases.items():
        rows = measure_memorisation(real, fresh, known).rows
        assert [row.key for row in rows if reason not in (row.left_out or "")] == []
        with pytest.raises(ValueError, match=reason):
            CopyDetector(known, real)


def test_held_out_frames_of_one_patient_leave_the_ratio_out(
    training: ImageSet, held_out: ImageSet, fresh: ImageSet
) -> None:
    one = replace(held_out, groups=("somebody",) * 99)
    rows = {row.key: row for row in measure_memorisation(one, fresh, training).rows}
    assert rows["flagged_pixel"].value is not None
    assert "of another patient" in rows["ratio_pixel"].left_out


def test_images_drawn_for_training_label_maps_bring_a_warning(
    training: ImageSet, held_out: ImageSet, fresh: ImageSet, found: Findings
) -> None:
    drawn = replace(fresh, groups=("patient_0", "patient_1", *fresh.groups[2:])).chosen(range(3))
    notes = " ".join(measure_memorisation(held_out, drawn, training).notes)
    assert "2 of 3 synthetic images were drawn for label maps of training patients" in notes
    assert "were drawn for label maps of training" not in " ".join(found.notes)


def test_the_gallery_and_the_curves_are_drawn(found: Findings, tmp_path: Path) -> None:
    assert set(found.figures) == {"memorisation_pixel.png", "memorisation_closest.png"}
    for name, draw in found.figures.items():
        draw(tmp_path / name)
        with Image.open(tmp_path / name) as picture:
            assert len(picture.convert("RGB").getcolors(1 << 20) or []) > 50

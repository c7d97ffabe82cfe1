"""Obedience: a segmenter that is good itself sees whether images show what their label maps ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from ultrasound_phantoms import phantom_hearts

from monai_bmaps.metrics.findings.measured import Findings
from monai_bmaps.metrics.images.image_set import ImageSet
from monai_bmaps.metrics.obedience.measuring import measure_obedience
from monai_bmaps.metrics.segmentation.segmenter import SegmenterSettings

SETTINGS = SegmenterSettings(channels=(8, 16, 32), iterations=100, learning_rate=1e-2)
Measure = Callable[..., Findings]


@pytest.fixture(scope="module")
def hearts() -> dict[str, ImageSet]:
    """Held-out hearts, hearts that stand for synthetic ones, and hearts to learn from."""
    numbers = {"real": range(100, 112), "synthetic": range(200, 212), "training": range(24)}
    return {name: phantom_hearts(name, those) for name, those in numbers.items()}


@pytest.fixture(scope="module")
def measure(hearts: dict[str, ImageSet], tmp_path_factory: pytest.TempPathFactory) -> Measure:
    """Measure with other sets than those, training the segmenter once."""
    cache = tmp_path_factory.mktemp("segmenters")

    def measured(**changes: object) -> Findings:
        options = {"settings": SETTINGS, "cache": cache, "description": None}
        return measure_obedience(**{**hearts, **options, **changes})

    return measured


def values(findings: Findings) -> dict[str, float | None]:
    return {row.key: row.value for row in findings.rows}


def test_images_that_obey_reach_what_held_out_images_reach(measure: Measure) -> None:
    found = values(measure())
    assert found["dice_real"] > 0.8
    assert found["dice_synthetic"] == pytest.approx(found["dice_real"], abs=0.06)


def test_the_segmenter_itself_comes_first_then_every_structure(measure: Measure) -> None:
    keys = [row.key for row in measure().rows]
    structures = ["left_ventricle_cavity", "myocardium", "left_atrium"]
    expected = [f"dice_{kind}{of}" for kind in ("real", "synthetic") for of in ["", *(f"_{s}" for s in structures)]]
    assert keys == [*expected, "dice_chance"]


def test_the_mean_is_that_of_the_structures(measure: Measure) -> None:
    found = values(measure())
    parts = [found[f"dice_synthetic_{name}"] for name in ("left_ventricle_cavity", "myocardium", "left_atrium")]
    assert found["dice_synthetic"] == pytest.approx(sum(parts) / 3)


def test_shuffled_labels_fall_to_the_chance_level(measure: Measure, hearts: dict[str, ImageSet]) -> None:
    obeying = values(measure())
    synthetic = hearts["synthetic"]
    shuffled = values(measure(synthetic=replace(synthetic, labels=synthetic.labels.roll(2, 0))))
    assert shuffled["dice_synthetic"] < obeying["dice_synthetic"] - 0.1
    assert shuffled["dice_synthetic"] == pytest.approx(obeying["dice_chance"], abs=0.1)


def test_one_structure_that_is_not_obeyed_is_named(measure: Measure, hearts: dict[str, ImageSet]) -> None:
    labels = hearts["synthetic"].labels
    moved = torch.where(labels == 3, 0, labels).masked_fill((labels == 3).roll(8, 2) & (labels == 0), 3)
    obeying, found = values(measure()), values(measure(synthetic=replace(hearts["synthetic"], labels=moved)))
    assert found["dice_synthetic_left_atrium"] < 0.5 < obeying["dice_synthetic_left_atrium"]
    assert found["dice_synthetic_myocardium"] == pytest.approx(obeying["dice_synthetic_myocardium"], abs=1e-6)


def test_a_bad_segmenter_is_no_judge(measure: Measure) -> None:
    findings = measure(settings=SegmenterSettings(channels=(4, 8), iterations=2))
    rows = {row.key: row for row in findings.rows}
    assert rows["dice_real"].value < 0.8
    assert "below 0.80: it cannot judge others; train it longer" in rows["dice_synthetic"].left_out
    assert "dice_chance" in rows
    assert findings.figures == {}


def test_intervals_hold_the_means(measure: Measure) -> None:
    for row in measure().rows:
        assert row.interval[0] < row.value < row.interval[1]


def test_without_other_patients_there_is_no_chance_level(measure: Measure, hearts: dict[str, ImageSet]) -> None:
    findings = measure(synthetic=replace(hearts["synthetic"], groups=("one",) * 12))
    rows = {row.key: row for row in findings.rows}
    assert "draw for several" in rows["dice_chance"].left_out
    assert rows["dice_synthetic"].interval is None


def test_figures_are_drawn_with_what_they_show(measure: Measure, tmp_path: Path) -> None:
    figures = measure().figures
    assert set(figures) == {"obedience_cases.png", "obedience_dice.png"}
    for name, draw in figures.items():
        draw(tmp_path / name)
        with Image.open(tmp_path / name) as picture:
            assert picture.width > 300
            assert len(picture.convert("RGB").getcolors(1 << 20) or []) > 50


def test_what_cannot_be_judged_is_left_out_with_the_reason(measure: Measure, hearts: dict[str, ImageSet]) -> None:
    real, synthetic, training = hearts["real"], hearts["synthetic"], hearts["training"]
    cases: dict[str, dict[str, ImageSet]] = {
        "the synthetic images have no label maps": {"synthetic": replace(synthetic, labels=None)},
        "the training images have no label maps": {"training": replace(training, labels=None)},
        "hold no label": {"real": replace(real, labels=torch.zeros_like(real.labels))},
        "have the classes a, b, c": {"synthetic": replace(synthetic, classes=("a", "b", "c"))},
        "labels go up to 3, but 2 classes": {"training": replace(training, classes=("a", "b"))},
        "needs at least 2 real images, got 1": {"real": real.chosen([0])},
        "1 patients or sweeps are among": {"real": replace(real, groups=("patient_3", *real.groups[1:]))},
        "are 32 x 16": {"synthetic": _narrower(synthetic)},
    }
    for reason, changes in cases.items():
        rows = measure(**changes).rows
        assert [row.key for row in rows] == ["dice_real", "dice_synthetic", "dice_chance"]
        assert all(reason in (row.left_out or "") for row in rows), reason


def test_sizes_that_the_network_cannot_halve_are_left_out(measure: Measure) -> None:
    rows = measure(settings=SegmenterSettings(channels=(4,) * 7)).rows
    assert "must be multiples of 64" in rows[0].left_out


def _narrower(images: ImageSet) -> ImageSet:
    parts = {name: getattr(images, name)[..., :16] for name in ("images", "labels", "inside")}
    return replace(images, **parts)

"""Contrast and beam: closed forms of gCNR, what lies outside the beam."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest

from monai_bmaps.metrics.realism import settings as settings_module
from monai_bmaps.metrics.realism.contrast import anechoic_floor, gcnr
from monai_bmaps.metrics.realism.contrast import measure as measure_contrast
from monai_bmaps.metrics.realism.frame import Frame
from monai_bmaps.metrics.realism.sector import black_inside, energy_outside
from monai_bmaps.metrics.realism.settings import Settings, blood_labels, tissue

SHAPE = (40, 56)
DRAWS = 200_000


@pytest.mark.parametrize("apart", [0.5, 1.0, 2.0])
def test_gcnr_of_two_gaussians_is_the_closed_form(apart: float) -> None:
    rng, sigma = np.random.default_rng(0), 0.06
    first, second = (rng.normal(0.5 + side * apart * sigma / 2, sigma, DRAWS).clip(0, 1) for side in (-1, 1))
    # 1 - 2 Phi(-apart / 2); a bin across the crossing hides a little of it
    assert gcnr(first, second) == pytest.approx(math.erf(apart / (2 * math.sqrt(2))), abs=0.01)


@pytest.mark.parametrize(("shift", "expected"), [(0.0, 0.0), (0.125, 0.25), (0.25, 0.5), (0.5, 1.0)])
def test_gcnr_of_shifted_uniforms_is_the_share_they_do_not_share(shift: float, expected: float) -> None:
    levels = np.linspace(0, 0.5, DRAWS, endpoint=False)
    assert gcnr(levels, levels + shift) == pytest.approx(expected, abs=1e-4)


def test_gcnr_needs_no_order() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.beta(2, 5, 500), rng.beta(3, 3, 900)
    assert gcnr(first, second) == gcnr(second, first)


def test_gcnr_of_nothing_is_no_number() -> None:
    assert math.isnan(gcnr(np.empty(0), np.full(5, 0.5)))


@pytest.mark.parametrize("strange", [math.nan, 1.5, -0.1])
def test_grey_levels_beyond_the_range_are_refused(strange: float) -> None:
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        gcnr(np.array([0.5, strange]), np.array([0.5]))


def test_the_anechoic_floor_is_the_low_quantile_in_grey_levels() -> None:
    assert anechoic_floor(np.linspace(0, 1, 101)) == pytest.approx(25.5)
    assert math.isnan(anechoic_floor([]))


def test_the_floor_of_blood_leaves_out_the_blur_of_its_walls() -> None:
    labels = np.zeros(SHAPE, dtype=np.int64)
    labels[10:34, 10:40] = 1
    image = np.where(labels == 1, 0.0, 0.8)
    image[10:12, 10:40] = image[32:34, 10:40] = image[10:34, 10:12] = image[10:34, 38:40] = 0.0
    image[12:32, 12:38] = 0.2
    found = measure_contrast(Frame(image, labels), Settings(classes=("cavity",), blood=(1,)))
    assert found["anechoic_floor"] == pytest.approx(51.0)


def test_a_label_of_few_pixels_has_no_contrast() -> None:
    labels = np.zeros(SHAPE, dtype=np.int64)
    labels[:9, :11] = 1
    found = measure_contrast(Frame(np.full(SHAPE, 0.5), labels, inside=labels >= 0), Settings(classes=("mass",)))
    assert math.isnan(found["gcnr_1_0"])


def test_blood_is_known_by_its_name() -> None:
    classes = ["left-ventricle cavity", "myocardium", "left atrium", "thyroid", "Carotid artery"]
    assert blood_labels(classes) == (1, 3, 5)


def test_two_kinds_of_blood_are_not_set_against_each_other() -> None:
    assert Settings(classes=("cavity", "wall", "atrium"), blood=(1, 3)).pairs == [
        (1, 2),
        (1, 0),
        (2, 3),
        (2, 0),
        (3, 0),
    ]


def test_examples_in_the_docstrings_run() -> None:
    assert doctest.testmod(settings_module).failed == 0


def test_tissue_is_the_beam_without_blood() -> None:
    labels = np.array([[0, 1], [2, 1]])
    frame = Frame(np.zeros((2, 2)), labels, inside=np.array([[True, True], [True, False]]))
    assert tissue(frame, Settings(classes=("cavity", "wall"), blood=(1,))).tolist() == [[True, False], [True, False]]


@pytest.mark.parametrize("strange", [0.0, -60.0, math.inf, math.nan])
def test_a_dynamic_range_that_is_none_is_refused(strange: float) -> None:
    with pytest.raises(ValueError, match="dynamic_range_db must be positive and finite"):
        Settings(strange)


def test_blood_that_is_no_class_is_refused() -> None:
    with pytest.raises(ValueError, match=r"among \[1\], got \[2\]"):
        Settings(classes=("gland",), blood=(2,))


def test_energy_outside_is_the_share_of_squares_beyond_the_rim() -> None:
    inside = np.zeros(SHAPE, dtype=np.bool_)
    inside[:, :28] = True
    image = np.where(inside, 0.4, 0.0)
    image[:, 28] = 1.0  # the rim, which blur may fill
    image[:, 46:] = 0.2
    share, level = energy_outside(image, inside)
    whole = 28 * 0.16 + 1.0 + 10 * 0.04
    assert share == pytest.approx(10 * 0.04 / whole)
    assert level == pytest.approx(255 * 10 * 0.2 / 27)


def test_a_beam_that_fills_the_image_has_no_outside() -> None:
    assert all(math.isnan(x) for x in energy_outside(np.full(SHAPE, 0.5), np.ones(SHAPE, dtype=np.bool_)))


def test_a_black_image_has_no_share_outside_but_a_level() -> None:
    share, level = energy_outside(np.zeros(SHAPE), np.zeros(SHAPE, dtype=np.bool_))
    assert math.isnan(share)
    assert level == 0.0


def test_the_black_share_counts_the_beam_s_pixels() -> None:
    inside = np.arange(56)[None, :] < np.full((40, 1), 20)
    image = np.where(np.arange(56)[None, :] < 5, 0.0, 0.5) * np.ones((40, 1))
    assert black_inside(image, inside) == pytest.approx(0.25)
    assert math.isnan(black_inside(image, np.zeros(SHAPE, dtype=np.bool_)))

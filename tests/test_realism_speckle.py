"""Speckle statistics: sampled envelopes, filtered noise and speckle phantoms with known laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import nakagami

from monai_bmaps.data.phantoms import heart_beam
from monai_bmaps.data.speckle import speckle_image
from monai_bmaps.geometry import LinearBeam, SectorBeam
from monai_bmaps.metrics.realism.frame import Frame
from monai_bmaps.metrics.realism.settings import Settings
from monai_bmaps.metrics.realism.speckle import (
    RAYLEIGH,
    envelope,
    envelope_snr,
    homogeneous_windows,
    measure,
    nakagami_m,
)
from monai_bmaps.metrics.realism.speckle_size import CENTRES, autocorrelation, beam_samples, half_width, speckle_widths

SHAPE = (120, 150)
EVERYWHERE = np.ones(SHAPE, dtype=np.bool_)
DRAWS = 200_000


def compressed(amplitude: np.ndarray, dynamic_range_db: float = 60.0, level_db: float = -20.0) -> np.ndarray:
    level = 20 * np.log10(np.maximum(amplitude, 1e-12)) + level_db
    return (1 + level / dynamic_range_db).clip(0, 1)


def drawn_speckle(m: float, shape: tuple[int, int] = SHAPE, seed: int = 0) -> np.ndarray:
    """An image of independent Nakagami pixels of mean power 1."""
    return compressed(nakagami.rvs(m, size=shape, random_state=seed))


def filtered_noise(rows: float, columns: float, shape: tuple[int, int] = SHAPE, seed: int = 0) -> np.ndarray:
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), (rows, columns))
    return 0.5 + 0.05 * noise / noise.std()


# First order


@pytest.mark.parametrize("m", [0.5, 1.0, 2.0])
def test_nakagami_m_is_that_of_the_sampled_law(m: float) -> None:
    # the moment estimator's standard error here is below 0.7 % of m
    assert nakagami_m(nakagami.rvs(m, size=DRAWS, random_state=1)) == pytest.approx(m, rel=0.03)


def test_rayleigh_amplitudes_have_the_signal_to_noise_ratio_of_the_books() -> None:
    found = envelope_snr(np.random.default_rng(2).rayleigh(size=DRAWS))
    assert found == pytest.approx(RAYLEIGH["snr"], rel=0.01)
    assert RAYLEIGH["snr"] == pytest.approx(1.91, abs=0.005)


def test_rayleigh_amplitudes_spread_by_the_decibels_of_the_books() -> None:
    level = 20 * np.log10(np.random.default_rng(3).rayleigh(size=DRAWS))
    assert level.std() == pytest.approx(RAYLEIGH["std_db"], rel=0.01)
    assert RAYLEIGH["std_db"] == pytest.approx(5.57, abs=0.005)


def test_the_envelope_undoes_log_compression() -> None:
    amplitude = np.array([1.0, 0.1, 0.5])
    np.testing.assert_allclose(envelope(compressed(amplitude, 50.0, 0.0), 50.0), amplitude, rtol=1e-12)


@pytest.mark.parametrize("m", [1.0, 2.0])
def test_an_image_of_independent_speckle_has_its_m(m: float) -> None:
    found = measure(Frame(drawn_speckle(m)), Settings())["nakagami_m"]
    # medians over windows of 100 pixels, of which those with a clipped fade are left out
    assert found == pytest.approx(m, rel=0.12)


def test_a_scanner_s_speckle_in_fully_developed_phantoms_is_rayleigh() -> None:
    shape = (240, 300)
    image = speckle_image(
        torch.zeros(shape, dtype=torch.int64), LinearBeam(), kind={0: -20.0}, attenuation_db=0.0, specular_db=None,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    found = measure(Frame(image.double().numpy()), Settings())
    # windows of 20 pixels hold some twenty speckles, whose own mean takes a part of the variance away
    assert found["std_db"] == pytest.approx(5.57, rel=0.08)
    assert found["envelope_snr"] == pytest.approx(1.91, rel=0.12)
    assert found["nakagami_m"] == pytest.approx(1.0, rel=0.25)


def test_gain_changes_no_statistic() -> None:
    amplitude = nakagami.rvs(1.0, size=SHAPE, random_state=4)
    quiet, loud = (measure(Frame(compressed(amplitude, 100.0, db)), Settings(100.0)) for db in (-40.0, -35.0))
    assert quiet == pytest.approx(loud, rel=1e-9)


def test_windows_lie_within_one_label_and_the_mask() -> None:
    rng = np.random.default_rng(5)
    labels = (np.arange(150)[None, :] >= 75) * np.ones((120, 1), dtype=int)
    where = np.broadcast_to(np.arange(120)[:, None] < 90, SHAPE)
    coded = 0.3 + 0.2 * labels + 0.1 * where + 0.01 * rng.random(SHAPE)
    windows = homogeneous_windows(coded, where, labels, side=8)
    assert len(windows) > 10
    assert np.ptp(windows, (1, 2)).max() < 0.02
    assert windows.min() > 0.39


def test_the_most_homogeneous_windows_avoid_structure() -> None:
    image = drawn_speckle(1.0)
    image[:, :75] = np.where(np.arange(75) // 4 % 2, 0.75, 0.3) + 0.02 * np.random.default_rng(6).random((120, 75))
    windows = homogeneous_windows(image, EVERYWHERE, side=8)
    assert (windows.std((1, 2)) < 0.18).all()


def test_clipped_dark_and_constant_windows_are_left_out() -> None:
    image, labels = np.full((60, 90), 0.5), np.arange(90)[None, :] // 30 + np.zeros((60, 1), dtype=int)
    image[:, 30:60] = 0.02 + 0.01 * np.random.default_rng(7).random((60, 30))
    image[:, 60:] = np.random.default_rng(8).integers(0, 2, (60, 30))
    assert len(homogeneous_windows(image, np.ones((60, 90), dtype=np.bool_), labels)) == 0


def test_a_constant_image_has_no_speckle() -> None:
    assert all(math.isnan(value) for value in measure(Frame(np.full(SHAPE, 0.5)), Settings()).values())


def test_an_image_smaller_than_a_window_has_none() -> None:
    assert len(homogeneous_windows(np.full((4, 5), 0.5), np.ones((4, 5), dtype=np.bool_))) == 0


# Second order


@pytest.mark.parametrize("sigma", [0.8, 1.5, 2.5])
def test_the_width_of_filtered_noise_is_that_of_its_kernel_s_autocorrelation(sigma: float) -> None:
    found = half_width(autocorrelation(filtered_noise(sigma, 0.0, (400, 150)) - 0.5, np.ones((400, 150), bool), 0))
    # the autocorrelation of a Gaussian kernel is one of sqrt(2) times its width
    assert found == pytest.approx(4 * math.sqrt(math.log(2)) * sigma, rel=0.04)


def test_a_gaussian_s_half_width_is_exact_between_samples() -> None:
    lags = np.arange(12)
    assert half_width(np.exp(-(lags**2) / (2 * 3.3**2))) == pytest.approx(2 * math.sqrt(2 * math.log(2)) * 3.3)


@pytest.mark.parametrize("never", [np.ones(6), np.full(6, np.nan), np.array([1.0, np.nan, 0.1])])
def test_what_does_not_fall_to_a_half_has_no_width(never: np.ndarray) -> None:
    assert math.isnan(half_width(never))


def test_autocorrelation_counts_only_pairs_inside_the_mask() -> None:
    values = np.random.default_rng(9).standard_normal((40, 30))
    mask = np.zeros((40, 30), dtype=np.bool_)
    mask[5:30, 4:20] = True
    other = np.where(mask, values, 100.0)
    np.testing.assert_array_equal(autocorrelation(values, mask, 1, 5), autocorrelation(other, mask, 1, 5))
    inner = values[5:30, 4:20]
    expected = (inner[:, 2:] * inner[:, :-2]).mean() / (inner**2).mean()
    assert autocorrelation(values, mask, 1, 5)[2] == pytest.approx(expected)


def test_axial_and_lateral_widths_of_a_linear_beam_are_told_apart() -> None:
    axial, lateral = speckle_widths(filtered_noise(0.9, 1.8, (200, 240)), np.ones((200, 240), bool), LinearBeam())
    # the local mean, 12.5 pixels wide, takes little of speckle this narrow
    assert np.median(axial) == pytest.approx(3.33 * 0.9, rel=0.06)
    assert np.median(lateral) == pytest.approx(3.33 * 1.8, rel=0.06)


def test_a_slow_brightening_is_no_speckle() -> None:
    image = filtered_noise(1.2, 1.2, (200, 240))
    bright = image + 0.25 * np.linspace(-1, 1, 240)[None, :]
    plain, sloped = (speckle_widths(x, np.ones((200, 240), bool), LinearBeam())[1] for x in (image, bright))
    np.testing.assert_allclose(sloped, plain, rtol=0.02)


def test_a_fan_s_samples_are_one_pixel_apart_on_lines_and_on_arcs() -> None:
    beam = SectorBeam(apex=(4, 70), radii=(20, 100), half_angle_deg=30, steering_deg=10)
    lines, arcs = (beam_samples(beam, SHAPE, along) for along in ("lines", "arcs"))
    np.testing.assert_allclose(np.hypot(np.diff(lines.rows, axis=0), np.diff(lines.columns, axis=0)), 1.0)
    steps = np.hypot(np.diff(arcs.rows, axis=1), np.diff(arcs.columns, axis=1))
    np.testing.assert_allclose(steps, 1.0, rtol=2e-4)  # a chord is that much shorter than its arc


@pytest.mark.parametrize("beam", [LinearBeam(top=3, left=7), heart_beam(SHAPE)], ids=["linear", "sector"])
def test_samples_lie_at_the_depth_the_beam_says(beam: LinearBeam | SectorBeam) -> None:
    samples = beam_samples(beam, SHAPE, "lines")
    rows, columns = (
        samples.rows[samples.inside].round().astype(int),
        samples.columns[samples.inside].round().astype(int),
    )
    depths = np.broadcast_to(samples.depth[:, None], samples.rows.shape)[samples.inside]
    known = beam.mask(SHAPE).numpy()[rows, columns]
    error = np.abs(beam.depth_map(SHAPE).numpy()[rows, columns] - depths)[known]
    assert error.max() < 1.0 / 80  # rounding to a pixel moves it by 0.7


def test_a_fan_s_speckle_widens_across_the_beam_and_not_along_it() -> None:
    shape = (224, 256)
    beam = heart_beam(shape)
    image = speckle_image(
        torch.zeros(shape, dtype=torch.int64), beam, kind={0: -20.0}, attenuation_db=0.0, specular_db=None,
        generator=torch.Generator().manual_seed(3),
    )  # fmt: skip
    axial, lateral = speckle_widths(image.double().numpy(), beam.mask(shape).numpy(), beam)
    # the phantom's point spread function is the same at every (depth, angle): lateral widths go with the radius
    assert lateral[3] / lateral[1] == pytest.approx(CENTRES[3] / CENTRES[1], rel=0.2)
    assert axial[3] / axial[1] == pytest.approx(1.0, abs=0.2)


def test_a_black_area_and_a_constant_image_have_no_width() -> None:
    noise = filtered_noise(1.0, 1.0)
    half = np.where(np.arange(150)[None, :] < 75, noise, 0.0)
    whole = speckle_widths(np.where(np.arange(150)[None, :] < 75, noise, 0.5), EVERYWHERE, LinearBeam())[0]
    assert np.isfinite(speckle_widths(half, EVERYWHERE, LinearBeam())[0]).all()
    np.testing.assert_allclose(speckle_widths(half, EVERYWHERE, LinearBeam())[0], whole, rtol=0.2)
    assert np.isnan(speckle_widths(np.full(SHAPE, 0.5), EVERYWHERE, LinearBeam())).all()

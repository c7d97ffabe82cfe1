"""Voxels as a frame sees them: exact on their own grid, exact on slopes, a slice as thick as its spacing."""

from __future__ import annotations

import numpy as np
import pytest

from SlicerBMapDiffusionLib.geometry.frames import Frame, frame_from_axes
from SlicerBMapDiffusionLib.geometry.resampling import resampled

VOXELS = np.random.default_rng(0).integers(1, 9, (4, 5, 6)).astype(np.int16)
OBLIQUE = frame_from_axes((1, 2, 3), (3, 1, -2), (1, -1, 1), 5, 6, (0.7, 0.3), 4, 0.9)


@pytest.mark.parametrize("order", ["nearest", "linear"])
def test_on_its_own_grid_a_volume_is_itself(order):
    shown = resampled(VOXELS, OBLIQUE.ijk_to_ras, OBLIQUE, order)
    assert np.array_equal(shown, VOXELS)
    assert shown.dtype == (np.int16 if order == "nearest" else np.float32)


@pytest.mark.parametrize("order", ["nearest", "linear"])
def test_a_grid_counted_from_the_other_end_shows_the_same(order):
    matrix = OBLIQUE.ijk_to_ras.copy()
    matrix[:3, 3] += 5 * matrix[:3, 0]
    matrix[:3, 0] *= -1
    assert np.array_equal(resampled(VOXELS[..., ::-1], matrix, OBLIQUE, order), VOXELS)


def test_linear_interpolation_is_exact_on_a_slope():
    matrix = np.array(((0.5, 0.1, 0, -2), (0, 0.4, 0.2, -2), (0.1, 0, 0.6, -2), (0, 0, 0, 1.0)))
    k, j, i = np.mgrid[:12, :14, :13]
    slope = (np.stack((i, j, k), axis=-1) @ matrix[:3, :3].T + matrix[:3, 3]) @ (2.0, -3.0, 5.0)
    frame = frame_from_axes((0.8, -0.3, 0.2), (1, 1, 0), (0, 1, 1), 5, 4, (0.3, 0.2), 3, 0.25)
    n, row, column = np.mgrid[:3, :5, :4]
    expected = frame.ras(column, row, n) @ (2.0, -3.0, 5.0)
    assert resampled(slope, matrix, frame, "linear", outside=np.nan) == pytest.approx(expected, abs=1e-5)


def test_labels_take_the_nearest_voxel():
    frame = Frame(np.diag((0.25, 1, 1, 1.0)), rows=1, columns=9)
    labels = np.array([[[1, 2, 3]]], dtype=np.uint8)
    assert resampled(labels, np.eye(4), frame, "nearest")[0, 0].tolist() == [1, 1, 2, 2, 2, 2, 3, 3, 3]


def test_a_slice_is_as_thick_as_its_spacing():
    matrix, one = np.diag((1, 1, 3, 1.0)), np.full((1, 2, 2), 7, dtype=np.uint8)
    for offset, value in ((1.49, 7), (-1.49, 7), (1.51, 0), (-1.51, 0)):
        frame = Frame(np.eye(4), rows=2, columns=2).moved(offset)
        assert (resampled(one, matrix, frame, "nearest") == value).all()
        assert (resampled(one, matrix, frame, "linear") == value).all()


def test_outside_the_volume_the_value_is_the_one_asked_for():
    frame = Frame(np.eye(4), rows=1, columns=4).moved(0)
    assert resampled(VOXELS[:1, :1, :2], np.eye(4), frame, "nearest", outside=-5)[0, 0, 2:].tolist() == [-5, -5]
    assert np.isnan(resampled(VOXELS[:1, :1, :2], np.eye(4), frame, "linear", outside=np.nan)[0, 0, 2:]).all()


@pytest.mark.parametrize("order", ["nearest", "linear"])
def test_channels_are_carried_along(order):
    channels = np.stack((VOXELS, 10 * VOXELS), axis=-1)
    shown = resampled(channels, OBLIQUE.ijk_to_ras, OBLIQUE, order)
    assert np.array_equal(shown, channels)


def test_a_frame_between_two_voxels_does_not_flicker_with_rounding_errors():
    frame = Frame(np.eye(4), rows=1, columns=1)
    pair = np.array([[[1, 2]]], dtype=np.uint8)
    shown = set()
    for error in (-1e-9, 0.0, 1e-9):
        matrix = np.eye(4)
        matrix[0, 3] = -0.5 + error
        shown.add(int(resampled(pair, matrix, frame, "nearest")[0, 0, 0]))
    assert len(shown) == 1


def test_a_volume_without_thickness_is_refused():
    with pytest.raises(ValueError, match="no thickness"):
        resampled(VOXELS, np.diag((1, 1, 0, 1.0)), OBLIQUE, "nearest")

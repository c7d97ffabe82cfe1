"""Square pixels of any size: where things are stays true, thin labels stay whole."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from monai_bmaps.data.prepare.frames import Frame
from monai_bmaps.data.prepare.resampling import resample, resize_image, resize_labels, squared


def blob(shape: tuple[int, int], centre: tuple[float, float], sides: tuple[float, float]) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    away = ((rows - centre[0]) / sides[0]) ** 2 + ((columns - centre[1]) / sides[1]) ** 2
    return (away <= 1).astype(np.uint8)


def test_its_own_size_changes_nothing() -> None:
    image = np.random.default_rng(0).integers(0, 256, (13, 17)).astype(np.uint8)
    assert resize_image(image, (13, 17)) is image
    assert resize_labels(image, (13, 17)) is image


@pytest.mark.parametrize("shape", [(40, 31), (33, 70), (160, 130)])
def test_positions_follow_the_half_pixel_rule(shape: tuple[int, int]) -> None:
    label = blob((80, 65), (30.0, 40.0), (15, 12))
    for resized in (resize_labels(label, shape), resize_image(label * 200, shape)):
        found = ndimage.center_of_mass(resized)
        expected = [(c + 0.5) * new / old - 0.5 for c, new, old in zip((30, 40), shape, (80, 65), strict=True)]
        assert found == pytest.approx(expected, abs=0.2)  # a corner's rule would be off by up to 0.8


def test_millimetres_stay_true_where_pixels_are_not_square() -> None:
    # 0.3 mm wide, 0.15 mm high: this ellipse of pixels is a circle of 9 mm
    frame = Frame("a", blob((160, 90), (80, 45), (60, 30)) * 200, blob((160, 90), (80, 45), (60, 30)), (0.15, 0.3))
    resized = resample(frame, 64)
    assert max(resized.image.shape) == 64
    rows, columns = (np.ptp(x) + 1 for x in np.nonzero(resized.label))
    assert rows == pytest.approx(columns, abs=1)
    assert rows * resized.spacing[0] == pytest.approx(18, abs=0.6)


def test_the_spacing_is_exact_per_axis() -> None:
    resized = resample(Frame("a", np.zeros((77, 50), np.uint8), spacing=(0.2, 0.31)), 32)
    assert [n * s for n, s in zip(resized.image.shape, resized.spacing, strict=True)] == pytest.approx([15.4, 15.5])


def test_without_spacing_pixels_count_as_square_and_stay_unknown() -> None:
    resized = resample(Frame("a", np.zeros((40, 80), np.uint8)), 20)
    assert resized.image.shape == (10, 20)
    assert resized.spacing is None


def test_two_sizes_fill_and_pad_in_the_middle() -> None:
    frame = Frame("a", np.full((40, 80), 9, np.uint8), np.ones((40, 80), np.uint8), inside=np.ones((40, 80), bool))
    resized = resample(frame, (30, 40))
    assert resized.image.shape == resized.label.shape == resized.inside.shape == (30, 40)
    assert resized.image[:5].max() == resized.image[25:].max() == 0
    assert resized.image[5:25].min() == 9


def test_native_size_makes_pixels_as_fine_as_the_finer_side() -> None:
    resized = resample(Frame("a", np.zeros((30, 20), np.uint8), spacing=(0.5, 1.0)), None)
    assert resized.image.shape == (30, 40)
    same = Frame("a", np.zeros((30, 20), np.uint8), spacing=(0.5, 0.5))
    assert resample(same, None).image is same.image


def test_fine_stripes_become_grey_rather_than_coarse_stripes() -> None:
    stripes = np.tile(np.array([0, 200], np.uint8), (60, 40))
    assert np.ptp(resize_image(stripes, (20, 27)).astype(int)[2:-2, 2:-2]) < 40  # without a filter: 200


def test_labels_take_what_covers_most_of_a_pixel_and_invent_no_value() -> None:
    label = np.zeros((40, 40), np.uint8)
    label[:, :20], label[20:, 20:] = 1, 7
    resized = resize_labels(label, (13, 17))
    assert set(np.unique(resized)) == {0, 1, 7}
    assert (resized == 1).mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("factor", [1.7, 3.0, 4.1])
@pytest.mark.parametrize("width", [2, 3])
@pytest.mark.parametrize("angle_deg", [0, 20, 45, 75, 90, 130])
def test_a_thin_label_stays_one_piece_and_thin(factor: float, width: int, angle_deg: float) -> None:
    rows, columns = np.mgrid[:160, :160] - 80.0
    sine, cosine = np.sin(np.radians(angle_deg)), np.cos(np.radians(angle_deg))
    across, along = np.abs(columns * sine - rows * cosine), np.abs(columns * cosine + rows * sine)
    line = ((across <= width / 2) & (along < 60)).astype(np.uint8)
    size = round(160 / factor)
    resized = resize_labels(line, (size, size - 3))
    assert ndimage.label(resized, np.ones((3, 3)))[1] == 1
    assert resized.sum() <= 3.2 * 120 / factor  # no more than three pixels wide


def test_a_speck_of_one_pixel_does_not_vanish() -> None:
    label = np.zeros((90, 60), np.uint8)
    label[31, 22] = 3
    assert (resize_labels(label, (30, 20)) == 3).sum() == 1


def test_squaring_pads_image_label_and_field_of_view_alike() -> None:
    frame = squared(Frame("a", np.full((4, 2), 5, np.uint8), np.ones((4, 2), np.uint8), inside=np.ones((4, 2), bool)))
    assert frame.image.tolist() == [[0, 5, 5, 0]] * 4
    assert (frame.label > 0).tolist() == frame.inside.tolist() == (frame.image > 0).tolist()

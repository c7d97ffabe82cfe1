"""Grey levels, colours and panels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_bmaps.pictures import colour_labels, colour_map, side_by_side, to_grey


def brightness(colour: np.ndarray) -> np.ndarray:
    return colour.astype(float).mean(-1)


def test_minus_one_is_black_one_is_white_and_beyond_is_clamped() -> None:
    grey = to_grey(torch.tensor([[-1.0, 1.0, 0.0], [-3.0, 2.0, 0.5]]))
    assert grey.dtype == np.uint8
    assert grey.tolist() == [[0, 255, 128], [0, 255, 191]]


def test_every_grey_level_survives_the_way_to_the_network_and_back() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(8, 32)
    assert np.array_equal(to_grey(torch.from_numpy(levels) / 127.5 - 1), levels)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_images_of_other_precision_become_grey_too(dtype: torch.dtype) -> None:
    assert to_grey(torch.tensor([[-1.0, 1.0]], dtype=dtype)).tolist() == [[0, 255]]


def one_hot(classes: int) -> torch.Tensor:
    """An image of one row in which pixel k has class k."""
    return torch.eye(classes)[:, None, :]


@pytest.mark.parametrize("labels", [1, 3, 5])
def test_each_class_has_a_colour_of_its_own(labels: int) -> None:
    colours = colour_labels(one_hot(labels + 2))
    assert colours.shape == (1, labels + 2, 3)
    assert len({tuple(colour) for colour in colours[0].tolist()}) == labels + 2


def test_outside_and_unlabelled_look_the_same_however_many_labels_there_are() -> None:
    few, many = colour_labels(one_hot(3))[0], colour_labels(one_hot(7))[0]
    assert few[0].tolist() == many[0].tolist()
    assert few[-1].tolist() == many[-1].tolist()
    assert few[1].tolist() == many[1].tolist()


def test_colours_of_the_anatomy_repeat_after_five_labels() -> None:
    colours = colour_labels(one_hot(9))[0]
    assert colours[6].tolist() == colours[1].tolist()
    assert len({tuple(colour) for colour in colours.tolist()}) == 7


def test_a_map_darkens_from_zero_to_one() -> None:
    colours = colour_map(torch.linspace(0, 1, 40).reshape(20, 2), torch.ones(20, 2))
    assert (colours.shape, colours.dtype) == ((20, 2, 3), np.uint8)
    assert bool((np.diff(brightness(colours).ravel()) < 0).all())


def test_values_beyond_the_range_have_the_colour_of_its_end() -> None:
    beyond, ends = (colour_map(torch.tensor([values]), torch.ones(1, 2)) for values in ([-0.5, 1.5], [0.0, 1.0]))
    assert np.array_equal(beyond, ends)


def test_a_map_outside_the_beam_looks_like_labels_outside_the_beam() -> None:
    colours = colour_map(torch.zeros(1, 2), torch.tensor([[0.0, 1.0]]))[0]
    outside = colour_labels(one_hot(3))[0, 0]
    assert colours[0].tolist() == outside.tolist()
    assert colours[1].tolist() != outside.tolist()


def panel(value: int, shape: tuple[int, ...] = (4, 6)) -> np.ndarray:
    return np.full(shape, value, dtype=np.uint8)


def test_columns_stand_side_by_side_and_panels_below_each_other() -> None:
    picture = np.asarray(side_by_side([[panel(10), panel(20)], [panel(30), panel(40)]], scale=1))
    assert picture.shape == (8, 12, 3)
    assert [picture[row, column, 0] for row in (0, 7) for column in (0, 11)] == [10, 30, 20, 40]


def test_grey_and_coloured_panels_mix() -> None:
    colour = panel(0, (4, 6, 3))
    colour[..., 2] = 200
    picture = np.asarray(side_by_side([[panel(10), colour]], scale=1))
    assert picture[0, 0].tolist() == [10, 10, 10]
    assert picture[7, 0].tolist() == [0, 0, 200]


def test_the_scale_enlarges_both_sides() -> None:
    assert side_by_side([[panel(10)]], scale=3).size == (18, 12)


def test_a_caption_is_written_on_its_own_row_only() -> None:
    shape = (30, 60)
    columns = [[panel(0, shape), panel(0, shape)]]
    picture = np.asarray(side_by_side(columns, ["", "below"], scale=1))
    assert picture[:30].max() == 0
    assert picture[30:].max() > 200


def test_a_caption_can_be_read_on_a_light_panel() -> None:
    picture = np.asarray(side_by_side([[panel(240, (30, 60))]], ["light"], scale=1))
    assert picture.min() < 40
    assert picture.max() == 240


@pytest.mark.parametrize("columns", [[], [[panel(1)], [panel(1), panel(2)]]])
def test_no_columns_or_uneven_ones_are_refused(columns: list[list[np.ndarray]]) -> None:
    with pytest.raises(ValueError, match="non-empty and equally long, got lengths"):
        side_by_side(columns)

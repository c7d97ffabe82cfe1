"""What an image set holds, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from monai_bmaps.geometry import LinearBeam
from monai_bmaps.metrics.images.image_set import ImageSet

SHAPE = (5, 7)


def an_image_set(count: int = 3, **arguments: Any) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    settings: dict[str, Any] = {
        "name": "real",
        "names": tuple(f"frame_{index}" for index in range(count)),
        "images": torch.rand(count, 1, *SHAPE, generator=generator),
    }
    return ImageSet(**{**settings, **arguments})


def test_what_is_not_known_is_unknown_of_every_image() -> None:
    found = an_image_set()
    assert found.spacing == found.beams == (None, None, None)
    assert found.groups == found.names


def test_label_maps_that_must_be_there_are_asked_for() -> None:
    labels = torch.arange(3)[:, None, None].expand(3, *SHAPE)
    assert torch.equal(an_image_set(labels=labels).known_labels, labels)
    with pytest.raises(ValueError, match="images have no label maps; give them"):
        _ = an_image_set().known_labels


def test_the_field_of_view_is_the_beam_or_else_the_whole_image() -> None:
    inside = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(1)) > 0.5
    assert torch.equal(an_image_set(inside=inside).field_of_view, inside[:, None].float())
    assert an_image_set().field_of_view.tolist() == torch.ones(3, 1, *SHAPE).tolist()


def test_chosen_images_keep_all_that_is_known_about_them() -> None:
    beams = (LinearBeam(), None, LinearBeam())
    everything = an_image_set(
        labels=torch.arange(3)[:, None, None].expand(3, *SHAPE),
        depth=torch.rand(3, *SHAPE),
        inside=torch.ones(3, *SHAPE, dtype=torch.bool),
        spacing=((0.5, 0.4), None, (0.3, 0.2)),
        beams=beams,
        groups=("a", "b", "a"),
        classes=("one", "two"),
    )
    found = everything.chosen([2, 0], "training")
    assert (found.name, found.names, found.groups) == ("training", ("frame_2", "frame_0"), ("a", "a"))
    assert found.labels is not None
    assert found.labels[:, 0, 0].tolist() == [2, 0]
    assert found.depth is not None
    assert everything.depth is not None
    assert torch.equal(found.depth, everything.depth[[2, 0]])
    assert found.spacing == ((0.3, 0.2), (0.5, 0.4))
    assert found.beams == (beams[2], beams[0])
    assert found.classes == ("one", "two")


def test_it_says_what_it_holds() -> None:
    assert repr(an_image_set()) == "ImageSet(3 real images of 5 x 7)"
    assert repr(an_image_set(labels=torch.zeros(3, *SHAPE, dtype=torch.int64))).endswith("5 x 7 with labels)")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": (), "images": torch.zeros(0, 1, *SHAPE)}, "N at least 1, got"),
        ({"images": torch.zeros(3, 3, *SHAPE)}, r"got \(3, 3, 5, 7\)"),
        ({"images": torch.zeros(2, 1, *SHAPE)}, "and 3 names"),
        ({"images": torch.zeros(3, 1, *SHAPE, dtype=torch.uint8)}, "got torch.uint8; divide 8-bit images by 255"),
        ({"names": ("a", "b", "a")}, "a came more than once"),
        ({"images": torch.full((3, 1, *SHAPE), 1.1)}, r"3 of 3 do not: frame_0, frame_1"),
        ({"labels": torch.zeros(3, 5, 6, dtype=torch.int64)}, r"labels must be torch.int64 \(3, 5, 7\), got"),
        ({"labels": torch.full((3, *SHAPE), -1)}, "labels must be 0"),
        ({"depth": torch.full((3, *SHAPE), 1.5)}, r"depth must lie in \[0, 1\]"),
        ({"inside": torch.zeros(3, *SHAPE)}, "inside must be torch.bool"),
        ({"groups": ("a", "b")}, "groups must have one entry for each of 3 images, got 2"),
    ],
)
def test_what_is_no_set_of_images_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        an_image_set(**arguments)


def test_an_image_with_one_pixel_that_is_not_a_number_is_named() -> None:
    images = torch.zeros(3, 1, *SHAPE)
    images[1, 0, 2, 3] = torch.nan
    with pytest.raises(ValueError, match=r"without NaN, which 1 of 3 do not: frame_1; take them out"):
        an_image_set(images=images)

"""Padding to a square, and the share of a frame in acoustic shadow, on speckle with shadows of known area."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from monai_bmaps.data.convex import pad_to_square, shadow_share
from monai_bmaps.data.speckle import speckle_image
from monai_bmaps.geometry import Beam, LinearBeam, SectorBeam

SHAPE = (150, 190)
FAN = SectorBeam(apex=(-20.0, 94.0), radii=(25.0, 160.0), half_angle_deg=33.0)
ARRAY = LinearBeam(top=8, bottom=140, left=12, right=180)
TISSUE, SHADOW = 0, 1
BEAMS = {"convex": FAN, "linear": ARRAY}
beams = pytest.mark.parametrize("beam", BEAMS.values(), ids=BEAMS)


def places(beam: Beam) -> tuple[torch.Tensor, torch.Tensor]:
    """Depth of each pixel, and its place between the first line (0) and the last (1); beyond the beam, too."""
    if isinstance(beam, SectorBeam):
        radius, angle = beam.polar(SHAPE)
        near, far = beam.radii
        return (radius - near) / (far - near), angle / (2 * math.radians(beam.half_angle_deg)) + 0.5
    rows, columns = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in SHAPE), indexing="ij")
    return (rows - beam.top) / (beam.bottom - beam.top), (columns - beam.left) / (beam.right - beam.left)


def frame(beam: Beam, labels: torch.Tensor | None = None, *, shadow_db: float = -60.0, loss_db: float = 0.0):
    """Speckle of tissue at -20 dB, of 60 dB from black to white."""
    return speckle_image(
        torch.zeros(SHAPE, dtype=torch.int64) if labels is None else labels.long(),
        beam,
        kind={TISSUE: -20.0, SHADOW: shadow_db},
        attenuation_db=loss_db,
        tgc=0.0,
        specular_db=None,
        generator=torch.Generator().manual_seed(0),
    ).numpy()


def shadowed(beam: Beam, first: float, last: float, start: float) -> torch.Tensor:
    """From depth ``start`` down, between two lines; shadows at an edge of the beam go on beyond it, as labels must."""
    depth, place = places(beam)
    first, last = first if first > 0 else -math.inf, last if last < 1 else math.inf
    return (place >= first) & (place <= last) & (depth >= (start if start > 0 else -math.inf))


def share_of(beam: Beam, labels: torch.Tensor) -> float:
    inside = beam.mask(SHAPE)
    return float((labels & inside).sum() / inside.sum())


# the share


@beams
@pytest.mark.parametrize(
    "spans",
    [[(0.4, 0.6, 0.3)], [(0.0, 0.25, 0.0), (0.7, 0.8, 0.5)], [(0.1, 0.9, 0.4)], [(0.0, 1.0, 0.6)], [(0.0, 1.0, 0.15)]],
    ids=str,
)
def test_the_share_of_known_shadows_is_found(beam: Beam, spans: list[tuple[float, float, float]]) -> None:
    dark = torch.stack([shadowed(beam, *span) for span in spans]).any(0)
    truth = share_of(beam, dark)
    assert 0.05 < truth < 0.95
    # The point spread function smears tissue 40 dB above the shadow's floor over some 3 % at each edge.
    assert shadow_share(frame(beam, dark), beam) == pytest.approx(truth, abs=0.05)


@beams
def test_a_frame_without_shadow_has_none(beam: Beam) -> None:
    assert shadow_share(frame(beam), beam) < 0.002


@beams
def test_attenuation_is_no_shadow_before_it_has_taken_85_percent_of_the_tissues_grey(beam: Beam) -> None:
    tissue = float(np.quantile(frame(beam)[beam.mask(SHAPE).numpy()], 0.5))
    limit = 0.85 * tissue * 60.0
    assert 30.0 < limit < 34.0
    assert shadow_share(frame(beam, loss_db=limit - 5.0), beam) < 0.02
    assert shadow_share(frame(beam, loss_db=limit + 25.0), beam) > 0.2


@beams
def test_a_black_frame_is_all_shadow(beam: Beam) -> None:
    assert shadow_share(np.zeros(SHAPE, np.uint8), beam) == 1.0
    noise = np.random.default_rng(0).integers(0, 5, SHAPE).astype(np.uint8)
    assert shadow_share(noise, beam) == 1.0


@beams
def test_fluid_with_echoes_behind_it_is_no_shadow(beam: Beam) -> None:
    fluid = shadowed(beam, 0.2, 0.8, 0.2) & ~shadowed(beam, 0.0, 1.0, 0.8)
    assert share_of(beam, fluid) > 0.2
    assert shadow_share(frame(beam, fluid, shadow_db=-90.0), beam) < 0.01


@beams
def test_a_thin_bright_mark_does_not_end_a_shadow_but_a_wall_does(beam: Beam) -> None:
    dark = shadowed(beam, 0.3, 0.7, 0.3)
    image = frame(beam, dark)
    marked = image.copy()
    marked[120, 80:110] = 0.8
    assert shadow_share(marked, beam) == pytest.approx(shadow_share(image, beam), abs=0.02)
    marked[118:124] = 0.8
    assert shadow_share(marked, beam) < 0.6 * shadow_share(image, beam)


def test_shadow_is_measured_by_area_not_by_lines() -> None:
    dark = shadowed(FAN, 0.0, 1.0, 0.75)  # every line, the deepest quarter of each
    near, far = FAN.radii
    start = near + 0.75 * (far - near)
    expected = (far**2 - start**2) / (far**2 - near**2)
    assert expected > 0.35
    assert shadow_share(frame(FAN, dark), FAN) == pytest.approx(expected, abs=0.04)


# what must not matter


@beams
def test_eight_bits_and_fractions_give_one_answer(beam: Beam) -> None:
    image = frame(beam, shadowed(beam, 0.4, 0.7, 0.3))
    eight = np.round(image * 255).astype(np.uint8)
    assert shadow_share(eight, beam) == pytest.approx(shadow_share(image, beam), abs=0.005)


@beams
def test_what_lies_outside_the_beam_is_not_looked_at(beam: Beam) -> None:
    image = frame(beam, shadowed(beam, 0.4, 0.7, 0.3))
    clear = torch.nn.functional.max_pool2d(beam.mask(SHAPE)[None].float(), 3, 1, 1)[0].numpy() > 0
    assert shadow_share(np.where(clear, image, 1.0), beam) == pytest.approx(shadow_share(image, beam), abs=1e-12)


def test_a_mirrored_frame_has_the_same_share() -> None:
    image = frame(FAN, shadowed(FAN, 0.0, 0.3, 0.2))
    mirrored = SectorBeam((FAN.apex[0], SHAPE[1] - 1 - FAN.apex[1]), FAN.radii, FAN.half_angle_deg)
    assert shadow_share(image[:, ::-1], mirrored) == pytest.approx(shadow_share(image, FAN), abs=1e-9)


def test_a_box_over_burned_in_text_does_not_count_if_it_is_named() -> None:
    image = frame(FAN)
    box = np.zeros(SHAPE, bool)
    box[95:, 105:] = True
    covered = np.where(box, 0.0, image)
    assert shadow_share(covered, FAN) > 0.15
    assert shadow_share(covered, FAN, ignore=box) < 0.01


def test_a_line_ends_where_it_leaves_the_image() -> None:
    image, cut = frame(FAN), 90
    assert shadow_share(image[:cut], FAN) < 0.002
    dark = shadowed(FAN, 0.0, 0.5, 0.0)
    assert shadow_share(frame(FAN, dark)[:cut], FAN) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("image", "ignore", "message"),
    [
        (np.zeros((1, 20, 30)), None, r"must both be \(height, width\), got \(1, 20, 30\) and None"),
        (np.zeros((20, 30)), np.zeros((30, 20), bool), r"got \(20, 30\) and \(30, 20\)"),
        (np.full((20, 30), 200.0), None, r"in \[0, 1\], got float64 up to 200; rescale it"),
        (np.zeros((3, 4)), None, "covers too little of an image of"),
    ],
)
def test_what_cannot_be_measured_is_refused(image: np.ndarray, ignore: np.ndarray | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        shadow_share(image, SectorBeam((-900.0, 15.0), (890.0, 899.0), 20.0), ignore=ignore)


# the square


@pytest.mark.parametrize(
    ("shape", "square", "place"),
    [((7, 4), 7, (0, 1)), ((6, 4), 6, (0, 1)), ((5, 9), 9, (0, 0)), ((5, 5), 5, (0, 0))],
)
def test_a_frame_is_padded_evenly_at_its_sides_and_never_at_the_top(
    shape: tuple[int, int], square: int, place: tuple[int, int]
) -> None:
    image = np.random.default_rng(0).integers(1, 256, shape).astype(np.uint8)
    padded, (top, left) = pad_to_square(image)
    assert padded.shape == (square, square)
    assert padded.dtype == np.uint8
    assert (top, left) == place
    assert np.array_equal(padded[top : top + shape[0], left : left + shape[1]], image)
    assert int(padded.astype(int).sum()) == int(image.astype(int).sum())


def test_a_beam_moves_with_its_frame_into_the_square() -> None:
    tall = SectorBeam(apex=(-20.0, 60.0), radii=(25.0, 160.0), half_angle_deg=20.0)
    mask = tall.mask((145, 121)).numpy()
    square, place = pad_to_square(mask.astype(np.uint8))
    assert np.array_equal(tall.shifted(*place).mask(square.shape).numpy(), square == 1)


@pytest.mark.parametrize("shape", [(0, 4), (3, 4, 3)])
def test_what_is_no_frame_is_not_padded(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="give one grey frame"):
        pad_to_square(np.zeros(shape))

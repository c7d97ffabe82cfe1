"""The segmenter: it learns, goes on where it was stopped, and is trained once; Dice and Hausdorff distances by hand."""

from __future__ import annotations

import doctest
import math
from pathlib import Path

import pytest
import torch
from ultrasound_phantoms import phantom_hearts

from monai_bmaps.metrics.findings import bootstrap, measured
from monai_bmaps.metrics.findings.bootstrap import mean_by_group
from monai_bmaps.metrics.images.image_set import ImageSet
from monai_bmaps.metrics.segmentation import segmenter
from monai_bmaps.metrics.segmentation.augmentation import Augmentation
from monai_bmaps.metrics.segmentation.overlap import dice_per_structure, hausdorff_per_structure
from monai_bmaps.metrics.segmentation.segmenter import SegmenterSettings, train_segmenter

STILL = Augmentation(False, 0, 0, 0, 0, 0, 0, 0)
QUICK = SegmenterSettings(channels=(8, 16, 32), iterations=6, batch_size=2, checkpoint_interval=2)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def frames(count: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Bright boxes on dark speckle, one label."""
    images = 0.3 * torch.rand(count, 1, 16, 20, generator=generator())
    labels = torch.zeros(count, 16, 20, dtype=torch.int64)
    for index in range(count):
        labels[index, 4 : 9 + index, 5:12] = 1
    return images + 0.6 * labels[:, None], labels


@pytest.fixture(scope="module")
def hearts() -> tuple[ImageSet, ImageSet]:
    return phantom_hearts("training", range(24)), phantom_hearts("real", range(100, 112))


def test_examples_hold() -> None:
    results = [doctest.testmod(module) for module in (bootstrap, measured)]
    assert [(result.failed, result.attempted > 0) for result in results] == [(0, True)] * 2


# the network


def test_a_segmenter_learns_phantom_hearts_in_seconds(hearts: tuple[ImageSet, ImageSet]) -> None:
    training, held_out = hearts
    settings = SegmenterSettings(channels=(8, 16, 32), iterations=100, learning_rate=1e-2)
    trained = train_segmenter(training.images, training.labels, 3, settings, description=None)
    dice = dice_per_structure(trained.predict(held_out.images), held_out.labels, 3).nanmean(0)
    assert float(dice.mean()) > 0.8


def weights(trained: segmenter.Segmenter) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in trained.network.state_dict().values()])


def test_a_seed_decides_everything_whatever_the_global_generator_did() -> None:
    first = weights(train_segmenter(*frames(), 1, QUICK, description=None))
    torch.rand(3)
    again = weights(train_segmenter(*frames(), 1, QUICK, description=None))
    other = weights(train_segmenter(*frames(), 1, SegmenterSettings(**{**vars(QUICK), "seed": 1}), description=None))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_training_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    train_segmenter(*frames(), 1, QUICK, description=None)
    assert torch.equal(torch.rand(4), expected)


def test_a_killed_training_ends_where_an_uninterrupted_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = weights(train_segmenter(*frames(), 1, QUICK, description=None))
    step = segmenter._Training.step

    def killed(self: segmenter._Training, images: torch.Tensor, labels: torch.Tensor) -> float:
        if self.done == 5:
            raise KeyboardInterrupt
        return step(self, images, labels)

    monkeypatch.setattr(segmenter._Training, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        train_segmenter(*frames(), 1, QUICK, cache=tmp_path, description=None)
    steps: list[int] = []
    monkeypatch.setattr(
        segmenter._Training, "step", lambda self, *given: (steps.append(self.done), step(self, *given))[1]
    )
    resumed = weights(train_segmenter(*frames(), 1, QUICK, cache=tmp_path, description=None))
    assert steps == [4, 5]
    assert torch.equal(resumed, expected)


def test_what_was_trained_once_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = weights(train_segmenter(*frames(), 1, QUICK, cache=tmp_path, description=None))
    monkeypatch.setattr(segmenter._Training, "step", lambda *_: pytest.fail("trained again"))
    assert torch.equal(weights(train_segmenter(*frames(), 1, QUICK, cache=tmp_path, description=None)), first)


@pytest.mark.parametrize("change", ["image", "label", "setting", "augmentation"])
def test_other_data_or_settings_are_another_training(change: str, tmp_path: Path) -> None:
    images, labels = frames()
    settings = QUICK
    before = settings.fingerprint(images, labels)
    if change == "image":
        images[0, 0, 0, 0] += 0.01
    if change == "label":
        labels[0, 0, 0] = 1
    if change == "setting":
        settings = SegmenterSettings(**{**vars(QUICK), "learning_rate": 1e-4})
    if change == "augmentation":
        settings = SegmenterSettings(**{**vars(QUICK), "augmentation": STILL})
    assert settings.fingerprint(images, labels) != before


def test_how_often_a_checkpoint_is_written_is_no_other_training() -> None:
    assert QUICK.fingerprint() == SegmenterSettings(**{**vars(QUICK), "checkpoint_interval": 3}).fingerprint()


def test_every_pass_over_the_set_takes_every_frame_once() -> None:
    training = segmenter._Training(1, QUICK, torch.device("cpu"))
    seen = []
    for training.done in range(10):
        seen += training._rows(5).tolist()
    passes = [seen[start : start + 5] for start in range(0, 20, 5)]
    assert [sorted(each) for each in passes] == [[0, 1, 2, 3, 4]] * 4
    assert len({tuple(each) for each in passes}) > 1


def test_batches_do_not_change_a_prediction() -> None:
    images, labels = frames()
    trained = train_segmenter(images, labels, 1, QUICK, description=None)
    assert torch.equal(trained.predict(images, batch_size=2), trained.predict(images))


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(2, 1, 16, 18), torch.ones(2, 16, 18).long(), "multiples of 4 for 3 levels, got (16, 18)"),
        (torch.full((2, 1, 16, 20), torch.nan), torch.ones(2, 16, 20).long(), "must lie in [0, 1], got [nan, nan]"),
        (torch.zeros(2, 1, 16, 20), torch.ones(2, 16, 16).long(), "labels must be int64 of shape (2, 16, 20)"),
        (torch.zeros(2, 1, 16, 20), torch.ones(2, 16, 20), "labels must be int64"),
        (torch.zeros(2, 1, 16, 20), torch.zeros(2, 16, 20).long(), "labels hold no structure at all"),
        (torch.zeros(2, 1, 16, 20), torch.full((2, 16, 20), 2), "labels must lie in 0..1, got 2..2"),
        (torch.zeros(0, 1, 16, 20), torch.zeros(0, 16, 20).long(), "must have shape (N, 1, H, W) and not be empty"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(images: torch.Tensor, labels: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=r"must|hold") as refusal:
        train_segmenter(images, labels, 1, QUICK, description=None)
    assert message in str(refusal.value)


@pytest.mark.parametrize("wrong", [{"channels": (8,)}, {"iterations": 0}, {"batch_size": 0}])
def test_settings_without_a_network_or_a_step_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SegmenterSettings(**wrong)


# augmentation


def test_without_a_range_frames_stay_as_they_are() -> None:
    images, labels = frames()
    same, truth = STILL(images, labels, generator=generator())
    torch.testing.assert_close(same, images)
    assert torch.equal(truth, labels)


def test_labels_move_with_their_images() -> None:
    """An image that is its own label map stays that, whatever the pose."""
    _, labels = frames(16)
    poses = Augmentation(gamma=0, gain=0, depth_gain=0, noise=0)
    images, truth = poses(labels[:, None].float(), labels, generator=generator())
    moved = float((truth != labels).float().mean())
    # corners are rounder in an interpolated image
    assert float(((images[:, 0] > 0.5).long() != truth).float().mean()) < 0.05 * moved


def test_half_of_the_frames_are_mirrored_left_to_right() -> None:
    ramp = torch.linspace(0, 1, 20).expand(200, 1, 16, 20).contiguous()
    flips = Augmentation(True, 0, 0, 0, 0, 0, 0, 0)
    images, _ = flips(ramp, torch.zeros(200, 16, 20).long(), generator=generator())
    mirrored = images[:, 0, 0, 0] > 0.5
    assert 0.35 < float(mirrored.float().mean()) < 0.65
    torch.testing.assert_close(images[mirrored], ramp[mirrored].flip(-1))


def test_a_turn_keeps_shapes_in_images_that_are_not_square() -> None:
    rows, columns = torch.meshgrid(torch.arange(48.0), torch.arange(32.0), indexing="ij")
    disc = (((rows - 23.5).square() + (columns - 15.5).square()) < 100)[None, None].float().expand(8, 1, 48, 32)
    turned, _ = Augmentation(False, 90, 0, 0, 0, 0, 0, 0)(disc, disc[:, 0].long(), generator=generator())
    assert float((turned - disc).abs().mean()) < 0.02


def test_black_stays_black_and_nothing_leaves_the_range() -> None:
    images, labels = frames()
    images[:, :, :, :3] = 0
    gains = Augmentation(False, 0, 0, 0, gamma=0.4, gain=1, depth_gain=1, noise=0.5)
    changed, _ = gains(images, labels, generator=generator())
    assert float(changed[:, :, :, :3].max()) < 1 / 255
    assert 0 <= float(changed.min()) <= float(changed.max()) <= 1
    assert not torch.allclose(changed, images, atol=0.05)


def test_ranges_below_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="gamma must not be negative, got -1"):
        Augmentation(gamma=-1)
    with pytest.raises(ValueError, match=r"scaling must lie in \[0, 1\), got 1"):
        Augmentation(scaling=1)


# overlap


def two_boxes(shift: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes of 4 x 6 pixels, one moved down."""
    first, second = torch.zeros(2, 1, 20, 24, dtype=torch.int64)
    first[0, 4:8, 5:11] = 1
    second[0, 4 + shift : 8 + shift, 5:11] = 1
    return first, second


def test_dice_is_twice_the_common_area_over_both() -> None:
    assert dice_per_structure(*two_boxes(1), 1).tolist() == [[pytest.approx(0.75)]]


def test_hausdorff_is_the_shift_of_a_moved_box() -> None:
    assert hausdorff_per_structure(*two_boxes(3), 1).tolist() == [[pytest.approx(3.0)]]


def test_hausdorff_is_in_millimetres_where_the_spacing_is() -> None:
    assert hausdorff_per_structure(*two_boxes(3), 1, [(0.5, 2.0)]).tolist() == [[pytest.approx(1.5)]]


def test_a_missed_structure_costs_the_diagonal_and_has_dice_0() -> None:
    first, second = two_boxes(1)
    distance = hausdorff_per_structure(torch.zeros_like(first), second, 1, [(1.0, 2.0)])
    assert distance.tolist() == [[pytest.approx(math.hypot(19, 46))]]
    assert dice_per_structure(torch.zeros_like(first), second, 1).tolist() == [[0.0]]


def test_a_structure_that_the_reference_lacks_counts_nowhere() -> None:
    first, _ = two_boxes(1)
    for measure in (dice_per_structure, hausdorff_per_structure):
        assert measure(first, torch.zeros_like(first), 2).isnan().all()


def test_maps_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must both be \(N, H, W\)"):
        dice_per_structure(torch.zeros(1, 4, 5).long(), torch.zeros(1, 5, 4).long(), 1)


# means by group


def test_images_of_one_patient_widen_the_interval() -> None:
    values = torch.randn(40, generator=generator()).repeat_interleave(5)
    alone = mean_by_group(values, [str(index) for index in range(200)])[1]
    grouped_ = mean_by_group(values, [str(index // 5) for index in range(200)])[1]
    assert alone is not None
    assert grouped_ is not None
    # five copies of a value are one witness, so that the width grows by the root of 5
    assert (grouped_[1] - grouped_[0]) / (alone[1] - alone[0]) == pytest.approx(5**0.5, rel=0.15)


def test_one_patient_has_a_mean_without_interval() -> None:
    assert mean_by_group(torch.tensor([1.0, 3.0, torch.nan]), ["a", "a", "b"]) == (2.0, None)


def test_no_value_is_no_mean() -> None:
    mean, interval = mean_by_group(torch.full((2,), torch.nan), ["a", "b"])
    assert math.isnan(mean)
    assert interval is None

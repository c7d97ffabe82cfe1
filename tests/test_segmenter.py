"""The segmenter: it learns, goes on where it was stopped, and is trained once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from metric_inputs import boxes
from ultrasound_phantoms import phantom_hearts

from monai_bmaps.metrics.images.image_set import ImageSet
from monai_bmaps.metrics.segmentation import segmenter
from monai_bmaps.metrics.segmentation.augmentation import Augmentation
from monai_bmaps.metrics.segmentation.overlap import dice_per_structure
from monai_bmaps.metrics.segmentation.segmenter import SegmenterSettings, train_segmenter

STILL = Augmentation(False, 0, 0, 0, 0, 0, 0, 0)
QUICK = SegmenterSettings(channels=(8, 16, 32), iterations=6, batch_size=2, checkpoint_interval=2)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def hearts() -> tuple[ImageSet, ImageSet]:
    return phantom_hearts("training", range(24)), phantom_hearts("real", range(100, 112))


def test_a_segmenter_learns_phantom_hearts_in_seconds(hearts: tuple[ImageSet, ImageSet]) -> None:
    training, held_out = hearts
    settings = SegmenterSettings(channels=(8, 16, 32), iterations=100, learning_rate=1e-2)
    trained = train_segmenter(training.images, training.labels, 3, settings, description=None)
    dice = dice_per_structure(trained.predict(held_out.images), held_out.labels, 3).nanmean(0)
    assert float(dice.mean()) > 0.8


def weights(trained: segmenter.Segmenter) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in trained.network.state_dict().values()])


def test_a_seed_decides_everything_whatever_the_global_generator_did() -> None:
    first = weights(train_segmenter(*boxes(), 1, QUICK, description=None))
    torch.rand(3)
    again = weights(train_segmenter(*boxes(), 1, QUICK, description=None))
    other = weights(train_segmenter(*boxes(), 1, SegmenterSettings(**{**vars(QUICK), "seed": 1}), description=None))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_training_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    train_segmenter(*boxes(), 1, QUICK, description=None)
    assert torch.equal(torch.rand(4), expected)


def test_a_killed_training_ends_where_an_uninterrupted_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = weights(train_segmenter(*boxes(), 1, QUICK, description=None))
    step = segmenter._Training.step

    def killed(self: segmenter._Training, images: torch.Tensor, labels: torch.Tensor) -> float:
        if self.done == 5:
            raise KeyboardInterrupt
        return step(self, images, labels)

    monkeypatch.setattr(segmenter._Training, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        train_segmenter(*boxes(), 1, QUICK, cache=tmp_path, description=None)
    steps: list[int] = []
    monkeypatch.setattr(
        segmenter._Training, "step", lambda self, *given: (steps.append(self.done), step(self, *given))[1]
    )
    resumed = weights(train_segmenter(*boxes(), 1, QUICK, cache=tmp_path, description=None))
    assert steps == [4, 5]
    assert torch.equal(resumed, expected)


def test_what_was_trained_once_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = weights(train_segmenter(*boxes(), 1, QUICK, cache=tmp_path, description=None))
    monkeypatch.setattr(segmenter._Training, "step", lambda *_: pytest.fail("trained again"))
    assert torch.equal(weights(train_segmenter(*boxes(), 1, QUICK, cache=tmp_path, description=None)), first)


@pytest.mark.parametrize("change", ["image", "label", "setting", "augmentation"])
def test_other_data_or_settings_are_another_training(change: str, tmp_path: Path) -> None:
    images, labels = boxes()
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
    images, labels = boxes()
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

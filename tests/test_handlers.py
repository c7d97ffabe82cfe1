"""A training killed and resumed is the uninterrupted one; synthesised files say that they are synthetic."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator
from monai.handlers import LrScheduleHandler
from PIL import Image
from torch import nn
from torch.nn import functional

from monai_bmaps import BMap, BMapDDIMScheduler, BMapDiffusionInferer, BMapSynthesisInferer
from monai_bmaps import training as training_module
from monai_bmaps.handlers import EMA, ImageProgress, ResumableCheckpoint, SampleGrid, SynthesisWriter, run_evaluator
from monai_bmaps.provenance import condition_digest, pixels_digest, read_record
from monai_bmaps.training import SynthesisPrepareBatch, linear_anneal
from monai_bmaps.transforms import LoadFrame

Maker = Callable[..., nn.Module]
SHAPE = (8, 12)
CLASSES = 3
EPOCHS, EPOCH_LENGTH, INTERVAL = 3, 4, 3


class StoppedError(Exception):
    pass


def stop(engine: Engine) -> None:
    raise StoppedError


def die_halfway(content: object, target: Path) -> None:
    """In place of ``torch.save``: half a file, then SIGKILL."""
    Path(target).write_bytes(b"PK\x03\x04 half of it")
    os.kill(os.getpid(), signal.SIGKILL)


class Training:
    """Linear regression whose data depend on the iteration alone, checkpointed every third of twelve iterations."""

    def __init__(self, path: Path, *, resume: bool = True) -> None:
        torch.manual_seed(0)
        self.network = nn.Linear(3, 2)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=0.1)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, linear_anneal(EPOCHS * EPOCH_LENGTH, warm_up=2)
        )
        self.ema = EMA(self.network, decay=0.8)
        self.seen: list[int] = []
        self.engine = Engine(self.update)
        LrScheduleHandler(self.schedule, epoch_level=False, print_lr=False).attach(self.engine)
        self.ema.attach(self.engine)
        state = {
            "network": self.network,
            "ema": self.ema.average,
            "optimizer": self.optimizer,
            "lr_scheduler": self.schedule,
        }
        ResumableCheckpoint(path, state, INTERVAL, resume).attach(self.engine)

    def update(self, engine: Engine, batch: object) -> None:
        self.seen.append(engine.state.iteration)
        x = torch.randn(5, 3, generator=torch.Generator().manual_seed(engine.state.iteration))
        self.optimizer.zero_grad()
        (self.network(x) - 1).square().mean().backward()
        self.optimizer.step()

    def run(self, stop_after: int | None = None) -> Training:
        if stop_after is not None:
            self.engine.add_event_handler(Events.ITERATION_COMPLETED(once=stop_after), stop)
        self.engine.run([None] * EPOCH_LENGTH, max_epochs=EPOCHS)
        return self

    def state(self) -> dict[str, Any]:
        moments = self.optimizer.state_dict()["state"]
        return {
            "network": [*self.network.parameters()],
            "ema": [*self.ema.average.parameters()],
            "moments": [moments[k][name] for k in moments for name in ("step", "exp_avg", "exp_avg_sq")],
            "rate": torch.tensor(self.schedule.get_last_lr()),
            "counts": torch.tensor([self.engine.state.iteration, self.engine.state.epoch, self.schedule.last_epoch]),
        }


def assert_same(first: Training, second: Training) -> None:
    """Bit for bit: the same operations in the same order."""
    torch.testing.assert_close(first.state(), second.state(), atol=0, rtol=0)


def stopped(path: Path, after: int) -> Training:
    training = Training(path)
    with pytest.raises(StoppedError):
        training.run(stop_after=after)
    return training


# EMA


def test_an_average_starts_short_and_ends_with_its_decay() -> None:
    """The weight takes the values 1, 2, 3; the decays are 2/11, 3/12 and then the 0.3 asked for."""
    network = nn.Linear(1, 1, bias=False)
    ema = EMA(network, decay=0.3)
    ema.average.weight.data.zero_()

    def update(engine: Engine, batch: object) -> None:
        network.weight.data.fill_(engine.state.iteration)

    engine = Engine(update)
    ema.attach(engine)
    engine.run([None] * 3)
    expected = 0.0
    for value, decay in ((1.0, 2 / 11), (2.0, 3 / 12), (3.0, 0.3)):
        expected = decay * expected + (1 - decay) * value
    assert ema.average.weight.item() == pytest.approx(expected, rel=1e-6)  # float32


def test_an_average_copies_buffers_and_takes_no_gradients() -> None:
    network = nn.BatchNorm1d(2)
    ema = EMA(network)
    network.running_mean.fill_(5.0)
    engine = Engine(lambda engine, batch: None)
    ema.attach(engine)
    engine.run([None])
    assert ema.average.running_mean.tolist() == [5.0, 5.0]
    assert not any(value.requires_grad for value in ema.average.parameters())


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_outside_zero_and_one_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match=r"decay must lie in \[0, 1\)"):
        EMA(nn.Linear(1, 1), decay)


# ResumableCheckpoint


@pytest.mark.parametrize(("after", "resumed_from"), [(1, 0), (4, 3), (7, 6), (9, 9), (11, 9)])
def test_a_training_stopped_anywhere_and_resumed_is_the_uninterrupted_one(
    tmp_path: Path, after: int, resumed_from: int
) -> None:
    whole = Training(tmp_path / "whole.pt").run()
    stopped(tmp_path / "checkpoint.pt", after)
    resumed = Training(tmp_path / "checkpoint.pt").run()
    assert resumed.seen == [*range(resumed_from + 1, EPOCHS * EPOCH_LENGTH + 1)]
    assert_same(resumed, whole)


def test_a_training_stopped_twice_is_the_uninterrupted_one(tmp_path: Path) -> None:
    whole = Training(tmp_path / "whole.pt").run()
    stopped(tmp_path / "checkpoint.pt", 4)
    stopped(tmp_path / "checkpoint.pt", 8)
    assert_same(Training(tmp_path / "checkpoint.pt").run(), whole)


def test_a_training_killed_in_the_middle_of_a_save_resumes_from_the_save_before(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    stopped(path, 4)
    script = (
        "import pathlib, sys, test_handlers as t\n"
        "t.training_module.torch.save = t.die_halfway\n"
        "t.Training(pathlib.Path(sys.argv[1])).run()\n"
    )
    folder = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder.parent), str(folder)])}
    killed = subprocess.run([sys.executable, "-c", script, str(path)], env=environment, timeout=300, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / ".partial-checkpoint.pt").read_bytes().endswith(b"half of it")
    resumed = Training(path).run()
    assert resumed.seen[0] == 4
    assert_same(resumed, Training(tmp_path / "whole.pt").run())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["checkpoint.pt", "whole.pt"]


def test_a_corrupt_partial_file_without_a_whole_one_is_ignored(tmp_path: Path) -> None:
    (tmp_path / ".partial-checkpoint.pt").write_bytes(b"half of it")
    training = Training(tmp_path / "checkpoint.pt").run()
    assert training.seen[0] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_failed_save_keeps_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.pt"
    stopped(path, 4)

    def full(content: object, target: Path) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(training_module.torch, "save", full)
        with pytest.raises(OSError, match="disk full"):
            Training(path).run()
    assert Training(path).run().seen[0] == 4


def test_a_finished_training_is_not_continued(tmp_path: Path) -> None:
    whole = Training(tmp_path / "checkpoint.pt").run()
    again = Training(tmp_path / "checkpoint.pt").run()
    assert again.seen == []
    assert_same(again, whole)


def test_without_resume_a_training_starts_anew_and_overwrites(tmp_path: Path) -> None:
    stopped(tmp_path / "checkpoint.pt", 7)
    training = Training(tmp_path / "checkpoint.pt", resume=False).run()
    assert training.seen[0] == 1
    assert_same(training, Training(tmp_path / "whole.pt").run())


def test_the_end_of_training_is_saved_though_no_interval_ends_there(tmp_path: Path) -> None:
    training = Training(tmp_path / "checkpoint.pt")
    training.engine.run([None] * EPOCH_LENGTH, max_epochs=1)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["iteration"] == EPOCH_LENGTH


# pictures of a model


def synthesis_items(count: int) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(0)
    ramp = torch.linspace(0, 1, SHAPE[0]).reshape(1, -1, 1).expand(1, *SHAPE)
    items = []
    for number in range(count):
        labels = torch.randint(1, CLASSES, SHAPE, generator=generator)
        labels[:, :2] = 0
        seg = functional.one_hot(labels, CLASSES).movedim(-1, 0).float()
        depth = ramp * (labels > 0)
        items.append({"seg": seg, "depth": depth, "name": f"frame{number}", "seed": 30 + number})
    return items


def synthesis_inferer() -> BMapSynthesisInferer:
    scheduler = BMapDDIMScheduler(num_train_timesteps=100, b_map=BMap.from_attenuation(db=44.0))
    return BMapSynthesisInferer(BMapDiffusionInferer(scheduler), num_inference_steps=2, verbose=False)


def evaluator(network: nn.Module, folder: Path, items: list[dict[str, Any]], **options: Any) -> SupervisedEvaluator:
    writer = SynthesisWriter(folder, items, BMap.from_attenuation(db=44.0), 100, **options)
    return SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader(items, batch_size=2),
        network=network,
        inferer=synthesis_inferer(),
        prepare_batch=SynthesisPrepareBatch(),
        val_handlers=[writer],
        decollate=False,
    )


@pytest.fixture(scope="module")
def written(tiny_unet: Maker, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.Tensor]:
    """Three images written by an evaluator, and what the inferer gives for them directly."""
    folder, network, items = tmp_path_factory.mktemp("written"), tiny_unet(1 + CLASSES), synthesis_items(3)
    evaluator(network, folder / "new", items, provenance={"Model": "tiny", "Guidance": None}, overview=2).run()
    seg, depth = (torch.stack([item[key] for item in items]) for key in ("seg", "depth"))
    return folder / "new", synthesis_inferer()(seg, network, depth, [30, 31, 32])


def test_every_image_is_written_as_png_and_nifti_beside_one_overview(written: tuple[Path, torch.Tensor]) -> None:
    names = {f"frame{number}{suffix}" for number in range(3) for suffix in (".png", ".nii.gz")}
    assert {path.name for path in written[0].iterdir()} == names | {"overview.png"}


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_png_is_the_image_of_the_items_seed(written: tuple[Path, torch.Tensor], number: int) -> None:
    folder, images = written
    pixels = np.asarray(Image.open(folder / f"frame{number}.png")).astype(int)
    expected = (images[number, 0].numpy() + 1) * 127.5
    assert pixels.std() > 10
    assert np.abs(pixels - expected).max() <= 1.0  # rounding, and float32 in another batch


def test_the_png_says_that_it_is_synthetic_with_seed_and_provenance(written: tuple[Path, torch.Tensor]) -> None:
    with Image.open(written[0] / "frame2.png") as picture:
        told = {"Synthetic": "true", "Seed": "32", "Model": "tiny", "Guidance": "None"}
        own = {"Condition": condition_digest(synthesis_items(3)[2]), "Pixels": pixels_digest(np.asarray(picture))}
        assert picture.text == {**told, **own}


def test_the_nifti_says_that_it_is_synthetic(written: tuple[Path, torch.Tensor]) -> None:
    header = nibabel.load(written[0] / "frame0.nii.gz").header
    assert bytes(header["descrip"].item()).startswith(b"synthetic")


def test_the_nifti_tells_what_the_png_tells(written: tuple[Path, torch.Tensor]) -> None:
    png, nifti = (read_record(written[0] / f"frame0{suffix}") for suffix in (".png", ".nii.gz"))
    assert nifti == png


def test_the_nifti_is_the_png_transposed(written: tuple[Path, torch.Tensor]) -> None:
    volume = np.asarray(nibabel.load(written[0] / "frame0.nii.gz").dataobj)
    pixels = np.asarray(Image.open(written[0] / "frame0.png"))
    assert volume.shape == (SHAPE[1], SHAPE[0], 1)
    assert np.array_equal(volume[..., 0], pixels.T)


def test_both_files_load_as_the_same_frame(written: tuple[Path, torch.Tensor]) -> None:
    png, nifti = (LoadFrame()(str(written[0] / f"frame1{suffix}")) for suffix in (".png", ".nii.gz"))
    assert torch.equal(png.as_tensor(), nifti.as_tensor())


def test_deeper_rows_of_the_nifti_lie_further_posterior(written: tuple[Path, torch.Tensor]) -> None:
    affine = nibabel.load(written[0] / "frame0.nii.gz").affine
    assert (affine @ [0, 1, 0, 0])[:3].tolist() == [0, -1, 0]


def test_the_overview_shows_labels_b_map_and_image_of_the_first_items_only(
    written: tuple[Path, torch.Tensor],
) -> None:
    overview = np.asarray(Image.open(written[0] / "overview.png"))
    assert overview.shape == (3 * 2 * SHAPE[0], 2 * 2 * SHAPE[1], 3)


def test_a_second_run_makes_a_new_overview(tiny_unet: Maker, tmp_path: Path) -> None:
    runs = evaluator(tiny_unet(1 + CLASSES), tmp_path, synthesis_items(1), overview=4)
    for _ in range(2):
        runs.run()
    with Image.open(tmp_path / "overview.png") as overview:
        assert overview.size == (2 * SHAPE[1], 3 * 2 * SHAPE[0])


def test_an_item_without_a_seed_is_written_all_the_same(tiny_unet: Maker, tmp_path: Path) -> None:
    items = [{key: value for key, value in item.items() if key != "seed"} for item in synthesis_items(1)]
    evaluator(tiny_unet(1 + CLASSES), tmp_path, items).run()
    assert (tmp_path / "frame0.png").is_file()


def test_an_item_without_a_seed_is_drawn_again_since_it_depends_on_its_batch(tiny_unet: Maker, tmp_path: Path) -> None:
    items = synthesis_items(2)
    del items[0]["seed"]
    evaluator(tiny_unet(1 + CLASSES), tmp_path, items).run()
    missing = SynthesisWriter(tmp_path, items, BMap.from_attenuation(db=44.0), 100).missing()
    assert [item["name"] for item in missing] == ["frame0"]


def test_a_failed_picture_leaves_no_png_that_a_resumed_run_would_trust(
    tiny_unet: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr("monai_bmaps.handlers.layouts.write_png", full)
        with pytest.raises(OSError, match="disk full"):
            evaluator(tiny_unet(1 + CLASSES), tmp_path, synthesis_items(1)).run()
    assert len(SynthesisWriter(tmp_path, synthesis_items(1), BMap(), 100).missing()) == 1


def test_progress_counts_images_and_tells_their_rate_and_the_time_left(
    tiny_unet: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = evaluator(tiny_unet(1 + CLASSES), tmp_path, synthesis_items(3))
    ImageProgress().attach(runs)
    runs.run()
    assert re.search(r"drawing: 3/3 \|.*\|\s+[\d.]+ images/s, 00:00 left", capsys.readouterr().err)


def test_an_evaluator_of_nothing_starts_and_finishes_its_handlers(tiny_unet: Maker, tmp_path: Path) -> None:
    runs, seen = evaluator(tiny_unet(1 + CLASSES), tmp_path / "new", []), []
    for event in (Events.STARTED, Events.ITERATION_COMPLETED, Events.COMPLETED):
        runs.add_event_handler(event, lambda _, name=event.name: seen.append(name))
    run_evaluator(runs)
    assert seen == ["STARTED", "COMPLETED"]
    assert not (tmp_path / "new").exists()


def test_an_evaluator_of_something_runs(tiny_unet: Maker, tmp_path: Path) -> None:
    run_evaluator(evaluator(tiny_unet(1 + CLASSES), tmp_path, synthesis_items(1)))
    assert (tmp_path / "frame0.png").is_file()


# SampleGrid


def drawn(network: nn.Module, folder: Path, items: list[dict[str, Any]]) -> Engine:
    """Four epochs of three idle iterations, with samples after every second."""
    engine = Engine(lambda engine, batch: None)
    SampleGrid(folder, network, synthesis_inferer(), items, interval=2).attach(engine)
    engine.run([None] * 3, max_epochs=4)
    return engine


def test_samples_are_drawn_every_interval_into_pictures_named_by_iteration(tiny_unet: Maker, tmp_path: Path) -> None:
    drawn(tiny_unet(1 + CLASSES), tmp_path / "log", synthesis_items(2))
    names = {path.name for path in (tmp_path / "log").glob("*.png")}
    assert names == {"samples_000006.png", "samples_000012.png"}


def test_tensorboard_shows_the_same_picture(tiny_unet: Maker, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    drawn(tiny_unet(1 + CLASSES), tmp_path, synthesis_items(2))
    log = EventAccumulator(str(tmp_path)).Reload()
    first, second = log.Images("samples")
    assert (first.step, second.step) == (6, 12)
    (tmp_path / "logged.png").write_bytes(second.encoded_image_string)
    logged, saved = (np.asarray(Image.open(tmp_path / name)) for name in ("logged.png", "samples_000012.png"))
    assert np.array_equal(logged, saved)


@pytest.mark.parametrize(("with_image", "rows"), [(False, 3), (True, 4)])
def test_the_real_image_is_a_row_of_its_own_where_there_is_one(
    tiny_unet: Maker, tmp_path: Path, with_image: bool, rows: int
) -> None:
    items = synthesis_items(2)
    if with_image:
        items = [item | {"image": torch.full((1, *SHAPE), 1.0)} for item in items]
    drawn(tiny_unet(1 + CLASSES), tmp_path, items)
    picture = np.asarray(Image.open(tmp_path / "samples_000006.png"))
    assert picture.shape == (rows * 2 * SHAPE[0], 2 * 2 * SHAPE[1], 3)
    if with_image:
        assert picture[5 * SHAPE[0], SHAPE[1]].tolist() == [255, 255, 255]


def test_drawing_samples_leaves_the_trainings_random_numbers_alone(tiny_unet: Maker, tmp_path: Path) -> None:
    network, items = tiny_unet(1 + CLASSES), synthesis_items(1)
    before = torch.get_rng_state()
    drawn(network, tmp_path, items)
    assert torch.equal(torch.get_rng_state(), before)

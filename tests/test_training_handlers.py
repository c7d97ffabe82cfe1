"""Iterations that repeat, curves that are right, and failures that lose nothing and say what to do."""

from __future__ import annotations

import errno
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.data import Dataset
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.handlers import from_engine
from monai.transforms import Compose, RandGaussianNoised
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from monai_bmaps.draws import DrawLoader
from monai_bmaps.handlers import (
    LossOutput,
    RepeatableIterations,
    ResumableCheckpoint,
    TrainingGuard,
    TrainingProgress,
    WeightsSnapshots,
)

LENGTH, EPOCHS = 5, 3


class Noisy(nn.Module):
    """A network whose output depends on PyTorch's, NumPy's and Python's generators."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        jitter = random.random() + float(np.random.random())  # noqa: NPY002
        return self.dropout(x) * self.scale * (1 + 0.01 * jitter)


@pytest.fixture(autouse=True)
def global_generators() -> Iterator[None]:
    """Training seeds the global generators; give them back as they were."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    torch.set_rng_state(states[2])


def items(count: int = 7, wrong: int | None = None) -> list[dict[str, Any]]:
    found = [
        {"image": torch.full((1, 2, 3), float(k)), "label": torch.ones(1, 2, 3), "name": f"frame_{k}"}
        for k in range(count)
    ]
    if wrong is not None:
        found[wrong]["image"] = torch.full((1, 2, 3), torch.nan)
    return found


def trainer(
    folder: Path, data: list[dict[str, Any]] | None = None, network: nn.Module | None = None
) -> SupervisedTrainer:
    torch.manual_seed(0)
    network = network or Noisy()
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.05)
    loader = DrawLoader(Dataset(data or items(), Compose([RandGaussianNoised("image", prob=1.0)])), 2, seed=4)
    checkpoint = folder / "checkpoint.pt"
    return SupervisedTrainer(
        device="cpu",
        max_epochs=EPOCHS,
        epoch_length=LENGTH,
        train_data_loader=loader,
        network=network,
        optimizer=optimizer,
        loss_function=nn.MSELoss(),
        train_handlers=[
            ResumableCheckpoint(checkpoint, {"network": network, "optimizer": optimizer}, interval=4),
            RepeatableIterations(loader, seed=4),
            TrainingProgress(folder, batch_size=2, interval=5),
            TrainingGuard(folder, checkpoint),
        ],
        decollate=False,
    )


def record(engine: SupervisedTrainer) -> list[tuple[list[str], float]]:
    seen: list[tuple[list[str], float]] = []
    engine.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda e: seen.append((e.state.batch["name"], float(e.state.output["loss"].detach()))),
    )
    return seen


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("after", [1, 4, 5, 6, 11])
def test_a_resumed_training_sees_the_same_batches_losses_weights_and_generators(tmp_path: Path, after: int) -> None:
    def stop(engine: Any) -> None:
        raise StoppedError

    whole = trainer(tmp_path / "whole")
    expected = record(whole)
    whole.run()
    state = torch.get_rng_state(), random.getstate()

    broken = trainer(tmp_path / "broken")
    broken.add_event_handler(Events.ITERATION_COMPLETED(once=after), stop)
    with pytest.raises(StoppedError):
        broken.run()
    resumed = trainer(tmp_path / "broken")
    torch.manual_seed(99)
    random.seed(99)
    found = record(resumed)
    resumed.run()
    saved = after // 4 * 4
    assert found == expected[saved:]
    torch.testing.assert_close(resumed.network.state_dict(), whole.network.state_dict(), atol=0, rtol=0)
    assert torch.equal(torch.get_rng_state(), state[0])
    assert random.getstate() == state[1]


def curve(folder: Path, name: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return [(point.step, point.value) for point in events.Scalars(name)]


def test_the_loss_curve_is_the_mean_since_its_last_point(tmp_path: Path) -> None:
    engine = trainer(tmp_path)
    seen = record(engine)
    engine.run()
    losses = [loss for _, loss in seen]
    expected = [(end, float(np.mean(losses[end - 5 : end]))) for end in (5, 10, 15)]
    assert [step for step, _ in curve(tmp_path, "train_loss")] == [step for step, _ in expected]
    np.testing.assert_allclose([y for _, y in curve(tmp_path, "train_loss")], [y for _, y in expected], rtol=1e-5)


def test_the_learning_rate_is_drawn_beside_it(tmp_path: Path) -> None:
    trainer(tmp_path).run()
    assert [round(rate, 6) for _, rate in curve(tmp_path, "learning_rate")] == [0.05] * EPOCHS


def test_a_loss_that_is_no_number_stops_before_the_weights_are_touched(tmp_path: Path) -> None:
    engine = trainer(tmp_path, items(wrong=3))
    with pytest.raises(FloatingPointError, match=r"the loss is nan at iteration \d+, for .*frame_3") as error:
        engine.run()
    assert "lower learning_rate" in str(error.value)
    assert bool(torch.isfinite(engine.network.scale))
    kept = torch.load(tmp_path / "failed_batch_0.pt", weights_only=True)
    assert "frame_3" in kept["name"]
    assert bool(torch.isnan(kept["image"]).any())


class Greedy(nn.Module):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.error = error

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise self.error


@pytest.mark.parametrize(
    "error",
    [torch.cuda.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")],
)
def test_out_of_memory_says_what_to_lower(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(RuntimeError, match="out of memory at iteration 1: lower batch_size") as raised:
        trainer(tmp_path, network=Greedy(error)).run()
    assert raised.value.__cause__ is error


def test_other_errors_go_on_unchanged(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="something else"):
        trainer(tmp_path, network=Greedy(KeyError("something else"))).run()


def test_a_full_disk_keeps_the_last_checkpoint_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, save = trainer(tmp_path), torch.save
    saves = []

    def fill_up(content: Any, target: Any) -> None:
        saves.append(target)
        if len(saves) > 1:
            Path(target).write_bytes(b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(content, target)

    monkeypatch.setattr(torch, "save", fill_up)
    with pytest.raises(OSError, match=r"the disk is full; .* is still the last whole checkpoint"):
        whole.run()
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["iteration"] == 4
    assert {path.suffix for path in tmp_path.iterdir() if "checkpoint" in path.name} == {".pt"}


def test_a_trainings_output_is_its_loss_as_monais_handlers_take_it(tmp_path: Path) -> None:
    engine = trainer(tmp_path)
    losses: list[float] = []
    engine.add_event_handler(IterationEvents.LOSS_COMPLETED, lambda e: losses.append(e.state.output["loss"].item()))
    LossOutput().attach(engine)
    seen: list[float] = []
    take = from_engine(["loss"], first=True)  # what --tracking mlflow gives MLFlowHandler
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: seen.append(take(e.state.output).item()))
    engine.run()
    assert seen == losses
    assert len(seen) == LENGTH * EPOCHS
    assert not engine.state.output[0]["loss"].requires_grad


@pytest.mark.parametrize(("interval", "kept"), [(0, []), (1, [5, 10, 15]), (2, [10])])
def test_snapshots_hold_the_weights_of_their_epoch(tmp_path: Path, interval: int, kept: list[int]) -> None:
    engine = trainer(tmp_path)
    weights: dict[int, float] = {}
    engine.add_event_handler(
        Events.EPOCH_COMPLETED, lambda e: weights.update({e.state.iteration: e.network.scale.item()})
    )
    WeightsSnapshots(tmp_path, lambda path: torch.save(engine.network.state_dict(), path), interval).attach(engine)
    engine.run()
    found = {path.name: torch.load(path)["scale"].item() for path in tmp_path.glob("weights_*.pt")}
    assert found == {f"weights_{iteration:06d}.pt": weights[iteration] for iteration in kept}


def test_a_negative_snapshot_interval_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="interval must be a number of epochs"):
        WeightsSnapshots(tmp_path, lambda path: None, -1)

"""Drawing with a study's models: as the bundle draws, with the weights that are asked for, and never twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from study_phantoms import finished, prepared_hearts, tiny

from benchmarks import study_drawing
from benchmarks.study import Cell
from benchmarks.study_drawing import Conditions, Drawing, conditions, drawn, of_the_same_items, real_frames, sampler_of

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")  # MONAI's notice on every config
CELL = Cell("heart", "physical")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared_hearts(tmp_path_factory.mktemp("hearts"))


@pytest.fixture(scope="module")
def parser(data: Path) -> ConfigParser:
    return tiny(CELL, data)


@pytest.fixture(scope="module")
def given(parser: ConfigParser) -> Conditions:
    return conditions(parser)


@pytest.fixture(scope="module")
def run(parser: ConfigParser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(tmp_path_factory.mktemp("run"), parser)


@pytest.mark.parametrize(
    ("cell", "steps", "prediction", "decibels"),
    [
        (Cell("heart", "none"), 1000, "v_prediction", 0.0),
        (Cell("heart", "physical", "epsilon"), 1000, "epsilon", 44.0),
        (Cell("heart", "paper"), 2000, "v_prediction", 176.0),
    ],
)
def test_a_cell_draws_with_the_process_it_was_trained_with(
    data: Path, cell: Cell, steps: int, prediction: str, decibels: float
) -> None:
    scheduler = sampler_of(tiny(cell, data), Drawing(Path(), "ancestral:4", clip=False)).scheduler
    assert (scheduler.num_train_timesteps, scheduler.prediction_type) == (steps, prediction)
    assert scheduler.b_map.total_attenuation_db(steps) == pytest.approx(decibels, abs=1)
    assert type(scheduler).__name__ == "BMapDDPMScheduler"
    assert not scheduler.clip_sample
    assert len(scheduler.timesteps) == 4


def test_images_are_the_bundles_own_but_for_what_lies_outside_the_beam(
    data: Path, parser: ConfigParser, given: Conditions, run: Path, tmp_path: Path
) -> None:
    images = drawn(parser, given, Drawing(run / "model.pt", "ode:3"), tmp_path / "kept.npz", name="test")
    bundle = tiny(CELL, data, {"weights": str(run / "model.pt"), "num_inference_steps": 3})
    expected = bundle.get_parsed_content("network")(given.seg, given.depth, given.seeds)
    inside = given.inside[:, None]
    torch.testing.assert_close(images[inside], (expected[inside] + 1) / 2, rtol=0, atol=0.51 / 255)
    assert bool((images[~inside] > 0).any())


def test_a_stopped_drawing_goes_on_and_other_weights_start_anew(
    parser: ConfigParser, given: Conditions, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_drawing, "BATCH", 1)
    kept, drawing = tmp_path / "kept.npz", Drawing(run / "model.pt", "ancestral:2")
    whole = drawn(parser, given, drawing, kept, name="test")
    with np.load(kept) as found:
        content = {**found, "images": found["images"][:1] // 2}
    np.savez(kept, **content)
    resumed = drawn(parser, given, drawing, kept, name="test")
    assert torch.equal(resumed[1:], whole[1:])
    assert not torch.equal(resumed[0], whole[0])
    raw = drawn(parser, given, Drawing(run / "checkpoint.pt", "ancestral:2"), kept, name="test")
    assert not torch.equal(raw[1:], whole[1:])


def test_fewer_items_are_spread_over_the_split_and_real_frames_follow_them(data: Path, parser: ConfigParser) -> None:
    every, some = conditions(parser), conditions(parser, 2)
    assert some.names == (every.names[0], every.names[-1])
    frames = of_the_same_items(real_frames(CELL, data, (16, 32)), some)
    assert frames.names == some.names
    assert float((frames.inside == some.inside).float().mean()) > 0.95  # the same fan, fitted to another size
    with pytest.raises(ValueError, match="2 items have no real frame"):
        of_the_same_items(real_frames(CELL, data, (16, 32), "training"), some)

"""The Frechet distance as a metric of MONAI's engines, over ranks and without weights, and the report of it."""

from __future__ import annotations

import importlib
import json
import logging
import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator
from monai.handlers import from_engine
from PIL import Image
from torch import nn

from monai_bmaps import BMap, BMapDiffusionInferer, BMapDPMSolverScheduler, BMapSynthesisInferer, LabelToCondition
from monai_bmaps.data import seeded
from monai_bmaps.data.phantoms import heart_beam, heart_labels
from monai_bmaps.data.speckle import speckle_image
from monai_bmaps.evaluation import EvaluationReport, FrechetDistance
from monai_bmaps.evaluation.sheet import Sheet
from monai_bmaps.metrics import InceptionStem, KernelDistance, manifold_measures
from monai_bmaps.metrics.distributions.features import file_features
from monai_bmaps.metrics.distributions.frechet import distances
from monai_bmaps.pictures import colour_labels, to_grey
from monai_bmaps.training import SynthesisPrepareBatch

Maker = Callable[..., nn.Module]
Items = list[dict[str, Any]]
SHAPE, LABELS = (16, 24), 3
PUBLISHED = Path(__file__).parents[2] / "shared" / "weights" / "fid_inception_2015_stem_bnfolded.npz"
ABSENT = "absent.npz"

# features of one image differ by round-off with the batch they are computed in
CLOSE: dict[str, float] = {"rel": 1e-3, "abs": 1e-9}


def write_stem(path: Path) -> Path:
    """An Inception of random weights: its distances mean nothing, and obey every law."""
    torch.manual_seed(0)
    np.savez(path, **{name: value.numpy() for name, value in InceptionStem().state_dict().items()})
    return path


@pytest.fixture(scope="module")
def stem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with torch.random.fork_rng():
        return write_stem(tmp_path_factory.mktemp("weights") / "stem.npz")


def textures(count: int, seed: int, scale: float = 0.3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(count, 1, 5, 7, generator=generator)).clamp(-1, 1)


def metric(stem: Path, **options: Any) -> FrechetDistance:
    return FrechetDistance(stem=stem, **{"verbose": False, "resamplings": 3, **options})


def as_items(images: torch.Tensor) -> Items:
    return [{"image": image} for image in images]


def values_of(found: FrechetDistance) -> dict[str, float]:
    """Every number of the details, intervals too, by a name of its own."""
    rows = {row.key: row.value for row in found.details if row.value is not None}
    bounds = {f"{row.key} {side}": row.interval[side] for row in found.details if row.interval for side in (0, 1)}
    return {**rows, **bounds}


class Counted:
    """A data set that counts how often it is looked at."""

    def __init__(self, items: Items) -> None:
        self.items = items
        self.looks = 0

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        self.looks += 1
        return self.items[index]


# Laws


def test_identical_sets_are_at_no_distance(stem: Path) -> None:
    found = metric(stem)
    for _ in range(2):
        found.update((textures(2, seed=0), textures(2, seed=0)))
    assert found.compute() == pytest.approx(0.0, abs=1e-12)


def test_the_distance_is_that_of_the_features(stem: Path) -> None:
    drawn, real = textures(5, seed=0), textures(4, seed=1, scale=0.1)
    found = metric(stem)
    found.update((drawn, real))
    network = InceptionStem.load(stem)
    expected = distances(file_features(drawn, network), file_features(real, network))
    assert found.compute() == pytest.approx(expected[192], **CLOSE)
    assert {row.key: row.value for row in found.details[:2]} == pytest.approx(
        {"max_pool_2": expected[192], "max_pool_1": expected[64]}, **CLOSE
    )
    assert {tuple(row.counts.items()) for row in found.details} == {(("synthetic", 5), ("real", 4))}


def test_the_same_features_give_kernel_distance_and_coverage(stem: Path) -> None:
    drawn, real = textures(7, seed=0), textures(6, seed=1, scale=0.1)
    found = metric(stem, real=as_items(real))
    found.update(drawn)
    found.compute()
    network = InceptionStem.load(stem)
    first, second = (file_features(images, network)[192] for images in (drawn, real))
    values = values_of(found)
    spread = KernelDistance(first, second).of_subsets(20)
    assert abs(values["kernel_max_pool_2"] - spread.mean()) < 3 * spread.std()
    expected = manifold_measures(first, second)
    assert values["coverage_max_pool_2"] == expected.coverage.mean()
    assert values["density_max_pool_2"] == pytest.approx(expected.density.mean().item())


def test_too_few_images_for_neighbours_leave_out_what_needs_them(stem: Path) -> None:
    found = metric(stem, real=as_items(textures(4, seed=1)))
    found.update(textures(5, seed=0))
    found.compute()
    row = next(row for row in found.details if row.key == "precision_max_pool_2")
    assert row.left_out == "needs at least 6 images of each set, got 5 synthetic, 4 real; give more"


def test_neither_the_order_nor_the_size_of_batches_matters(stem: Path) -> None:
    drawn, real = textures(5, seed=0), textures(4, seed=1, scale=0.1)
    found = {}
    for order, sizes in (((0, 1, 2, 3, 4), (2, 3)), ((3, 0, 4, 1, 2), (4, 1))):
        each = metric(stem, real=as_items(real))
        for batch in drawn[list(order)].split(sizes):
            each.update(batch)
        each.compute()
        found[order] = values_of(each)
    first, second = found.values()
    assert first == pytest.approx(second, **CLOSE)
    assert {"max_pool_1", "max_pool_2", "kernel_max_pool_2", "max_pool_1 0", "max_pool_1 1"} <= set(first)


def test_real_images_of_a_data_set_count_as_those_of_batches(stem: Path) -> None:
    drawn, real = textures(3, seed=0), textures(4, seed=1, scale=0.1)
    of_batches, of_set = metric(stem), metric(stem, real=as_items(real))
    of_batches.update((drawn, real))
    of_set.update((drawn,))
    assert of_set.compute() == pytest.approx(of_batches.compute(), **CLOSE)


def test_lists_of_decollated_images_count_as_batches(stem: Path) -> None:
    drawn, real = textures(3, seed=0), textures(3, seed=1, scale=0.1)
    batched, listed = metric(stem), metric(stem)
    batched.update((drawn, real))
    listed.update(from_engine(["pred", "label"])([{"pred": x, "label": y} for x, y in zip(drawn, real, strict=True)]))
    assert listed.compute() == pytest.approx(batched.compute(), **CLOSE)


def test_the_floor_is_how_far_real_sets_are_apart(stem: Path) -> None:
    real, training = textures(3, seed=1, scale=0.1), textures(4, seed=2, scale=0.1)
    found = metric(stem, real=as_items(real), training=as_items(training))
    found.update(textures(4, seed=0))
    found.compute()
    network = InceptionStem.load(stem)
    expected = distances(file_features(training, network), file_features(real, network))
    rows = {row.key: row for row in found.details}
    assert rows["floor_max_pool_2"].value == pytest.approx(expected[192], **CLOSE)
    assert rows["floor_max_pool_1"].value == pytest.approx(expected[64], **CLOSE)
    assert rows["floor_max_pool_2"].counts == {"training": 4, "real": 3}
    assert "floor_same_count_max_pool_2" not in rows  # as many were drawn as there are


def test_the_floor_of_as_few_images_as_were_drawn_is_the_mean_of_such_subsets(stem: Path) -> None:
    """Four of five images can be taken in five ways."""
    real, training = textures(3, seed=1, scale=0.1), textures(5, seed=2, scale=0.1)
    found = metric(stem, real=as_items(real), training=as_items(training))
    found.update(textures(4, seed=0))
    found.compute()
    network = InceptionStem.load(stem)
    known, others = file_features(training, network), file_features(real, network)
    left = [[k for k in range(5) if k != out] for out in range(5)]
    single = [distances({192: known[192][rows]}, {192: others[192]})[192] for rows in left]
    row = next(row for row in found.details if row.key == "floor_same_count_max_pool_2")
    assert row.value is not None
    assert min(single) < row.value < max(single)
    assert row.counts == {"training": 4, "real": 3}


def test_the_features_of_real_sets_are_computed_once(stem: Path) -> None:
    real, training = Counted(as_items(textures(3, seed=1))), Counted(as_items(textures(2, seed=2)))
    found = metric(stem, real=real, training=training)
    for seed in (0, 5):
        found.reset()
        found.update(textures(2, seed=seed))
        found.compute()
    assert (real.looks, training.looks) == (3, 2)


def test_a_reset_forgets_what_was_drawn(stem: Path) -> None:
    found, again = (metric(stem, real=as_items(textures(3, seed=1))) for _ in range(2))
    found.update(textures(3, seed=9, scale=0.9))
    found.reset()
    for each in (found, again):
        each.update(textures(2, seed=0))
    assert found.compute() == again.compute()


# Bad input


def test_a_single_drawn_image_has_no_distance(stem: Path) -> None:
    found = metric(stem, real=as_items(textures(2, seed=1)))
    found.update(textures(1, seed=0))
    with pytest.raises(ValueError, match="needs at least 2 synthetic images, got 1"):
        found.compute()


def test_nothing_drawn_has_no_distance(stem: Path) -> None:
    with pytest.raises(ValueError, match="needs at least 2 synthetic images, got 0"):
        metric(stem, real=as_items(textures(2, seed=1))).compute()


@pytest.mark.parametrize("name", ["real", "training"])
def test_a_single_real_image_is_refused_before_anything_is_drawn(stem: Path, name: str) -> None:
    sets = {"real": as_items(textures(2, seed=1)), name: as_items(textures(1, seed=1))}
    with pytest.raises(ValueError, match=f"needs at least 2 {name} images, got 1"):
        metric(stem, **sets).prepare()


def test_an_image_that_is_not_a_number_is_refused(stem: Path) -> None:
    found = metric(stem, real=as_items(textures(2, seed=1)))
    with pytest.raises(ValueError, match="look for a network that gave NaN"):
        found.update(torch.full((1, 1, 5, 7), torch.nan))


@pytest.mark.parametrize(
    ("real", "output", "message"),
    [
        (None, textures(2, seed=0), "got neither"),
        (textures(2, seed=1), (textures(2, seed=0), textures(2, seed=1)), "got both"),
        (None, (1, 2, 3), "got 3 entries"),
    ],
)
def test_real_images_come_from_one_place(stem: Path, real: Any, output: Any, message: str) -> None:
    found = metric(stem, real=None if real is None else as_items(real))
    with pytest.raises(ValueError, match=message):
        found.update(output)


def test_a_damaged_file_of_weights_is_never_passed_over(tmp_path: Path) -> None:
    np.savez(tmp_path / "stem.npz", other=np.zeros(1))
    with pytest.raises(ValueError, match="weights lack"):
        metric(tmp_path / "stem.npz", required=False).prepare()


def test_without_ignite_the_room_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ignite", None)
    monkeypatch.delitem(sys.modules, "monai_bmaps.evaluation")
    with pytest.raises(ImportError, match=r"monai-bmaps\[bundle\]"):
        importlib.import_module("monai_bmaps.evaluation")


# Ranks

RANK = """
import sys, torch, test_evaluation
torch.set_num_threads(1)
test_evaluation.write_share(*sys.argv[1:])
"""


def measured_in_share(stem: Path, rank: int, size: int) -> dict[str, float]:
    """Of three drawn images those of this rank; of three real ones the first rank has two as well."""
    real, training = as_items(textures(3, seed=1, scale=0.1)), as_items(textures(4, seed=2, scale=0.1))
    found = metric(stem, real=real, training=training)
    for batch in textures(3, seed=0)[rank::size].split(1):
        found.update(batch)
    found.compute()
    return values_of(found)


def write_share(meeting: str, stem: str, output: str) -> None:
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=size, timeout=timedelta(minutes=2)
    )
    try:
        Path(output).write_text(json.dumps(measured_in_share(Path(stem), rank, size)))
    finally:
        torch.distributed.destroy_process_group()


def test_two_processes_of_unequal_shares_find_what_one_finds(stem: Path, tmp_path: Path) -> None:
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])
    outputs = [tmp_path / f"{rank}.json" for rank in range(2)]
    ranks = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", RANK, str(tmp_path / "meeting"), str(stem), str(output)],
            env={**os.environ, "PYTHONPATH": paths, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"},
        )
        for rank, output in enumerate(outputs)
    ]
    assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    expected = measured_in_share(stem, 0, 1)
    for output in outputs:
        assert json.loads(output.read_text()) == pytest.approx(expected, **CLOSE)
    frechet = {key for key in expected if "max_pool" in key and "kernel" not in key}
    assert len(frechet) == 14  # three distances at two max-pools, intervals of two of them, each of two ends


# The whole evaluation


def heart(index: int) -> dict[str, Any]:
    """A phantom with its own anatomy, as the bundles prepare frames."""
    generator = torch.Generator().manual_seed(index)
    beam = heart_beam(SHAPE, generator=generator)
    labels = heart_labels(SHAPE, beam=beam, generator=generator)
    sector = beam.mask(SHAPE)[None].float()
    return {
        "name": f"heart_{index}",
        "image": speckle_image(labels, beam, generator=generator)[None] * 2 - 1,
        "seg": LabelToCondition(LABELS)(labels[None].float(), sector),
        "depth": beam.depth_map(SHAPE)[None],
    }


HEARTS = [heart(index) for index in range(6)]
HELD_OUT, TRAINING = HEARTS[:3], HEARTS[3:]


def evaluator(network: nn.Module, items: Items, batch_size: int = 2, **options: Any) -> SupervisedEvaluator:
    scheduler = BMapDPMSolverScheduler(100, "cosine", BMap.from_attenuation(db=30.0), prediction_type="v_prediction")
    inferer = BMapDiffusionInferer(scheduler, conditioning="concat", noise_level_channel=True)
    return SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader(items, batch_size=batch_size),
        network=network,
        inferer=BMapSynthesisInferer(inferer, num_inference_steps=2, verbose=False),
        decollate=False,
        metric_cmp_fn=lambda current, best: current < best,
        **{"prepare_batch": SynthesisPrepareBatch(image_name=None), **options},
    )


@pytest.fixture(scope="module")
def network() -> nn.Module:
    from conftest import small_unet

    return small_unet(1 + LABELS + 2 + 1)


def evaluated(network: nn.Module, folder: Path, found: FrechetDistance, **report: Any) -> SupervisedEvaluator:
    metrics = {"frechet": found}
    handlers = [EvaluationReport(folder, metrics, provenance={"Steps": 2, "Weights": Path("model.pt")}, **report)]
    engine = evaluator(network, seeded(HELD_OUT, variants=2), key_val_metric=metrics, val_handlers=handlers)
    engine.run()
    return engine


@pytest.fixture(scope="module")
def whole(
    network: nn.Module, stem: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Mapping[str, float], FrechetDistance]:
    """The folder of a report, the engine's metrics and the metric, of two variants of three hearts."""
    folder = tmp_path_factory.mktemp("evaluated") / "new"
    found = metric(stem, real=HELD_OUT, training=TRAINING, output_transform=from_engine("pred"))
    numbers = {"denoising_loss": 0.25, "other": lambda: 2}
    return folder, evaluated(network, folder, found, numbers=numbers).state.metrics, found


def test_the_report_holds_every_number_of_the_engine(whole: tuple[Path, Any, FrechetDistance]) -> None:
    folder, metrics, found = whole
    measured = json.loads((folder / "evaluation.json").read_text())["measured"]
    assert {f"frechet_{row.key}" for row in found.details} | {"denoising_loss", "other"} == set(measured)
    values = {name: row["value"] for name, row in measured.items() if "value" in row}
    assert values == {name: metrics[name] for name in values}
    assert metrics["frechet"] == measured["frechet_max_pool_2"]["value"] > 0
    assert metrics["denoising_loss"] == 0.25


def test_variants_are_counted_and_real_images_only_once(whole: tuple[Path, Any, FrechetDistance]) -> None:
    measured = json.loads((whole[0] / "evaluation.json").read_text())["measured"]
    assert measured["frechet_max_pool_1"]["images"] == {"synthetic": 6, "real": 3}


def test_the_page_has_every_number_with_its_floor_beside_it(whole: tuple[Path, Any, FrechetDistance]) -> None:
    lines = (whole[0] / "evaluation.md").read_text().splitlines()
    row = whole[2].details[0]
    floor = next(other for other in whole[2].details if other.key == f"floor_{row.key}")
    assert row.interval is not None
    low, high = row.interval
    line = next(line for line in lines if line.startswith(f"| {row.name} |"))
    assert line.startswith(f"| {row.name} | {row.value:.4g} | {low:.4g} to {high:.4g} | {floor.value:.4g}")
    assert line.endswith("| 6 synthetic, 3 real |")
    assert "| denoising_loss | 0.25 |  |  |  |" in lines
    assert "* Weights: model.pt" in lines
    table = "".join(line for line in lines if line.startswith("|"))
    assert all(f"{row.value:.4g}" in table for row in whole[2].details if row.value is not None)


def test_the_sheet_shows_all_six_images_beside_their_labels_and_frames(
    whole: tuple[Path, Any, FrechetDistance],
) -> None:
    sheet = np.asarray(Image.open(whole[0] / "evaluation.png"))
    height, width = SHAPE
    assert sheet.shape == (2 * (height + 6), 5 * (3 * width + 6), 3)
    last = sheet[height + 6 :]  # the second row: the sixth image, of the third heart; the caption may reach down to it
    assert np.array_equal(last[4:height, width : 2 * width, 0], to_grey(HELD_OUT[2]["image"][0])[4:])
    assert np.array_equal(last[4:height, :width], colour_labels(HELD_OUT[2]["seg"])[4:])
    assert last[4:, 3 * width :].max() == 0


def drawn_by(network: nn.Module, items: Items, batch_size: int, **options: Any) -> torch.Tensor:
    engine, drawn = evaluator(network, items, batch_size, **options), []
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: drawn.append(engine.state.output["pred"]))
    engine.run()
    return torch.cat(drawn)


def test_every_image_has_its_own_seed_whatever_the_batches(network: nn.Module) -> None:
    same = seeded([HEARTS[0]], seed=3, variants=4)
    together, alone = drawn_by(network, same, 4), drawn_by(network, same, 1)
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)
    for k in range(3):
        assert float((together[k] - together[k + 1]).abs().max()) > 0.1


def test_what_is_drawn_does_not_depend_on_the_real_images(network: nn.Module) -> None:
    items = seeded(HELD_OUT)
    others = [{**item, "image": torch.zeros_like(item["image"])} for item in items]
    options = {"prepare_batch": SynthesisPrepareBatch(image_name=None, target_name="image")}
    assert torch.equal(drawn_by(network, items, 3, **options), drawn_by(network, others, 3, **options))


def test_real_images_can_come_with_the_batches_of_an_evaluator(network: nn.Module, stem: Path) -> None:
    of_batches = metric(stem, output_transform=from_engine(["pred", "label"]))
    of_set = metric(stem, real=HELD_OUT, output_transform=from_engine("pred"))
    engine = evaluator(
        network,
        seeded(HELD_OUT),
        key_val_metric={"of_batches": of_batches},
        additional_metrics={"of_set": of_set},
        prepare_batch=SynthesisPrepareBatch(image_name=None, target_name="image"),
    )
    engine.run()
    assert engine.state.metrics["of_batches"] == pytest.approx(engine.state.metrics["of_set"], **CLOSE)


def never(*_: object, **__: object) -> torch.Tensor:
    raise AssertionError("nothing was to be drawn")


def test_missing_weights_are_found_missing_before_anything_is_drawn(
    network: nn.Module, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = metric(tmp_path / ABSENT, real=HELD_OUT, output_transform=from_engine("pred"))
    engine = evaluator(network, seeded(HELD_OUT), key_val_metric={"frechet": found})
    engine.inferer = never
    with (
        caplog.at_level(logging.CRITICAL),
        pytest.raises(OSError, match=rf"no weights at .*{ABSENT}; give .*; or evaluate without .* required=False"),
    ):
        engine.run()


def test_an_evaluation_without_weights_ends_and_says_what_it_left_out(network: nn.Module, tmp_path: Path) -> None:
    found = metric(tmp_path / ABSENT, required=False, real=HELD_OUT, output_transform=from_engine("pred"))
    metrics = evaluated(network, tmp_path, found, numbers={"denoising_loss": 0.25}).state.metrics
    assert math.isnan(metrics["frechet"])
    measured = json.loads((tmp_path / "evaluation.json").read_text())["measured"]
    assert measured["denoising_loss"]["value"] == 0.25
    for key in ("frechet_max_pool_1", "frechet_max_pool_2"):
        assert "value" not in measured[key]
        assert f"no weights at {tmp_path / ABSENT}; give" in measured[key]["left_out"]
    assert "max-pool 2 (192 features) | left out: no weights at" in (tmp_path / "evaluation.md").read_text()
    assert (tmp_path / "evaluation.png").exists()


def test_a_number_that_cannot_be_had_costs_no_drawing(network: nn.Module, tmp_path: Path) -> None:
    for number, error in ((lambda: {}["val_loss"], KeyError), (math.nan, ValueError)):
        handlers = [EvaluationReport(tmp_path, {}, numbers={"denoising_loss": number})]
        engine = evaluator(network, seeded(HELD_OUT), val_handlers=handlers)
        engine.inferer = never
        engine.logger.setLevel(logging.CRITICAL)
        with pytest.raises(error, match=r"val_loss|denoising_loss must be a finite number"):
            engine.run()


@pytest.mark.skipif(not PUBLISHED.is_file(), reason="needs ../shared/weights (the folded FID Inception)")
def test_an_untrained_network_is_far_above_the_floor_of_the_published_inception(network: nn.Module) -> None:
    found = metric(PUBLISHED, real=HELD_OUT, training=TRAINING, output_transform=from_engine("pred"))
    engine = evaluator(network, seeded(HELD_OUT), key_val_metric={"frechet": found})
    engine.run()
    assert engine.state.metrics["frechet"] > 5 * engine.state.metrics["frechet_floor_max_pool_2"] > 0


def test_any_ignite_engine_can_be_measured(stem: Path) -> None:
    engine = Engine(lambda engine, batch: (batch, textures(2, seed=1)))
    metric(stem).attach(engine, "distance")
    state = engine.run([textures(2, seed=0), textures(2, seed=3)])
    assert {"distance", "distance_max_pool_1", "distance_max_pool_2"} <= set(state.metrics)
    assert state.metrics["distance"] == state.metrics["distance_max_pool_2"]


# The sheet


def numbered(count: int) -> torch.Tensor:
    """Images of one grey level each, their number."""
    return (torch.arange(count).reshape(-1, 1, 1, 1) / 127.5 - 1).expand(-1, 1, 24, 70)


def shown_in(sheet: Sheet, count: int) -> list[int]:
    for batch in numbered(count).split(4):
        sheet.add({}, batch)
    picture = sheet.picture()
    assert picture is not None
    # the last pixel of every cell, which the caption leaves alone: behind it is a rim of 6
    return np.asarray(picture)[23::30, 69::76, 0].flatten().tolist()


def test_a_sheet_is_spread_evenly_over_the_set() -> None:
    cells = shown_in(Sheet(expected=33, side=3), 33)
    assert cells == [0, 4, 8, 12, 16, 20, 24, 28, 32]


def test_a_short_set_is_shown_whole_and_the_rest_of_the_row_is_black() -> None:
    assert shown_in(Sheet(expected=5, side=3), 5) == [0, 1, 2, 3, 4, 0]


def test_a_sheet_of_no_image_is_none() -> None:
    assert Sheet(expected=5).picture() is None


def test_a_cell_shows_what_the_batch_has() -> None:
    seg = torch.zeros(1, LABELS + 2, 24, 70)
    captions = []
    for batch in ({}, {"image": numbered(1)}, {"seg": seg}, {"seg": seg, "image": numbered(1)}):
        sheet = Sheet(expected=1)
        sheet.add(batch, numbered(1))
        captions.append(sheet.caption())
    assert captions == ["synthetic", "real, synthetic", "labels, synthetic", "labels, real, synthetic"]

"""The downstream experiment: its cells, shares of patients, going on, and what the cells say together."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from ultrasound_phantoms import phantom_hearts

from monai_bmaps.data.split import split_of
from monai_bmaps.metrics.downstream import command as downstream
from monai_bmaps.metrics.downstream import running
from monai_bmaps.metrics.downstream.measuring import findings_of, measure_downstream
from monai_bmaps.metrics.downstream.plan import Cell, Plan, share_of_patients
from monai_bmaps.metrics.downstream.report import write_report
from monai_bmaps.metrics.downstream.results import CellResult
from monai_bmaps.metrics.downstream.running import run_cells
from monai_bmaps.metrics.images.image_set import ImageSet
from monai_bmaps.metrics.segmentation.segmenter import SegmenterSettings

QUICK = Plan(shares=(0.5, 1.0), seeds=(0, 1), settings=SegmenterSettings(channels=(4, 8), iterations=3, batch_size=2))
KEYS = ("left_ventricle_cavity", "myocardium", "left_atrium")


@pytest.fixture(scope="module")
def sets() -> tuple[ImageSet, ImageSet, ImageSet]:
    """Held out, synthetic (drawn for training patients), training."""
    synthetic = phantom_hearts("synthetic", range(200, 206))
    return (
        phantom_hearts("real", range(100, 106)),
        replace(synthetic, groups=tuple(f"patient_{k // 2}" for k in range(6))),
        phantom_hearts("training", range(8)),
    )


# the plan


def test_synthetic_images_alone_have_no_share_of_the_real_ones() -> None:
    assert [cell.name for cell in Plan(seeds=(4,)).cells()] == [
        "real_0.1_seed4",
        "real_1_seed4",
        "synthetic_0_seed4",
        "both_0.1_seed4",
        "both_1_seed4",
    ]


def test_three_seeds_are_the_default() -> None:
    assert len(Plan().cells()) == 15


@pytest.mark.parametrize(
    "wrong", [{"shares": (0.0,)}, {"shares": (1.5,)}, {"seeds": ()}, {"seeds": (1, 1)}, {"arms": ("fake",)}]
)
def test_a_plan_that_means_nothing_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Plan(**wrong)


# shares


def test_smaller_shares_are_within_larger_ones(sets: tuple[ImageSet, ImageSet, ImageSet]) -> None:
    training = phantom_hearts("training", range(8))
    for seed in range(5):
        names = [set(share_of_patients(training, share, seed).names) for share in (0.1, 0.5, 0.75, 1.0)]
        assert names[0] < names[1] < names[2] < names[3] == set(training.names)


def test_a_patient_is_in_a_share_with_every_frame(sets: tuple[ImageSet, ImageSet, ImageSet]) -> None:
    half = share_of_patients(sets[2], 0.5, 0)
    assert len(half) == 4
    assert len(set(half.groups)) == 2


def test_seeds_choose_other_patients(sets: tuple[ImageSet, ImageSet, ImageSet]) -> None:
    assert len({share_of_patients(sets[2], 0.25, seed).groups for seed in range(8)}) > 1


def test_the_smallest_share_is_one_patient(sets: tuple[ImageSet, ImageSet, ImageSet]) -> None:
    assert len(set(share_of_patients(sets[2], 0.001, 0).groups)) == 1


# cells


@pytest.fixture(scope="module")
def run(sets: tuple[ImageSet, ImageSet, ImageSet], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("downstream")
    run_cells(*sets, folder, plan=QUICK)
    return folder


def test_every_cell_leaves_what_it_found(run: Path) -> None:
    assert {path.stem for path in (run / "cells").iterdir()} == {cell.name for cell in QUICK.cells()}
    cell = json.loads((run / "cells" / "both_0.5_seed1.json").read_text())
    assert cell["counts"] == {"training": 4, "synthetic": 6}
    assert len(cell["dice"]) == 6


def test_finished_cells_are_not_trained_again(
    run: Path, sets: tuple[ImageSet, ImageSet, ImageSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [result.to_dict() for result in run_cells(*sets, run, plan=QUICK)]
    gone = run / "cells" / "synthetic_0_seed0.json"
    gone.unlink()
    trained = []
    train = running.train_segmenter

    def counted(*given: object, **options: object) -> object:
        trained.append(options["description"])
        return train(*given, **options)

    monkeypatch.setattr(running, "train_segmenter", counted)
    results = [{**result.to_dict(), "seconds": 0} for result in run_cells(*sets, run, plan=QUICK)]
    assert len(trained) == 1
    assert results == [{**result, "seconds": 0} for result in expected]


def test_cells_of_other_data_are_not_taken_for_these(run: Path, sets: tuple[ImageSet, ImageSet, ImageSet]) -> None:
    real, synthetic, training = sets
    other = replace(synthetic, images=synthetic.images * 0.9)
    with pytest.raises(ValueError, match="other data or settings; choose another folder"):
        run_cells(real, other, training, run, plan=QUICK)


def test_arms_of_one_seed_share_their_patients(run: Path, sets: tuple[ImageSet, ImageSet, ImageSet]) -> None:
    real, _ = (running._frames(Cell(arm, 0.5, 1), *sets[1:])[0] for arm in ("real", "both"))
    both, _, _ = running._frames(Cell("both", 0.5, 1), *sets[1:])
    assert torch.equal(both[: len(real)], real)


# what they say


def result(arm: str, share: float, seed: int, dice: float) -> CellResult:
    """Dice of patient p: ``dice + p / 100``; distances ten times what is missing."""
    values = (dice + torch.arange(3).repeat_interleave(2) / 100)[:, None].expand(6, 3).double()
    return CellResult(arm, share, seed, {"training": 4}, 1.0, values, 10 * (1 - values), "pixels")


def test_means_spreads_and_paired_gains_are_what_they_are_called(sets: tuple[ImageSet, ImageSet, ImageSet]) -> None:
    cells = [result("real", 1.0, 0, 0.5), result("real", 1.0, 1, 0.6)]
    cells += [result("both", 1.0, 0, 0.55), result("both", 1.0, 1, 0.67)]
    rows = {row.key: row for row in findings_of(cells, sets[0]).rows}
    assert rows["dice_real_1"].value == pytest.approx(0.56)
    assert rows["dice_real_1_seeds"].value == pytest.approx(0.1 / 2**0.5)
    assert rows["dice_both_1_myocardium"].value == pytest.approx(0.62)
    assert rows["hausdorff_real_1"].value == pytest.approx(4.4)
    assert rows["gain_dice_1"].value == pytest.approx(0.06)
    assert rows["gain_dice_1_seeds"].value == pytest.approx(0.02 / 2**0.5)
    # the same for every patient: paired, so that how patients differ does not blur it
    assert rows["gain_dice_1"].interval == pytest.approx((0.06, 0.06))
    assert rows["gain_hausdorff_1_left_atrium"].value == pytest.approx(-0.6)


def test_a_gain_takes_the_seeds_that_both_arms_have(sets: tuple[ImageSet, ImageSet, ImageSet]) -> None:
    cells = [result("real", 1.0, 0, 0.5), result("real", 1.0, 1, 0.9), result("both", 1.0, 0, 0.6)]
    rows = {row.key: row for row in findings_of(cells, sets[0]).rows}
    assert rows["gain_dice_1"].value == pytest.approx(0.1)
    assert "gain_dice_1_seeds" not in rows


def test_what_a_cell_found_survives_its_file() -> None:
    values = torch.tensor([[0.5, torch.nan, 0.25]], dtype=torch.float64)
    cell = CellResult("both", 0.1, 2, {"training": 3}, 4.5, values, values, "mm")
    again = CellResult.from_dict(json.loads(json.dumps(cell.to_dict(), allow_nan=False)))
    torch.testing.assert_close(again.dice, values, equal_nan=True)
    assert again.to_dict() == cell.to_dict()


def test_the_report_names_every_setting_and_gain(
    run: Path, sets: tuple[ImageSet, ImageSet, ImageSet], tmp_path: Path
) -> None:
    write_report(run_cells(*sets, run, plan=QUICK), sets[0], {"seeds": [0, 1]}, tmp_path)
    page = (tmp_path / "report.md").read_text()
    for name in (
        "real only, 50% of the real patients",
        "synthetic only",
        "real + synthetic minus real only, 100%",
        "left atrium",
    ):
        assert name in page
    content = json.loads((tmp_path / "report.json").read_text())
    assert {f"gain_dice_0_5_{key}" for key in KEYS} < set(content["measured"])
    assert len(content["cells"]) == 10
    with Image.open(tmp_path / "downstream.png") as picture:
        assert picture.width > 600


def test_findings_hold_numbers_for_every_arm(run: Path, sets: tuple[ImageSet, ImageSet, ImageSet]) -> None:
    rows = {row.key: row for row in measure_downstream(*sets, run, plan=QUICK).rows}
    assert {"dice_real_0_5", "dice_synthetic", "dice_both_1", "hausdorff_both_1", "gain_dice_1"} < set(rows)
    assert rows["dice_both_1"].counts == {"training": 8, "synthetic": 6, "real": 6, "seeds": 2}


# the command


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A data set of 4 patients, and synthetic images for the label maps of its training patients."""
    root = tmp_path_factory.mktemp("folders")
    hearts = phantom_hearts("real", range(8))
    for row, group in enumerate(hearts.groups):
        name = f"{group}_{row % 2}.png"
        maps = {"images": hearts.images[row, 0] * 255, "labels": hearts.labels[row], "sectors": hearts.inside[row]}
        if split_of("hearts", group) == "training":
            maps["drawn"] = maps["images"].flip(0)
        for kind, values in maps.items():
            folder = root / ("drawn" if kind == "drawn" else f"data/{kind}")
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values.to(torch.uint8).numpy()).save(folder / name)
    return root / "data", root / "drawn"


def command(data: Path, drawn: Path, output: Path) -> None:
    parser = argparse.ArgumentParser()
    downstream.add_arguments(parser)
    options = "--source hearts --group-pattern patient_[0-9]+ --size 32 48 --shares 1 --seeds 0 --iterations 2 "
    sets = ["--real", str(data), "--synthetic", str(drawn), "--output", str(output)]
    downstream.run(parser.parse_args([*sets, *options.split(), "--classes", "cavity", "muscle", "atrium"]))


def test_the_command_reads_folders_and_writes_a_report(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command(*folders, tmp_path)
    assert "wrote report.md, report.json and downstream.png" in capsys.readouterr().out
    content = json.loads((tmp_path / "report.json").read_text())
    measured = content["measured"]["dice_both_1"]
    assert measured["images"] == {"training": 6, "synthetic": 6, "real": 2, "seeds": 1}
    assert content["plan"]["settings"]["iterations"] == 2


# bad input


def test_what_cannot_be_compared_is_left_out_with_the_reason(
    sets: tuple[ImageSet, ImageSet, ImageSet], tmp_path: Path
) -> None:
    real, synthetic, training = sets
    cases = {
        "give the answers away": (real, replace(synthetic, groups=real.groups), training),
        "the synthetic images have no label maps": (real, replace(synthetic, labels=None), training),
        "have the classes a, b, c": (real, replace(synthetic, classes=("a", "b", "c")), training),
        "divide them by patient": (replace(real, groups=training.groups[:6]), replace(synthetic, groups=()), training),
    }
    for reason, given in cases.items():
        (row,) = measure_downstream(*given, tmp_path, plan=QUICK).rows
        assert reason in (row.left_out or "")
    assert list(tmp_path.iterdir()) == []

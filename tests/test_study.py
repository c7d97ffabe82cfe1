"""The study: its cells, the commands they take, and what it reads out of their reports."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from bundle_data import ROOT

from benchmarks import study
from benchmarks.study import CELLS, Cell, commands, row, table

REPORT = {
    "families": {
        "frechet": {"measured": {"max_pool_1": {"value": 0.0235, "interval_95": [0.009, 0.049], "name": "n"}}},
        "pairs": {"measured": {"lpips": {"left_out": "no weights", "name": "LPIPS"}}},
    }
}


def chosen(tmp_path: Path, **changes: str | Path | None) -> argparse.Namespace:
    given = {"heart": tmp_path / "data", "thyroid": None, "convex": None, "output": tmp_path, "stem": None}
    return argparse.Namespace(**{**given, "lpips": None, "only": None, **changes})


def test_every_cell_has_a_name_of_its_own_and_the_floor_of_the_study_is_there() -> None:
    names = [cell.name for cell in CELLS]
    assert len(set(names)) == len(names)
    heart = {(cell.b_map, cell.prediction, cell.seed) for cell in CELLS if cell.data == "heart" and not cell.spade}
    maps = ("none", "authors_code", "paper", "physical")
    assert heart == {(b, p, 0) for b in maps for p in ("v_prediction", "epsilon")} | {
        (b, "v_prediction", 1) for b in maps
    }
    assert {(c.b_map, c.seed) for c in CELLS if c.data == "thyroid" and not c.spade} == {
        (b, s) for b in ("none", "physical") for s in (0, 1)
    }


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_the_configurations_of_every_cell_are_there_in_the_order_they_need(cell: Cell) -> None:
    names = cell.configs(["train"]).strip("[]").replace("'", "").split(",")
    assert all((ROOT / "bundles" / study.BUNDLES[cell.data] / name).is_file() for name in names)
    order = ["train", "spade", "small", "baseline"]
    positions = [order.index(Path(name).stem) for name in names]
    assert positions == sorted(positions)


def test_training_and_drawing_get_the_same_process_and_seed(tmp_path: Path) -> None:
    cell = Cell("heart", "paper", "epsilon", seed=1)
    train, draw, compare = (command for _, _, command in commands(cell, chosen(tmp_path)))
    assert cell.options() == train[-len(cell.options()) :] == draw[-len(cell.options()) :]
    assert cell.options()[:4] == ["--seed", "1", "--num_train_timesteps", "2000"]
    assert "--stem" not in compare
    assert "--crop-to-beam" not in compare


def test_files_of_weights_and_cropping_reach_the_comparison(tmp_path: Path) -> None:
    given = chosen(tmp_path, thyroid=tmp_path, stem="stem.npz", lpips="alex.npz")
    *_, (_, _, compare) = commands(Cell("thyroid", "none"), given)
    assert compare[-5:] == ["--crop-to-beam", "--stem", "stem.npz", "--lpips", "alex.npz"]


def test_what_is_done_is_not_run_again_and_a_failure_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[list[str]] = []

    def failing(command: list[str], **_: object) -> argparse.Namespace:
        ran.append(command)
        return argparse.Namespace(returncode=1)

    monkeypatch.setattr(study.subprocess, "run", failing)
    cell = CELLS[0]
    (tmp_path / cell.name).mkdir()
    (tmp_path / cell.name / "model.pt").touch()
    assert not study.run_cell(cell, chosen(tmp_path))
    assert len(ran) == 1
    assert "configs/inference.json" in " ".join(ran[0])
    assert "overview.log" in capsys.readouterr().err


def test_the_table_shows_numbers_and_leaves_out_what_a_report_lacks(tmp_path: Path) -> None:
    found = row(REPORT)
    assert found["max-pool 1"] == {"value": 0.0235, "interval_95": [0.009, 0.049]}
    assert table({"cell": found})[-1] == "| cell | 0.0235 |" + " - |" * (len(study.MEASURES) - 1)
    path = tmp_path / CELLS[0].name / "report" / "report.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(REPORT))
    study.write_summary(tmp_path, CELLS)
    assert list(json.loads((tmp_path / "study.json").read_text())) == [CELLS[0].name]


def test_a_study_without_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        study.main(["--output", str(tmp_path)])

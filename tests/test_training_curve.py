"""Frechet distance against training: which weights a cell kept, and the curve of a phantom's training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from study_phantoms import ITERATIONS, finished, prepared_hearts, random_stem, tiny

from benchmarks import training_curve
from benchmarks.study import CELLS
from benchmarks.training_curve import LINES, STYLES, snapshots

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")  # MONAI's notice on every config


def test_weights_along_the_way_come_in_order_and_end_with_the_final_ones(tmp_path: Path) -> None:
    for iteration in (1040, 520, ITERATIONS):
        (tmp_path / f"weights_{iteration:06d}.pt").touch()
    assert snapshots(tmp_path) == {}  # still in training
    (tmp_path / "model.json").write_text(json.dumps({"training": {"iterations": 1040}}))
    found = snapshots(tmp_path)
    assert {key: path.name for key, path in found.items()} == {
        ITERATIONS: f"weights_{ITERATIONS:06d}.pt",
        520: "weights_000520.pt",
        1040: "model.pt",
    }
    assert [*found] == sorted(found)


def test_every_cell_of_the_study_has_a_line() -> None:
    assert all(cell.b_map in STYLES and (cell.prediction, cell.seed) in LINES for cell in CELLS)


def test_a_curve_has_a_point_for_every_kept_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = prepared_hearts(tmp_path / "hearts")
    cell = next(cell for cell in CELLS if cell.name == "heart_physical_v_0")
    folder = finished(tmp_path / "runs" / cell.name, tiny(cell, data))
    other = finished(tmp_path / "other", tiny(cell, data), seed=3)
    shutil.copy(other / "model.pt", folder / "weights_000002.pt")
    monkeypatch.setattr(training_curve, "parsed", tiny)
    given = {"--runs": tmp_path / "runs", "--heart": data, "--output": tmp_path / "out"}
    stem = random_stem(tmp_path / "stem.npz")
    arguments = [str(part) for pair in {**given, "--stem": stem}.items() for part in pair]
    assert training_curve.main(arguments) == 0
    found = json.loads((tmp_path / "out" / "training_curve.json").read_text())["heart"]
    rows = found["cells"][cell.name]
    assert [*rows] == ["2", str(ITERATIONS)]
    assert rows["2"]["max_pool_2"] != rows[str(ITERATIONS)]["max_pool_2"]
    assert found["floors"]["max_pool_2"]["training_frames"] == 5
    assert (tmp_path / "out" / "training_curve.png").is_file()


def test_nothing_to_draw_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        training_curve.main(["--runs", str(tmp_path), "--heart", str(tmp_path), "--output", str(tmp_path)])
    assert "no cell of these data sets is done" in capsys.readouterr().err

"""The experiment on residual noise: its doses, its differences, and the whole of it on phantoms."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from study_phantoms import finished, prepared_hearts, random_stem, tiny

from benchmarks import residual_noise
from benchmarks.judge import rounded
from benchmarks.residual_noise import RUNS, differences, dose_of, early_ends
from benchmarks.study import CELLS, Cell

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")  # MONAI's notice on every config


def test_a_dose_is_read_off_a_curve_and_unknown_beyond_its_ends() -> None:
    curve = {f"{dose:g}": {"max_pool_1": math.exp(dose / 5)} for dose in (0, 5, 10, 30)}
    assert dose_of(curve, math.exp(7 / 5)) == pytest.approx(7)
    assert dose_of(curve, math.exp(6)) == pytest.approx(30)
    assert math.isnan(dose_of(curve, 0.9))
    assert math.isnan(dose_of(curve, math.exp(6.1)))


def test_an_early_end_leaves_the_noise_of_the_cosine_schedule() -> None:
    cosine = [math.cos((x / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for x in (0, 21)]
    assert early_ends()["20"] == pytest.approx(127.5 * math.sqrt(1 - cosine[1] / cosine[0]), rel=1e-6)


def test_a_difference_is_positive_where_models_without_b_maps_are_farther_away() -> None:
    plain, mapped = Cell("heart", "none"), Cell("heart", "physical")
    found = {cell.name: {run: {"max_pool_1": value} for run in RUNS} for cell, value in ((plain, 0.5), (mapped, 0.2))}
    noise = np.linspace(-0.1, 0.1, 41)
    samples = {cell.name: dict.fromkeys(RUNS, value + noise) for cell, value in ((plain, 0.5), (mapped, 0.2))}
    pair = differences(found, samples, [plain, mapped, Cell("heart", "none", "epsilon")])
    assert list(pair) == ["heart_v_0"]
    row = pair["heart_v_0"]["2M 20"]
    assert row["value"] == pytest.approx(0.3)
    assert row["interval_95"] == pytest.approx((0.3, 0.3))  # what both have in common cancels


def test_the_report_has_four_digits_and_nothing_that_is_not_json() -> None:
    assert rounded({"a": [0.123456, math.nan], "b": (3, "c")}) == {"a": [0.1235, None], "b": [3, "c"]}


def test_the_whole_experiment_runs_on_phantoms_and_again_without_drawing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, runs = prepared_hearts(tmp_path / "hearts"), tmp_path / "runs"
    for name in ("heart_none_v_0", "heart_physical_v_0"):
        cell = next(cell for cell in CELLS if cell.name == name)
        finished(runs / name, tiny(cell, data))
    monkeypatch.setattr(residual_noise, "parsed", tiny)
    short = {"2M 20": ("model.pt", "ode:2", True), "raw": ("checkpoint.pt", "ancestral:2", False)}
    monkeypatch.setattr(residual_noise, "RUNS", short)
    doses = {name: (fault, 24, (0, 3)) for name, (fault, _, given) in residual_noise.DOSES.items()}
    monkeypatch.setattr(residual_noise, "DOSES", doses)
    stem = random_stem(tmp_path / "stem.npz")
    arguments = ["--runs", runs, "--heart", data, "--output", tmp_path / "out", "--stem", stem]
    assert residual_noise.main([*map(str, arguments)]) == 0
    report = (tmp_path / "out" / "residual_noise.json").read_text()
    found = json.loads(report)
    assert found["images"] == 3
    assert [*found["cells"]["heart_physical_v_0"]] == [*short]
    assert found["floors"]["max_pool_1"]["training_frames"] == 5
    table = (tmp_path / "out" / "residual_noise.md").read_text()
    assert "| heart_none_v_0 | raw |" in table
    assert (tmp_path / "out" / "residual_noise.png").is_file()
    with Image.open(tmp_path / "out" / "drawn.png") as picture:
        assert picture.mode == "L"
    monkeypatch.setattr("benchmarks.study_drawing.network_of", None)  # called, it would raise
    assert residual_noise.main([*map(str, arguments)]) == 0
    assert (tmp_path / "out" / "residual_noise.json").read_text() == report

"""Benchmarks: what they report, that a missing reference is loud, and that exact figures are what the laws say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import exact_denoiser, run, schedule
from benchmarks.dense_tables import dense_tables
from benchmarks.exact_law import Setting, covariance_of, error
from benchmarks.growth import exponent
from benchmarks.plain_samplers import ancestral_covariance, uniform, unipc_covariance
from benchmarks.report import QUALITY, Row, document, table
from benchmarks.timing import Timings, compared, interleaved

ROW = Row("building", "2 ms", "6 s", "3000 x faster", "one thread")
SETTING = Setting(200, 10.0)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


# Reporting


def test_the_table_has_a_line_for_every_figure_and_section() -> None:
    lines = table({"Schedule": [ROW, ROW], "Growth": [ROW]}).splitlines()
    assert cells(lines[0]) == ["what", "ours", "reference", "ratio", "how"]
    assert set(lines[1]) == set("|- ")
    assert [cells(line)[0] for line in lines[2:]] == ["**Schedule**", "building", "building", "**Growth**", "building"]
    assert cells(lines[3]) == ["building", "2 ms", "6 s", "3000 x faster", "one thread"]
    assert all(len(cells(line)) == 5 for line in lines)


@pytest.mark.parametrize("figure", ["", "nan ms", "inf s", "-inf"])
@pytest.mark.parametrize("column", ["ours", "reference", "ratio"])
def test_a_row_without_a_figure_is_refused(column: str, figure: str) -> None:
    with pytest.raises(ValueError, match=f"the {column} of 'building'"):
        Row(**{**vars(ROW), column: figure})


def test_the_document_says_where_quality_will_come_from_until_it_is_measured(tmp_path: Path) -> None:
    assert "make bench-quality" in document({"Schedule": [ROW]}, ["a processor"], tmp_path)
    assert "![" not in document({"Schedule": [ROW]}, ["a processor"], tmp_path)


def test_the_document_shows_every_quality_run_with_its_interval(tmp_path: Path) -> None:
    found = {
        "samples": 200,
        "held_out_frames": 61,
        "distances_at": ["max-pool 1", "max-pool 2"],
        "training_frames_against_held_out": [0.0035, 0.043],
        "reference": "ancestral:1000",
        "runs": {
            "ode:20": {
                "distance": [0.05, 0.25],
                "interval": [[0.04, 0.07], [0.2, 0.3]],
                "minus_reference_interval": [[-0.01, 0.02], [-0.03, 0.04]],
            },
            "ancestral:1000": {
                "distance": [0.06, 0.3],
                "interval": [[0.05, 0.08], [0.2, 0.4]],
            },
        },
    }
    (tmp_path / QUALITY).write_text(json.dumps(found))
    page = document({}, [], tmp_path)
    assert "| ode:20 | 0.05 / 0.25 | 0.04 to 0.07 / 0.2 to 0.3 | -0.01 to 0.02 / -0.03 to 0.04 |" in page
    assert "| ancestral:1000 | 0.06 / 0.3 |" in page
    assert "0.0035 / 0.043" in page
    assert "(benchmark_quality.png)" in page


# Failing loudly


def load(name: str) -> run.Benchmark:
    def rows() -> list[Row]:
        if name == "growth":
            raise RuntimeError("MONAI ddim could not run: no such thing")
        return [ROW]

    return rows


def test_a_benchmark_that_fails_is_named_and_the_others_run() -> None:
    sections, failures = run.measured(["schedule", "growth", "overhead"], load)
    assert list(sections) == [run.TITLES["schedule"], run.TITLES["overhead"]]
    assert failures == ["growth: MONAI ddim could not run: no such thing"]


def test_a_failure_ends_with_a_status_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "benchmark", load)
    assert run.main(["--output", str(tmp_path / "page.md")]) == 1
    assert not (tmp_path / "page.md").exists()
    assert "growth: MONAI ddim could not run" in capsys.readouterr().err


def test_a_run_without_failure_writes_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "benchmark", lambda name: lambda: [ROW])
    assert run.main(["--output", str(tmp_path / "page.md")]) == 0
    page = (tmp_path / "page.md").read_text()
    assert all(f"**{title}**" in page for title in run.TITLES.values())
    assert f"torch {torch.__version__}" in page


def test_a_page_of_some_benchmarks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        run.main(["--only", "growth", "--output", str(tmp_path / "page.md")])


@pytest.mark.parametrize("name", run.TITLES)
def test_every_benchmark_can_be_loaded(name: str) -> None:
    assert callable(run.benchmark(name))


# Timing


def test_what_is_compared_takes_turns_and_changes_order() -> None:
    order: list[str] = []
    interleaved({name: lambda name=name: order.append(name) for name in "ab"}, rounds=3)  # type: ignore[misc]
    assert "".join(order) == "ab" + "ab" + "ba" + "ab"


def test_a_call_that_cannot_run_is_named() -> None:
    with pytest.raises(RuntimeError, match="MONAI could not run: division by zero"):
        interleaved({"ours": lambda: 1, "MONAI": lambda: 1 / 0}, rounds=2)


def test_a_ratio_is_the_median_of_ratios_within_rounds() -> None:
    """A machine twice as slow in one round slows both, and the ratio does not see it."""
    timings = Timings({"ours": (1.0, 20.0, 3.0), "MONAI": (2.0, 40.0, 6.0)})
    row = compared("step", timings, "ours", "MONAI", "how", scale=0.5)
    assert (row.ours, row.reference, row.ratio) == ("1.5 s", "3 s", "0.5 x the time")
    assert timings.quartiles("ours", "MONAI") == (0.5, 0.5)


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_the_exponent_of_a_power_law_is_found(power: float) -> None:
    sizes = [64, 96, 128, 256]
    assert exponent(sizes, [3e-3 * size**power for size in sizes]) == pytest.approx(power, abs=1e-12)


# References


def test_dense_tables_are_the_papers_definition() -> None:
    tables = dense_tables(5, 0.9, torch.tensor([[0.0, 0.5, 1.0]]))
    assert tables["maps"][:, 0, 2].tolist() == pytest.approx([1 - 0.1 * (t / 4) ** 0.5 for t in range(5)])
    assert tables["product"][2, 0].tolist() == pytest.approx(tables["maps"][:3].prod(0)[0].tolist())
    assert torch.equal(tables["product_before"][1:], tables["product"][:-1])
    assert torch.equal(tables["product_after"][:-1], tables["product"][1:])
    assert torch.allclose(tables["root"] * tables["inverse_root"], torch.ones(5, 1, 3))
    assert {x.dtype for x in tables.values()} == {torch.float32}


def test_the_benchmarks_schedule_is_the_reference_and_another_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    depth = schedule.sector(32)
    schedule.check(1000, depth)
    monkeypatch.setattr(schedule, "PAPER", schedule.SHIPPED)
    with pytest.raises(RuntimeError, match="one is wrong"):
        schedule.check(1000, depth)


def test_an_exact_draw_has_no_error_and_a_wider_one_has() -> None:
    """The Frechet distance of a covariance and k times it is ``(sqrt(k) - 1)^2`` of the trace."""
    wanted = covariance_of(1.0)
    assert error(SETTING, wanted) == pytest.approx(0.0, abs=1e-9)
    assert error(SETTING, 4.0 * wanted) == pytest.approx(1.0)


@pytest.mark.parametrize("nats", [0.0, 10.0])
def test_the_plain_ancestral_recursion_is_the_packages_ancestral_sampler(nats: float) -> None:
    setting = Setting(200, nats)
    for count in (30, 200):
        ours = exact_denoiser.error_of("ancestral", "uniform", setting, count)
        assert ours == pytest.approx(exact_denoiser.ancestral_error(setting, count), rel=1e-6)


def test_an_ancestral_reference_that_differs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_denoiser, "ancestral_error", lambda setting, count: 1.0)
    monkeypatch.setattr(exact_denoiser, "error_of", lambda *_: 1.1)
    with pytest.raises(RuntimeError, match="one is wrong"):
        exact_denoiser.check()


@pytest.mark.parametrize("nats", [0.0, 10.0])
def test_many_ancestral_steps_draw_the_law(nats: float) -> None:
    found = [error(Setting(T, nats), ancestral_covariance(Setting(T, nats), uniform(T, T))) for T in (100, 1000)]
    assert found[1] < 1e-4
    assert found[1] < found[0] / 20


def test_unipc_and_2m_end_in_the_same_place() -> None:
    """Both solve one ODE: with many steps they agree, though their formulas share nothing."""
    setting = Setting(4000, 10.0)
    steps = exact_denoiser.l2_steps(setting, 400)
    scheduler = exact_denoiser.BMapDPMSolverScheduler(
        4000, "cosine", exact_denoiser.BMap.from_attenuation(nats=10.0), clip_sample=False
    )
    scheduler.set_timesteps(400)
    ours = exact_denoiser.sampled_covariance(scheduler, setting)
    np.testing.assert_allclose(unipc_covariance(setting, steps), ours, atol=2e-4)


def test_unipc_corrects_to_a_higher_order_than_2m() -> None:
    """Errors of covariances at 20 and 40 of many steps: of second order four times smaller, of third eight."""
    setting = Setting(4000, 0.0)
    limit = unipc_covariance(setting, exact_denoiser.l2_steps(setting, 640))
    first, second = (
        np.abs(unipc_covariance(setting, exact_denoiser.l2_steps(setting, count)) - limit).max() for count in (20, 40)
    )
    assert first / second > 5.5


@pytest.mark.parametrize(("nats", "count"), [(0.0, 20), (3.3, 20), (10.0, 20), (20.0, 20), (40.0, 25)])
def test_few_steps_of_2m_stay_far_below_what_a_network_leaves(nats: float, count: int) -> None:
    assert exact_denoiser.error_of("ode", "l2", Setting(1000, nats), count) < 3e-4


def test_a_last_step_of_first_order_helps_few_steps_without_a_map_and_hurts_fewer_with_a_strong_one() -> None:
    first, second = (
        [
            exact_denoiser.error_of("ode", "l2", Setting(1000, nats), count, lowered)
            for nats, count in ((0.0, 8), (40.0, 6))
        ]
        for lowered in (True, False)
    )
    assert first[0] < 0.5 * second[0]
    assert first[1] > 2 * second[1]


@pytest.mark.parametrize(("allowed", "expected"), [(1 / 7, 7), (1 / 40, 40), (2.0, 2), (1e-9, None)])
def test_the_fewest_evaluations_are_found(allowed: float, expected: int | None) -> None:
    assert exact_denoiser.needed(lambda count: 1 / count, allowed * 1.0001, 1000) == expected

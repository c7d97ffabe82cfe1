"""Tables and figure of benchmarks/residual_noise.py, from its JSON alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from monai_bmaps.figures.grid import plotting, save
from monai_bmaps.metrics.findings import BLUE, GREEN, GREY, ORANGE

PAPER = {"with B-maps": 0.2, "without": 3.6}
"""Frechet distances of Dominguez et al. 2024 for CAMUS at the first max-pool."""
PURPLE = "#CC79A7"
"""Okabe and Ito's reddish purple."""
CURVES = {
    "white noise, 64 x 64": (BLUE, "-", "o"),
    "noise growing with depth, 64 x 64": (GREEN, "--", "s"),
    "white noise, 128 x 128": (ORANGE, ":", "^"),
    "white noise, also outside, 128 x 128": (PURPLE, "-.", "D"),
}
MEASURES = {
    "finest_band": "finest band",
    "finest_band_of_the_noisiest_tenth": "of the noisiest tenth",
    "spread_in_blood": "spread in blood",
    "level_inside": "level inside",
    "level_outside": "outside",
}
"""Columns of direct measures, in grey levels."""
MODELS = {"none": ("no B-map", ORANGE, "o"), "physical": ("physical", BLUE, "s")}
PREDICTIONS = {"v": "v-prediction", "epsilon": "epsilon"}


def tables(found: Mapping[str, Any]) -> list[str]:
    """Markdown tables of doses and of models."""
    return [*_doses(found), "", *_models(found), "", *_differences(found), "", *_filters(found)]


def _doses(found: Mapping[str, Any]) -> Iterator[str]:
    yield "| planted in real frames | " + " | ".join(f"dose that gives {value:g}" for value in PAPER.values()) + " |"
    yield "|---|" + "---|" * len(PAPER)
    for name, doses in found["dose_of_the_papers"].items():
        yield f"| {name} | " + " | ".join(_number(doses[str(value)]) for value in PAPER.values()) + " |"


def _models(found: Mapping[str, Any]) -> Iterator[str]:
    yield (
        "| cell | drawn by | max-pool 1 | as much as white noise of | max-pool 2 | "
        + " | ".join(MEASURES.values())
        + " |"
    )
    yield "|---" * (5 + len(MEASURES)) + "|"
    for cell, runs in found["cells"].items():
        for run, row in runs.items():
            low, high = row["interval_95"]
            shown = " | ".join(_number(row[key]) for key in ("equal_white_noise", "max_pool_2", *MEASURES))
            yield f"| {cell} | {run} | {row['max_pool_1']:.3g} ({low:.3g} to {high:.3g}) | {shown} |"
    noise = " | ".join(_number(found["real_frames"][key]) for key in MEASURES)
    yield f"| *real frames* | | | | | {noise} |"


def _differences(found: Mapping[str, Any]) -> Iterator[str]:
    yield "| without minus with B-map | drawn by | max-pool 1 |"
    yield "|---|---|---|"
    for name, runs in found["without_minus_with"].items():
        for run, row in runs.items():
            low, high = row["interval_95"]
            yield f"| {name} | {run} | {row['value']:.3g} ({low:.3g} to {high:.3g}) |"


def _filters(found: Mapping[str, Any]) -> Iterator[str]:
    yield "| not blackened outside the beam | drawn by | max-pool 1 |"
    yield "|---|---|---|"
    for cell, runs in found["cells"].items():
        for run, row in runs.items():
            if "not_blackened_max_pool_1" in row:
                yield f"| {cell} | {run} | {row['not_blackened_max_pool_1']:.3g} |"
    yield ""
    yield "| filtered | drawn by | filter | before | to real frames | to filtered real frames |"
    yield "|---" * 6 + "|"
    for cell, runs in found["cells"].items():
        for run, row in runs.items():
            yield from _filter_rows(cell, run, row["max_pool_1"], row.get("filtered", {}))
    undosed = found["doses"]["white noise, 64 x 64"]["0"]["max_pool_1"]
    yield from _filter_rows("*real training frames*", "", undosed, found["filtered_training_frames"])


def _filter_rows(cell: str, run: str, before: float, rows: Mapping[str, Any]) -> Iterator[str]:
    for name, row in rows.items():
        yield f"| {cell} | {run} | {name} | " + " | ".join(map(_number, (before, *row.values()))) + " |"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def draw_findings(found: Mapping[str, Any], path: Path) -> None:
    """Draw doses against distances beside the distances of models."""
    pyplot = plotting()
    figure = pyplot.figure(figsize=(12.5, 4.6), layout="constrained")
    axes = figure.subplots(1, 3, width_ratios=(1.25, 1, 1))
    _draw_doses(axes[0], found)
    for axis, (short, title) in zip(axes[1:], PREDICTIONS.items(), strict=True):
        _draw_models(axis, found, short)
        axis.set_title(title, fontsize=10)
    axes[2].tick_params(labelleft=False)
    save(figure, path)


def _draw_doses(axis: Any, found: Mapping[str, Any]) -> None:
    for name, (colour, line, marker) in CURVES.items():
        curve = {float(dose): row["max_pool_1"] for dose, row in found["doses"][name].items() if float(dose) > 0}
        axis.plot([*curve], [*curve.values()], color=colour, linestyle=line, marker=marker, markersize=4, label=name)
    for name, value in PAPER.items():
        axis.axhline(value, color="black", linewidth=0.8)
        axis.annotate(f"paper, {name}: {value:g}", (1, value), xytext=(0, 3), textcoords="offset points", fontsize=8)
    floor = found["doses"]["white noise, 64 x 64"]["0"]["max_pool_1"]
    axis.axhline(floor, color=GREY, linestyle="-.", linewidth=0.8)
    axis.annotate("no noise", (40, floor), xytext=(0, 3), textcoords="offset points", fontsize=8, color=GREY)
    axis.set(xscale="log", yscale="log", ylim=(4e-3, 1e3), xlabel="noise in real frames, grey levels")
    axis.set_ylabel("Frechet distance, max-pool 1")
    axis.legend(fontsize=8, frameon=False, loc="upper left")
    axis.spines[["top", "right"]].set_visible(False)


def _draw_models(axis: Any, found: Mapping[str, Any], prediction: str) -> None:
    runs = [*dict.fromkeys(run for cell in found["cells"].values() for run in cell)]
    for offset, (b_map, (title, colour, marker)) in zip((-0.15, 0.15), MODELS.items(), strict=True):
        rows = found["cells"].get(f"heart_{b_map}_{prediction}_0", {})
        for run, row in rows.items():
            place, (low, high) = runs.index(run), row["interval_95"]
            axis.plot([max(low, 1e-3), high], [place + offset] * 2, color=colour, linewidth=1.6)
            axis.plot(row["max_pool_1"], place + offset, marker, color=colour, markersize=5)
        if rows:
            axis.plot([], [], marker, color=colour, markersize=5, label=title)
    for value in PAPER.values():
        axis.axvline(value, color="black", linewidth=0.8)
    axis.set_yticks(range(len(runs)), runs, fontsize=8)
    axis.set(xscale="log", ylim=(len(runs) - 0.5, -0.5), xlim=(2e-3, 20), xlabel="Frechet distance, max-pool 1")
    axis.spines[["top", "right"]].set_visible(False)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=8, frameon=False, loc="lower left")
    else:
        axis.text(0.5, 0.5, "not trained yet", transform=axis.transAxes, ha="center", color=GREY)

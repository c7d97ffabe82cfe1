"""Figures of obedience: the outlines that were asked for and found, and Dice of real beside synthetic images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from monai_bmaps.metrics.findings import BLUE, ORANGE, new_figure
from monai_bmaps.metrics.obedience.judging import Judged

_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#CC79A7")  # Okabe and Ito, bright on grey


def figures(real: Judged, synthetic: Judged) -> dict[str, Callable[[Path], None]]:
    """Functions that draw, by the figures' file names."""
    return {
        "obedience_cases.png": partial(_draw_cases, synthetic),
        "obedience_dice.png": partial(_draw_distributions, real, synthetic),
    }


def _draw_cases(judged: Judged, path: Path) -> None:
    """Worst, median and best synthetic images, bare and with the given (solid) and the found (dashed) outlines."""
    from matplotlib.lines import Line2D

    dice = judged.dice.nanmean(1)
    order = dice.nan_to_num(2.0).argsort()[: int((~dice.isnan()).sum())].tolist()
    middle = len(order) // 2
    cases = {"worst": order[:2], "median": order[middle : middle + 2], "best": order[-2:]}
    columns = [(name, row) for name, rows in cases.items() for row in rows]
    height, width = judged.images.size
    figure = new_figure(2 * len(columns), 4 * height / width + 0.9)
    axes = figure.subplots(2, len(columns), squeeze=False)
    for column, (name, row) in enumerate(columns):
        for axis in axes[:, column]:
            axis.imshow(judged.images.images[row, 0].numpy(), cmap="gray", vmin=0, vmax=1)
            axis.set_axis_off()
        axes[0, column].set_title(f"{name}: Dice {dice[row]:.2f}\n{judged.images.names[row]}", fontsize=8)
        # the first structure last: outlines that two share are drawn in the inner one's colour
        for structure in range(len(judged.images.classes), 0, -1):
            colour = _COLOURS[(structure - 1) % len(_COLOURS)]
            for maps, style in ((judged.images.known_labels, "solid"), (judged.labels, "dashed")):
                mask = (maps[row] == structure).float().numpy()
                if mask.any():
                    axes[1, column].contour(mask, [0.5], colors=colour, linestyles=style, linewidths=1.2)
    handles = [
        Line2D([], [], color=_COLOURS[k % len(_COLOURS)], label=name) for k, name in enumerate(judged.images.classes)
    ]
    handles += [Line2D([], [], color="black", linestyle=s, label=t) for s, t in (("-", "asked for"), ("--", "found"))]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)
    figure.savefig(path)


def _draw_distributions(real: Judged, synthetic: Judged, path: Path) -> None:
    """Dice of every structure, real beside synthetic."""
    structures = real.images.classes
    figure = new_figure(2.2 + 1.6 * len(structures), 3.4)
    axis = figure.subplots()
    for offset, judged, colour, name in (
        (-0.18, real, BLUE, "held-out real"),
        (0.18, synthetic, ORANGE, "synthetic"),
    ):
        values = [column[~column.isnan()].numpy() for column in judged.dice.T]
        boxes = axis.boxplot(
            values, positions=np.arange(len(structures)) + offset, widths=0.3, patch_artist=True, flierprops={"ms": 3}
        )
        for box, median in zip(boxes["boxes"], boxes["medians"], strict=True):
            box.set(facecolor=colour, alpha=0.75, label=name if box is boxes["boxes"][0] else None)
            median.set(color="black")
    axis.set_xticks(np.arange(len(structures)), structures)
    axis.set(ylabel="Dice (1 is agreement)", ylim=(min(0.5, axis.get_ylim()[0]), 1.0))
    axis.grid(axis="y", alpha=0.3)
    axis.legend(frameon=False)
    figure.savefig(path)

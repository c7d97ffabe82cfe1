"""Figures of corresponding pairs: how their values are spread."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from monai_bmaps.metrics.findings import BLUE, ORANGE, new_figure


def draw_histograms(panels: Mapping[str, Mapping[str, np.ndarray[Any, Any]]], path: Path) -> None:
    """Histograms of two groups of values, one panel each.

    Args:
        panels: by the axis' label: values by name.
        path: of the picture.
    """
    figure = new_figure(2.8 * len(panels), 2.6)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (label, groups) in zip(axes, panels.items(), strict=True):
        finite = {name: values[np.isfinite(values)] for name, values in groups.items()}
        edges = np.histogram_bin_edges(np.concatenate([*finite.values()]), 20)
        for (name, values), colour, style in zip(finite.items(), (BLUE, ORANGE), ("-", "--"), strict=False):
            if len(values) > 0:
                shares = np.histogram(values, edges)[0] / len(values)
                axis.stairs(shares, edges, color=colour, linestyle=style, linewidth=1.8, label=name)
        axis.set_xlabel(label.partition(" (")[0])
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("share of pairs")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2, frameon=False)
    figure.savefig(path)

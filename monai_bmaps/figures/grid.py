"""Images in rows and columns with a title each, as all figures show them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monai_bmaps.files import replacing
from monai_bmaps.pictures import Pixels

_CELL = 1.35  # inches


def image_grid(
    rows: Sequence[Sequence[Pixels]],
    row_titles: Sequence[str],
    column_titles: Sequence[str] = (),
    *,
    colours: Any = None,
    colour_title: str = "",
) -> Any:
    """A matplotlib figure of panels.

    Args:
        rows: panels, ``(H, W)`` uint8 grey, ``(H, W, 3)`` uint8, or with ``colours`` ``(H, W)`` floats.
        row_titles: one a row.
        column_titles: one a column, or none.
        colours: a matplotlib norm for float panels, which get one colour bar; NaN is left dark.
        colour_title: of the colour bar, with its unit.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: no panel, rows of different lengths, or another number of titles.
    """
    widths = {len(row) for row in rows}
    if len(widths) != 1 or 0 in widths:
        raise ValueError(f"rows must hold equally many panels, at least one, got {[len(row) for row in rows]}")
    if len(row_titles) != len(rows) or len(column_titles) not in (0, *widths):
        raise ValueError(
            f"{len(rows)} rows of {len(rows[0])} panels need as many titles, got {len(row_titles)} for rows and "
            f"{len(column_titles)} for columns"
        )
    pyplot = plotting()
    size = (_CELL * len(rows[0]) + 1.2, _CELL * len(rows) + 0.4)
    figure, axes = pyplot.subplots(len(rows), len(rows[0]), figsize=size, squeeze=False, layout="constrained")
    shown = None
    for line, panels, title in zip(axes, rows, row_titles, strict=True):
        for axis, panel in zip(line, panels, strict=True):
            shown = _show(axis, panel, colours)
        line[0].set_ylabel(title, fontsize=8)
    for axis, title in zip(axes[0], column_titles, strict=False):
        axis.set_title(title, fontsize=8)
    if colours is not None:
        bar = figure.colorbar(shown, ax=axes, shrink=0.8)
        bar.set_label(colour_title, fontsize=8)
    return figure


def save(figure: Any, path: str | Path) -> None:
    """Write a figure as a whole, and close it."""
    path = Path(path)
    with replacing(path) as partial:
        figure.savefig(partial, dpi=130, format=path.suffix.lstrip(".") or "png")
    plotting().close(figure)


def plotting() -> Any:
    """``matplotlib.pyplot``, drawing to files.

    Raises:
        ImportError: it is missing.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("figures need matplotlib: pip install 'monai-bmaps[metrics]'") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def _show(axis: Any, panel: Pixels, colours: Any) -> Any:
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)
    if colours is None or panel.dtype == np.uint8:
        return axis.imshow(panel, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axis.set_facecolor("0.05")
    return axis.imshow(panel, cmap="cividis_r", norm=colours, interpolation="nearest")

"""What figures of a report are drawn on: an empty figure, and colours that tell apart without hue (Okabe and Ito)."""

from __future__ import annotations

from typing import Any

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#767676"
"""Okabe and Ito's blue, vermilion and green, https://jfly.uni-koeln.de/color; grey for what is compared with."""


def new_figure(width: float, height: float) -> Any:
    """An empty matplotlib ``Figure`` of this size in inches, drawn without a display.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('figures need matplotlib: pip install "monai-bmaps[metrics]"') from error
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure

"""What measures find: numbers with their intervals, as tables and figures. Knows nothing of images."""

from monai_bmaps.metrics.findings.bootstrap import Picks, bootstrap_picks, interval, mean_by_group, rows_by_group
from monai_bmaps.metrics.findings.canvas import BLUE, GREEN, GREY, ORANGE, new_figure
from monai_bmaps.metrics.findings.measured import Findings, Measured, key_of
from monai_bmaps.metrics.findings.table import table

__all__ = [
    "BLUE",
    "GREEN",
    "GREY",
    "ORANGE",
    "Findings",
    "Measured",
    "Picks",
    "bootstrap_picks",
    "interval",
    "key_of",
    "mean_by_group",
    "new_figure",
    "rows_by_group",
    "table",
]

"""Figures of the process and of what it draws: each by one command, ``python -m monai_bmaps.figures NAME``."""

from monai_bmaps.figures.augmentation import draw_augmentation
from monai_bmaps.figures.b_maps import PRESETS, Process, draw_b_maps
from monai_bmaps.figures.chain import draw_forward, draw_reverse, reverse_row
from monai_bmaps.figures.panels import draw_panels

__all__ = [
    "PRESETS",
    "Process",
    "draw_augmentation",
    "draw_b_maps",
    "draw_forward",
    "draw_panels",
    "draw_reverse",
    "reverse_row",
]

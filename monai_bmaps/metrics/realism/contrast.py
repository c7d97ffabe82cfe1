"""Contrast: how well the grey levels alone tell two regions apart, and how black the blood is.

``gCNR = 1 - sum_x min(p(x), q(x))`` over the histograms of two regions: the share by which the best threshold beats
guessing, 0 for equal and 1 for disjoint ones, unmoved by any monotone grey-level curve
(Rodriguez-Molares et al. 2020, https://doi.org/10.1109/TUFFC.2019.2956855).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from monai_bmaps.metrics.realism.frame import Frame, Mask
from monai_bmaps.metrics.realism.quantity import Quantity
from monai_bmaps.metrics.realism.settings import Settings, region

BINS = 32
"""Bins of a histogram over [0, 1]. Finer ones raise gCNR: few pixels never fall into the same bins."""
FLOOR_QUANTILE = 0.1
"""Of the grey levels in the blood: what is left where no echo should be."""

_FEWEST_PIXELS = 100
_GREY = 255.0


def gcnr(first: Any, second: Any, bins: int = BINS) -> float:
    """Generalised contrast-to-noise ratio of two samples of grey levels.

    Args:
        first: any shape, in [0, 1].
        second: any shape, in [0, 1].
        bins: equal parts of [0, 1].

    Returns:
        In [0, 1]; NaN where a sample is empty.

    Raises:
        ValueError: values beyond [0, 1], or NaN.
    """
    shares = [_histogram(np.asarray(values, np.float64).ravel(), bins) for values in (first, second)]
    return float(1.0 - np.minimum(*shares).sum())


def _histogram(values: NDArray[Any], bins: int) -> NDArray[Any]:
    if len(values) == 0:
        return np.full(bins, np.nan)
    if not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(
            f"grey levels must lie in [0, 1] without NaN, got [{values.min():.4g}, {values.max():.4g}]; divide 8-bit "
            "images by 255"
        )
    counts, _ = np.histogram(values, bins, (0.0, 1.0))
    return np.asarray(counts / len(values))


def anechoic_floor(levels: Any, quantile: float = FLOOR_QUANTILE) -> float:
    """The low quantile of grey levels in blood, from 0 to 255; NaN of no pixels."""
    values = np.asarray(levels, np.float64).ravel()
    return _GREY * float(np.quantile(values, quantile)) if len(values) else math.nan


def measure(frame: Frame, settings: Settings) -> dict[str, Any]:
    """Measure gCNR of pairs of labels and the anechoic floor, by the keys of :func:`quantities`."""
    where = {label: region(frame, label) for label in (0, *settings.names)}
    found: dict[str, Any] = {} if settings.pairs else {"gcnr": math.nan}
    for first, second in settings.pairs:
        levels = [_levels(frame, where[label]) for label in (first, second)]
        found[f"gcnr_{first}_{second}"] = (
            gcnr(levels[0], levels[1]) if min(map(len, levels)) >= _FEWEST_PIXELS else math.nan
        )
    blood = _levels(frame, _blood(frame, settings))
    found["anechoic_floor"] = anechoic_floor(blood) if len(blood) >= _FEWEST_PIXELS else math.nan
    return found


def _levels(frame: Frame, where: Mask | None) -> NDArray[Any]:
    return np.empty(0) if where is None else frame.image[where]


def _blood(frame: Frame, settings: Settings) -> Mask | None:
    """Blood, away from the walls' blur by two pixels."""
    if frame.labels is None or not settings.blood:
        return None
    return np.asarray(binary_erosion(np.isin(frame.labels, settings.blood), iterations=2))


def quantities(settings: Settings) -> list[Quantity]:
    """What :func:`measure` tells."""
    needs = f"it needs {_FEWEST_PIXELS} pixels of each; give label maps of the images' anatomy (--labels)"
    found = [
        Quantity(f"gcnr_{a}_{b}", f"gCNR, {settings.named(a)} and {settings.named(b)}", "", needs)
        for a, b in settings.pairs
    ] or [Quantity("gcnr", "gCNR between labels", "", "neither set, or only one, has labels; give --labels")]
    blood = f"it needs {_FEWEST_PIXELS} pixels of blood; give label maps, and say which labels are blood (blood=...)"
    percent = f"{100 * FLOOR_QUANTILE:.0f} % quantile"
    return [*found, Quantity("anechoic_floor", f"anechoic floor in blood ({percent})", "grey levels", blood)]

"""First-order speckle statistics: whether the envelope is distributed as interfering echoes are.

Log compression is undone, ``R = 10^((I - 1) * dynamic range / 20)``; in fully developed speckle ``R`` is Rayleigh:
Nakagami's ``m = E[R^2]^2 / Var(R^2)`` is 1, the signal-to-noise ratio ``E[R] / sd(R)`` 1.91, and the level in dB has a
standard deviation of 5.57 dB, whatever the gain (Wagner et al. 1983, https://doi.org/10.1109/T-SU.1983.31404;
Shankar 2000, https://doi.org/10.1109/58.842062). All three hang on the dynamic range, which is assumed.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from monai_bmaps.metrics.realism.frame import BLACK, WHITE, Frame, Mask, Numbers, checked_image
from monai_bmaps.metrics.realism.quantity import Quantity
from monai_bmaps.metrics.realism.settings import Settings, tissue

RAYLEIGH = {"m": 1.0, "snr": math.sqrt(math.pi / (4 - math.pi)), "std_db": 10 * math.pi / (math.sqrt(6) * math.log(10))}
"""Of fully developed speckle: Nakagami's m, the envelope's signal-to-noise ratio, the standard deviation in dB."""
WINDOW_SHARE = 1 / 12
"""Side of a window over the image's shorter side."""
KEPT_SHARE = 0.25
"""Share of an image's usable windows that is taken: the most homogeneous ones."""
LEVELS = (0.2, 0.9)
"""Mean grey levels of usable windows."""

_SMALLEST_SIDE = 6
_FEWEST_WINDOWS = 4


def envelope(image: Any, dynamic_range_db: float = 60.0) -> Numbers:
    """Undo log compression: the envelope over that of white, in (0, 1].

    Args:
        image: grey levels in [0, 1].
        dynamic_range_db: from black to white.
    """
    return np.asarray(10.0 ** ((np.asarray(image, np.float64) - 1.0) * dynamic_range_db / 20.0))


def nakagami_m(amplitude: Numbers, axis: int | tuple[int, ...] | None = None) -> Numbers:
    """Nakagami's shape ``m = E[R^2]^2 / Var(R^2)`` by moments: 1 Rayleigh, below few scatterers, above coherent echoes.

    NaN where the envelope is constant.
    """
    power = amplitude**2
    return _ratio(power.mean(axis) ** 2, power.var(axis))


def envelope_snr(amplitude: Numbers, axis: int | tuple[int, ...] | None = None) -> Numbers:
    """Signal-to-noise ratio ``E[R] / sd(R)`` of the envelope, 1.91 for Rayleigh; NaN where it is constant."""
    return _ratio(amplitude.mean(axis), amplitude.std(axis))


def _ratio(over: Any, under: Any) -> Numbers:
    # rounding leaves a constant window a variance of some 1e-33
    constant = under <= 1e-12 * np.abs(over)
    return np.asarray(np.where(constant, np.nan, over / np.where(constant, 1.0, under)))


def homogeneous_windows(image: Any, where: Any, labels: Any = None, side: int | None = None) -> Numbers:
    """The windows of an image in which speckle can be told from structure.

    Square, overlapping by half, wholly where ``where`` is true and inside one label, not constant, without a black or a
    white pixel and between 0.2 and 0.9 in the mean: in darker ones speckle's own fades are clipped, and those without a
    clipped one are no fair sample. Of these, the quarter with the least heterogeneity: the variance of the means of a
    window's four quarters over the variance within them, which structure raises and no gain changes.

    Args:
        image: ``(H, W)`` in [0, 1].
        where: ``(H, W)`` bool.
        labels: ``(H, W)`` integers or ``None``.
        side: of a window in pixels; ``None``: a twelfth of the image's shorter side, 6 at least.

    Returns:
        ``(windows, side, side)``; none where fewer than four are usable.
    """
    values, mask = checked_image(image), np.asarray(where, np.bool_)
    side = max(_SMALLEST_SIDE, round(min(values.shape) * WINDOW_SHARE)) if side is None else side
    if side > min(values.shape):
        return np.empty((0, side, side))
    windows = _windows(values, side)
    usable = _windows(mask, side).all((1, 2)) & (windows.min((1, 2)) > BLACK) & (windows.max((1, 2)) < WHITE)
    level = windows.mean((1, 2))
    usable &= (level >= LEVELS[0]) & (level <= LEVELS[1]) & (np.ptp(windows, (1, 2)) > 0)
    if labels is not None:
        usable &= np.ptp(_windows(np.asarray(labels), side), (1, 2)) == 0
    windows = windows[usable]
    if len(windows) < _FEWEST_WINDOWS:
        return np.empty((0, side, side))
    kept = max(_FEWEST_WINDOWS, round(KEPT_SHARE * len(windows)))
    return np.asarray(windows[np.argsort(_heterogeneity(windows), kind="stable")[:kept]])


def _windows(values: Any, side: int) -> Any:
    step = max(1, side // 2)
    return sliding_window_view(values, (side, side))[::step, ::step].reshape(-1, side, side)


def _heterogeneity(windows: Numbers) -> Numbers:
    """Variance of the means of a window's four quarters over the variance within them: free of scale, and of gain."""
    half = windows.shape[1] // 2
    ends = (slice(None, half), slice(-half, None))
    quarters = np.stack([windows[:, rows, columns] for rows in ends for columns in ends])
    within = quarters.var((2, 3)).mean(0)
    return np.asarray(quarters.mean((2, 3)).var(0) / np.maximum(within, 1e-12))


def measure(frame: Frame, settings: Settings) -> dict[str, Any]:
    """Medians over an image's windows, by the keys of :func:`quantities`."""
    where: Mask | None = tissue(frame, settings)
    if where is None:
        where = np.ones_like(frame.image, dtype=np.bool_)
    windows = homogeneous_windows(frame.image, where, frame.labels)
    if len(windows) == 0:
        return {"nakagami_m": math.nan, "envelope_snr": math.nan, "std_db": math.nan}
    amplitude, axes = envelope(windows, settings.dynamic_range_db), (1, 2)
    return {
        "nakagami_m": float(np.nanmedian(nakagami_m(amplitude, axes))),
        "envelope_snr": float(np.nanmedian(envelope_snr(amplitude, axes))),
        "std_db": float(np.median(windows.std(axes)) * settings.dynamic_range_db),
    }


def quantities(settings: Settings) -> list[Quantity]:
    """What :func:`measure` tells."""
    needs = (
        f"it needs {_FEWEST_WINDOWS} windows of tissue that are neither dark, clipped nor constant; use larger images"
    )
    assumed = f"at {settings.dynamic_range_db:g} dB"
    return [
        Quantity("nakagami_m", f"Nakagami m {assumed}", "", needs, shape=True),
        Quantity("envelope_snr", f"envelope SNR {assumed}", "", needs, shape=True),
        Quantity("std_db", "speckle contrast", f"dB {assumed}", needs, shape=True),
    ]

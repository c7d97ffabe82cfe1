"""Figures of the realism measures: real in blue and solid, synthetic in vermilion and dashed (Okabe and Ito's)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from monai_bmaps.metrics.findings import BLUE, GREEN, ORANGE, Measured, new_figure
from monai_bmaps.metrics.realism import depth_profile, speckle, speckle_size
from monai_bmaps.metrics.realism.frame import Numbers
from monai_bmaps.metrics.realism.quantity import Quantity

_STYLES = {"real": (BLUE, "-"), "synthetic": (ORANGE, "--")}
_GREY = "#555555"
_WIDTH = 9.0  # inches: a page
_MOST_PANELS = 3  # in a row
_LARGEST_RATIO = 100.0  # of a distance to its floor that is drawn to scale


@dataclass(frozen=True, eq=False)
class Material:
    """What the figures show.

    Args:
        quantities: what was measured.
        values: of ``"real"`` and ``"synthetic"``, by the quantities' keys: ``(N,)`` or ``(N, bins)``.
        rows: what the comparison of these found.
    """

    quantities: Sequence[Quantity]
    values: dict[str, dict[str, Numbers]]
    rows: Sequence[Measured]

    def shown(self, *starts: str) -> list[Quantity]:
        """The quantities whose keys begin so, and of which both sets have values."""
        told = {row.key for row in self.rows if row.value is not None}
        return [q for q in self.quantities if q.key.startswith(starts) and f"{q.key}_distance" in told]


def figures(material: Material) -> dict[str, Callable[[Path], None]]:
    """Functions that draw, by the figures' file names; only of what there are values for."""
    sorts: dict[str, tuple[Callable[[Any, Material, list[Quantity]], None], tuple[str, ...]]] = {
        "realism_overview.png": (_overview, ("",)),
        "depth_profiles.png": (_profiles, ("profile_",)),
        "depth_slopes.png": (_histograms, ("slope_",)),
        "speckle.png": (_histograms, ("nakagami_m", "envelope_snr", "std_db")),
        "speckle_size.png": (_widths, ("axial_depth", "lateral_depth")),
        "contrast.png": (_contrast, ("gcnr",)),
    }
    return {
        name: partial(_draw, draw, material, shown)
        for name, (draw, starts) in sorts.items()
        if (shown := material.shown(*starts))
    }


def _draw(
    draw: Callable[[Any, Material, list[Quantity]], None], material: Material, shown: list[Quantity], path: Path
) -> None:
    figure = new_figure(_WIDTH, 3.0)
    draw(figure, material, shown)
    figure.savefig(path, dpi=150)


def _panels(figure: Any, count: int, height: float = 3.0) -> list[Any]:
    columns = min(count, _MOST_PANELS)
    rows = -(-count // columns)
    figure.set_size_inches(_WIDTH, height * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for spare in axes[count:]:
        spare.remove()
    for ax in axes[:count]:
        ax.spines[["top", "right"]].set_visible(False)
    return list(axes[:count])


def _legend(figure: Any) -> None:
    """One legend of all panels below them, where it hides nothing."""
    entries = {
        label: handle for ax in figure.axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    figure.legend([*entries.values()], [*entries], loc="outside lower center", ncols=len(entries), frameon=False)


def _band(ax: Any, x: Numbers, low: Numbers, middle: Numbers, high: Numbers, which: str) -> None:
    colour, line = _STYLES[which]
    ax.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    ax.plot(x, middle, color=colour, linestyle=line, label=which, linewidth=2)


def _profiles(figure: Any, material: Material, shown: list[Quantity]) -> None:
    """Mean over the images of their profiles, and one standard deviation of the images to either side."""
    depth = (np.arange(depth_profile.BINS) + 0.5) / depth_profile.BINS
    for ax, quantity in zip(_panels(figure, len(shown)), shown, strict=True):
        for which in _STYLES:
            known = _few_left_out(material.values[which][quantity.key])
            mean, spread = np.nanmean(known, 0), np.nanstd(known, 0)
            _band(ax, depth, mean - spread, mean, mean + spread, which)
        ax.set(xlabel="depth along the beam (1: far end)", ylabel="grey level", xlim=(0, 1), ylim=(0, None))
        ax.set_title(quantity.name.removeprefix("mean at each depth, "), fontsize=10)
    _legend(figure)
    figure.suptitle("Grey level against depth: mean and one sd of the images' means", fontsize=11)


def _few_left_out(values: Numbers) -> np.ma.MaskedArray[Any, Any]:
    """Profiles without the depths that fewer than a tenth of the images reach (at least two)."""
    known = np.isfinite(values)
    reached = known.sum(0) >= max(2, 0.1 * len(values))
    return np.ma.masked_invalid(np.where(reached, values, np.nan))


def _widths(figure: Any, material: Material, shown: list[Quantity]) -> None:
    """Median over the images and the middle half of them."""
    for ax, quantity in zip(_panels(figure, len(shown), 3.3), shown, strict=True):
        for which in _STYLES:
            known = material.values[which][quantity.key]
            reached = np.isfinite(known).sum(0) > 1
            low, middle, high = np.nanquantile(known[:, reached], [0.25, 0.5, 0.75], axis=0)
            _band(ax, speckle_size.CENTRES[reached], low, middle, high, which)
        ax.set(xlabel="depth along the beam (1: far end)", ylabel="width (FWHM) [pixels]", xlim=(0, 1), ylim=(0, None))
        ax.set_title(quantity.name.removesuffix(" at each depth"), fontsize=10)
    _legend(figure)
    figure.suptitle("Speckle size against depth: median and middle half of the images", fontsize=11)


def _histograms(figure: Any, material: Material, shown: list[Quantity]) -> None:
    """Share of the images at each value; the medians as lines; what Rayleigh speckle has, dotted."""
    expected = dict(zip(("nakagami_m", "envelope_snr", "std_db"), speckle.RAYLEIGH.values(), strict=True))
    for ax, quantity in zip(_panels(figure, len(shown)), shown, strict=True):
        sets = {which: _finite(material.values[which][quantity.key]) for which in _STYLES}
        edges = np.histogram_bin_edges(np.concatenate([*sets.values()]), 20)
        for which, values in sets.items():
            colour, line = _STYLES[which]
            shares = 100 * np.histogram(values, edges)[0] / len(values)
            ax.stairs(shares, edges, color=colour, alpha=0.2, fill=True)
            ax.stairs(shares, edges, color=colour, linestyle=line, linewidth=1.6, label=which)
            ax.axvline(float(np.median(values)), color=colour, linestyle=line, linewidth=1)
        if quantity.key in expected:
            ax.axvline(expected[quantity.key], color=_GREY, linestyle=":", label="Rayleigh")
        ax.set_xlabel(_wrapped(quantity), fontsize=9)
        ax.set_ylabel("images [%]")
    _legend(figure)
    figure.suptitle("Images by value; thin lines are the medians", fontsize=11)


def _finite(values: Numbers) -> Numbers:
    return values[np.isfinite(values)]


def _wrapped(quantity: Quantity) -> str:
    return f"{quantity.name}\n[{quantity.unit}]" if quantity.unit else quantity.name


def _contrast(figure: Any, material: Material, shown: list[Quantity]) -> None:
    """Boxes of the middle half, whiskers to the middle 90 % of the images."""
    (ax,) = _panels(figure, 1, 1.2 + 0.55 * len(shown))
    for side, (which, (colour, line)) in enumerate(_STYLES.items()):
        values = [_finite(material.values[which][quantity.key]) for quantity in shown]
        style = {"color": colour, "linestyle": line}
        boxes = ax.boxplot(
            values, orientation="horizontal", positions=np.arange(len(shown)) + 0.36 * side - 0.18, widths=0.28,
            whis=(5, 95), showfliers=False, patch_artist=True, manage_ticks=False,
            boxprops={"facecolor": f"{colour}33", "edgecolor": colour}, medianprops={"color": colour, "linewidth": 2},
            whiskerprops=style, capprops={"color": colour},
        )  # fmt: skip
        boxes["boxes"][0].set_label(which)
    ax.set_yticks(range(len(shown)), [quantity.name.removeprefix("gCNR, ") for quantity in shown], fontsize=9)
    ax.invert_yaxis()
    ax.set(xlabel="gCNR (0: same grey levels, 1: none in common)", xlim=(0, 1))
    _legend(figure)
    ax.set_title("Contrast between regions: middle half and middle 90 % of the images", fontsize=11)


def _overview(figure: Any, material: Material, shown: list[Quantity]) -> None:
    """Every distance over the upper end of its floor, with its interval; and the medians in numbers."""
    found = {row.key: row for row in material.rows}
    lines = [(q, ratio) for q in shown if (ratio := _ratio(found, q)) is not None]
    (ax,) = _panels(figure, 1, 1.3 + 0.3 * max(len(lines), 1))
    ax.axvspan(0.01, 1, color=GREEN, alpha=0.12, linewidth=0)
    for place, (quantity, ratio) in enumerate(lines):
        low, middle, high = np.clip(ratio, 0.03, _LARGEST_RATIO)
        ax.plot([low, high], [place, place], color=_GREY, linewidth=1.5)
        beyond = ratio[1] > _LARGEST_RATIO
        ax.plot(middle, place, ">" if beyond else "o", clip_on=False, color=_STYLES["synthetic"][0], markersize=5)
        ax.text(1.02, place, _medians(found, quantity), transform=ax.get_yaxis_transform(), va="center", fontsize=8)
    ax.text(1.02, -1, "median: real / synthetic", transform=ax.get_yaxis_transform(), va="center", fontsize=8)
    ax.set_yticks(range(len(lines)), [quantity.label for quantity, _ in lines], fontsize=8)
    ax.set(xscale="log", xlim=(0.03, _LARGEST_RATIO), ylim=(len(lines) - 0.4, -1.5))
    ax.set_xlabel("distance of real and synthetic over that of two halves of the real images (97.5 % of halvings)")
    ax.set_title("Green: no further apart than real images from real images", fontsize=11)


def _ratio(found: dict[str, Measured], quantity: Quantity) -> tuple[float, float, float] | None:
    """Lower end, distance and upper end over the floor's upper end; ``None`` without floor or where both are 0."""
    distance, floor = found[f"{quantity.key}_distance"], found[f"{quantity.key}_floor"]
    if distance.value is None or distance.interval is None or floor.interval is None:
        return None
    if distance.value == floor.interval[1] == 0:
        return None
    low, high = distance.interval
    unit = max(floor.interval[1], 1e-12)  # real images that do not differ at all: any difference is far off
    return low / unit, distance.value / unit, high / unit


def _medians(found: dict[str, Measured], quantity: Quantity) -> str:
    pair = [found.get(f"{quantity.key}_{which}") for which in _STYLES]
    return " / ".join(f"{row.value:.3g}" for row in pair if row is not None and row.value is not None)

"""LPIPS, SSIM and PSNR over the pairs that two image sets hold, beside the same between real patients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from monai_bmaps.metrics.findings import Findings, Measured, bootstrap_picks, interval
from monai_bmaps.metrics.images import ImageSet
from monai_bmaps.metrics.pairs.figures import draw_histograms
from monai_bmaps.metrics.pairs.perceptual import VARIANTS, Lpips, Net, peak_signal_to_noise, structural_similarity

Measure = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

_TITLE = "Corresponding pairs: LPIPS, SSIM, PSNR"
_CAUTION = (
    "A pair is a synthetic image and the real frame of the same label map. Speckle and brightness of both are free to "
    "differ, so that blurred images score well: compare with the values between real frames of different patients."
)


def pairs_of(real: ImageSet, synthetic: ImageSet) -> list[tuple[int, int]]:
    """Rows (synthetic, real) of images of the same item; variants ``NAME_1``, ``NAME_2`` belong to ``NAME``."""
    rows = {item: row for row, item in reversed([*enumerate(real.items)])}
    matched = [rows.get(item, rows.get(item.rpartition("_")[0])) for item in synthetic.items]
    return [(row, other) for row, other in enumerate(matched) if other is not None]


def measure_pairs(
    real: ImageSet,
    synthetic: ImageSet,
    *,
    lpips: str | Path | None = None,
    net: Net | None = None,
    resamplings: int = 200,
) -> Findings:
    """Mean with interval, standard deviation and range of LPIPS, SSIM and PSNR over corresponding pairs.

    Args:
        real: with the items' names.
        synthetic: images of the same items, by name or by the label in the PNG's text.
        lpips: file of LPIPS' trunk; ``None`` downloads torchvision's on first use.
        net: trunk of LPIPS; ``None``: what the file holds, or AlexNet.
        resamplings: bootstrap samples over the patients.
    """
    pairs = pairs_of(real, synthetic)
    if not pairs or real.size != synthetic.size:
        return Findings(_TITLE, [Measured("pairs", "Corresponding pairs", left_out=_why_none(real, synthetic, pairs))])
    drawn, given = (torch.tensor(rows) for rows in zip(*pairs, strict=True))
    others = _other_patients(real)
    rows, panels, notes = [], {}, [_CAUTION]
    for key, (name, measure) in _measures(lpips, net).items():
        if isinstance(measure, str):
            rows.append(Measured(key, name, left_out=measure))
            continue
        try:
            values = measure(synthetic.images[drawn], real.images[given]).double().numpy()
            between = measure(real.images, real.images[others]).double().numpy() if others else np.zeros(0)
        except ValueError as error:
            rows.append(Measured(key, name, left_out=str(error)))
            continue
        if (equal := int(np.isinf(values).sum())) > 0:
            notes.append(f"{equal} pairs are equal in every pixel; their PSNR is infinite and left out.")
        groups = [real.groups[row] for row in given.tolist()]
        rows += _rows(key, name, values, between, groups, resamplings)
        panels[name] = {"pairs": values, "different patients": between}
    figure = {"pairs.png": lambda path: draw_histograms(panels, path)} if panels else {}
    return Findings(_TITLE, rows, figure, notes)


def _measures(lpips: str | Path | None, net: Net | None) -> dict[str, tuple[str, Measure | str]]:
    """Name and function of each measure; instead of a function why there is none."""
    found: dict[str, tuple[str, Measure | str]] = {}
    try:
        network = Lpips(lpips, net)
        found["lpips"] = (network.variant, network)
    except (ImportError, OSError, ValueError) as error:
        found["lpips"] = ("LPIPS", str(error))
    found["ssim"] = (f"SSIM ({VARIANTS['ssim']})", structural_similarity)
    found["psnr"] = (f"PSNR in dB ({VARIANTS['psnr']})", peak_signal_to_noise)
    try:
        import torchmetrics  # noqa: F401
    except ImportError:
        missing = 'torchmetrics is not installed: pip install "monai-bmaps[metrics]"'
        found |= {key: (found[key][0], missing) for key in ("ssim", "psnr")}
    return found


def _rows(
    key: str,
    name: str,
    values: np.ndarray[tuple[int], np.dtype[np.float64]],
    between: np.ndarray[tuple[int], np.dtype[np.float64]],
    groups: Sequence[str],
    resamplings: int,
) -> list[Measured]:
    kept = np.isfinite(values)
    if not kept.any():
        return [Measured(key, name, left_out="all pairs are equal in every pixel: were real images given twice?")]
    groups = [group for group, keep in zip(groups, kept, strict=True) if keep]
    values = values[kept]
    counts = {"pairs": len(values)}
    picks = bootstrap_picks(groups, 1, resamplings)
    estimate = float(values.mean())
    bounds = interval(estimate, np.array([values[mine].mean() for mine, _ in picks])) if len(values) > 1 else None
    rows = [Measured(key, f"{name}, mean", estimate, bounds, counts)]
    if len(values) > 1:
        rows.append(
            Measured(f"{key}_deviation", f"{name}, standard deviation", float(values.std(ddof=1)), None, counts)
        )
    for end, value in (("lowest", values.min()), ("highest", values.max())):
        rows.append(Measured(f"{key}_{end}", f"{name}, {end}", float(value), None, counts))
    apart = between[np.isfinite(between)]
    if len(apart) > 0:
        title = f"{name}, mean between real frames of different patients"
        rows.append(Measured(f"{key}_between", title, float(apart.mean()), None, {"pairs": len(apart)}))
    return rows


def _other_patients(real: ImageSet) -> list[int]:
    """A frame of another patient for each frame, every one about equally often; none if there is one patient."""
    if len(set(real.groups)) < 2:
        return []
    order = np.random.default_rng(0).permutation(len(real)).tolist()
    place = {row: index for index, row in enumerate(order)}
    found = []
    for row, group in enumerate(real.groups):
        following = (order[(place[row] + step) % len(order)] for step in range(1, len(order)))
        found.append(next(other for other in following if real.groups[other] != group))
    return found


def _why_none(real: ImageSet, synthetic: ImageSet, pairs: Sequence[tuple[int, int]]) -> str:
    if not pairs:
        return (
            f"no synthetic image is named after a real one ({synthetic.items[0]}, {real.items[0]}); name them alike, "
            "or give the --labels they were drawn for"
        )
    return f"sizes differ: real {real.size}, synthetic {synthetic.size}; give --size HEIGHT WIDTH"

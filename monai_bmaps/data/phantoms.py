"""Procedural label maps of the apical heart and the thyroid, and convex fields of view: small, free of patients.

Anatomy lives in the beam's own coordinates, so one drawing serves every image shape.
``python -m monai_bmaps.data.phantoms FOLDER`` writes label maps and their beams as files.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import torch
from PIL import Image
from torch import Generator, Tensor

from monai_bmaps.data import camus
from monai_bmaps.data.apical import APICAL, draw_apical
from monai_bmaps.files import replacing
from monai_bmaps.geometry import LinearBeam, SectorBeam

View: TypeAlias = Literal["4CH", "2CH"]
Phase: TypeAlias = Literal["ED", "ES"]
Kind: TypeAlias = Literal["heart", "thyroid", "convex"]
_Pair: TypeAlias = tuple[float, float]

VIEWS: tuple[View, ...] = ("4CH", "2CH")
PHASES: tuple[Phase, ...] = ("ED", "ES")

_SMALLEST_SIDE = 16
_CLASSES: dict[Kind, Mapping[int, str]] = {"heart": camus.CLASSES, "thyroid": {1: "thyroid"}, "convex": {}}


def heart_beam(shape: Sequence[int] = (128, 128), *, generator: Generator | None = None) -> SectorBeam:
    """A phased-array fan that fills the image, as in apical echocardiography padded to a square.

    Args:
        shape: (height, width) of the image in pixels, at least 16 each.
        generator: varies the half angle (37.3 degrees without it, up to about 41 with it), on the CPU.

    Returns:
        The fan, in pixels: centred, straight down, near radius 1 % of the far one.

    >>> round(heart_beam((256, 256)).radii[1])
    210
    """
    height, width = _checked_shape(shape)
    half_angle = 37.3 + 2.0 * abs(_draws(1, generator)[0])
    far = min(0.5 * (width - 1) / math.sin(math.radians(half_angle)), 0.98 * (height - 1))
    return SectorBeam(
        apex=((height - 1 - far) / 2, (width - 1) / 2), radii=(0.01 * far, far), half_angle_deg=half_angle
    )


def thyroid_beam(shape: Sequence[int] = (128, 128)) -> LinearBeam:
    """A linear array over the whole image of ``shape`` (height, width): rows are depth."""
    height, width = _checked_shape(shape)
    return LinearBeam(top=0, bottom=height - 1, left=0, right=width - 1)


def convex_beam(shape: Sequence[int] = (96, 96), *, generator: Generator | None = None) -> SectorBeam:
    """A curvilinear array over the image's width, as in abdominal and obstetric scans cropped to the beam.

    Args:
        shape: (height, width) of the image in pixels, at least 16 each.
        generator: varies the half angle (35 degrees without it) and the curvature of the face, on the CPU.
    """
    height, width = _checked_shape(shape)
    z = _draws(2, generator)
    half_angle = 35.0 + 3.0 * max(-2.0, min(2.0, z[0]))
    share = 0.3 + 0.03 * max(-2.0, min(2.0, z[1]))  # of the far radius, where the face is
    sine, cosine = math.sin(math.radians(half_angle)), math.cos(math.radians(half_angle))
    far = min(0.5 * (width - 1) / sine, (height - 1) / (1.0 - share * cosine))
    return SectorBeam(
        apex=(-share * cosine * far, (width - 1) / 2), radii=(share * far, far), half_angle_deg=half_angle
    )


def heart_labels(
    shape: Sequence[int] = (128, 128),
    *,
    view: View = "4CH",
    phase: Phase = "ED",
    generator: Generator | None = None,
    beam: SectorBeam | None = None,
) -> Tensor:
    """Left ventricle, myocardium and left atrium in an apical view.

    Args:
        shape: (height, width) in pixels, at least 16 each.
        view: "4CH" (four-chamber) or "2CH" (two-chamber).
        phase: "ED" (end diastole: large cavity, thin wall) or "ES" (end systole).
        generator: varies size, tilt, position, bend, wall and septum; None is the mean anatomy. On the CPU.
        beam: the fan that the anatomy lies in; None is ``heart_beam(shape)``.

    Returns:
        (height, width), int64: 0 background and outside the beam, 1 cavity, 2 myocardium, 3 left atrium.

    Raises:
        ValueError: the view or phase is unknown, the shape too small or the beam no sector.
    """
    size = _checked_shape(shape)
    if (view, phase) not in APICAL:
        raise ValueError(
            f"view must be '4CH' or '2CH' and phase 'ED' or 'ES', got {view!r} and {phase!r}; pass one each"
        )
    fan = heart_beam(size) if beam is None else beam
    if not isinstance(fan, SectorBeam):
        raise ValueError(f"beam must be a SectorBeam, got {fan!r}; make one with heart_beam(shape)")
    radius, angle = fan.polar(size)
    radius = radius / fan.radii[1]
    labels = draw_apical(
        radius * torch.cos(angle), radius * torch.sin(angle), APICAL[view, phase], _draws(12, generator)
    )
    return labels * fan.mask(size)


def thyroid_labels(shape: Sequence[int] = (128, 128), *, generator: Generator | None = None) -> Tensor:
    """Thyroid lobe beside the trachea, isthmus, carotid artery and jugular vein in a transverse view.

    Args:
        shape: (height, width) in pixels, at least 16 each; the anatomy stretches with it, as after a resize.
        generator: varies sizes and positions, mirrors half of the draws; None is the mean. On the CPU.

    Returns:
        (height, width), int64: 0 background, 1 thyroid gland, 2 carotid artery, 3 jugular vein.
    """
    height, width = _checked_shape(shape)
    z = _draws(9, generator)
    side = -1.0 if z[0] > 0 else 1.0
    y = ((torch.arange(height, dtype=torch.float64) + 0.5) / height)[:, None] - 0.06 * z[1]
    x = side * (2 * (torch.arange(width, dtype=torch.float64) + 0.5) / width - 1)[None, :] - 0.08 * z[2]
    scale = 1 + 0.1 * z[3]
    trachea = _ellipse(x, y, (-0.46, 0.50), (0.34 * scale, 0.20 * scale))
    lobe = _ellipse(x, y, (0.0, 0.44), (0.27 + 0.03 * z[4], 0.19 + 0.02 * z[5]), tilt=20 + 8 * z[6])
    isthmus = torch.maximum(_ellipse(x, y, (-0.44, 0.50), (0.42 * scale, 0.265 * scale)), (y - 0.46) * 4)
    gland = torch.maximum(_smooth_minimum(lobe, isthmus, 0.25), -trachea)
    carotid = _ellipse(x, y, (0.43 + 0.03 * z[4], 0.52), (0.115 + 0.01 * z[7], 0.075))
    jugular = _ellipse(x, y, (0.64, 0.34 + 0.02 * z[8]), (0.17 + 0.02 * z[8], 0.055 + 0.015 * z[8]), tilt=12)
    labels = torch.where(gland < 0, 1, 0)
    return torch.where(jugular < 0, 3, torch.where(carotid < 0, 2, labels))


def write_items(
    folder: str | Path,
    count: int = 4,
    *,
    kind: Kind = "heart",
    shape: Sequence[int] = (128, 128),
    seed: int = 0,
    overwrite: bool = False,
) -> list[dict[str, Any]]:
    """Write ``labels/heart_1.png``, ... and their beams as ``dataset.json``, which comes last.

    The k-th item depends on the seed and k alone. Views of the heart alternate with every item, phases with every
    second.

    Args:
        folder: where to; made if missing.
        count: how many items, at least 1; four hearts show every view at every phase.
        kind: ``"heart"``; ``"thyroid"``, of which the gland alone is labelled; ``"convex"``, fields of view
            (``sectors/convex_1.png``, ...) without labels.
        shape: (height, width) in pixels, at least 16 each.
        seed: of the anatomies and fans, at least 0.
        overwrite: whether files of these names may be replaced; others are left alone.

    Returns:
        The items that ``dataset.json`` lists under ``test``:
        ``name``, ``label`` or ``sector`` (path relative to ``folder``, 8-bit PNG),
        ``beam`` (``beam.to_dict()``, in pixels), and of hearts ``view`` and ``phase``.

    Raises:
        FileExistsError: a file is there already and ``overwrite`` is false; then nothing is written.
        ValueError: the count or seed is too small, the kind unknown, or the shape.
    """
    if count < 1 or seed < 0:
        raise ValueError(f"count must be at least 1 and seed at least 0, got {count} and {seed}")
    if kind not in get_args(Kind):
        raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}, got {kind!r}")
    size, folder = _checked_shape(shape), Path(folder)
    key = "sector" if kind == "convex" else "label"
    index, names = folder / "dataset.json", [f"{kind}_{k + 1}" for k in range(count)]
    maps = [f"{key}s/{name}.png" for name in names]
    if not overwrite and (present := [str(p) for p in (index, *(folder / x for x in maps)) if p.exists()]):
        raise FileExistsError(
            f"{', '.join(present[:3])} exist already; choose another folder or overwrite (--overwrite)"
        )
    items = []
    for k, (name, path) in enumerate(zip(names, maps, strict=True)):
        drawn, item = _draw_item(kind, size, k, Generator().manual_seed(seed * 1_000_003 + k))
        with replacing(folder / path) as partial:
            Image.fromarray(drawn.to(torch.uint8).numpy()).save(partial)
        items.append({"name": name, key: path, **item})
    named = {"0": "background", **{str(value): name for value, name in _CLASSES[kind].items()}}
    with replacing(index) as partial:
        partial.write_text(json.dumps({"labels": named, "test": items}, indent=2) + "\n")
    return items


def _draw_item(kind: Kind, size: tuple[int, int], number: int, generator: Generator) -> tuple[Tensor, dict[str, Any]]:
    """A label map (or field of view) and what its item says beside it."""
    if kind == "thyroid":
        labels = thyroid_labels(size, generator=generator)
        return (labels == 1).long(), {"beam": thyroid_beam(size).to_dict()}
    if kind == "convex":
        convex = convex_beam(size, generator=generator)
        return convex.mask(size), {"beam": convex.to_dict()}
    view, phase = VIEWS[number % 2], PHASES[number // 2 % 2]
    beam = heart_beam(size, generator=generator)
    drawn = heart_labels(size, view=view, phase=phase, generator=generator, beam=beam)
    return drawn, {"beam": beam.to_dict(), "view": view, "phase": phase}


def main(arguments: Sequence[str] | None = None) -> None:
    """Write items from the command line; see :func:`write_items`."""
    parser = argparse.ArgumentParser(
        prog="python -m monai_bmaps.data.phantoms", description="Write procedural label maps, and beams."
    )
    parser.add_argument("folder", type=Path, help="where to write dataset.json and labels/ (or sectors/)")
    parser.add_argument("--kind", choices=get_args(Kind), default="heart", help="what to draw (default: heart)")
    parser.add_argument("--count", type=int, default=4, help="how many (default: 4)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the anatomies (default: 0)")
    parser.add_argument("--size", type=int, nargs="+", default=[128], help="height and width in pixels (default: 128)")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")
    given = parser.parse_args(arguments)
    options = {"kind": given.kind, "seed": given.seed, "overwrite": given.overwrite}
    try:
        write_items(given.folder, given.count, shape=given.size * (2 if len(given.size) == 1 else 1), **options)
    except (OSError, ValueError) as refusal:
        parser.error(str(refusal))
    print(f"wrote {given.count} {given.kind} items: {given.folder / 'dataset.json'}")


def _ellipse(x: Tensor, y: Tensor, centre: _Pair, radii: _Pair, tilt: float = 0.0) -> Tensor:
    """Implicit ellipse in (x in [-1, 1], y in [0, 1]): -1 at its centre, 0 on it, positive outside."""
    # y counts twice: the image is 2 wide and 1 deep in these coordinates.
    dx, dy = x - centre[0], 2 * (y - centre[1])
    cosine, sine = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
    return torch.hypot((dx * cosine + dy * sine) / radii[0], (dy * cosine - dx * sine) / (2 * radii[1])) - 1


def _smooth_minimum(a: Tensor, b: Tensor, width: float) -> Tensor:
    """Union of two implicit shapes with a fillet where they meet."""
    return -width * torch.logaddexp(-a / width, -b / width)


def _draws(count: int, generator: Generator | None) -> list[float]:
    """Standard normal draws cut at +-1.8, so that no anatomy is monstrous; zeros without a generator."""
    if generator is None:
        return [0.0] * count
    drawn: list[float] = torch.randn(count, generator=generator, dtype=torch.float64).clamp(-1.8, 1.8).tolist()
    return drawn


def _checked_shape(shape: Sequence[int]) -> tuple[int, int]:
    if len(shape) != 2 or any(not isinstance(side, int) or side < _SMALLEST_SIDE for side in shape):
        raise ValueError(
            f"shape must be (height, width) of at least {_SMALLEST_SIDE} pixels each, got {tuple(shape)}; "
            "draw larger and resize the result"
        )
    return shape[0], shape[1]


if __name__ == "__main__":
    main()

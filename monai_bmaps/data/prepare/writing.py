"""One frame onto disk: image, label map and field of view, and its entry in the list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from monai_bmaps.data.convex import shadow_share
from monai_bmaps.data.prepare.beams import FittedBeam, beam_of
from monai_bmaps.data.prepare.deformed import Planes, deformed_copies
from monai_bmaps.data.prepare.frames import Frame
from monai_bmaps.data.prepare.resampling import Size, resample, squared
from monai_bmaps.files import replacing
from monai_bmaps.geometry import BeamKind, LinearBeam
from monai_bmaps.transforms.frame import frame_affine

_SUFFIX = {"png": ".png", "nifti": ".nii.gz"}
_WHOLE = 0.9  # share of a frame
PATH_KEYS = ("image", "label", "sector", "depth")
"""Keys of an entry that hold paths."""


@dataclass(frozen=True)
class Options:
    """How frames are written.

    Args:
        size: see :func:`monai_bmaps.data.prepare.resampling.resample`.
        square: pad to a square, evenly left and right, or at the bottom.
        file_format: ``"png"`` or ``"nifti"``; both lossless, 8-bit.
        unfitted: what becomes of a frame without a beam.
        least_fit: overlap (IoU) with the field of view below which a beam does not count.
        most_shadow: share of the beam in shadow above which a frame is left out; ``None``: whatever it is.
        deform: deformed copies of each training frame.
        seed: of the deformations.

    Raises:
        ValueError: a size, word or number that is not allowed.
    """

    size: Size = 256
    square: bool = False
    file_format: Literal["png", "nifti"] = "png"
    unfitted: Literal["drop", "keep"] = "drop"
    least_fit: float = 0.8
    most_shadow: float | None = None
    deform: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.file_format not in _SUFFIX:
            raise ValueError(f"file_format must be png or nifti, got {self.file_format!r}; choose one")
        if self.unfitted not in ("drop", "keep"):
            raise ValueError(f"unfitted must be drop or keep, got {self.unfitted!r}; choose one")
        for name in ("least_fit", "most_shadow"):
            share = getattr(self, name)
            if share is not None and not 0 <= share <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {share}; it is a share")
        if self.deform < 0 or self.seed < 0:
            raise ValueError(f"deform and seed must be at least 0, got {self.deform} and {self.seed}")
        sizes = self.size if isinstance(self.size, tuple) else (self.size,)
        if any(n is not None and n < 1 for n in sizes):
            raise ValueError(f"size must be at least 1, got {self.size}; give pixels")


def write_frame(
    frame: Frame, patient: str, kind: BeamKind, output: Path, options: Options, copies: int = 0
) -> list[dict[str, Any]] | str:
    """Write a frame's files and those of its deformed copies.

    Args:
        frame: as the source holds it.
        patient: its group.
        kind: which beam to fit.
        output: folder of the prepared set.
        options: how to write it.
        copies: how many deformed copies.

    Returns:
        An entry each for the list, or why the frame is left out.

    Raises:
        ValueError: a frame that is turned.
        OSError: a file cannot be written; then none of them remains.
    """
    frame = resample(frame, options.size)
    frame = squared(frame) if options.square else frame
    fitted = beam_of(frame, kind)
    if fitted is not None and fitted.overlap < options.least_fit:
        fitted = None
    if reason := _objection(frame, fitted, options):
        return reason
    if fitted is not None and frame.text != "none":
        frame = replace(frame, image=np.where(fitted.inside, frame.image, np.uint8(0)))
    common: dict[str, Any] = {"patient": patient, **frame.attributes}
    if frame.spacing is not None:
        common["spacing"] = [round(side, 6) for side in frame.spacing]
    entries: list[dict[str, Any]] = []
    try:
        for name, planes, more in _versions(frame, fitted, copies, options.seed):
            entries.append({"name": name, **common, **more})
            _write_planes(output, entries[-1], planes, frame.spacing, options)
    except OSError:
        for entry in entries:
            remove_files(output, entry)
        raise
    return entries


def _objection(frame: Frame, fitted: FittedBeam | None, options: Options) -> str | None:
    """Why a frame is left out, if it is."""
    if fitted is None:
        drop = options.unfitted == "drop" or frame.text != "none"
        return "no beam matches the field of view" if drop else None
    if frame.text == "anywhere" and (isinstance(fitted.beam, LinearBeam) or fitted.inside.mean() > _WHOLE):
        return "the file marks no region, and no fan shows outside which to remove burned-in text"
    if options.most_shadow is None:
        return None
    shadow = shadow_share(frame.image, fitted.beam, ignore=fitted.unknown)
    return f"more than {options.most_shadow:.0%} in shadow" if shadow > options.most_shadow else None


def _versions(
    frame: Frame, fitted: FittedBeam | None, copies: int, seed: int
) -> Iterator[tuple[str, Planes, dict[str, Any]]]:
    """The frame and its deformed copies: name, planes, and what the list says of it alone."""
    planes: Planes = {"image": frame.image, "label": frame.label}
    planes["sector"] = frame.inside if fitted is None else fitted.inside
    if fitted is None:
        yield frame.name, planes, {}
        return
    yield frame.name, planes, {"beam": fitted.beam.to_dict(), "fit": round(fitted.overlap, 4)}
    for name, moved in deformed_copies(frame, fitted.beam, copies, seed):
        yield name, moved, {}


def _write_planes(
    output: Path,
    entry: dict[str, Any],
    planes: Planes,
    spacing: tuple[float, float] | None,
    options: Options,
) -> None:
    """Write the planes that are there and note their paths in the entry."""
    for key, pixels in planes.items():
        if pixels is not None:
            exact = key == "depth"
            entry[key] = f"{key}s/{entry['name']}{'.nii.gz' if exact else _SUFFIX[options.file_format]}"
            write_pixels(output / entry[key], np.asarray(pixels, np.float32 if exact else np.uint8), spacing)


def files_of(output: Path, entry: Mapping[str, Any]) -> list[Path]:
    """The files that an entry of the list names."""
    return [output / entry[key] for key in PATH_KEYS if key in entry]


def remove_files(output: Path, entry: Mapping[str, Any]) -> None:
    """Remove the files that an entry of the list names."""
    for path in files_of(output, entry):
        path.unlink(missing_ok=True)


def write_pixels(path: Path, pixels: NDArray[Any], spacing: tuple[float, float] | None) -> None:
    """Write (height, width) as PNG (uint8) or NIfTI, whole or not at all; NIfTI keeps the spacing.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(path) as partial:
        if path.suffix == ".png":
            PillowImage.fromarray(pixels).save(partial)
            return
        row, column = spacing or (1.0, 1.0)
        affine = frame_affine()[:, [1, 0, 2, 3]] @ np.diag([column, row, 1.0, 1.0])
        image = nibabel.Nifti1Image(pixels.T[:, :, None], affine)
        image.header.set_xyzt_units("mm" if spacing is not None else "unknown")
        nibabel.save(image, partial)

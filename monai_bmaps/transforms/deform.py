"""Random affine and elastic deformation of a frame, its labels and its depth map by one field.

An output pixel at x, relative to the image's centre, is read at ``A^-1 (x + u(x) - t)``: u is a cubic B-spline of
random control points, A scales, shears and rotates, t translates. The depth map moves with the anatomy, so the noise
of diffusion still follows each (bent) scan line; the outline of the fan changes with it.

Echo from Noise (Stojanovski et al. 2023, https://arxiv.org/abs/2305.05424) bent the label maps of CAMUS so, five times
a frame. Its ranges are the defaults but one: its control points moved by up to 30 / 256 of the image, twice as far;
fans bent so far look molten.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import AffineGrid, MapTransform, Randomizable, RandomizableTransform, Resample
from monai.transforms.utils import create_grid
from monai.utils import TransformBackends, convert_to_dst_type, ensure_tuple_rep

Mode: TypeAlias = Literal["bilinear", "nearest"]

# A cubic B-spline of control points moved by less than 1 / 2.046 of their spacing never folds the plane over
# (Choi and Lee, Graphical Models 62(6), 2000, https://doi.org/10.1006/gmod.2000.0531).
_FOLDING = 2.046392675


class RandBeamDeform(RandomizableTransform):  # type: ignore[misc]
    """Deform tensors ``(C, H, W)`` at random; with ``randomize=False`` by the field drawn last.

    Rotation and shear are true to scale where a ``MetaTensor``'s pixels are not square. Sizes and affines stay.

    Args:
        rotate_deg: greatest rotation to either side.
        translate: greatest shift, as a share of height and width.
        scale: least and greatest magnification.
        shear_deg: greatest angle by which columns lean, and rows.
        control_points: of the elastic field along each axis, at least 4; they lie a (n - 3)-rd of the image apart.
        max_displacement: of a control point along each axis, as a share of height and width.
        prob: of deforming at all.

    Raises:
        ValueError: a range that is negative or upside down, or a displacement that could fold the image over.

    Example:
        >>> deform = RandBeamDeform().set_random_state(seed=0)
        >>> image, label = torch.rand(1, 20, 24), torch.ones(1, 20, 24)
        >>> deform(image).shape, deform(label, mode="nearest", randomize=False).unique()
        (torch.Size([1, 20, 24]), tensor([0., 1.]))
    """

    backend = (TransformBackends.TORCH,)

    def __init__(
        self,
        rotate_deg: float = 5.0,
        translate: float = 0.05,
        scale: tuple[float, float] = (0.8, 1.05),
        shear_deg: float = 5.0,
        control_points: int = 7,
        max_displacement: float = 15 / 256,
        prob: float = 1.0,
    ) -> None:
        RandomizableTransform.__init__(self, prob)
        for name, value, end in (
            ("rotate_deg", rotate_deg, 180.0),
            ("translate", translate, 1.0),
            ("shear_deg", shear_deg, 40.0),  # at 45 both ways the plane collapses to a line
        ):
            if not 0 <= value <= end:
                raise ValueError(f"{name} must lie in [0, {end:g}], got {value}; it is the greatest to either side")
        if not 0 < scale[0] <= scale[1] < math.inf:
            raise ValueError(f"scale must be (least, greatest) magnification above 0, got {scale}; 1 changes nothing")
        if control_points < 4:
            raise ValueError(f"control_points must be at least 4, got {control_points}; a cubic spline needs as many")
        greatest = 1 / (_FOLDING * (control_points - 3))
        if not 0 <= max_displacement < greatest:
            raise ValueError(
                f"max_displacement must lie in [0, {greatest:.4f}) with {control_points} control points, got "
                f"{max_displacement}; beyond that the image could fold over: lower it or take fewer points"
            )
        self.rotate_deg, self.translate, self.scale, self.shear_deg = rotate_deg, translate, scale, shear_deg
        self.control_points, self.max_displacement = control_points, max_displacement
        self._resample = Resample(padding_mode="zeros")
        self._affine: tuple[float, ...] = (0.0, 1.0, 0.0, 0.0, 0.0, 0.0)
        self._control = np.zeros((2, control_points, control_points))

    def randomize(self, data: Any = None) -> None:
        """Draw a new field."""
        super().randomize(None)
        angle, lean_rows, lean_columns = (
            math.radians(float(self.R.uniform(-x, x))) for x in (self.rotate_deg, self.shear_deg, self.shear_deg)
        )
        shift = self.R.uniform(-self.translate, self.translate, 2)
        magnification = float(self.R.uniform(*self.scale))
        self._affine = (angle, magnification, lean_rows, lean_columns, float(shift[0]), float(shift[1]))
        size = (2, self.control_points, self.control_points)
        self._control = self.R.uniform(-self.max_displacement, self.max_displacement, size)

    def __call__(self, img: torch.Tensor, mode: Mode = "bilinear", randomize: bool = True) -> torch.Tensor:
        """Deform an image or label map; what comes from beyond its edges is 0.

        Args:
            img: ``(C, H, W)``; 0 is black or background.
            mode: "bilinear" for images (float32 results), "nearest" for labels and masks (their type stays).
            randomize: whether to draw a new field first.
        """
        if randomize:
            self.randomize()
        if not self._do_transform:
            return img
        moved = self._resample(img, self._grid(img), mode=mode).as_subclass(torch.Tensor)
        return _as_given(moved.to(img.dtype) if mode == "nearest" else moved, img)

    def depth(self, depth: torch.Tensor, sector: torch.Tensor | None = None) -> torch.Tensor:
        """Move a depth map by the field drawn last; see :meth:`coordinates`.

        Interpolated between pixels inside the beam alone, so that no rim of intermediate depths arises; exactly 0
        outside. Depth 0 counts as outside if no ``sector`` is given, which shifts the face by up to a pixel.

        Args:
            depth: ``(1, H, W)``, in [0, 1].
            sector: ``(1, H, W)``, positive inside the beam.
        """
        if not self._do_transform:
            return depth
        inside = ((depth if sector is None else sector).as_subclass(torch.Tensor) > 0).float()
        weight = self(inside, randomize=False)
        kept = self(inside, "nearest", randomize=False) > 0
        values = self(depth.as_subclass(torch.Tensor) * inside, randomize=False)
        return _as_given(torch.where(kept, values / weight.clamp_min(1e-6), 0.0).clamp(0.0, 1.0), depth)

    def coordinates(self, shape: Sequence[int], spacing: Sequence[float] = (1.0, 1.0)) -> torch.Tensor:
        """Where the field drawn last reads each output pixel: row and column positions ``(2, H, W)``, float64."""
        size = (int(shape[0]), int(shape[1]))
        grid = create_grid(size, dtype=torch.float64, backend="torch")
        for axis, length in enumerate(size):
            grid[axis] += _spline(size, self._control[axis]) * length
        moved, _ = AffineGrid(affine=self._inverse(size, spacing), dtype=np.float64)(grid=grid)
        centre = torch.tensor([[[0.5 * (length - 1)]] for length in size], dtype=torch.float64)
        positions: torch.Tensor = moved[:2].as_subclass(torch.Tensor) + centre
        return positions

    def positions(self, img: torch.Tensor) -> torch.Tensor:
        """As :meth:`coordinates`, for an image ``(C, H, W)`` and the spacing that it states."""
        spacing = img.pixdim[:2].tolist() if isinstance(img, MetaTensor) else (1.0, 1.0)
        return self.coordinates(img.shape[-2:], spacing)

    def _grid(self, img: torch.Tensor) -> torch.Tensor:
        """Positions relative to the image's centre, as ``Resample`` takes them."""
        return self.positions(img) - torch.tensor([[[0.5 * (length - 1)]] for length in img.shape[-2:]])

    def _inverse(self, size: tuple[int, int], spacing: Sequence[float]) -> torch.Tensor:
        """``A^-1 (x - t)`` in pixels, (3, 3)."""
        angle, magnification, lean_rows, lean_columns, *shift = self._affine
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        lean = np.array([[1.0, math.tan(lean_rows)], [math.tan(lean_columns), 1.0]])
        forward, pixel = np.eye(3), np.diag(spacing)
        forward[:2, :2] = np.linalg.inv(pixel) @ (magnification * turn @ lean) @ pixel
        forward[:2, 2] = np.multiply(shift, size)
        return torch.from_numpy(np.linalg.inv(forward))


class RandBeamDeformd(Randomizable, MapTransform):  # type: ignore[misc]
    """Dictionary version of :class:`RandBeamDeform`: all keys by one field.

    Images are expected with black at 0: shift those in [-1, 1] before and after.

    Args:
        keys: what to deform: image, label, sector and depth of the item.
        mode: "bilinear" or "nearest", one for all keys or one for each; not heeded for the depth map.
        depth_key: which key is the depth map.
        sector_key: which key is the field of view that tells depth 0 at the face from outside.
        beam_key: a beam cannot be deformed: an item that has one is refused.
        allow_missing_keys: skip keys an item lacks.
        rotate_deg: and the following: see :class:`RandBeamDeform`.
        translate: see there.
        scale: see there.
        shear_deg: see there.
        control_points: see there.
        max_displacement: see there.
        prob: see there.

    Raises:
        ValueError: keys of different sizes, a depth map or sector in the item that would stay behind, or a beam.
    """

    backend = RandBeamDeform.backend

    def __init__(
        self,
        keys: KeysCollection = ("image", "label", "sector", "depth"),
        mode: Mode | Sequence[Mode] = ("bilinear", "nearest", "nearest", "bilinear"),
        depth_key: str = "depth",
        sector_key: str = "sector",
        beam_key: str = "beam",
        allow_missing_keys: bool = False,
        rotate_deg: float = 5.0,
        translate: float = 0.05,
        scale: tuple[float, float] = (0.8, 1.05),
        shear_deg: float = 5.0,
        control_points: int = 7,
        max_displacement: float = 15 / 256,
        prob: float = 1.0,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.mode = ensure_tuple_rep(mode, len(self.keys))
        self.depth_key, self.sector_key, self.beam_key = depth_key, sector_key, beam_key
        self.deform = RandBeamDeform(rotate_deg, translate, scale, shear_deg, control_points, max_displacement, prob)

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> RandBeamDeformd:
        """Set the seed or state of the draws."""
        self.deform.set_random_state(seed, state)
        return self

    def randomize(self, data: Any = None) -> None:
        """Draw a new field."""
        self.deform.randomize()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the item deformed."""
        item = dict(data)
        self._check(item)
        self.randomize()
        sector = item.get(self.sector_key)
        for key, mode in self.key_iterator(item, self.mode):
            if key == self.depth_key:
                item[key] = self.deform.depth(data[key], sector)
            else:
                item[key] = self.deform(data[key], mode, randomize=False)
        return item

    def _check(self, item: Mapping[Hashable, Any]) -> None:
        left = [key for key in (self.depth_key, self.sector_key) if key in item and key not in self.keys]
        if left:
            raise ValueError(f"{', '.join(left)} would stay behind; list it among the keys, or remove it before")
        if item.get(self.beam_key) is not None:
            raise ValueError(
                f"a beam cannot be deformed, and the item has one under {self.beam_key!r}; run BeamDepthd before, "
                "which makes it a depth map"
            )
        sizes = {key: tuple(item[key].shape[-2:]) for key in self.key_iterator(item)}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"all keys must have one size, got {sizes}; resize before deforming")


def deformations(
    item: Mapping[Hashable, Any], count: int, seed: int, *, transform: RandBeamDeformd | None = None
) -> Iterator[dict[Hashable, Any]]:
    """Deform one item several times; the k-th result depends on the item, the seed and k alone.

    Args:
        item: tensors ``(C, H, W)`` under the transform's keys, and whatever else.
        count: how many.
        seed: at least 0; give every item its own, or all are deformed alike.
        transform: what to draw from, whose random state is then set; ``None`` is ``RandBeamDeformd()`` with those of
            its keys that the item has.
    """
    transform = transform or RandBeamDeformd(allow_missing_keys=True)
    for k in range(count):
        draw = np.random.SeedSequence((seed, k)).generate_state(1)
        yield transform.set_random_state(seed=int(draw[0]))(item)


def _as_given(moved: torch.Tensor, img: torch.Tensor) -> torch.Tensor:
    """With the image's metadata and the record of what was done to it, so that neighbours can still be undone."""
    out: torch.Tensor = convert_to_dst_type(moved, dst=img, dtype=moved.dtype)[0]
    return out


def _spline(size: tuple[int, int], control: np.ndarray[Any, Any]) -> torch.Tensor:
    """Uniform cubic B-spline over an image: (H, W) from control points (n, n), the outer ones beyond its edges."""
    rows, columns = (_basis(length, len(control)) for length in size)
    return rows @ torch.from_numpy(control) @ columns.T


def _basis(length: int, count: int) -> torch.Tensor:
    """Weight of each of ``count`` control points at each of ``length`` pixels, from edge to edge of the image."""
    position = (torch.arange(length, dtype=torch.float64) + 0.5) / length * (count - 3) + 1
    away = (position[:, None] - torch.arange(count, dtype=torch.float64)).abs()
    return torch.where(away < 1, 2 / 3 - away**2 + away**3 / 2, (2 - away).clamp_min(0) ** 3 / 6)


RandBeamDeformD = RandBeamDeformDict = RandBeamDeformd

r"""Noise that grows with depth, as an augmentation: one forward step of the B-map process at a random level.

``x_t = a x_0 + s noise`` with ``a^2 = abar_t Bbar_t(d)`` and ``s^2 = 1 - a^2`` per pixel, on images in [-1, 1]: with
depth an image fades to mid grey and noise takes its place. Divided by ``a`` its mean stays, as after time gain
compensation, and the noise has the standard deviation ``s / a``.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable, RandomizableTransform
from monai.utils import MAX_SEED, TransformBackends, convert_to_dst_type

from monai_bmaps import diffusion
from monai_bmaps.bmaps import BMap
from monai_bmaps.schedulers import BMapDDPMScheduler
from monai_bmaps.transforms.beam_field import (
    AnyBeam,
    BeamField,
    FieldKeys,
    Range,
    as_given,
    beam_field,
    check_intensities,
    check_probability,
    check_range,
    check_value_range,
    working,
)


class RandBMapNoise(RandomizableTransform):  # type: ignore[misc]
    """Take an image ``(C, *spatial)`` one random level into the B-map process.

    Outside the beam nothing changes. Type and range stay the input's; channels have noise of their own. Not
    invertible.

    Args:
        levels: least and greatest share of the chain, in [0, 1]; uniform between them. 0 changes nothing.
        b_map: how the signal fades with depth; ``None`` is ``BMap.preset("physical")``, 44 dB.
        schedule: noise schedule of the chain, a name in MONAI's ``NoiseSchedules``.
        num_train_timesteps: steps of the chain: levels are whole steps.
        value_range: black and white of the images, which the process takes for -1 and 1.
        renormalise: divide by the signal's amplitude ``a``, so that the expected image is the input's wherever ``a``
            is not below ``max_gain_db``: noise alone grows with depth. Without it deep tissue also loses contrast.
        max_gain_db: greatest factor 1 / a, in dB of amplitude (20 dB is 10); keeps what has no signal left finite.
        clip: cut what noise has pushed out of the range; without it noise stays Gaussian, for floating point only.
        beam: where the sound goes, in the images' pixels, for calls without a depth map.
        prob: of adding noise at all.

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> noise = RandBMapNoise(levels=(0.1, 0.1), prob=1.0).set_random_state(seed=0)
        >>> depth = torch.linspace(0.01, 1, 40)[:, None].expand(40, 60)
        >>> noisy = noise(torch.zeros(1, 40, 60), depth)
        >>> bool(noisy[0, 30:].std() > 2 * noisy[0, :4].std())
        True
    """

    backend = (TransformBackends.TORCH,)

    def __init__(
        self,
        levels: Range = (0.0, 0.05),
        b_map: BMap | None = None,
        schedule: str = "cosine",
        num_train_timesteps: int = 1000,
        value_range: Range = (-1.0, 1.0),
        renormalise: bool = False,
        max_gain_db: float = 20.0,
        clip: bool = True,
        beam: AnyBeam | None = None,
        prob: float = 0.1,
    ) -> None:
        RandomizableTransform.__init__(self, check_probability(prob))
        if not 0.0 <= max_gain_db < math.inf:
            raise ValueError(f"max_gain_db must be finite and at least 0, got {max_gain_db}; 20 is a factor of 10")
        self.levels = check_range("levels", levels, 0.0, 1.0)
        self.value_range = check_value_range(value_range)
        self.renormalise, self.max_gain_db, self.clip, self.beam = renormalise, max_gain_db, clip, beam
        self._scheduler = BMapDDPMScheduler(num_train_timesteps, schedule, b_map or BMap.preset("physical"))
        self.timestep, self.seed = -1, 0

    def randomize(self, data: Any = None) -> None:
        """Draw whether, the level (``timestep``, -1 for none) and the noise (``seed``)."""
        super().randomize(None)
        share = float(self.R.uniform(*self.levels))
        self.timestep = round(share * self._scheduler.num_train_timesteps) - 1
        self.seed = int(self.R.randint(MAX_SEED, dtype="uint32"))

    def __call__(
        self, img: torch.Tensor, depth: Any = None, sector: Any = None, randomize: bool = True
    ) -> torch.Tensor:
        """Add noise.

        Args:
            img: ``(C, *spatial)``, in ``value_range``; what type it is stays.
            depth: ``(1, *spatial)`` in [0, 1]; may be left out if the transform has a beam.
            sector: ``(1, *spatial)``, positive inside the beam; without it depth 0 is outside.
            randomize: whether to draw first.

        Raises:
            ValueError: values that are not finite or outside ``value_range``, or no depth map of the image's size.
        """
        if randomize:
            self.randomize()
        return self.applied(img, beam_field(img.shape, depth, sector, self.beam))

    def applied(self, img: torch.Tensor, field: BeamField, name: str = "image") -> torch.Tensor:
        """The image at the level drawn last, if one was; ``name`` is for messages."""
        pixels = torch.as_tensor(img)
        check_intensities(pixels, self.value_range, self.clip, name)
        if not self._do_transform or self.timestep < 0:
            return img
        low, high = self.value_range
        half = 0.5 * (high - low)
        noisy = self._noisy((working(pixels) - low) / half - 1.0, field.depth.to(pixels.device))
        changed = as_given((noisy + 1.0) * half + low, pixels, self.value_range, self.clip)
        out: torch.Tensor = convert_to_dst_type(
            torch.where(field.inside.to(pixels.device), changed, pixels.as_subclass(torch.Tensor)), dst=img
        )[0]
        return out

    def _noisy(self, clean: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
        level = self._scheduler.bind(depth[None]).log_retained(self.timestep)[0]
        # on the CPU, so that a seed means the same noise on every device
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(self.seed), dtype=clean.dtype)
        noisy = diffusion.add_noise(clean, noise.to(clean.device), level.to(clean.device))
        if not self.renormalise:
            return noisy
        gain = torch.exp(-0.5 * level).clamp(max=10 ** (self.max_gain_db / 20))
        return noisy * gain.to(noisy)


class RandBMapNoised(Randomizable, MapTransform):  # type: ignore[misc]
    """Dictionary version of :class:`RandBMapNoise`: one level and, for keys of one size, one noise.

    The depth is that of the beam given here, else the item's depth map, else of its beam (in the image's pixels).

    Args:
        keys: images.
        levels: and the following: see :class:`RandBMapNoise`.
        b_map: see there.
        schedule: see there.
        num_train_timesteps: see there.
        value_range: see there.
        renormalise: see there.
        max_gain_db: see there.
        clip: see there.
        beam: see there.
        depth_key: where an item has its depth map ``(1, *spatial)``.
        sector_key: where an item has its field of view ``(1, *spatial)``, if it has one.
        beam_key: where an item has its beam, if it has no depth map.
        prob: see there.
        allow_missing_keys: skip keys an item lacks.

    Raises:
        KeyError: an item without depth map and beam, or without a key.
        ValueError: see :class:`RandBMapNoise`.
    """

    backend = RandBMapNoise.backend

    def __init__(
        self,
        keys: KeysCollection,
        levels: Range = (0.0, 0.05),
        b_map: BMap | None = None,
        schedule: str = "cosine",
        num_train_timesteps: int = 1000,
        value_range: Range = (-1.0, 1.0),
        renormalise: bool = False,
        max_gain_db: float = 20.0,
        clip: bool = True,
        beam: AnyBeam | None = None,
        depth_key: str = "depth",
        sector_key: str = "sector",
        beam_key: str = "beam",
        prob: float = 0.1,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.fields = FieldKeys(depth_key, sector_key, beam_key)
        self.noise = RandBMapNoise(
            levels, b_map, schedule, num_train_timesteps, value_range, renormalise, max_gain_db, clip, beam, prob
        )

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> RandBMapNoised:
        """Set the seed or state of the draws."""
        self.noise.set_random_state(seed, state)
        return self

    def randomize(self, data: Any = None) -> None:
        """Draw whether, the level and the noise."""
        self.noise.randomize()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the item with noise, or as it was."""
        item = dict(data)
        self.randomize()
        for key in self.key_iterator(item):
            item[key] = self.noise.applied(item[key], self.fields.field(item, key, self.noise.beam), str(key))
        return item


RandBMapNoiseD = RandBMapNoiseDict = RandBMapNoised

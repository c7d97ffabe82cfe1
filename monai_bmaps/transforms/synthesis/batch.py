"""Synthetic images for a share of each batch, drawn together where the network is: the fast road.

As with MONAI's ``MixUp`` the mixer is called between loader and network; in MONAI's engines
:class:`SynthesisMixPrepareBatch` does so.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.engines import PrepareBatch, PrepareBatchDefault
from monai.transforms import MapTransform, Randomizable
from monai.utils import MAX_SEED, TransformBackends, get_seed
from torch.utils.data import default_collate

from monai_bmaps.draws import seed_of
from monai_bmaps.geometry import Beam
from monai_bmaps.transforms.synthesis.frames import (
    FrameKeys,
    FrameSynthesis,
    Range,
    check_share,
    frame_keys,
    share_range,
)
from monai_bmaps.transforms.synthesis.model import SynthesisModel
from monai_bmaps.transforms.synthesis.record import RECORD_KEY, SynthesisRecord, real_record, synthetic_record


class BMapSynthesisMix(Randomizable):  # type: ignore[misc]
    """Replace a share of a batch's images by ones drawn for their label maps, or mix them with those.

    Of N images ``share N`` are drawn, all at once; what is left of a whole number is one more as often as that says,
    so that the share holds over batches. Which ones, seeds and weights differ between images, the strength between
    batches only, since all take the same steps. An image depends on its seed, label map and depth, not on the batch.

    Args:
        model: what draws, on the network's device.
        share: of synthetic images, in [0, 1].
        strength: see :class:`~monai_bmaps.transforms.RandBMapSynthesis`, as for those that follow.
        mix: see there.
        label_mapping: see there.
        beam: see there.
        intensity_range: see there.
        spacing_tolerance: see there.

    Raises:
        ValueError: a number out of its range, or a mapping to classes that the model has not.
    """

    backend = (TransformBackends.TORCH,)

    def __init__(
        self,
        model: SynthesisModel,
        share: float = 0.5,
        strength: float | Range = 1.0,
        mix: float | Range = 1.0,
        label_mapping: Mapping[int, int | str] | None = None,
        beam: Beam | Mapping[str, Any] | None = None,
        intensity_range: Range | None = None,
        spacing_tolerance: float = 1.5,
    ) -> None:
        self.share = check_share("share", share)
        self.strength = share_range("strength", strength)
        self.mix = share_range("mix", mix)
        self.frames = FrameSynthesis(model, FrameKeys(), label_mapping, beam, intensity_range, spacing_tolerance)
        self.chosen: list[int] = []
        self.seeds: list[int] = []
        self.weights: list[float] = []
        self.drawn_strength = 1.0

    def randomize(self, data: int) -> None:
        """Draw for a batch of so many images which are synthetic, their seeds and weights, and the strength."""
        count = int(self.share * data + float(self.R.uniform()))
        self.chosen = sorted(self.R.permutation(data)[:count].tolist())
        self.seeds = self.R.randint(MAX_SEED, size=data, dtype="uint32").tolist()
        self.weights = self.R.uniform(*self.mix, size=data).tolist()
        self.drawn_strength = float(self.R.uniform(*self.strength))

    def __call__(
        self,
        images: torch.Tensor | None,
        labels: torch.Tensor | None = None,
        depth: torch.Tensor | None = None,
        sector: torch.Tensor | None = None,
        randomize: bool = True,
    ) -> torch.Tensor:
        """The batch ``(N, 1, H, W)`` with synthetic images in it, of its type, on its device.

        Args:
            images: ``(N, 1, H, W)``; ``None``: all are drawn, as float32.
            labels: label maps ``(N, 1, H, W)``; a model without classes needs none.
            depth: depth maps ``(N, 1, H, W)``.
            sector: fields of view ``(N, 1, H, W)``.
            randomize: whether to draw anew; otherwise as drawn last.

        Raises:
            KeyError: too little to draw from.
            ValueError: unknown label values, shapes, spacing or intensities that do not fit.
        """
        given = dict(zip(self.frames.keys, (images, labels, depth, sector), strict=False))
        return self.of_batch({key: value for key, value in given.items() if value is not None}, randomize)

    def of_batch(self, batch: Mapping[Hashable, Any], randomize: bool = True) -> torch.Tensor:
        """The images of a batch; ``frames.keys`` tells its names.

        Raises:
            KeyError: a batch that holds none of them.
        """
        keys = self.frames.keys
        present = {key: torch.as_tensor(batch[key]) for key in keys[:4] if batch.get(key) is not None}
        if not present:
            raise KeyError(
                f"the batch has none of {', '.join(map(str, keys[:4]))}; it has {', '.join(map(str, batch))}"
            )
        like = next(iter(present.values()))
        if randomize:
            self.randomize(len(like))
        if keys.image in present:
            return self._mixed(present, like, self.chosen, self.drawn_strength, self.weights)
        return self._mixed(present, like.float(), range(len(like)), 1.0, [1.0] * len(like))

    def _mixed(
        self,
        present: Mapping[Hashable, torch.Tensor],
        like: torch.Tensor,
        chosen: Sequence[int],
        strength: float,
        weights: Sequence[float],
    ) -> torch.Tensor:
        """A batch with the chosen ones drawn."""
        if not chosen:
            return _merged(like, [], [], [])
        items = [{key: _item(value, index) for key, value in present.items()} for index in chosen]
        conditions = [self.frames.condition(item) for item in items]
        images = [item.get(self.frames.keys.image) for item in items]
        seeds, shares = [self.seeds[index] for index in chosen], [weights[index] for index in chosen]
        drawn = self.frames.drawn(conditions, images, seeds, strength, shares)
        model = self.frames.model
        records = [synthetic_record(model, seed, strength, mix) for seed, mix in zip(seeds, shares, strict=True)]
        return _merged(like, chosen, drawn, records)


class BMapSynthesisMixd(Randomizable, MapTransform):  # type: ignore[misc]
    """Dictionary version of :class:`BMapSynthesisMix`, for collated batches.

    The batch should hold depth maps and fields of view (``BeamDepthd`` in the items' pipeline); fitting beams here
    takes longer.

    Args:
        keys: the images, one key.
        model: see :class:`BMapSynthesisMix`, as for all not told here.
        share: see there.
        strength: see there.
        mix: see there.
        label_mapping: see there.
        beam: see there.
        intensity_range: see there.
        spacing_tolerance: see there.
        label_key: label maps; a model without classes needs none.
        depth_key: depth maps.
        sector_key: fields of view; without them, where depth is above 0.
        allow_missing_keys: leave a batch as it is that has no label maps, or nothing to make depth maps from.
    """

    backend = BMapSynthesisMix.backend

    def __init__(
        self,
        keys: KeysCollection,
        model: SynthesisModel,
        share: float = 0.5,
        strength: float | Range = 1.0,
        mix: float | Range = 1.0,
        label_mapping: Mapping[int, int | str] | None = None,
        beam: Beam | Mapping[str, Any] | None = None,
        intensity_range: Range | None = None,
        spacing_tolerance: float = 1.5,
        label_key: str = "label",
        depth_key: str = "depth",
        sector_key: str = "sector",
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.mixer = BMapSynthesisMix(
            model, share, strength, mix, label_mapping, beam, intensity_range, spacing_tolerance
        )
        self.mixer.frames.keys = frame_keys(self.keys, label_key, depth_key, sector_key, "beam")

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> BMapSynthesisMixd:
        """Set the seed or state of the draws."""
        self.mixer.set_random_state(seed, state)
        return self

    def randomize(self, data: int) -> None:
        """Draw anew for a batch of so many images."""
        self.mixer.randomize(data)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the batch with synthetic images in it."""
        batch = dict(data)
        if missing := self.mixer.frames.lacks(batch):
            if self.allow_missing_keys:
                return batch
            raise KeyError(f"the batch has no {missing}; it has {', '.join(map(str, batch))}")
        batch[self.keys[0]] = self.mixer.of_batch(batch)
        return batch


class SynthesisMixPrepareBatch(PrepareBatch):  # type: ignore[misc]
    """``prepare_batch`` of MONAI's trainers: synthesises a share of each batch on the network's device first.

    For training only: give evaluators another one, or they are measured on synthetic images.

    What is drawn at a call follows from the seed, the call's number and this process's alone. So a training that was
    resumed goes on with the images it would have had, if its checkpoint holds this too, like network and optimiser
    (``"prepare_batch": prepare_batch`` in the ``save_dict`` of MONAI's ``CheckpointSaver``).

    Args:
        mixer: what synthesises.
        prepare_batch: what then takes image and label out of the batch; ``None`` is MONAI's own.
        seed: of the draws; ``None`` is the one of ``monai.utils.set_determinism``, if it was called, else one that the
            mixer draws.

    Attributes:
        next_iteration: number of the next call, from 0 on.
    """

    def __init__(
        self, mixer: BMapSynthesisMixd, prepare_batch: Callable[..., Any] | None = None, seed: int | None = None
    ) -> None:
        self.mixer = mixer
        self.prepare_batch = prepare_batch or PrepareBatchDefault()
        chosen = get_seed() if seed is None else seed
        self.seed = int(mixer.mixer.R.randint(MAX_SEED, dtype="uint32")) if chosen is None else chosen
        self.next_iteration = 0

    def state_dict(self) -> dict[str, int]:
        """Seed and number of the next call, for checkpoints."""
        return {"seed": self.seed, "next_iteration": self.next_iteration}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where a checkpoint was.

        Raises:
            KeyError: the state of something else.
        """
        self.seed, self.next_iteration = state["seed"], state["next_iteration"]

    def __call__(
        self,
        batchdata: Mapping[Hashable, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> Any:
        """What the wrapped ``prepare_batch`` returns of the mixed batch."""
        frames, batch = self.mixer.mixer.frames, dict(batchdata)
        for key in frames.keys:
            if isinstance(batch.get(key), torch.Tensor):
                batch[key] = batch[key].to(frames.model.device, non_blocking=non_blocking)
        self.mixer.set_random_state(seed=seed_of(self.seed + _rank(), self.next_iteration))
        self.next_iteration += 1
        return self.prepare_batch(self.mixer(batch), device, non_blocking, **kwargs)


def _rank() -> int:
    """Number of this process among those of a distributed training, which see other items."""
    group = torch.distributed
    return group.get_rank() if group.is_available() and group.is_initialized() else 0


def _item(batch: torch.Tensor, index: int) -> torch.Tensor:
    """One frame of a batch, with its own affine."""
    frame = batch.as_subclass(torch.Tensor)[index]
    return MetaTensor(frame, affine=batch.affine[index]) if isinstance(batch, MetaTensor) and batch.is_batch else frame


def _merged(
    like: torch.Tensor, chosen: Sequence[int], drawn: Sequence[torch.Tensor], records: Sequence[SynthesisRecord]
) -> torch.Tensor:
    """A copy of a batch with some of its images exchanged, and what each says of itself."""
    values = like.as_subclass(torch.Tensor).clone()
    for index, image in zip(chosen, drawn, strict=True):
        values[index] = (image if like.is_floating_point() else image.round()).to(values)
    if not isinstance(like, MetaTensor):
        return values
    own = dict(zip(chosen, records, strict=True))
    known = like.meta.get(RECORD_KEY)
    told = [own.get(k) or _told(known, k) for k in range(len(values))]
    merged: torch.Tensor = MetaTensor(values, meta={**like.meta, RECORD_KEY: default_collate(told)})
    merged.applied_operations, merged.is_batch = like.applied_operations, True  # type: ignore[attr-defined]
    return merged


def _told(known: Mapping[str, Any] | None, index: int) -> SynthesisRecord:
    """What a batch says of one of its images; that it is real, if nothing."""
    if known is None:
        return real_record()
    values = {name: known[name][index] for name in SynthesisRecord.__annotations__}
    plain = {name: value.item() if isinstance(value, torch.Tensor) else value for name, value in values.items()}
    return cast(SynthesisRecord, plain)


BMapSynthesisMixD = BMapSynthesisMixDict = BMapSynthesisMixd

"""The Frechet distance of drawn images to real ones as a metric for MONAI's engines."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import ignite.distributed as idist
import torch
from ignite.engine import Events
from ignite.metrics import Metric
from ignite.metrics.metric import EpochWise, reinit__is_reduced
from tqdm import tqdm

from monai_bmaps.evaluation.gathering import anywhere, gathered
from monai_bmaps.metrics.distributions import (
    POOLS,
    Features,
    FeatureSet,
    InceptionStem,
    contrasts,
    distribution_rows,
    file_features,
)
from monai_bmaps.metrics.findings import Measured

_KEYS = {pool: f"max_pool_{index}" for index, pool in enumerate(POOLS, 1)}
_KEY_POOL = max(POOLS)


class Items(Protocol):
    """A data set: a list of items, or MONAI's ``Dataset`` over one."""

    def __len__(self) -> int:
        """How many."""

    def __getitem__(self, index: int, /) -> Mapping[str, Any]:
        """One of them."""


class FrechetDistance(Metric):  # type: ignore[misc]
    """Frechet distance at the Inception's second max-pool, and in ``details`` all that belongs beside it.

    ``details`` holds both max-pools, the sizes of the sets, 95 % bootstrap intervals (over images: frames of one
    patient count as independent, which makes them narrow) and, with ``training``, the floor: how far real training
    frames are from the real ones, all of them and as many as were drawn.
    The same features also give kernel distance (KID), precision, recall, density and coverage
    (:mod:`monai_bmaps.metrics.distributions`). Attached to an engine, all are in ``engine.state.metrics`` as
    ``NAME_max_pool_1``, ``NAME_floor_max_pool_2``, ``NAME_kernel_max_pool_2``, ``NAME_coverage_max_pool_2``, ...

    Every image is rounded to 8 bits, as files are. Kept of an image are 256 numbers. Ranks hold the images of their own
    batches, each once: a sampler that fills the last batches up with repeated images changes the distance.

    Args:
        real: data set to compare with, whose features are computed once, when the engine starts. ``None``: real images
            come with the batches; right only if every one comes once, so not with several variants of an item.
        training: data set of real training frames, for the floor.
        stem: file of the Inception's weights; ``None``: pytorch-fid's, downloaded on first use. They are looked for
            when the engine starts: before anything is drawn.
        required: ``False``: where there are no weights, ``details`` says so and the distance is NaN.
        image_name: key of the images ``(1 or 3, H, W)`` in [-1, 1] in the items of ``real`` and ``training``.
        resamplings: bootstrap samples.
        batch_size: images in one pass through the Inception.
        verbose: show progress bars.
        output_transform: from the engine's output to ``(synthetic, real)``, batches or lists of images in [-1, 1] such
            as ``from_engine(["pred", "label"])`` gives; with ``real`` to the synthetic ones, ``from_engine("pred")``.
        device: where the Inception runs.
    """

    def __init__(
        self,
        real: Items | None = None,
        training: Items | None = None,
        stem: str | Path | None = None,
        required: bool = True,
        image_name: str = "image",
        resamplings: int = 200,
        batch_size: int = 8,
        verbose: bool = True,
        output_transform: Callable[[Any], Any] = lambda output: output,
        device: str | torch.device = "cpu",
    ) -> None:
        self.real = real
        self.training = training
        self.stem = stem
        self.required = required
        self.image_name = image_name
        self.resamplings = resamplings
        self.batch_size = batch_size
        self.verbose = verbose
        self.left_out: str | None = None
        self._network: InceptionStem | None = None
        self._known: dict[str, Features] = {}
        super().__init__(output_transform, device=device, skip_unrolling=True)

    def attach(self, engine: Any, name: str, usage: Any = EpochWise()) -> None:  # noqa: B008  (ignite's signature)
        """Register with an ignite engine; ``engine.state.metrics[name]`` will be the distance at max-pool 2."""
        super().attach(engine, name, usage)
        engine.add_event_handler(Events.STARTED, self.prepare)

    def prepare(self, engine: Any = None) -> None:
        """Load the weights and compute the features of the real sets, once.

        Raises:
            OSError: no weights, and they are required.
            ValueError: a real set of fewer than two images, or images out of range.
        """
        if self._network is not None or self.left_out is not None:
            return
        for name, items in self._real_sets():
            _check_count(name, len(items))
        network = self._load()
        if network is not None:
            self._known = {name: self._features_of(items, name, network) for name, items in self._real_sets()}
        self._network = network

    @reinit__is_reduced  # type: ignore[untyped-decorator]
    def reset(self) -> None:
        """Forget the images of batches; those of the real sets stay known."""
        self.details: tuple[Measured, ...] = ()
        self._drawn: list[Features] = []
        self._paired: list[Features] = []

    @reinit__is_reduced  # type: ignore[untyped-decorator]
    def update(self, output: Any) -> None:
        """Take a batch.

        Args:
            output: ``(synthetic, real)``, batches ``(N, 1 or 3, H, W)`` or lists of images in [-1, 1]; where the metric
                has its real images, the synthetic ones, alone or as the only entry of a tuple.

        Raises:
            ValueError: real images twice or never, images out of range, or NaN.
        """
        self.prepare()
        synthetic, paired = _pair(output)
        if (paired is None) == (self.real is None):
            raise ValueError(
                "real images must come either with every batch, as (synthetic, real), or as the metric's real=..., got "
                + ("neither" if paired is None else "both")
            )
        if self._network is None:
            return
        self._drawn.append(file_features(synthetic, self._network, batch_size=self.batch_size))
        if paired is not None:
            self._paired.append(file_features(paired, self._network, batch_size=self.batch_size))

    def compute(self) -> float:
        """Return the distance at max-pool 2 over all ranks, NaN where weights are missing; see ``details``.

        Raises:
            ValueError: fewer than two images, drawn or real.
        """
        self.prepare()
        if self.left_out is not None:
            self.details = tuple(
                Measured(_KEYS[pool], f"Frechet distance, {POOLS[pool]}", left_out=self.left_out) for pool in POOLS
            )
            return math.nan
        drawn = gathered(self._drawn)
        real = self._known.get("real") or gathered(self._paired)
        for name, features in (("synthetic", drawn), ("real", real)):
            _check_count(name, len(features[_KEY_POOL]))
        training = FeatureSet("training", self._known["training"]) if "training" in self._known else None
        # no halves: who is whose patient is not known here
        pairs = contrasts(FeatureSet("synthetic", drawn), FeatureSet("real", real), training, halves=False)
        rows = distribution_rows(pairs, resamplings=self.resamplings, verbose=self._shows_progress())
        self.details = tuple(rows)
        return next(row.value for row in rows if row.key == _KEYS[_KEY_POOL] and row.value is not None)

    def completed(self, engine: Any, name: str) -> None:
        """Put the distance and the details into ``engine.state.metrics``."""
        super().completed(engine, name)
        for row in self.details:
            if row.value is not None:
                engine.state.metrics[f"{name}_{row.key}"] = row.value

    def _real_sets(self) -> Iterator[tuple[str, Items]]:
        for name, items in (("real", self.real), ("training", self.training)):
            if items is not None:
                yield name, items

    def _load(self) -> InceptionStem | None:
        """The network, or ``None`` with ``left_out`` set; every rank goes the same way."""
        network, missing = None, None
        try:
            network = InceptionStem.load(self.stem).to(self._device)
        except OSError as error:
            missing = error
        if not anywhere(missing is not None):
            return network
        reason = str(missing or "another rank has no weights of the Inception")
        if self.required:
            raise OSError(f"{reason}; or evaluate without this distance: required=False") from missing
        logging.getLogger(__name__).warning("no Frechet distance: %s", reason)
        self.left_out = reason
        return None

    def _features_of(self, items: Items, name: str, network: InceptionStem) -> Features:
        share = range(idist.get_rank(), len(items), idist.get_world_size())
        if len(share) == 0:
            return gathered([])
        bar = tqdm(share, desc=f"features of {name} images", disable=not self._shows_progress())
        images = (torch.as_tensor(items[index][self.image_name]) for index in bar)
        return gathered([file_features(images, network, batch_size=self.batch_size)])

    def _shows_progress(self) -> bool:
        return self.verbose and idist.get_rank() == 0


def _pair(output: Any) -> tuple[Any, Any]:
    """Synthetic and real images of a transformed output; of ``from_engine("pred")`` only the first."""
    if isinstance(output, tuple):
        if len(output) not in (1, 2):
            raise ValueError(f"output must be (synthetic, real) or the synthetic images, got {len(output)} entries")
        return (*output, None)[:2]
    return output, None


def _check_count(name: str, count: int) -> None:
    if count < 2:
        raise ValueError(f"a Frechet distance needs at least 2 {name} images, got {count}; one has no covariance")

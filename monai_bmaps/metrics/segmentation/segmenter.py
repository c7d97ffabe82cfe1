"""A small U-Net that names the structures of ultrasound frames: the instrument of obedience and of the downstream task.

Trained with Dice loss plus cross-entropy (:class:`monai.losses.DiceCELoss`) on frames that are turned, scaled,
mirrored and changed in gain at every step. The k-th step's draws follow from the seed and k alone: a training that was
killed and goes on ends where an uninterrupted one does.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from monai.losses import DiceCELoss
from monai.networks.nets import UNet
from torch import nn
from tqdm import tqdm

from monai_bmaps.files import replacing
from monai_bmaps.metrics.segmentation.augmentation import Augmentation

_RECIPE = 1
"""Part of what a cached training is known by: raise it when the code below trains another network than before."""
_WARM_UP = 50  # steps


@dataclass(frozen=True)
class SegmenterSettings:
    """How a segmenter is built and trained.

    Args:
        channels: of the U-Net's levels; image sides must be multiples of ``2 ** (len(channels) - 1)``.
        iterations: optimisation steps; the budget, whatever the number of frames.
        batch_size: frames a step, drawn in passes over the set.
        learning_rate: its highest; reached after 50 steps, then a half cosine down to 0.
        weight_decay: of AdamW.
        augmentation: how frames are changed.
        seed: of weights, order and augmentation.
        checkpoint_interval: steps between checkpoints.

    Raises:
        ValueError: a number out of its range.
    """

    channels: tuple[int, ...] = (16, 32, 64, 128, 128)
    iterations: int = 1500
    batch_size: int = 8
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0
    checkpoint_interval: int = 100

    def __post_init__(self) -> None:
        if len(self.channels) < 2:
            raise ValueError(f"channels must name at least two levels, got {self.channels}")
        for name in ("iterations", "batch_size", "checkpoint_interval"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def misfit(self, size: tuple[int, int]) -> str | None:
        """Return why images of this height and width cannot be segmented, ``None`` if they can."""
        multiple = 2 ** (len(self.channels) - 1)
        if all(side % multiple == 0 for side in size):
            return None
        return (
            f"image sides must be multiples of {multiple} for {len(self.channels)} levels, got {tuple(size)}; "
            "resize or pad the images, or give fewer channels"
        )

    def fingerprint(self, *tensors: torch.Tensor) -> str:
        """Return 16 hexadecimal digits that tell these settings and data from others."""
        told = {name: value for name, value in asdict(self).items() if name != "checkpoint_interval"}
        digest = hashlib.sha256(json.dumps({"recipe": _RECIPE, **told}, sort_keys=True).encode())
        for tensor in tensors:
            digest.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().as_subclass(torch.Tensor).cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]


class Segmenter:
    """A trained network and what it was trained with.

    Args:
        network: from images ``(N, 1, H, W)`` in [-1, 1] to logits ``(N, 1 + number of structures, H, W)``.
        settings: of its training.
    """

    def __init__(self, network: nn.Module, settings: SegmenterSettings) -> None:
        self.network = network.eval().requires_grad_(False)
        self.settings = settings

    @torch.inference_mode()
    def predict(self, images: torch.Tensor, *, batch_size: int = 16) -> torch.Tensor:
        """Return the label of every pixel, ``(N, H, W)`` int64, of images ``(N, 1, H, W)`` in [0, 1].

        Raises:
            ValueError: images out of range or of sides that the network cannot halve often enough.
        """
        _check_images(images, self.settings)
        device = next(self.network.parameters()).device
        parts = [self.network(2 * part.to(device) - 1).argmax(1).cpu() for part in torch.split(images, batch_size)]
        return torch.cat(parts)


def train_segmenter(
    images: torch.Tensor,
    labels: torch.Tensor,
    num_labels: int,
    settings: SegmenterSettings | None = None,
    *,
    cache: str | Path | None = None,
    description: str | None = "segmenter",
    device: torch.device | str = "cpu",
) -> Segmenter:
    """Train a segmenter, or take it from ``cache`` if these frames and settings were trained before.

    Args:
        images: ``(N, 1, H, W)``, float32 in [0, 1].
        labels: ``(N, H, W)`` int64, 0 (no label) to ``num_labels``.
        num_labels: number of structures, at least 1.
        settings: of network and training.
        cache: folder where ``segmenter-FINGERPRINT.pt`` lies or goes, at every checkpoint too: a training that was cut
            short goes on. ``None`` keeps nothing.
        description: of the progress bar; ``None``: no bar.
        device: where to train. The fingerprint does not tell devices apart.

    Raises:
        ValueError: shapes, ranges or sides that do not fit; labels beyond ``num_labels``; labels without a structure.
    """
    settings = settings or SegmenterSettings()
    images, labels = (tensor.detach().as_subclass(torch.Tensor).cpu() for tensor in (images, labels))
    _check_training(images, labels, num_labels, settings)
    print_ = settings.fingerprint(images, labels, torch.tensor(num_labels))
    path = None if cache is None else Path(cache) / f"segmenter-{print_}.pt"
    training = _Training(num_labels, settings, torch.device(device))
    if path is not None and path.is_file():
        training.load(torch.load(path, map_location=device, weights_only=True))
    steps = range(training.done, settings.iterations)
    bar = tqdm(steps, description, settings.iterations, initial=training.done, disable=description is None or not steps)
    for step in bar:
        loss = training.step(images, labels)
        if (last := step + 1 == settings.iterations) or (step + 1) % settings.checkpoint_interval == 0:
            bar.set_postfix(loss=f"{loss:.3f}")
            if path is not None:
                with replacing(path) as partial:
                    torch.save(training.state(finished=last), partial)
    return Segmenter(training.network, settings)


class _Training:
    """Network, optimiser and the number of steps done."""

    def __init__(self, num_labels: int, settings: SegmenterSettings, device: torch.device) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.network = UNet(
                spatial_dims=2,
                in_channels=1,
                out_channels=num_labels + 1,
                channels=settings.channels,
                strides=(2,) * (len(settings.channels) - 1),
                num_res_units=2,
            ).to(device)
        self.settings = settings
        self.device = device
        self.done = 0
        self._loss = DiceCELoss(to_onehot_y=True, softmax=True, include_background=True)
        self._optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> float:
        """Take one step on its batch and return the loss."""
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate()
        generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + self.done)
        rows = self._rows(len(images))
        batch, truth = self.settings.augmentation(images[rows], labels[rows], generator=generator)
        logits = self.network.train()(2 * batch.to(self.device) - 1)
        loss: torch.Tensor = self._loss(logits, truth[:, None].to(self.device))
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self.done += 1
        if not math.isfinite(value := float(loss.detach())):
            raise ValueError(f"the segmenter's loss is {value} at step {self.done}; lower learning_rate")
        return value

    def _learning_rate(self) -> float:
        warm = min(1.0, (self.done + 1) / min(_WARM_UP, self.settings.iterations))
        return self.settings.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * self.done / self.settings.iterations))

    def _rows(self, count: int) -> torch.Tensor:
        """Which frames this step takes: passes over the set end to end, each in an order of its own."""
        positions = range(self.done * self.settings.batch_size, (self.done + 1) * self.settings.batch_size)
        orders = {turn: self._order(turn, count) for turn in {position // count for position in positions}}
        return torch.stack([orders[position // count][position % count] for position in positions])

    def _order(self, turn: int, count: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(self.settings.seed * 7_000_003 + turn)
        return torch.randperm(count, generator=generator)

    def state(self, finished: bool) -> dict[str, Any]:
        """What a file keeps; of a finished training the weights are enough."""
        state = {"done": self.done, "network": self.network.state_dict()}
        return state if finished else {**state, "optimizer": self._optimizer.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.done = state["done"]
        if "optimizer" in state:
            self._optimizer.load_state_dict(state["optimizer"])


def _check_training(images: torch.Tensor, labels: torch.Tensor, num_labels: int, settings: SegmenterSettings) -> None:
    _check_images(images, settings)
    if num_labels < 1:
        raise ValueError(f"num_labels must be at least 1, got {num_labels}; a segmenter needs a structure to find")
    expected = (images.shape[0], *images.shape[2:])
    if tuple(labels.shape) != expected or labels.dtype != torch.int64:
        raise ValueError(f"labels must be int64 of shape {expected}, got {labels.dtype} {tuple(labels.shape)}")
    low, high = (int(bound) for bound in labels.aminmax())
    if low < 0 or high > num_labels:
        raise ValueError(f"labels must lie in 0..{num_labels}, got {low}..{high}; name every class")
    if high == 0:
        raise ValueError("labels hold no structure at all; look for label maps that were read as masks of 0")


def _check_images(images: torch.Tensor, settings: SegmenterSettings) -> None:
    if images.ndim != 4 or images.shape[1] != 1 or images.numel() == 0:
        raise ValueError(f"images must have shape (N, 1, H, W) and not be empty, got {tuple(images.shape)}")
    if misfit := settings.misfit((images.shape[2], images.shape[3])):
        raise ValueError(misfit)
    low, high = (float(bound) for bound in images.aminmax())  # either is NaN if any pixel is
    if not (low >= 0 and high <= 1):
        raise ValueError(f"images must lie in [0, 1], got [{low:.4g}, {high:.4g}]; scale them and look for NaN")

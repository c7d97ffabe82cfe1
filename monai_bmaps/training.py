"""What training with B-maps adds to MONAI's engines: noise levels and targets, the learning rate, released weights."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from monai.engines import DiffusionPrepareBatch
from torch import nn

from monai_bmaps.files import replacing
from monai_bmaps.schedulers.base import BMapScheduler
from monai_bmaps.types import Image, Timesteps


class BMapPrepareBatch(DiffusionPrepareBatch):  # type: ignore[misc]
    """From a batch of items to network input, target and the keywords of ``BMapDiffusionInferer``.

    Args:
        scheduler: decides the target (epsilon, sample or v, per pixel).
        seg_name: key of the condition channels ``(N, classes, H, W)``; ``None`` for unconditional training.
        depth_name: key of the depth maps ``(N, 1, H, W)``.
        label_dropout: share of images whose condition is blanked to zeros, so that guidance can be used later.
        seed: draw the same noise and evenly spaced steps at every call, so that a validation loss can be compared
            between epochs, and keep every label; ``None`` draws afresh, for training.

    Raises:
        ValueError: ``label_dropout`` outside [0, 1], or a scheduler with a learned variance.
    """

    def __init__(
        self,
        scheduler: BMapScheduler,
        seg_name: str | None = "seg",
        depth_name: str = "depth",
        label_dropout: float = 0.0,
        seed: int | None = None,
    ) -> None:
        super().__init__(num_train_timesteps=scheduler.num_train_timesteps)
        if not 0.0 <= label_dropout <= 1.0:
            raise ValueError(f"label_dropout must lie in [0, 1], got {label_dropout}")
        if getattr(scheduler, "variance_type", "").startswith("learned"):
            raise ValueError(
                f"variance_type {scheduler.variance_type!r} needs a loss of its own for the variance channels, which "
                "this target does not train; train with a fixed variance"
            )
        self.scheduler = scheduler
        self.seg_name = seg_name
        self.depth_name = depth_name
        self.label_dropout = label_dropout
        self.seed = seed

    def get_noise(self, images: Image) -> Image:
        """Standard normal noise."""
        if self.seed is None:
            return torch.randn_like(images)
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randn(images.shape, generator=generator, dtype=images.dtype).to(images.device)

    def get_timesteps(self, images: Image) -> Timesteps:
        """Uniform steps; with a seed, the middles of N equal parts of the chain."""
        if self.seed is None:
            return torch.randint(0, self.num_train_timesteps, (len(images),), device=images.device)
        middles = (torch.arange(len(images), device=images.device) + 0.5) / len(images)
        return torch.as_tensor((middles * self.num_train_timesteps).long())

    def get_kept(self, images: Image) -> torch.Tensor:
        """Which images keep their condition, ``(N,)`` bool; all of them with a seed."""
        if self.seed is not None or self.label_dropout == 0.0:
            return torch.ones(len(images), dtype=torch.bool, device=images.device)
        return torch.rand(len(images), device=images.device) >= self.label_dropout

    def __call__(
        self,
        batchdata: Mapping[str, torch.Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Image, Image, tuple[()], dict[str, torch.Tensor]]:
        """Images, target, no positional arguments, and ``noise``, ``timesteps``, ``depth``, ``seg``."""

        def moved(key: str) -> torch.Tensor:
            if key not in batchdata:
                raise KeyError(f"the batch has no {key!r}; it has {', '.join(map(str, batchdata))}")
            plain = batchdata[key].as_subclass(torch.Tensor)
            return plain.to(device, non_blocking=non_blocking, **kwargs)

        images, depth = moved("image"), moved(self.depth_name)
        noise, timesteps = self.get_noise(images), self.get_timesteps(images)
        target = self.scheduler.bind(depth).get_target(images, noise, timesteps)
        keywords = {"noise": noise, "timesteps": timesteps, "depth": depth}
        if self.seg_name is not None:
            keywords["seg"] = moved(self.seg_name) * self.get_kept(images).reshape(-1, 1, 1, 1)
        return images, target, (), keywords


class SynthesisPrepareBatch:
    """From a batch of items to the arguments of ``BMapSynthesisInferer``, for an evaluator.

    Args:
        seg_name: key of the condition channels.
        depth_name: key of the depth maps.
        seed_name: key of each item's seed, if it has one.
        image_name: key of images in [-1, 1] to change, if there are any.
        keep_name: key of the masks of what stays in them (positive: stays), if there are any.
    """

    def __init__(
        self,
        seg_name: str = "seg",
        depth_name: str = "depth",
        seed_name: str = "seed",
        image_name: str = "image",
        keep_name: str = "keep",
    ) -> None:
        self.seg_name = seg_name
        self.depth_name = depth_name
        self.seed_name = seed_name
        self.image_name = image_name
        self.keep_name = keep_name

    def __call__(
        self,
        batchdata: Mapping[str, torch.Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, None, tuple[()], dict[str, Any]]:
        """Condition, no target, no positional arguments, and ``depth``, ``seeds``, ``image`` and ``keep``."""

        def moved(key: str) -> torch.Tensor:
            return batchdata[key].as_subclass(torch.Tensor).to(device, non_blocking=non_blocking, **kwargs)

        keywords: dict[str, Any] = {"depth": moved(self.depth_name)}
        if self.seed_name in batchdata:
            keywords["seeds"] = batchdata[self.seed_name]
        if self.image_name in batchdata:
            keywords["image"] = moved(self.image_name)
        if self.keep_name in batchdata:
            keywords["keep"] = moved(self.keep_name) > 0
        return moved(self.seg_name), None, (), keywords


def save_weights(network: nn.Module, path: str | Path, dtype: torch.dtype = torch.float16) -> Path:
    """Write a plain state dict for release: half precision, loadable with ``weights_only=True``, written atomically."""
    weights = {
        name: value.to("cpu", dtype if value.is_floating_point() else None).contiguous()
        for name, value in network.state_dict().items()
    }
    with replacing(path) as partial:
        torch.save(weights, partial)
    return Path(path)


def load_weights(network: nn.Module, path: str | Path) -> nn.Module:
    """Load released weights into a network in its own precision, and return it in evaluation mode.

    Raises:
        FileNotFoundError: no file there.
        ValueError: not a file of weights, or weights of another architecture.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; train the bundle, or point to its models/model.pt")
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (EOFError, RuntimeError, pickle.UnpicklingError) as error:
        size = path.stat().st_size
        raise ValueError(f"{path} ({size} bytes) is damaged or no file of weights; fetch it again") from error
    try:
        network.load_state_dict(weights)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{path} holds weights of another network than the configured one: {error}") from error
    return network.eval()


def linear_anneal(total_iterations: int, warm_up: int = 0, final: float = 0.0) -> Callable[[int], float]:
    """Learning-rate factor for ``LambdaLR``: rises over ``warm_up`` iterations, then falls linearly to ``final``."""

    def factor(iteration: int) -> float:
        if iteration < warm_up:
            return (iteration + 1) / warm_up
        progress = min(1.0, (iteration - warm_up) / max(1, total_iterations - warm_up))
        return 1.0 + (final - 1.0) * progress

    return factor

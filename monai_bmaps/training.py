"""What training with B-maps adds to MONAI's engines: noise levels and targets, the learning rate, released weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from monai.engines import DiffusionPrepareBatch
from torch import nn

from monai_bmaps.draws import DRAW_KEY
from monai_bmaps.files import read_tensors, replacing
from monai_bmaps.model_card import ModelCard, card_path, check_weights, existing
from monai_bmaps.schedulers.base import BMapScheduler
from monai_bmaps.types import Image, Timesteps


@dataclass(frozen=True)
class DenoisingTask:
    """What the network was asked at one iteration, whole: losses per pixel need more than a target.

    Args:
        scheduler: bound to the batch's depth maps.
        clean: images ``(N, C, H, W)``.
        noise: standard normal, as ``clean``.
        timesteps: ``(N,)`` int64.
    """

    scheduler: BMapScheduler
    clean: Image
    noise: Image
    timesteps: Timesteps

    def __len__(self) -> int:
        """Number of images."""
        return len(self.clean)

    @cached_property
    def target(self) -> Image:
        """What the network should have output."""
        return self.scheduler.get_target(self.clean, self.noise, self.timesteps)


class BMapPrepareBatch(DiffusionPrepareBatch):  # type: ignore[misc]
    """From a batch of items to network input, task and the keywords of ``BMapDiffusionInferer``.

    Where the items hold the seed of their draw (:class:`monai_bmaps.draws.DrawLoader`), each image's step, noise and
    dropped label follow from it, whatever the batch, device or process; else they come from PyTorch's generator.

    Args:
        scheduler: decides the target (epsilon, sample or v, per pixel).
        seg_name: key of the condition channels ``(N, classes, H, W)``; ``None`` for unconditional training.
        depth_name: key of the depth maps ``(N, 1, H, W)``.
        label_dropout: share of images whose condition is blanked to zeros, so that guidance can be used later.

    Raises:
        ValueError: ``label_dropout`` outside [0, 1].
    """

    def __init__(
        self,
        scheduler: BMapScheduler,
        seg_name: str | None = "seg",
        depth_name: str = "depth",
        label_dropout: float = 0.0,
    ) -> None:
        super().__init__(num_train_timesteps=scheduler.num_train_timesteps)
        if not 0.0 <= label_dropout <= 1.0:
            raise ValueError(f"label_dropout must lie in [0, 1], got {label_dropout}")
        self.scheduler = scheduler
        self.seg_name = seg_name
        self.depth_name = depth_name
        self.label_dropout = label_dropout

    def __call__(
        self,
        batchdata: Mapping[str, torch.Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Image, DenoisingTask, tuple[()], dict[str, torch.Tensor]]:
        """Images, task, no positional arguments, and ``noise``, ``timesteps``, ``depth``, ``seg``."""

        def moved(key: str) -> torch.Tensor:
            if key not in batchdata:
                raise KeyError(f"the batch has no {key!r}; it has {', '.join(map(str, batchdata))}")
            plain = batchdata[key].as_subclass(torch.Tensor)
            return plain.to(device, non_blocking=non_blocking, **kwargs)

        images, depth = moved("image"), moved(self.depth_name)
        noise, shares = self._random(images, batchdata.get(DRAW_KEY))
        timesteps = (shares[:, 0] * self.num_train_timesteps).long().clamp(max=self.num_train_timesteps - 1)
        task = DenoisingTask(self.scheduler.bind(depth), images, noise, timesteps)
        keywords = {"noise": noise, "timesteps": timesteps, "depth": depth}
        if self.seg_name is not None:
            kept = shares[:, 1] >= self.label_dropout
            keywords["seg"] = moved(self.seg_name) * kept.reshape(-1, 1, 1, 1)
        return images, task, (), keywords

    def _random(self, images: Image, seeds: torch.Tensor | None) -> tuple[Image, torch.Tensor]:
        """Noise, and two uniform numbers per image: one for its step, one for whether its label is dropped."""
        if seeds is None:
            uniform = torch.rand(len(images), 2, dtype=torch.float64, device=images.device)
            return torch.randn_like(images), uniform
        # on the CPU, so that a draw is the same on every device
        generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        noise = [torch.randn(images.shape[1:], generator=generator, dtype=images.dtype) for generator in generators]
        shares = [torch.rand(2, generator=generator, dtype=torch.float64) for generator in generators]
        return torch.stack(noise).to(images.device), torch.stack(shares).to(images.device)


class SynthesisPrepareBatch:
    """From a batch of items to the arguments of ``BMapSynthesisInferer``, for an evaluator.

    Args:
        seg_name: key of the condition channels.
        depth_name: key of the depth maps.
        seed_name: key of each item's seed, if it has one.
        image_name: key of images in [-1, 1] to change, if there are any. ``None``: every image is drawn from noise,
            also where the batch holds real ones to compare with; masks are not looked at either.
        keep_name: key of the masks of what stays in them (positive: stays), if there are any.
        target_name: key of real images in [-1, 1] that metrics compare the drawn ones with: the engine's ``label``.

    Raises:
        ValueError: images that are to be changed and compared with at once.
    """

    def __init__(
        self,
        seg_name: str = "seg",
        depth_name: str = "depth",
        seed_name: str = "seed",
        image_name: str | None = "image",
        keep_name: str = "keep",
        target_name: str | None = None,
    ) -> None:
        if target_name is not None and target_name == image_name:
            raise ValueError(
                f"{target_name!r} cannot be both what is changed and what the result is compared with: an image drawn "
                "from its own target says nothing; set image_name to None to draw from noise"
            )
        self.seg_name = seg_name
        self.depth_name = depth_name
        self.seed_name = seed_name
        self.image_name = image_name
        self.keep_name = keep_name
        self.target_name = target_name

    def __call__(
        self,
        batchdata: Mapping[str, torch.Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, tuple[()], dict[str, Any]]:
        """Condition, target if any, no positional arguments, and ``depth``, ``seeds``, ``image`` and ``keep``."""

        def moved(key: str) -> torch.Tensor:
            return batchdata[key].as_subclass(torch.Tensor).to(device, non_blocking=non_blocking, **kwargs)

        keywords: dict[str, Any] = {"depth": moved(self.depth_name)}
        if self.seed_name in batchdata:
            keywords["seeds"] = batchdata[self.seed_name]
        if self.image_name is not None and self.image_name in batchdata:
            keywords["image"] = moved(self.image_name)
        if self.image_name is not None and self.keep_name in batchdata:
            keywords["keep"] = moved(self.keep_name) > 0
        target = None if self.target_name is None else moved(self.target_name)
        return moved(self.seg_name), target, (), keywords


def save_weights(
    network: nn.Module, path: str | Path, dtype: torch.dtype = torch.float16, *, card: ModelCard | None = None
) -> Path:
    """Write a plain state dict for release: half precision, loadable with ``weights_only=True``, written atomically.

    With a card, ``model.json`` beside ``model.pt`` tells what the weights are and their SHA-256. Both are written in
    full before either takes its place, the weights first: a disk that fills leaves both old files, and a kill in
    between leaves a card that says, by its hash, that it is not of these weights. Without a card an old one is
    removed, since it would describe other weights.
    """
    path = Path(path)
    weights = {
        name: value.to("cpu", dtype if value.is_floating_point() else None).contiguous()
        for name, value in network.state_dict().items()
    }
    if card is None:
        with replacing(path) as partial:
            torch.save(weights, partial)
        card_path(path).unlink(missing_ok=True)
        return path
    with replacing(card_path(path)) as partial_card, replacing(path) as partial:
        torch.save(weights, partial)
        partial_card.write_text(card.for_weights(partial).to_json(), encoding="utf-8")
    return path


def load_weights(network: nn.Module, path: str | Path, card: ModelCard | None = None) -> nn.Module:
    """Load released weights into a network in its own precision, and return it in evaluation mode.

    Where ``model.json`` lies beside ``model.pt``, the file must be the one it describes.

    Args:
        network: takes the weights.
        path: ``model.pt``.
        card: of the configuration, which the weights must fit; with a file that has no card this cannot be checked,
            and a warning says so.

    Raises:
        FileNotFoundError: no file there.
        ValueError: not a file of weights, not the one of its card, or weights of another architecture or another
            configuration.
    """
    path = existing(path)
    if card_path(path).is_file():
        check_weights(path, ModelCard.read(card_path(path)), card)
    elif card is not None:
        warnings.warn(
            f"{path} has no {card_path(path).name} beside it: whether it was trained with the configured classes, "
            "schedule and B-map could not be checked",
            stacklevel=2,
        )
    weights = read_tensors(path)
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

"""A trained model as transforms draw with it: network, sampler, classes and grid, one object that all copies share."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import nn

from monai_bmaps.inferers import BMapSynthesisInferer, SynthesisNetwork
from monai_bmaps.model_card import ModelCard, card_path, check_weights, existing
from monai_bmaps.transforms.condition import LabelToCondition
from monai_bmaps.transforms.synthesis.grid import Placement


@dataclass(frozen=True)
class FrameCondition:
    """What an image is drawn for, on a frame's own pixels.

    Args:
        classes: the model's classes ``(1, H, W)``, 0 without a label.
        sector: field of view ``(1, H, W)``, positive inside.
        depth: depth map ``(1, H, W)`` in [0, 1].
    """

    classes: torch.Tensor
    sector: torch.Tensor
    depth: torch.Tensor


class SynthesisModel:
    """A network and all that is needed to draw images of any size with it.

    Copies, deep ones too, are the same object: a pipeline that is copied does not copy the network. Pickling, as for
    spawned workers, does.

    Args:
        network: the denoising network, or a ``SynthesisNetwork``, which brings its sampler; in evaluation mode.
        sampler: how images are drawn with it. It is not changed.
        classes: names of the anatomical labels 1, 2, ..., in the order of the condition's channels; none for a model
            of the field of view alone.
        image_size: height and width of the grid it was trained on.
        spacing_mm: pixel size (row, column) of that grid, if all images share it.
        crop_to_beam: whether frames were cut to the field of view.
        name: what traces call the model.
        weights_sha256: of its file of weights, for traces.
        steps: network evaluations per image; ``None`` is the sampler's.
        guidance: guidance weight; ``None`` is the sampler's.

    Raises:
        ValueError: no sampler, a network in training mode, or a size that is not two positive numbers.
    """

    def __init__(
        self,
        network: nn.Module,
        sampler: BMapSynthesisInferer | None = None,
        *,
        classes: Sequence[str],
        image_size: Sequence[int],
        spacing_mm: Sequence[float] | None = None,
        crop_to_beam: bool = False,
        name: str = "",
        weights_sha256: str = "",
        steps: int | None = None,
        guidance: float | None = None,
    ) -> None:
        if sampler is None and isinstance(network, SynthesisNetwork):
            sampler = network.sampler
        if sampler is None:
            raise ValueError(f"a {type(network).__name__} needs a sampler: give a BMapSynthesisInferer")
        if network.training:
            raise ValueError(f"the {type(network).__name__} is in training mode; call its eval() first")
        if len(image_size) != 2 or min(image_size) < 1:
            raise ValueError(f"image_size must be (height, width), got {tuple(image_size)}")
        self.network = network.denoiser if isinstance(network, SynthesisNetwork) else network
        self.sampler = _quiet(sampler, steps, guidance)
        self.classes = tuple(classes)
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self.spacing_mm = None if spacing_mm is None else (float(spacing_mm[0]), float(spacing_mm[1]))
        self.crop_to_beam = crop_to_beam
        self.name = name or type(self.network).__name__
        self.weights_sha256 = weights_sha256
        self._process = os.getpid()
        self._to_condition = LabelToCondition(len(self.classes))

    @classmethod
    def from_bundle(
        cls,
        path: str | Path,
        *,
        steps: int | None = None,
        guidance: float | None = None,
        device: str | torch.device = "cpu",
        overrides: Mapping[str, Any] | None = None,
    ) -> SynthesisModel:
        """The model of a bundle, its weights checked against the ``model.json`` beside them.

        A bundle's configuration can run any Python code, as ``python -m monai.bundle run`` would: open only bundles
        that you trust.

        Args:
            path: folder of the bundle, with ``configs/inference.json``.
            steps: network evaluations per image; ``None`` is the bundle's.
            guidance: guidance weight; ``None`` is the bundle's.
            device: where to draw. Workers of a ``DataLoader`` that fork cannot use a GPU.
            overrides: of entries of the configuration, for example ``weights``.

        Raises:
            FileNotFoundError: no bundle there, no weights, or no card of them.
            ValueError: weights that are not those of their card, or do not fit the configuration.
        """
        folder = Path(path)
        config = folder / "configs" / "inference.json"
        if not config.is_file():
            raise FileNotFoundError(f"{config} does not exist; give the folder of a bundle of this package")
        parser = ConfigParser()
        parser.read_config(config)
        parser.update({"bundle_root": str(folder), "device": str(device), **(overrides or {})})
        weights = existing(parser.get_parsed_content("weights"))
        if not card_path(weights).is_file():
            raise FileNotFoundError(f"{card_path(weights)} does not exist: it tells what the weights are; fetch both")
        card = ModelCard.read(card_path(weights))
        check_weights(weights, card, parser.get_parsed_content("card"))  # said plainly here, wrapped up by the parser
        return cls(
            parser.get_parsed_content("network"),
            classes=card.classes,
            image_size=parser.get_parsed_content("image_size"),
            spacing_mm=card.spacing_mm,
            crop_to_beam=parser.get_parsed_content("crop_to_beam"),
            name=folder.resolve().name,
            weights_sha256=str(card.weights_sha256),
            steps=steps,
            guidance=guidance,
        )

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        parameter = next(self.network.parameters(), None)
        return torch.device("cpu") if parameter is None else parameter.device

    @property
    def steps(self) -> int:
        """Network evaluations per image, twice as many where guidance acts."""
        return len(self.sampler.scheduler.timesteps)

    def place(self, sector: torch.Tensor) -> Placement:
        """Where a frame of this field of view ``(1, H, W)`` lies on the model's grid."""
        return Placement.of(sector, self.image_size, self.crop_to_beam)

    def draw(
        self,
        conditions: Sequence[FrameCondition],
        seeds: Sequence[int],
        images: Sequence[torch.Tensor] | None = None,
        strength: float = 1.0,
    ) -> list[torch.Tensor]:
        """An image ``(1, H, W)`` in [-1, 1] for each condition, on its own pixels and the network's device.

        Args:
            conditions: of frames of any sizes.
            seeds: one per image, which depends on it and not on the others.
            images: real frames ``(1, H, W)`` in [-1, 1] to restyle, for a ``strength`` below 1.
            strength: see :class:`~monai_bmaps.inferers.editing.Edit`; 1 draws from noise and looks at no image.

        Raises:
            RuntimeError: a network on a GPU in a forked process.
        """
        self.check_process()
        device, sampler = self.device, copy.copy(self.sampler)  # its own: threads may draw at once
        sampler.strength = strength
        frames = [self.place(condition.sector) for condition in conditions]
        pairs = list(zip(frames, conditions, strict=True))
        seg = torch.stack([self.channels(frame, condition) for frame, condition in pairs]).to(device)
        depth = torch.stack([frame.onto(condition.depth, "nearest") for frame, condition in pairs]).to(device)
        given = None
        if images is not None and strength < 1.0:
            placed = [frame.onto(image, "area", fill=-1.0) for frame, image in zip(frames, images, strict=True)]
            given = torch.stack(placed).to(device)
        drawn = sampler(seg, self.network, depth=depth, seeds=seeds, image=given)
        return [frame.back(image, fill=-1.0) for frame, image in zip(frames, drawn, strict=True)]

    def check_process(self) -> None:
        """Raise a RuntimeError where a forked process would use a GPU, which CUDA cannot."""
        if self.device.type == "cuda" and os.getpid() != self._process:
            raise RuntimeError(
                f"the network of {self.name} is on {self.device}, and a forked worker cannot use it. Either "
                "num_workers=0 or monai.data.ThreadDataLoader; or draw the synthetic images before the training, "
                "with the bundle, and load them as files; or (the fastest) draw per batch in the main process: "
                "SynthesisMixPrepareBatch"
            )

    def channels(self, frame: Placement, condition: FrameCondition) -> torch.Tensor:
        """The network's condition ``(classes + 2, h, w)`` of a frame, on the grid."""
        classes, sector = (frame.onto(x, "nearest") for x in (condition.classes, condition.sector))
        return self._to_condition(classes, sector)

    def __deepcopy__(self, memo: dict[int, Any]) -> SynthesisModel:
        return self

    def __copy__(self) -> SynthesisModel:
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._process = os.getpid()  # a process that unpickles it has a network of its own


def _quiet(sampler: BMapSynthesisInferer, steps: int | None, guidance: float | None) -> BMapSynthesisInferer:
    """The sampler without a progress bar and with other steps and guidance, if any are given."""
    own = copy.copy(sampler)
    own.verbose = False
    own.scheduler = own._bound = sampler.scheduler.view()
    if steps is not None:
        own.scheduler.set_timesteps(steps)
    if guidance is not None:
        own.cfg = guidance
    return own

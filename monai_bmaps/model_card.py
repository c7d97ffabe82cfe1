"""What a file of weights says of itself: ``model.json`` beside ``model.pt``, checked before the weights are used.

A card holds the SHA-256 of the weights, what a network must be called with to make sense (classes, noise process, kind
of beam), and where it comes from. Settings that are free when sampling (steps, solver, clamping) are not in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar, get_args

from torch import nn

from monai_bmaps.bmaps import BMap
from monai_bmaps.files import replacing
from monai_bmaps.geometry import Beam, BeamKind, beam_from_dict
from monai_bmaps.schedulers.base import BMapScheduler
from monai_bmaps.schedulers.images import check_choice

Part = TypeVar("Part")

_PACKAGES = ("monai-bmaps", "monai", "torch", "numpy")


@dataclass(frozen=True)
class NoiseCard:
    """The noise process that a network was trained with.

    Args:
        schedule: name in MONAI's ``NoiseSchedules``.
        schedule_arguments: its arguments, defaults included.
        num_train_timesteps: T.
        b_map: how the B-map is defined, as Python.
        total_attenuation_db: power that it takes at full depth over all steps, in dB.
        prediction_type: what the network outputs.
        variance_type: of an ancestral scheduler; ``None`` for those that have none.
    """

    schedule: str
    schedule_arguments: Mapping[str, float]
    num_train_timesteps: int
    b_map: str
    total_attenuation_db: float
    prediction_type: str
    variance_type: str | None

    def __post_init__(self) -> None:
        numbers = [self.num_train_timesteps, self.total_attenuation_db, *dict(self.schedule_arguments).values()]
        if not all(isinstance(number, (int, float)) for number in numbers):
            raise ValueError(f"a noise process has numbers where {numbers} stand; correct them")

    @classmethod
    def of(cls, scheduler: BMapScheduler) -> NoiseCard:
        """The process of a scheduler."""
        decibels = scheduler.b_map.total_attenuation_db(scheduler.num_train_timesteps)
        return cls(
            schedule=scheduler.schedule,
            schedule_arguments=dict(scheduler.schedule_arguments),
            num_train_timesteps=scheduler.num_train_timesteps,
            b_map=_definition(scheduler.b_map),
            total_attenuation_db=round(decibels, 6),
            prediction_type=scheduler.prediction_type,
            variance_type=getattr(scheduler, "variance_type", None),
        )

    def terms(self) -> dict[str, str]:
        """What must be the same in training and sampling, in words."""
        arguments = ", ".join(f"{name}={value:g}" for name, value in sorted(self.schedule_arguments.items()))
        return {
            "schedule": f"{self.schedule}({arguments})",
            "num_train_timesteps": str(self.num_train_timesteps),
            "B-map": f"{self.total_attenuation_db:.6g} dB at full depth, {self.b_map}",
            "prediction_type": self.prediction_type,
        }


@dataclass(frozen=True)
class NetworkCard:
    """A network's architecture, as far as its weights tell.

    Args:
        classes: names of its class and of those it wraps, the outermost first.
        parameters: how many numbers it learned.
        digest: SHA-256 of the names and shapes in its state dict. Wrappers that change no name leave it as it is.
    """

    classes: tuple[str, ...]
    parameters: int
    digest: str

    @classmethod
    def of(cls, network: nn.Module) -> NetworkCard:
        """The architecture of a network."""
        shapes = sorted((name, list(value.shape)) for name, value in network.state_dict().items())
        return cls(
            classes=tuple(_wrapped_classes(network)),
            parameters=sum(parameter.numel() for parameter in network.parameters()),
            digest=hashlib.sha256(json.dumps(shapes).encode()).hexdigest(),
        )

    def __str__(self) -> str:
        return f"{self.classes[-1]} with {self.parameters:,} parameters ({self.digest[:8]})"


@dataclass(frozen=True)
class BeamCard:
    """The beams that a network was trained on.

    Args:
        kind: ``"sector"``, ``"linear"``, or ``"auto"`` for both.
        reference: one beam that stands for them, as ``beam.to_dict()`` gives it, in pixels of the image size.
    """

    kind: BeamKind
    reference: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        check_choice("beam kind", str(self.kind), get_args(BeamKind))
        if self.reference is None:
            return
        found = beam_from_dict(self.reference).to_dict()["kind"]
        if self.kind not in (found, "auto"):
            raise ValueError(f"the reference beam is {found}, but the kind {self.kind}; make them agree")


@dataclass(frozen=True)
class ModelCard:
    """What a file of weights is: see the module.

    Args:
        classes: names of the anatomical labels 1, 2, ..., in the order of the condition's channels.
        noise: the noise process.
        network: the architecture.
        beam: the beams.
        image_size: (height, width) in pixels.
        spacing_mm: pixel size (row, column) in millimetres; ``None`` where it is unknown or differs between images.
        versions: of the packages it was trained with; ``None`` for one that is not installed.
        training: whatever else should be known: data, iterations, wall time.
        weights_sha256: of the file; ``None`` as long as there is none.

    Raises:
        ValueError: no class or one twice, or a size or spacing that is not two positive numbers.
    """

    classes: tuple[str, ...]
    noise: NoiseCard
    network: NetworkCard
    beam: BeamCard
    image_size: tuple[int, int]
    spacing_mm: tuple[float, float] | None = None
    versions: Mapping[str, str | None] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    weights_sha256: str | None = None

    def __post_init__(self) -> None:
        names = isinstance(self.classes, tuple) and all(isinstance(x, str) and x for x in self.classes)
        if not names or len(set(self.classes)) != len(self.classes):
            raise ValueError(f"classes must be different names, got {list(self.classes)}")
        for name, pair in (("image_size", self.image_size), ("spacing_mm", self.spacing_mm)):
            if pair is not None and not (len(pair) == 2 and all(isinstance(x, (int, float)) and x > 0 for x in pair)):
                raise ValueError(f"{name} must be two positive numbers, (row, column), got {pair!r}")

    @classmethod
    def of(
        cls,
        network: nn.Module,
        scheduler: BMapScheduler,
        classes: Sequence[str],
        beam_kind: BeamKind,
        image_size: Sequence[int],
        spacing: Sequence[float] | None = None,
        beam: Beam | None = None,
        training: Mapping[str, Any] | None = None,
    ) -> ModelCard:
        """The card of a configuration.

        Args:
            network: the denoising network.
            scheduler: of the training, or any of the same noise process.
            classes: names of the labels 1, 2, ...; none for an unconditional model.
            beam_kind: what beams the images show.
            image_size: (height, width) in pixels.
            spacing: (row, column) in millimetres, if all images share it.
            beam: a typical beam, in pixels.
            training: whatever else should be known of the training.
        """
        height, width = image_size
        return cls(
            classes=tuple(classes),
            noise=NoiseCard.of(scheduler),
            network=NetworkCard.of(network),
            beam=BeamCard(beam_kind, None if beam is None else beam.to_dict()),
            image_size=(height, width),
            spacing_mm=None if spacing is None else (float(spacing[0]), float(spacing[1])),
            versions={package.replace("-", "_"): _version(package) for package in _PACKAGES},
            training=dict(training or {}),
        )

    @classmethod
    def read(cls, path: str | Path) -> ModelCard:
        """Read ``model.json``. Entries that this version does not know are passed over.

        Raises:
            FileNotFoundError: no file there.
            ValueError: no JSON, or no card.
        """
        path = Path(path)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            parts = {name: _read_part(kind, content[name]) for name, kind in _PARTS.items()}
            return _read_part(cls, {**content, **parts})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{path} is no model card ({error}); fetch it again with its weights") from error

    def write(self, path: str | Path) -> None:
        """Write JSON that a person can read, whole or not at all."""
        with replacing(path) as partial:
            partial.write_text(self.to_json(), encoding="utf-8")

    def to_json(self) -> str:
        """The text of ``model.json``."""
        content = {"weights_sha256": self.weights_sha256, **asdict(self)}
        return json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n"

    def for_weights(self, path: str | Path) -> ModelCard:
        """The card with the SHA-256 of a file of weights."""
        return replace(self, weights_sha256=sha256_of(path))

    def differences(self, configured: ModelCard) -> list[str]:
        """What another card, of a configuration, has otherwise and must not: a line each, none if it fits.

        Sizes, spacings, versions and fixed variances are not compared; a learned variance is, where it is read.
        """
        ours, theirs = self._terms(), configured._terms()
        if str(configured.noise.variance_type).startswith("learned"):
            ours["variance_type"], theirs["variance_type"] = (
                str(card.noise.variance_type) for card in (self, configured)
            )
        if self.network.digest != configured.network.digest:
            ours["network"], theirs["network"] = str(self.network), str(configured.network)
        return [
            f"{name}: the checkpoint has {ours[name]}, the configuration {theirs[name]}"
            for name in ours
            if ours[name] != theirs[name]
        ]

    def _terms(self) -> dict[str, str]:
        return {"classes": f"[{', '.join(self.classes)}]", **self.noise.terms(), "beam": self.beam.kind}


_PARTS: dict[str, type[Any]] = {"noise": NoiseCard, "network": NetworkCard, "beam": BeamCard}


def card_path(weights: str | Path) -> Path:
    """Where the card of a file of weights lies: ``model.json`` beside ``model.pt``."""
    return Path(weights).with_suffix(".json")


def existing(weights: str | Path) -> Path:
    """The path of a file of weights that is there.

    Raises:
        FileNotFoundError: it is not.
    """
    if not (path := Path(weights)).is_file():
        raise FileNotFoundError(f"{path} does not exist; train the bundle, or point to its models/model.pt")
    return path


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file of weights, in hexadecimal.

    Raises:
        FileNotFoundError: no file there.
    """
    digest = hashlib.sha256()
    with existing(path).open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def check_weights(path: str | Path, card: ModelCard, configured: ModelCard | None = None) -> None:
    """Refuse weights that are not those of their card, or whose card does not fit a configuration.

    Raises:
        ValueError: another SHA-256, or differences, each of which is told.
    """
    found = sha256_of(path)
    if found != card.weights_sha256:
        told = str(card.weights_sha256)
        raise ValueError(
            f"{path} is not the file that {card_path(path).name} beside it describes (SHA-256 {found[:12]}..., not "
            f"{told[:12]}...): it is damaged, was exchanged, or saving was cut off; fetch or save both again"
        )
    if configured is not None and (differences := card.differences(configured)):
        raise ValueError(
            f"{path} was trained with other settings than the configured ones:\n  "
            + "\n  ".join(differences)
            + "\nGive the overrides that it was trained with, or run the bundle that it belongs to."
        )


def _read_part(kind: type[Part], content: Mapping[str, Any]) -> Part:
    known = {part.name: content[part.name] for part in fields(kind) if part.name in content}  # type: ignore[arg-type]
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in known.items()})


def _definition(b_map: BMap) -> str:
    return "no B-map" if b_map.is_identity else repr(replace(b_map, presumed_timesteps=None))


def _wrapped_classes(network: nn.Module) -> list[str]:
    names, children = [type(network).__qualname__], [*network.children()]
    while len(children) == 1:
        names.append(type(children[0]).__qualname__)
        children = [*children[0].children()]
    return names


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

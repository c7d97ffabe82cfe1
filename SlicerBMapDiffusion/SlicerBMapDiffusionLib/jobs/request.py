"""All that decides which images are made, as one value that goes into a result's attribute and comes back from it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

VERSION = 1
LARGEST_SEED = 2**31 - 1
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Args:
        model: the bundle's name.
        bundle: its folder.
        frame: ``Frame.to_dict()``; ``rows``, ``columns`` and ``count`` are used here, the matrix comes back with the
            result.
        beam: ``beam.to_dict()`` in pixels of the frame.
        classes: names of the labels 1, 2, ... of the label maps; none for a model that draws from the beam alone.
        mapping: which segments, by name, stand for each class; kept for the record.
        steps: denoising steps; ``None`` is the model's own number, like all ``None`` here.
        guidance: how much more to follow the labels than the model does by itself, above 0.
        seed: of the first image.
        attenuation_db: strength of the B-map.
        variants: images of each frame.
        shared_noise: whether all frames of a sweep begin with the same noise, so that it does not flicker.
        strength: share of the steps by which given images are changed, above 0 and at most 1; ``None`` draws anew.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        preview: whether to write the running estimate.

    Raises:
        ValueError: a value out of range.
    """

    model: str
    bundle: str
    frame: Mapping[str, Any]
    beam: Mapping[str, Any]
    classes: tuple[str, ...] = ()
    mapping: Mapping[str, list[str]] = field(default_factory=dict)
    steps: int | None = None
    guidance: float | None = None
    seed: int = 0
    attenuation_db: float | None = None
    variants: int = 1
    shared_noise: bool = True
    strength: float | None = None
    device: str = "auto"
    preview: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        _check("steps", self.steps, 1, 1000)
        _check("seed", self.seed, 0, LARGEST_SEED)
        _check("variants", self.variants, 1, 1000)
        _check_open("guidance", self.guidance, 0.0, 100.0)
        _check_open("strength", self.strength, 0.0, 1.0)
        if self.attenuation_db is not None and not 0.0 <= self.attenuation_db <= 200.0:
            raise ValueError(f"attenuation_db must lie in [0, 200], got {self.attenuation_db}; 0 is no B-map")
        if self.device not in DEVICES:
            raise ValueError(f"device must be one of {', '.join(DEVICES)}, got {self.device!r}")
        if not isinstance(self.beam, Mapping) or self.beam.get("kind") not in ("linear", "sector"):
            raise ValueError(f"beam must be a linear or sector beam in pixels, got {self.beam!r}; choose one")
        for name in ("rows", "columns", "count"):
            _check(f"frame {name}", self.frame.get(name), 1, 2**16)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(frames, rows, columns)."""
        return self.frame["count"], self.frame["rows"], self.frame["columns"]

    @property
    def seeds(self) -> list[int]:
        """The seed of each image: all frames of the first variant, then of the second, ...

        Frames that share their noise share a seed; otherwise all differ.
        """
        count = self.shape[0]
        if self.shared_noise:
            return [self.seed + variant for variant in range(self.variants) for _ in range(count)]
        return [self.seed + number for number in range(self.variants * count)]

    def to_json(self) -> str:
        """A text that :meth:`from_json` reads back."""
        return json.dumps({"version": VERSION, **asdict(self)})

    @classmethod
    def from_json(cls, text: str) -> Request:
        """Read a request back.

        Raises:
            ValueError: no request, or one of another version of the module.
        """
        try:
            content = json.loads(text)
            version = content.pop("version")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError("this is no record of a request; choose an image that B-Map Diffusion made") from error
        if version != VERSION:
            raise ValueError(
                f"the image was made by another version of B-Map Diffusion (record {version}, this one reads "
                f"{VERSION}). Update the extension, or set the parameters by hand"
            )
        try:
            return cls(**{name: value for name, value in content.items() if name in {x.name for x in fields(cls)}})
        except (TypeError, AttributeError) as error:
            raise ValueError(f"the record of the request is damaged ({error}); set the parameters by hand") from error


def _check(name: str, value: object, least: int, most: int) -> None:
    if value is None and name == "steps":
        return
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{name} must be a whole number from {least} to {most}, got {value!r}")


def _check_open(name: str, value: float | None, above: float, most: float) -> None:
    if value is not None and not (math.isfinite(value) and above < value <= most):
        raise ValueError(f"{name} must lie above {above:g} and at most at {most:g}, got {value}")

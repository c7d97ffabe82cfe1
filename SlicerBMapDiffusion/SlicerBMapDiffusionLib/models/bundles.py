"""The models to choose from: what a bundle's folder says of itself, read as plain JSON.

A bundle is a program: its configuration may hold Python, which runs when images are made. Only offer folders that the
user installed or chose.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_AGAIN = "Install the extension again, or the model if you added it yourself"
_CONFIGS = ("configs/inference.json", "configs/job.json", "configs/metadata.json")


@dataclass(frozen=True)
class Model:
    """What the module needs to know of a bundle.

    Args:
        name: the folder's.
        folder: the bundle.
        title: for people.
        description: a sentence or two.
        licence: what the weights may be used for, in a sentence.
        licence_file: the full terms.
        classes: names of the labels 1, 2, ...; none for a model that draws from the beam alone.
        beam_kind: ``"sector"`` or ``"linear"``.
        image_size: (rows, columns) that it was trained at.
        spacing_mm: (row, column) that its training frames had, or are taken to have had.
        calibrated: whether ``spacing_mm`` was measured; else it is a typical value.
        depth_mm: from the probe's face to the beam's end, on such frames.
        beam: typical beam, in pixels of such a frame.
        steps: number of denoising steps if none is chosen.
        attenuation_db: strength of its B-map.
        weights: the file.
        weights_sha256: that it must have.
    """

    name: str
    folder: Path
    title: str
    description: str
    licence: str
    licence_file: Path | None
    classes: tuple[str, ...]
    beam_kind: str
    image_size: tuple[int, int]
    spacing_mm: tuple[float, float]
    calibrated: bool
    depth_mm: float
    beam: Mapping[str, Any]
    steps: int
    attenuation_db: float
    weights: Path
    weights_sha256: str

    @property
    def labels(self) -> bool:
        """Whether it draws from segmentations."""
        return bool(self.classes)


def read_model(folder: str | Path) -> Model:
    """Read a bundle's folder; its weights are not touched, see :func:`check_weights`.

    Raises:
        ValueError: no usable bundle; the message says what is missing and what to do.
    """
    folder = Path(folder).absolute()
    absent = [name for name in _CONFIGS if not (folder / name).is_file()]
    if len(absent) == len(_CONFIGS):
        raise ValueError(f"{folder} is no bundle: it has no {_CONFIGS[0]}. Choose the folder that holds configs/")
    if absent:
        raise ValueError(
            f"{folder} is a bundle that this module cannot run: it has no {', '.join(absent)}. Take the bundle's "
            "current version"
        )
    settings, metadata = _read(folder / _CONFIGS[0]), _read(folder / _CONFIGS[2])
    card = _read(folder / "models" / "model.json")
    try:
        return _model(folder, settings, metadata, card)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ValueError(
            f"the settings of the bundle {folder} lack something or hold something else than expected ({error!r}). "
            "Take the bundle's current version, or fetch it again"
        ) from error


def find_models(folders: Iterable[str | Path], refused: Callable[[Path, str], object] | None = None) -> list[Model]:
    """All models in some folders, each itself a bundle or holding several; in order, each folder once.

    Args:
        folders: those that are not there are passed over.
        refused: told of folders that look like bundles and are none that can be used, and why.
    """
    found: dict[Path, Model] = {}
    for candidate in _candidates(folders):
        if candidate in found:
            continue
        try:
            found[candidate] = read_model(candidate)
        except ValueError as error:
            if refused is not None:
                refused(candidate, str(error))
    return list(found.values())


def check_weights(model: Model) -> None:
    """Refuse weights that are missing or not those that the model's card describes.

    Raises:
        ValueError: the message says which and what to do.
    """
    if not model.weights.is_file():
        raise ValueError(f"the weights {model.weights} are missing. {_AGAIN}")
    digest = hashlib.sha256()
    try:
        with model.weights.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    except OSError as error:
        raise ValueError(f"the weights {model.weights} cannot be read ({error}). Check the disk") from error
    if digest.hexdigest() != model.weights_sha256:
        raise ValueError(
            f"the weights {model.weights} are damaged or were exchanged (SHA-256 {digest.hexdigest()[:12]}..., not "
            f"{model.weights_sha256[:12]}...). {_AGAIN}"
        )


def _candidates(folders: Iterable[str | Path]) -> Iterable[Path]:
    for folder in map(Path, folders):
        if (folder / "configs").is_dir():
            yield folder.resolve()
        elif folder.is_dir():
            yield from sorted(inner.resolve() for inner in folder.iterdir() if (inner / "configs").is_dir())


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing. Fetch the bundle again") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}). Fetch the bundle again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no settings. Fetch the bundle again")
    return content


def _model(folder: Path, settings: Mapping[str, Any], metadata: Mapping[str, Any], card: Mapping[str, Any]) -> Model:
    geometry = metadata["training_geometry"]
    rows, columns = settings["image_size"]
    row_mm, column_mm = geometry["spacing_mm"]
    beam = dict(geometry["beam"])
    if beam["kind"] != settings["beam_kind"]:
        raise ValueError(f"beam kind {settings['beam_kind']}, but a beam of kind {beam['kind']}")
    return Model(
        name=folder.name,
        folder=folder,
        title=str(metadata["name"]),
        description=str(metadata["description"]),
        licence=str(metadata["intended_use"]),
        licence_file=_first_file(folder / "docs" / "data_license.txt", folder / "LICENSE"),
        classes=tuple(str(name) for name in settings["classes"]),
        beam_kind=str(settings["beam_kind"]),
        image_size=(int(rows), int(columns)),
        spacing_mm=(float(row_mm), float(column_mm)),
        calibrated=bool(geometry["calibrated"]),
        depth_mm=float(geometry["depth_mm"]),
        beam=beam,
        steps=int(settings["num_inference_steps"]),
        attenuation_db=float(settings["attenuation_db"]),
        weights=folder / "models" / "model.pt",
        weights_sha256=str(card["weights_sha256"]),
    )


def _first_file(*paths: Path) -> Path | None:
    return next((path for path in paths if path.is_file()), None)

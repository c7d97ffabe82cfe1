"""The models to choose from: those that come with the extension, and those that the user added or installed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from SlicerBMapDiffusionLib import places
from SlicerBMapDiffusionLib.models import bundles, downloads
from SlicerBMapDiffusionLib.models.bundles import Model
from SlicerBMapDiffusionLib.models.mapping import SegmentInfo, guess_classes

_SETTINGS_KEY = "BMapDiffusion/ModelFolders"


class Shelf:
    """The models by the name of their folder, those that draw from labels first.

    Attributes:
        models: name to model, in the order in which they are offered.
        refused: folder to the reason why it holds no usable model.
    """

    def __init__(self) -> None:
        self.models: dict[str, Model] = {}
        self.refused: dict[str, str] = {}
        self.find()

    @property
    def downloaded(self) -> Path:
        """The folder of this user's own models."""
        return places.downloads_folder() / "Models"

    def find(self) -> None:
        """Look for models: those shipped, installed, and added by the user."""
        self.refused = {}
        folders: list[str | Path] = [places.bundles_folder(), self.downloaded, *_added()]
        found = bundles.find_models(folders, lambda folder, why: self.refused.update({str(folder): why}))
        first = {model.name: model for model in reversed(found)}
        self.models = dict(sorted(first.items(), key=lambda item: (not item[1].labels, item[1].title)))

    def model(self, name: str) -> Model:
        """A model by its name.

        Raises:
            ValueError: it is not there.
        """
        if name not in self.models:
            raise ValueError(_("The model {name} is not on this computer.").format(name=name or "-"))
        return self.models[name]

    def add(self, folder: str) -> Model:
        """Remember a bundle's folder for this and later sessions.

        Raises:
            ValueError: it holds no usable bundle, or another model has its name.
        """
        model = bundles.read_model(folder)
        same = self.models.get(model.name)
        if same is not None and same.folder.resolve() != model.folder.resolve():
            raise ValueError(_("There is a model named {name} already; rename the folder.").format(name=model.name))
        _remember([*(known for known in _added() if known != folder), folder])
        self.find()
        return self.model(model.name)

    def names_elsewhere(self) -> list[str]:
        """Names that a model to be installed may not have: those of models that it would not replace but hide."""
        return [name for name, model in self.models.items() if not self._installed(model)]

    def removable(self, model: Model | None) -> bool:
        """Whether this model was added or installed by the user."""
        return model is not None and not model.folder.is_relative_to(places.bundles_folder().resolve())

    def remove(self, model: Model) -> None:
        """Delete an installed model; one that was added by its folder is only forgotten.

        Raises:
            OSError: a file cannot be deleted.
        """
        if self._installed(model):
            downloads.remove(model.folder)
        _remember([known for known in _added() if Path(known).resolve() != model.folder.resolve()])
        self.find()

    def _installed(self, model: Model) -> bool:
        return model.folder.is_relative_to(self.downloaded.resolve())

    def fitting(self, chosen: str, segments: Sequence[SegmentInfo]) -> Model | None:
        """Another model than the chosen one, if it knows some of the segments and the chosen one none."""
        known = {
            name: sum(found is not None for found in guess_classes(segments, model.classes).values())
            for name, model in self.models.items()
            if model.labels
        }
        if known.get(chosen, 0) or not any(known.values()):
            return None
        return self.models[max(known, key=lambda name: known[name])]


def _added() -> list[str]:
    """QSettings gives a list of one entry back as text."""
    known = slicer.util.settingsValue(_SETTINGS_KEY, None) or []
    return [known] if isinstance(known, str) else [str(folder) for folder in known]


def _remember(folders: list[str]) -> None:
    qt.QSettings().setValue(_SETTINGS_KEY, folders)

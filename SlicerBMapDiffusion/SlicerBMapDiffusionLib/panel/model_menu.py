"""The menu beside the list of models: models are added, installed, downloaded, removed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from SlicerBMapDiffusionLib.errands import Errands
from SlicerBMapDiffusionLib.models.bundles import Model
from SlicerBMapDiffusionLib.models.shelf import Shelf


class ModelMenu:
    """Fills the menu of a button.

    Args:
        button: a QToolButton.
        shelf: the models.
        errands: bring models.
        attempt: runs what was asked for and says what cannot be done.
        chosen: the model that the panel shows, None without one.
        choose: lets the panel show another one.
    """

    def __init__(
        self,
        button: Any,
        shelf: Shelf,
        errands: Errands,
        attempt: Callable[[Callable[[], object]], object],
        chosen: Callable[[], Model | None],
        choose: Callable[[Model], object],
    ) -> None:
        self._button, self._shelf, self._errands = button, shelf, errands
        self._attempt, self._chosen, self._choose = attempt, chosen, choose
        menu = qt.QMenu(button)
        for text, slot in (
            (_("Add the folder of a model..."), self.add),
            (_("Install a model from a file (.zip)..."), self.install),
            (_("Download a model..."), self.download),
            (_("Remove this model"), self.remove),
        ):
            action = qt.QAction(text, menu)
            action.connect("triggered()", slot)
            menu.addAction(action)
        self.remove_action = action
        button.setMenu(menu)
        button.setPopupMode(qt.QToolButton.InstantPopup)

    def refresh(self) -> None:
        """Offer what can be done with the chosen model."""
        self.remove_action.setEnabled(self._shelf.removable(self._chosen()))

    def add(self) -> None:
        """Ask for a bundle's folder and choose it."""
        folder = qt.QFileDialog.getExistingDirectory(self._button, _("Folder of a model"))
        if folder and _trusted(folder):
            self._attempt(lambda: self._choose(self._shelf.add(folder)))

    def install(self) -> None:
        """Ask for a zip file with a model."""
        path = qt.QFileDialog.getOpenFileName(self._button, _("Model to install"), "", _("Models (*.zip)"))
        if path and _trusted(path):
            self._attempt(lambda: self._errands.install_model(path))

    def download(self) -> None:
        """Ask for the address of a zip file with a model."""
        question = _("Address of the model, https://.../model.zip#sha256=...:")
        address = (qt.QInputDialog().getText(self._button, _("Download a model"), question) or "").strip()
        if address and _trusted(address):
            self._attempt(lambda: self._errands.download_model(address))

    def remove(self) -> None:
        """Delete or forget the chosen model, and choose another."""

        def remove(model: Model) -> None:
            self._shelf.remove(model)
            self._choose(next(iter(self._shelf.models.values())))

        model = self._chosen()
        question = _("Remove the model {title}?").format(title=model.title if model else "")
        if model is not None and self._shelf.removable(model) and slicer.util.confirmOkCancelDisplay(question):
            self._attempt(lambda: remove(model))


def _trusted(source: str) -> bool:
    question = _(
        "A model can hold Python code, which runs when images are drawn.\n\nAdd {path} only if you trust its source."
    )
    return bool(slicer.util.confirmOkCancelDisplay(question.format(path=source), windowTitle=_("B-Map Diffusion")))

"""What the child process does besides drawing: it checks the packages, looks for a beam, and brings a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import slicer
from slicer.i18n import tr as _

from SlicerBMapDiffusionLib import beam_finding, places, planning, scene
from SlicerBMapDiffusionLib.geometry.beams import BeamSettings
from SlicerBMapDiffusionLib.jobs import verification
from SlicerBMapDiffusionLib.jobs.fitting import Kind, write_fit
from SlicerBMapDiffusionLib.jobs.hints import hint
from SlicerBMapDiffusionLib.jobs.job import new_job_folder
from SlicerBMapDiffusionLib.jobs.messages import Message
from SlicerBMapDiffusionLib.jobs.process import JobProcess
from SlicerBMapDiffusionLib.models import installation as model_installation
from SlicerBMapDiffusionLib.models.bundles import Model
from SlicerBMapDiffusionLib.models.installation import ModelInstallation
from SlicerBMapDiffusionLib.models.shelf import Shelf


class Run(Protocol):
    """Queues a child process."""

    def __call__(
        self,
        command: Callable[[str], list[str]],
        folder: Path,
        check: Callable[[], Any] | None,
        heard: Callable[[Message | str], None],
        ended: Callable[[JobProcess], None],
        explain: Callable[..., str] = hint,
        /,
    ) -> None:
        """Queue it.

        Args:
            command: its arguments, given the interpreter.
            folder: where it runs.
            check: reads its result.
            heard: told of what it says.
            ended: told of its end, in whatever way.
            explain: makes a sentence of its exit code and last lines.
        """


class Listener(Protocol):
    """Who is told how an errand goes on."""

    def on_progress(self, fraction: float | None, text: str) -> None:
        """The share that is done, None while nobody knows, and a sentence."""

    def on_failed(self, text: str, details: str) -> None:
        """What happened and what to do; the last lines of the program."""

    def on_cancelled(self) -> None:
        """It was stopped; all is as it was."""

    def on_beam(self, beam: BeamSettings) -> None:
        """The beam that was fitted to an image."""

    def on_model(self, model: Model) -> None:
        """A model was installed."""


class Errands:
    """Queues small jobs.

    Args:
        listener: told of progress and results.
        shelf: the models.
        run: queues a process.
        cancel_all: empties the queue.
    """

    def __init__(self, listener: Listener, shelf: Shelf, run: Run, cancel_all: Callable[[], object]) -> None:
        self.listener, self.shelf, self._run, self._cancel_all = listener, shelf, run, cancel_all

    def fit_beam(self, parameters: Any) -> None:
        """Let the child process find the beam in the loaded image.

        Raises:
            ValueError: there is no image.
            OSError: the temporary folder cannot be written to.
        """
        if parameters.volume is None:
            raise ValueError(_("Choose the loaded image first (2. Image plane)."))
        model = self.shelf.model(parameters.model)
        source = scene.frame_from_slices(parameters.volume)
        target = planning.frame_of(parameters, model)
        image = scene.image_in_frame(parameters.volume, source)[0]
        kind: Kind = "linear" if model.beam_kind == "linear" else "sector"
        fit = write_fit(_new_folder(), image, kind)
        self._run(
            fit.command,
            fit.folder,
            lambda: beam_finding.carried_settings(fit.read_result(), source, target),
            lambda _said: self.listener.on_progress(None, _("Looking for the beam ...")),
            lambda process: self._ended(process, self.listener.on_beam, fit.remove),
        )

    def check_packages(self) -> None:
        """Queue an import of all packages, after an installation; if it fails, what waits behind it is cancelled."""
        self._run(
            verification.command,
            places.resources_folder(),
            None,
            lambda _said: self.listener.on_progress(None, _("Checking the packages ...")),
            self._checked,
            verification.explained,
        )

    def download_model(self, address: str) -> None:
        """Let the child process download and install a model.

        Args:
            address: ``https://.../model.zip#sha256=<64 hexadecimal digits>``.

        Raises:
            ValueError: one without a hash, or that can be none.
            OSError: the temporary folder cannot be written to.
        """
        model_installation.check_address(address)
        self.install_model(address)

    def install_model(self, source: str) -> None:
        """Let the child process install a model.

        Args:
            source: the path of a zip file, or an address.

        Raises:
            OSError: the temporary folder cannot be written to.
        """
        wanted = ModelInstallation(source, self.shelf.downloaded, _new_folder(), self.shelf.names_elsewhere())
        self._run(
            wanted.command,
            places.module_folder(),
            wanted.read_result,
            lambda said: self.listener.on_progress(*_of_installation(said)),
            lambda process: self._ended(process, self._installed, wanted.remove),
        )

    def _checked(self, process: JobProcess) -> None:
        if process.state not in ("done", "cancelled"):
            self._cancel_all()
        self._ended(process, lambda _nothing: self.listener.on_progress(1.0, _("The packages are installed and work.")))

    def _installed(self, name: str) -> None:
        self.shelf.find()
        self.listener.on_model(self.shelf.model(name))

    def _ended(
        self, process: JobProcess, done: Callable[[Any], None], remove: Callable[[], object] = lambda: None
    ) -> None:
        remove()
        if process.state == "done":
            done(process.result)
        elif process.state == "cancelled":
            self.listener.on_cancelled()
        else:
            self.listener.on_failed(process.failure or "", "\n".join(process.tail))


def _new_folder() -> Path:
    return new_job_folder(slicer.app.temporaryPath)


def _of_installation(said: Message | str) -> tuple[float | None, str]:
    if isinstance(said, str) or said.event != "progress":
        return None, _("Installing the model ...")
    done, total = said["step"] / 1e6, said["steps"] / 1e6
    return said.fraction, _("Downloading the model: {done:.0f} of {total:.0f} MB").format(done=done, total=total)

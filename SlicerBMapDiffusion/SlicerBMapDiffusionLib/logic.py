"""From the user's choices to images in the scene: models, jobs that wait and run, results, and the beam's fit.

Nothing here waits: a timer asks the child process for news, and the scene changes only when a job has succeeded.
"""

from __future__ import annotations

import json
import secrets
import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import qt
import slicer
from slicer.i18n import tr as _

from SlicerBMapDiffusionLib import bundles, install, places, planning, scene, verification
from SlicerBMapDiffusionLib.beams import BeamSettings, carried, from_slicer_ultrasound
from SlicerBMapDiffusionLib.class_table import ClassTable
from SlicerBMapDiffusionLib.fitting import Kind, write_fit
from SlicerBMapDiffusionLib.hints import hint
from SlicerBMapDiffusionLib.job import Job, Message, Request, new_job_folder, write_job
from SlicerBMapDiffusionLib.parameters import OutputKind
from SlicerBMapDiffusionLib.planning import Plan
from SlicerBMapDiffusionLib.process import JobProcess, JobQueue, worker_environment
from SlicerBMapDiffusionLib.shelf import Shelf

_POLL_MS = 100
_SEGMENTATION, _VOLUME = "BMapDiffusion.segmentation", "BMapDiffusion.image"
_TABLE, _ANATOMY = "BMapDiffusion.class_table", "BMapDiffusion.anatomy_sha256"


class Listener(Protocol):
    """Who is told how the drawing goes on."""

    def on_progress(self, fraction: float | None, text: str) -> None:
        """The share that is done, None while nobody knows, and a sentence."""

    def on_preview(self, image: Any) -> None:
        """(rows, columns) uint8: the image as it emerges."""

    def on_finished(self, node: Any, text: str) -> None:
        """A result lies in the scene."""

    def on_failed(self, text: str, details: str) -> None:
        """What happened and what to do; the last lines of the program."""

    def on_cancelled(self) -> None:
        """It was stopped; the scene is as it was."""

    def on_beam(self, beam: BeamSettings) -> None:
        """The beam that was fitted to an image."""


@dataclass
class _Drawing:
    plan: Plan
    job: Job
    process: JobProcess
    weights_sha256: str
    begun: float = field(default_factory=time.monotonic)
    orphaned: str = ""

    def inputs(self) -> list[Any]:
        return [node for node in (self.plan.segmentation, self.plan.volume) if node is not None]


class Logic:
    """The module's work without its window.

    Args:
        listener: told of progress and results.
        python: the worker's interpreter; None is Slicer's own.
    """

    def __init__(self, listener: Listener, python: str | None = None) -> None:
        self.listener, self._python = listener, python
        self.shelf = Shelf()
        self.last_seed: int | None = None
        self.queue = JobQueue()
        self._drawings: list[_Drawing] = []
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MS)
        self._timer.connect("timeout()", self.poll)

    # Drawing

    @property
    def python(self) -> str:
        """The worker's interpreter."""
        return self._python or install.python_executable()

    @property
    def uses_own_python(self) -> bool:
        """Whether the worker runs in Slicer's Python, whose packages this module looks after."""
        return self._python is None

    @property
    def busy(self) -> int:
        """How many jobs run or wait."""
        return len(self.queue)

    def seed_for(self, parameters: Any) -> int:
        """The chosen seed, or a new random one."""
        return secrets.randbelow(2**31 - 1) if parameters.random_seed else parameters.seed

    def generate(self, parameters: Any) -> int:
        """Queue what the user asked for; the seed.

        Raises:
            ValueError: something is missing; the sentence says what to do.
            OSError: the temporary folder cannot be written to.
        """
        model = self.shelf.model(parameters.model)
        seed = self.seed_for(parameters)
        self._start(planning.plan(parameters, model, seed))
        return seed

    def rerun(self, node: Any) -> str:
        """Queue what made a result once more; a warning where the scene has changed since, else nothing.

        Raises:
            ValueError: the node is no result, or what it was made from is gone.
        """
        plan = self._plan_of(node)
        self._start(plan)
        if plan.anatomy != (node.GetAttribute(_ANATOMY) or plan.anatomy):
            return _("The segmentation or image has changed since: the new image will differ.")
        return ""

    def cancel(self) -> None:
        """Stop what runs and forget what waits; nothing is left running."""
        self.queue.cancel_all()
        self._timer.stop()

    def command_line(self, parameters: Any) -> str:
        """A terminal command that makes the same images; its job folder stays.

        Raises:
            ValueError: something is missing.
            OSError: the folder cannot be written to.
        """
        model = self.shelf.model(parameters.model)
        seed = parameters.seed if self.last_seed is None or not parameters.random_seed else self.last_seed
        plan = planning.plan(parameters, model, seed)
        return self._written(plan).terminal_line(self.python)

    def poll(self) -> None:
        """Ask for news; the timer's slot."""
        for drawing in list(self._drawings):
            gone = [node for node in drawing.inputs() if not slicer.mrmlScene.IsNodePresent(node)]
            if gone:
                drawing.orphaned = _("{name} was deleted while its image was drawn, so that drawing stopped.").format(
                    name=gone[0].GetName()
                )
                self.queue.cancel(drawing.process)
        self.queue.poll()
        if not self.busy:
            self._timer.stop()

    def check_packages(self) -> None:
        """Queue an import of all packages, after an installation; if it fails, what waits behind it is cancelled."""
        command, folder = verification.command(self.python), places.resources_folder()
        self._add(self._process(command, folder, explain=verification.explained), self._heard_of_check, self._checked)

    # The beam

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
        fit = write_fit(new_job_folder(slicer.app.temporaryPath), image, kind)
        process = self._process(fit.command(self.python), fit.folder, fit.read_result)
        self._add(process, self._heard_of_fit, lambda ended: self._fitted(ended, fit.folder, source, target))

    def read_ultrasound_file(self, parameters: Any, path: str) -> BeamSettings:
        """The beam of a file that SlicerUltrasound wrote for the loaded image.

        Raises:
            ValueError: no such file, or no loaded image that it belongs to.
        """
        if parameters.volume is None:
            raise ValueError(_("Choose the loaded image that the file belongs to (2. Image plane)."))
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(_("{path} cannot be read: {reason}").format(path=path, reason=error)) from error
        beam = from_slicer_ultrasound(_mask_of(content))
        source = scene.frame_from_slices(parameters.volume)
        return _carried_settings(beam, source, planning.frame_of(parameters, self.shelf.model(parameters.model)))

    def outline(self, parameters: Any) -> None:
        """Show the beam in the slice views, or hide it where it is not wanted or not known."""
        model = self.shelf.models.get(parameters.model)
        if model is None or not parameters.show_outline:
            scene.hide_outline()
            return
        try:
            frame = planning.frame_of(parameters, model)
            scene.show_outline(frame, planning.beam_of(parameters, model, frame.size))
        except ValueError:
            scene.hide_outline()

    # What happens inside

    def _plan_of(self, node: Any) -> Plan:
        record = scene.record_of(node) if node is not None else None
        if record is None:
            raise ValueError(_("Choose an image that this module made."))
        request = Request.from_json(node.GetAttribute("BMapDiffusion.request"))
        model = self.shelf.model(request.model)
        segmentation, volume = _input_of(node, _SEGMENTATION), _input_of(node, _VOLUME)
        if request.classes and segmentation is None:
            raise ValueError(_("The segmentation that this image was made from is no longer in the scene."))
        if request.strength is not None and volume is None:
            raise ValueError(_("The image that this one started from is no longer in the scene."))
        table = ClassTable.from_text(node.GetAttribute(_TABLE) or "")
        request = replace(request, bundle=str(model.folder))
        return planning.with_anatomy(request, segmentation, volume, table, planning.first_view())

    def _written(self, plan: Plan) -> Job:
        bundles.check_weights(self.shelf.model(plan.request.model))
        return write_job(new_job_folder(slicer.app.temporaryPath), plan.request, plan.labels, plan.images)

    def _start(self, plan: Plan) -> None:
        job = self._written(plan)
        process = self._process(job.command(self.python), job.directory(), job.read_result)
        drawing = _Drawing(plan, job, process, self.shelf.model(plan.request.model).weights_sha256)
        self._drawings.append(drawing)
        self.last_seed = plan.request.seed
        self._add(process, lambda _p, said: self._heard(drawing, said), lambda _p: self._ended(drawing))

    def _process(self, command: list[str], folder: Path, check: Any = None, explain: Any = hint) -> JobProcess:
        environment = worker_environment(slicer.util.startupEnvironment())
        return JobProcess(command, folder, environment, check=check, explain=explain)

    def _add(self, process: JobProcess, on_output: Any, on_end: Any) -> None:
        self.queue.add(process, on_output, on_end)
        self._timer.start()

    def _heard(self, drawing: _Drawing, said: Message | str) -> None:
        if isinstance(said, str):
            return
        if said.event == "preview":
            image = drawing.job.read_preview(said["file"])
            if image is not None:
                self.listener.on_preview(image)
        elif said.event in ("state", "progress"):
            text = _progress_text(said)
            if self.busy > 1:
                text = _("{text} ({n} more waiting)").format(text=text, n=self.busy - 1)
            self.listener.on_progress(said.fraction, text)

    def _ended(self, drawing: _Drawing) -> None:
        self._drawings.remove(drawing)
        process, plan = drawing.process, drawing.plan
        try:
            if process.state == "done":
                seconds = time.monotonic() - drawing.begun
                node = self._into_scene(drawing, process.result)
                text = _("{name} is ready: seed {seed}, {seconds:.0f} s.").format(
                    name=node.GetName(), seed=plan.request.seed, seconds=seconds
                )
                self.listener.on_finished(node, text)
            elif drawing.orphaned:
                self.listener.on_failed(drawing.orphaned, "")
            elif process.state == "cancelled":
                self.listener.on_cancelled()
            else:
                self.listener.on_failed(process.failure or "", "\n".join(process.tail))
        finally:
            drawing.job.remove()

    def _into_scene(self, drawing: _Drawing, result: Any) -> Any:
        plan = drawing.plan
        request, source = plan.request, plan.segmentation or plan.volume
        name = _("{input} synthetic").format(input=source.GetName() if source else request.model)
        record = plan.record(drawing.weights_sha256, result.seeds)
        variants = request.variants > 1
        node = scene.add_result(result.images, plan.frame, record, name, source, variants)
        for holder in (node, _browser_of(node)):
            for role, given in ((_SEGMENTATION, plan.segmentation), (_VOLUME, plan.volume)):
                if given is not None and holder is not None:
                    holder.SetNodeReferenceID(role, given.GetID())
        scene.show(node)
        if plan.view is not None:
            scene.aim(plan.view, plan.frame)
        return node

    def _heard_of_check(self, _process: JobProcess, said: Message | str) -> None:
        if isinstance(said, Message):
            self.listener.on_progress(None, _("Checking the packages ..."))

    def _checked(self, process: JobProcess) -> None:
        if process.state == "cancelled":
            self.listener.on_cancelled()
        elif process.state != "done":
            self.queue.cancel_all()
            self.listener.on_failed(process.failure or "", "\n".join(process.tail))
        elif not self.busy:
            self.listener.on_progress(1.0, _("The packages are installed and work."))

    def _heard_of_fit(self, _process: JobProcess, said: Message | str) -> None:
        if isinstance(said, Message):
            self.listener.on_progress(None, _("Looking for the beam ..."))

    def _fitted(self, process: JobProcess, folder: Path, source: Any, target: Any) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        if process.state == "done":
            try:
                self.listener.on_beam(_carried_settings(process.result, source, target))
            except ValueError as error:
                self.listener.on_failed(str(error), "")
        elif process.state == "cancelled":
            self.listener.on_cancelled()
        else:
            self.listener.on_failed(process.failure or "", "\n".join(process.tail))


def restore(parameters: Any, node: Any) -> None:
    """Set the panel to what made a result, where that is a number: model, seed, steps, strength, B-map.

    Raises:
        ValueError: the node is no result of this module.
    """
    if node is None or scene.record_of(node) is None:
        raise ValueError(_("Choose an image that this module made."))
    request = Request.from_json(node.GetAttribute("BMapDiffusion.request"))
    before = parameters.StartModify()
    try:
        parameters.model = request.model
        segmentation = _input_of(node, _SEGMENTATION)
        if segmentation is not None:
            parameters.segmentation = segmentation
            parameters.class_table = node.GetAttribute(_TABLE) or ""
        parameters.random_seed, parameters.seed = False, request.seed
        if request.steps is not None:
            parameters.steps = request.steps
        if request.attenuation_db is not None:
            parameters.attenuation_db = float(request.attenuation_db)
        parameters.use_guidance = request.guidance is not None
        if request.guidance is not None:
            parameters.guidance = float(request.guidance)
        parameters.from_image = request.strength is not None
        if request.strength is not None:
            parameters.strength = float(request.strength)
        if request.variants > 1:
            parameters.output_kind, parameters.variants = OutputKind.VARIANTS, request.variants
    finally:
        parameters.EndModify(before)


def _browser_of(node: Any) -> Any:
    """The sequence browser that a shown variant belongs to: it keeps the references, which the variant loses."""
    return slicer.modules.sequences.logic().GetFirstBrowserNodeForProxyNode(node)


def _input_of(node: Any, role: str) -> Any:
    browser = _browser_of(node)
    return node.GetNodeReference(role) or (browser.GetNodeReference(role) if browser is not None else None)


def _progress_text(said: Message) -> str:
    if said.event == "state":
        states = {
            "starting": _("Starting Python ..."),
            "loading": _("Loading the model ..."),
            "drawing": _("Drawing ..."),
            "writing": _("Writing the result ..."),
        }
        return states[said["state"]]
    return _("Image {image} of {images}, step {step} of {steps}").format(
        image=min(said["image"] + 1, said["images"]), images=said["images"], step=said["step"], steps=said["steps"]
    )


def _carried_settings(beam: dict[str, Any], source: Any, target: Any) -> BeamSettings:
    """A beam found on the image's own slice, in mm of the frame; where that is another plane its shape, at the top."""
    try:
        return BeamSettings.from_pixels(carried(beam, source, target), target.size)
    except ValueError:
        return BeamSettings.from_pixels(beam, source.size).lowered()


def _mask_of(content: Any) -> dict[str, Any]:
    """The mask's parameters in SlicerUltrasound's file: at its top or one level below."""
    candidates = [content, *content.values()] if isinstance(content, dict) else []
    for candidate in candidates:
        if isinstance(candidate, dict) and {"mask_type", "center_rows_px", "rectangle_top"} & set(candidate):
            return candidate
    raise ValueError(_("The file holds no mask of SlicerUltrasound; save it there with Anonymize Ultrasound."))

"""From the user's choices to images in the scene: jobs that wait and run, and their results.

Nothing here waits: a timer asks the child process for news, and the scene changes only when a job has succeeded.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import qt
import slicer
from slicer.i18n import tr as _

from SlicerBMapDiffusionLib import errands, planning, scene
from SlicerBMapDiffusionLib.choices import Choices
from SlicerBMapDiffusionLib.geometry.frames import Frame
from SlicerBMapDiffusionLib.jobs.hints import hint
from SlicerBMapDiffusionLib.jobs.job import Job, Message, Request, new_job_folder, write_job
from SlicerBMapDiffusionLib.jobs.process import JobProcess, JobQueue, worker_environment
from SlicerBMapDiffusionLib.models import bundles
from SlicerBMapDiffusionLib.models.shelf import Shelf
from SlicerBMapDiffusionLib.parameters import FrameKind
from SlicerBMapDiffusionLib.planning import Plan
from SlicerBMapDiffusionLib.setup import install

_POLL_MS = 100
_ANATOMY = "BMapDiffusion.anatomy_sha256"


class Listener(errands.Listener, Protocol):
    """Who is told how the drawing goes on."""

    def on_preview(self, image: Any) -> None:
        """(rows, columns) uint8: the image as it emerges."""

    def on_finished(self, node: Any, text: str) -> None:
        """A result lies in the scene."""


@dataclass
class _Drawing:
    plan: Plan
    choices: Choices
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
        self.errands = errands.Errands(listener, self.shelf, self._run, self.queue.cancel_all)

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
        self._start(planning.plan(parameters, model, seed), Choices.of(parameters))
        return seed

    def rerun(self, node: Any) -> str:
        """Queue what made a result once more; a warning where the scene has changed since, else nothing.

        Raises:
            ValueError: the node is no result, or what it was made from is gone.
        """
        request, choices = self._request_of(node), Choices.read(node)
        plan = planning.again(request, choices.nodes.get("segmentation"), choices.nodes.get("volume"), choices.table)
        self._start(plan, choices)
        if plan.anatomy != (node.GetAttribute(_ANATOMY) or plan.anatomy):
            return _("The segmentation or image has changed since: the new image will differ.")
        return ""

    def restore(self, parameters: Any, node: Any) -> str:
        """Set the panel to what made a result, its slice view turned back; a warning where the plane has moved since.

        Raises:
            ValueError: the node is no result, or its model is not on this computer.
        """
        request, choices = self._request_of(node), Choices.read(node)
        choices.restore(parameters)
        parameters.random_seed, parameters.seed = False, request.seed
        frame = Frame.from_dict(request.frame)
        if parameters.frame_kind is FrameKind.VIEW and parameters.view is not None:
            scene.aim(parameters.view, frame, hanging=True)
        try:
            same = planning.frame_of(parameters, self.shelf.model(request.model)).coincides(frame)
        except ValueError as error:  # what said where the plane lies is gone
            return str(error)
        return "" if same else _("The plane has moved since: Make again draws the image where it was.")

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

    # What is to be seen

    def go_to_anatomy(self, parameters: Any) -> None:
        """Move the slice view, and the chosen slice of the volume, to the middle of the mapped segments.

        Raises:
            ValueError: none is mapped, all are empty, or no view or volume is chosen.
        """
        model = self.shelf.model(parameters.model)
        middle = planning.middle_of_anatomy(parameters, model)
        frame = planning.frame_of(parameters, model)
        view = parameters.view or planning.first_view()
        if parameters.frame_kind is FrameKind.VIEW:
            scene.aim(view, frame.at_middle(middle), hanging=True)
        elif parameters.frame_kind is FrameKind.SLICES:
            parameters.slice_number = scene.slice_through(parameters.volume, middle)
            if view is not None:
                scene.aim(view, planning.frame_of(parameters, model))

    # What happens inside

    def _request_of(self, node: Any) -> Request:
        """What made a result, with the model where it is now."""
        if node is None or scene.record_of(node) is None:
            raise ValueError(_("Choose an image that this module made."))
        request = Request.from_json(node.GetAttribute("BMapDiffusion.request"))
        return replace(request, bundle=str(self.shelf.model(request.model).folder))

    def _written(self, plan: Plan) -> Job:
        bundles.check_weights(self.shelf.model(plan.request.model))
        return write_job(new_job_folder(slicer.app.temporaryPath), plan.request, plan.labels, plan.images)

    def _start(self, plan: Plan, choices: Choices) -> None:
        job = self._written(plan)
        process = self._process(job.command(self.python), job.directory(), job.read_result)
        drawing = _Drawing(plan, choices, job, process, self.shelf.model(plan.request.model).weights_sha256)
        self._drawings.append(drawing)
        self.last_seed = plan.request.seed
        self._add(process, lambda said: self._heard(drawing, said), lambda _ended: self._ended(drawing))

    def _run(self, command: Any, folder: Path, check: Any, heard: Any, ended: Any, explain: Any = hint) -> None:
        self._add(self._process(command(self.python), folder, check, explain), heard, ended)

    def _process(self, command: list[str], folder: Path, check: Any, explain: Any = hint) -> JobProcess:
        environment = worker_environment(slicer.util.startupEnvironment())
        return JobProcess(command, folder, environment, check=check, explain=explain)

    def _add(self, process: JobProcess, heard: Any, ended: Any) -> None:
        self.queue.add(process, lambda _process, said: heard(said), ended)
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
        record = plan.record(drawing.weights_sha256, result.seeds) | drawing.choices.attributes()
        node = scene.add_result(result.images, plan.frame, record, name, source, request.variants > 1)
        drawing.choices.refer(node)
        scene.show(node)
        if plan.view is not None:
            scene.aim(plan.view, plan.frame)
        return node


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

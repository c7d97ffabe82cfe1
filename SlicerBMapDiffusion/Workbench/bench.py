"""What the workbench does, apart from its page: a phantom, the choices, one job at a time, its result in the scene."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import slicer

from SlicerBMapDiffusionLib import places, planning, scene
from SlicerBMapDiffusionLib.jobs.job import Message, new_job_folder, write_job
from SlicerBMapDiffusionLib.jobs.process import ENDED, JobProcess
from SlicerBMapDiffusionLib.models import bundles
from SlicerBMapDiffusionLib.models.bundles import Model
from SlicerBMapDiffusionLib.models.class_table import ClassTable
from SlicerBMapDiffusionLib.models.mapping import guess_classes
from SlicerBMapDiffusionLib.parameters import BeamSource, FrameKind, OutputKind, Parameters
from SlicerBMapDiffusionLib.scene import sample_data


class Bench:
    """A phantom and what is drawn from it.

    Args:
        python: the interpreter that has monai_bmaps.

    Attributes:
        parameters: the choices, as in the module's panel; frames are the phantom's own slices.
        result: the volume that was drawn last, None before.
        process: the last job, None before.
    """

    def __init__(self, python: str) -> None:
        self.models = {model.name: model for model in bundles.find_models([places.bundles_folder()])}
        self.parameters = Parameters()
        self.parameters.frame_kind = FrameKind.SLICES
        self.result: Any = None
        self.process: JobProcess | None = None
        self._python = python

    @property
    def model(self) -> Model | None:
        """The chosen model."""
        return self.models.get(self.parameters.model)

    def load(self, name: str) -> None:
        """Load a phantom in place of what is there, and choose the model that knows most of its segments."""
        self.result = None
        slicer.mrmlScene.Clear(0)
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(slicer.mrmlScene, True)
        volume, segmentation = self.parameters.volume, self.parameters.segmentation = sample_data.load(name)
        self.parameters.beam_source = BeamSource.MODEL
        segmentation.GetDisplayNode().SetVisibility2DFill(False)
        segmentation.GetDisplayNode().SetSliceIntersectionThickness(2)
        self.parameters.slice_number = (volume.GetImageData().GetDimensions()[2] - 1) // 2
        segments = scene.segments_of(segmentation)
        guesses = {name: guess_classes(segments, model.classes) for name, model in self.models.items()}
        self.choose(max(guesses, key=lambda name: sum(map(bool, guesses[name].values()))))

    def choose(self, name: str) -> None:
        """Choose a model, with its own steps and B-map, its classes guessed anew."""
        model, segmentation, chosen = self.models[name], self.parameters.segmentation, self.parameters
        chosen.model, chosen.steps, chosen.attenuation_db = name, model.steps, model.attenuation_db
        if segmentation is not None:
            segments = scene.segments_of(segmentation)
            table = ClassTable().updated(name, segmentation.GetID(), segments, model.classes)
            chosen.class_table = table.to_text()

    def set_beam_by_hand(self, wanted: bool) -> None:
        """Let the beam's numbers be the user's, the model's own to begin with, or the model's again."""
        chosen = self.parameters
        if wanted and chosen.beam_source is not BeamSource.MANUAL and self.model is not None:
            planning.write_settings(chosen, planning.model_settings(self.model))
        chosen.beam_source = BeamSource.MANUAL if wanted else BeamSource.MODEL

    def draw(self, images: int) -> None:
        """Start a job for one image or several variants.

        Raises:
            ValueError: something is missing or out of range; the sentence says what to do.
            OSError: the temporary folder cannot be written to.
        """
        chosen = self.parameters
        chosen.output_kind, chosen.variants = OutputKind.VARIANTS if images > 1 else OutputKind.SINGLE, images
        self._plan = planning.plan(chosen, self.model, chosen.seed)
        bundles.check_weights(self.model)
        self._job = write_job(new_job_folder(), self._plan.request, self._plan.labels)
        self.process = JobProcess(self._job.command(self._python), self._job.directory(), check=self._job.read_result)
        self.process.start()

    def poll(self) -> list[Message]:
        """What the job said since the last call; nothing is waited for. What it drew comes into the scene."""
        was_running = self.process.state == "running"
        said = [message for message in self.process.poll() if isinstance(message, Message)]
        if was_running and self.process.state in ENDED:
            if self.process.state == "done":
                self._into_scene(self.process.result)
            self._job.remove()
        return said

    def cancel(self) -> None:
        """End the job and all its processes; without one nothing happens."""
        if self.process is not None and self.process.state == "running":
            self.process.cancel()
            self._job.remove()

    def show_variant(self, index: int) -> None:
        """Let the result be another one of the variants, counted from 0."""
        sequences = slicer.modules.sequences.logic()
        browser = sequences.GetFirstBrowserNodeForProxyNode(self.result)
        if browser is not None:
            browser.SetSelectedItemNumber(index)
            sequences.UpdateProxyNodesFromSequences(browser)

    def nrrd(self) -> bytes:
        """The result as a file: its place in space, and what made it in the file's header."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "synthetic.nrrd"
            writer = slicer.vtkMRMLNRRDStorageNode()
            writer.SetFileName(str(path))
            writer.WriteData(self.result)
            return path.read_bytes()

    def _into_scene(self, result: Any) -> None:
        plan = self._plan
        name = f"{plan.segmentation.GetName() if plan.segmentation else plan.request.model} synthetic"
        record, variants = plan.record(self.model.weights_sha256, result.seeds), plan.request.variants > 1
        self.result = scene.add_result(result.images, plan.frame, record, name, plan.segmentation, variants)

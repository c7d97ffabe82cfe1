"""The module's panel: connects widgets, parameter node and logic, and follows what is drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from SlicerBMapDiffusionLib import beam_finding, defaults, planning
from SlicerBMapDiffusionLib.geometry.beams import BeamSettings
from SlicerBMapDiffusionLib.logic import Logic
from SlicerBMapDiffusionLib.models.bundles import Model
from SlicerBMapDiffusionLib.models.class_table import ClassTable
from SlicerBMapDiffusionLib.panel.beam_display import BeamDisplay
from SlicerBMapDiffusionLib.panel.binding import Binding
from SlicerBMapDiffusionLib.panel.model_menu import ModelMenu
from SlicerBMapDiffusionLib.panel.run_box import RunBox
from SlicerBMapDiffusionLib.panel.segment_table import SegmentTable
from SlicerBMapDiffusionLib.panel.view import PanelView, sentence
from SlicerBMapDiffusionLib.panel.watching import Watch
from SlicerBMapDiffusionLib.parameters import BeamKind, BeamSource, Device, FrameKind, OutputKind, Parameters
from SlicerBMapDiffusionLib.setup import install, packages

_WATCHED = ("segmentation", "view", "volume", "probe", "markup")
_SELECTORS = (*_WATCHED, "result")
_CHOICES = {
    "frameKindSelector": FrameKind,
    "beamSourceSelector": BeamSource,
    "beamKindSelector": BeamKind,
    "outputKindSelector": OutputKind,
    "deviceSelector": Device,
}
_REFRESH_MS = 30


class Panel(VTKObservationMixin):
    """Connects the .ui file, the parameter node and the logic.

    Args:
        ui_file: path of the .ui file.
        layout: where the panel goes.
        parameter_node: gives the module's vtkMRMLScriptedModuleNode, a new one after the scene was closed.
        python: the worker's interpreter; None is Slicer's own.
    """

    def __init__(self, ui_file: str, layout: Any, parameter_node: Any, python: str | None = None) -> None:
        super().__init__()
        self._parameter_node, self._binding, self.parameters = parameter_node, None, None
        self._refreshing = self._entered = False
        self.root = slicer.util.loadUI(ui_file)
        layout.addWidget(self.root)
        self.ui = slicer.util.childWidgetVariables(self.root)
        self._timer = _delayed(self.refresh)
        self._watch = Watch(self.refresh_soon)
        self.logic = Logic(self, python)
        self.run = RunBox(self.ui)
        self.segments = SegmentTable(self.ui.classTable, self._table_changed)
        self.beam = BeamDisplay(self._beam_pulled)
        self.view = PanelView(self.ui, self.root, self.segments, self.logic.shelf, self.run)
        self._fill_selectors()
        self._connect_buttons()
        self._observe_scene()
        self._rest()
        self.enter()

    def _fill_selectors(self) -> None:
        for name in _SELECTORS:
            getattr(self.ui, f"{name}Selector").setMRMLScene(slicer.mrmlScene)
        self.ui.resultSelector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        self.ui.resultSelector.addAttribute("vtkMRMLScalarVolumeNode", "BMapDiffusion.synthetic", "true")
        self._list_models()

    def _observe_scene(self) -> None:
        for event, slot in (
            (slicer.mrmlScene.StartCloseEvent, self._scene_starts_closing),
            (slicer.mrmlScene.EndCloseEvent, self._scene_closed),
            (slicer.mrmlScene.EndImportEvent, self._scene_closed),
            (slicer.mrmlScene.NodeAddedEvent, self.refresh_soon),
        ):
            self.addObserver(slicer.mrmlScene, event, slot)

    # Life

    def enter(self) -> None:
        """The module is shown, or there is a new scene: connect to its parameter node."""
        self._entered = True
        if self.parameters is None:
            self._take(Parameters(self._parameter_node()))
        self.refresh()
        self._show_packages()

    def exit(self) -> None:
        """The module is left: the outline goes, jobs go on."""
        self._entered = False
        self.beam.hide()

    def cleanup(self) -> None:
        """The module is unloaded or reloaded: nothing is left running, nor in the views."""
        self.exit()
        self._timer.stop()
        self.logic.cancel()
        self._let_go()
        self.removeObservers()

    def _scene_starts_closing(self, *_: Any) -> None:
        self.logic.cancel()
        self._let_go()

    def _scene_closed(self, *_: Any) -> None:
        self._let_go()
        if self._entered:
            self.enter()

    def _take(self, parameters: Any) -> None:
        if parameters.model not in self.logic.shelf.models and self.logic.shelf.models:
            defaults.adopt(parameters, next(iter(self.logic.shelf.models.values())))
        self.parameters = parameters
        self._binding = Binding(parameters, self.ui)
        for name, kind in _CHOICES.items():  # older releases of Slicer show the names in the code
            for index, choice in enumerate(kind):
                getattr(self.ui, name).setItemText(index, choice.label())
        # the connection allows every subclass of the annotated type
        self.ui.volumeSelector.nodeTypes = ["vtkMRMLScalarVolumeNode", "vtkMRMLVectorVolumeNode"]
        self.ui.volumeSelector.hideChildNodeTypes = ["vtkMRMLLabelMapVolumeNode"]
        self.ui.markupSelector.nodeTypes = ["vtkMRMLMarkupsLineNode", "vtkMRMLMarkupsPlaneNode"]
        self.addObserver(parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self.refresh_soon)

    def _let_go(self) -> None:
        if self.parameters is not None:
            self._binding.let_go()
            self.removeObserver(self.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self.refresh_soon)
        self._watch.nodes(())
        self._binding = self.parameters = None

    # What the user does

    def _connect_buttons(self) -> None:
        ui, logic = self.ui, self.logic
        self.models = ModelMenu(
            ui.addModelButton, logic.shelf, logic.errands, self._attempt, self._chosen_model, self.on_model
        )
        ui.modelSelector.connect("currentIndexChanged(int)", self._model_chosen)
        ui.resultSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.refresh_soon)
        for button, slot in (
            (ui.upButton, lambda: self.segments.move(-1)),
            (ui.downButton, lambda: self.segments.move(1)),
            (ui.guessButton, self.guess_again),
            (ui.anatomyButton, self.go_to_anatomy),
            (ui.generateButton, self.generate),
            (ui.cancelButton, logic.cancel),
            (ui.beamButton, self.find_beam),
            (ui.copyCommandButton, self.copy_command),
            (ui.rerunButton, self.rerun),
            (ui.restoreButton, self.restore),
        ):
            button.connect("clicked()", slot)

    def generate(self) -> None:
        """Queue the images; packages that are missing are offered first."""
        self._attempt(lambda: self._keep_seed(self.logic.generate(self.parameters)), needs_packages=True)

    def rerun(self) -> None:
        """Draw the chosen result once more."""
        self._attempt(lambda: self.run.say(self.logic.rerun(self.ui.resultSelector.currentNode())), needs_packages=True)

    def restore(self) -> None:
        """Set the panel to what made the chosen result."""
        result = self.ui.resultSelector.currentNode()
        self._attempt(lambda: self.run.say(self.logic.restore(self.parameters, result)))

    def go_to_anatomy(self) -> None:
        """Move the slice view, or the slice of the volume, to the mapped segments."""
        self._attempt(lambda: self.logic.go_to_anatomy(self.parameters))

    def find_beam(self) -> None:
        """Fit the beam to the loaded image, or read it from a file."""
        if self.parameters.beam_source is BeamSource.IMAGE:
            self._attempt(lambda: self.logic.errands.fit_beam(self.parameters), needs_packages=True)
            return
        title, kinds = _("File of SlicerUltrasound"), _("JSON (*.json)")
        path = qt.QFileDialog.getOpenFileName(self.root, title, "", kinds)
        if path:
            model = self._chosen_model()
            self._attempt(lambda: self.on_beam(beam_finding.beam_from_file(self.parameters, model, path)))

    def copy_command(self) -> None:
        """Put the terminal line on the clipboard."""

        def copy() -> None:
            slicer.app.clipboard().setText(self.logic.command_line(self.parameters))
            self.run.say(_("The command is on the clipboard: paste it into a terminal."))

        self._attempt(copy)

    def guess_again(self) -> None:
        """Forget the table and guess it anew."""
        self.parameters.class_table = ""

    def _table_changed(self, table: ClassTable) -> None:
        self.parameters.class_table = table.to_text()
        self.refresh()

    def _model_chosen(self, index: int) -> None:
        names = list(self.logic.shelf.models)
        if not self._refreshing and self.parameters is not None and 0 <= index < len(names):
            defaults.adopt(self.parameters, self.logic.shelf.models[names[index]])

    def _chosen_model(self) -> Model | None:
        return self.logic.shelf.models.get(self.parameters.model)

    def _beam_pulled(self, beam: BeamSettings) -> None:
        if self.parameters is not None:
            planning.write_settings(self.parameters, beam)

    def _keep_seed(self, seed: int) -> None:
        self.parameters.seed = seed

    def _attempt(self, action: Callable[[], object], needs_packages: bool = False) -> None:
        """Run what a button asks for; what cannot be done is said under it, and nothing else happens."""
        self.run.forget()
        try:
            if needs_packages and self.logic.uses_own_python and install.ensure(_agreed):
                self.logic.errands.check_packages()
            action()
        except install.InstallDeclined as declined:
            self.run.say(str(declined))
        except (ValueError, OSError, install.InstallError) as error:
            self.on_failed(sentence(str(error)), "")
        if needs_packages:
            self._show_packages()
        self.run.busy(self.logic.busy)

    # What the logic tells

    def on_progress(self, fraction: float | None, text: str) -> None:
        """Show how far it is."""
        self.run.progress(fraction, text)
        self.run.busy(self.logic.busy)

    def on_preview(self, image: Any) -> None:
        """Show the image as it emerges."""
        self.run.preview(image)

    def on_finished(self, node: Any, text: str) -> None:
        """Say what lies in the scene, and choose it."""
        self._rest(text)
        self.ui.resultSelector.setCurrentNode(node)

    def on_failed(self, text: str, details: str) -> None:
        """Say what happened, with the program's last lines below."""
        self.run.fail(text, details)
        self.run.busy(self.logic.busy)

    def on_cancelled(self) -> None:
        """Say that the scene is as it was."""
        self._rest(_("Stopped; the scene is as it was."))

    def on_beam(self, beam: BeamSettings) -> None:
        """Put the found beam's numbers into the panel."""
        planning.write_settings(self.parameters, beam)
        self._rest(_("The beam was found: look at its outline in the slice view."))

    def on_model(self, model: Model) -> None:
        """Choose a model that was added, installed, or is left."""
        self._rest()
        self._list_models()
        if self.parameters is not None:
            defaults.adopt(self.parameters, model)

    # What is to be seen

    def refresh_soon(self, *_: Any) -> None:
        """Look at everything again when the events of this moment are over.

        A timer that runs is left to end: what never pauses, as a tracked probe, would start it anew for ever.
        """
        if not self._timer.active:
            self._timer.start()

    def refresh(self, *_: Any) -> None:
        """Make the panel show the parameters, and the scene the outline; not those of a scene that is half loaded."""
        parameters = self.parameters
        if parameters is None or self._refreshing or not self._entered or slicer.mrmlScene.IsImporting():
            return
        self._refreshing = True
        try:
            defaults.choose_what_is_there(parameters, self.logic.shelf)
            self.view.show(parameters, busy=self.logic.busy > 0)
            self.models.refresh()
            self._watch.nodes([getattr(parameters, name) for name in _WATCHED])
        finally:
            self._refreshing = False
        self.beam.show(parameters, self._chosen_model())

    def _list_models(self) -> None:
        self._refreshing, before = True, self._refreshing
        self.view.list_models()
        self._refreshing = before

    def _show_packages(self) -> None:
        """Not at every change in the scene: reading what is installed takes longer than a slider should wait."""
        text, missing = _("Python packages are missing; Generate will offer to install them."), []
        try:
            missing = packages.missing() if self.logic.uses_own_python else []
        except install.InstallError as error:
            text, missing = str(error), [str(error)]
        self.view.show_packages(text, missing)

    def _rest(self, text: str = "") -> None:
        self.run.rest()
        self.run.busy(self.logic.busy)
        self.run.say(text)


def _agreed(packages: str) -> bool:
    question = _(
        "These Python packages are missing and will be installed into Slicer:\n\n{packages}\n\n"
        "This takes some minutes and happens once."
    )
    return bool(
        slicer.util.confirmOkCancelDisplay(question.format(packages=packages), windowTitle=_("B-Map Diffusion"))
    )


def _delayed(action: Callable[[], object]) -> Any:
    """A timer that waits until the events of a moment are over."""
    timer = qt.QTimer()
    timer.setSingleShot(True)
    timer.setInterval(_REFRESH_MS)
    timer.connect("timeout()", action)
    return timer

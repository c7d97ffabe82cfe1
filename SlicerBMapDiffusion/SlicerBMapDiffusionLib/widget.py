"""The module's panel: shows the parameter node, tells what is missing, and follows the drawing."""

from __future__ import annotations

from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from SlicerBMapDiffusionLib import install, packages, planning, scene
from SlicerBMapDiffusionLib.beams import BeamSettings
from SlicerBMapDiffusionLib.bundles import Model
from SlicerBMapDiffusionLib.class_table import ClassTable
from SlicerBMapDiffusionLib.logic import Logic, restore
from SlicerBMapDiffusionLib.parameters import BeamKind, BeamSource, Device, FrameKind, OutputKind, Parameters
from SlicerBMapDiffusionLib.run_box import RunBox
from SlicerBMapDiffusionLib.segment_table import SegmentTable

_SELECTORS = ("segmentation", "view", "volume", "probe", "markup", "result")
_CHOICES = {
    "frameKindSelector": FrameKind,
    "beamSourceSelector": BeamSource,
    "beamKindSelector": BeamKind,
    "outputKindSelector": OutputKind,
    "deviceSelector": Device,
}
_REFRESH_MS = 30
_BEAM_NUMBERS = ("Depth", "Width", "Radius", "Angle", "Steering", "Down", "Right")


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
        self._parameter_node, self._tag, self.parameters = parameter_node, None, None
        self._watched: Any = None
        self.root = slicer.util.loadUI(ui_file)
        layout.addWidget(self.root)
        self.ui = slicer.util.childWidgetVariables(self.root)
        self._refreshing = self._entered = False
        self._reason: str | None = None
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(_REFRESH_MS)
        self._timer.connect("timeout()", self.refresh)
        self.logic = Logic(self, python)
        self.run = RunBox(self.ui)
        self.segments = SegmentTable(self.ui.classTable, self._table_changed)
        for name in _SELECTORS:
            getattr(self.ui, f"{name}Selector").setMRMLScene(slicer.mrmlScene)
        self.ui.resultSelector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        self.ui.resultSelector.addAttribute("vtkMRMLScalarVolumeNode", "BMapDiffusion.synthetic", "true")
        self._fill_models()
        self._connect_buttons()
        for event, slot in (
            (slicer.mrmlScene.StartCloseEvent, self._scene_starts_closing),
            (slicer.mrmlScene.EndCloseEvent, self._scene_closed),
            (slicer.mrmlScene.EndImportEvent, self._scene_closed),
            (slicer.mrmlScene.NodeAddedEvent, self.refresh_soon),
        ):
            self.addObserver(slicer.mrmlScene, event, slot)
        self._rest()
        self.enter()

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
        scene.hide_outline()

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
            self._adopt(parameters, next(iter(self.logic.shelf.models.values())))
        self.parameters = parameters
        self._tag = parameters.connectParametersToGui(_bound_widgets(self.ui))
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
            self.parameters.disconnectGui(self._tag)
            self.removeObserver(self.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self.refresh_soon)
        self._watch(())
        self.parameters = None

    # What the user does

    def _connect_buttons(self) -> None:
        ui = self.ui
        menu = qt.QMenu(ui.addModelButton)
        for text, slot in (
            (_("Add the folder of a model..."), self.add_model),
            (_("Install a model from a file (.zip)..."), self.install_model),
            (_("Remove this model"), self.remove_model),
        ):
            action = qt.QAction(text, menu)
            action.connect("triggered()", slot)
            menu.addAction(action)
        self.remove_action = action
        ui.addModelButton.setMenu(menu)
        ui.addModelButton.setPopupMode(qt.QToolButton.InstantPopup)
        ui.modelSelector.connect("currentIndexChanged(int)", self._model_chosen)
        ui.resultSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.refresh_soon)
        for button, slot in (
            (ui.upButton, lambda: self.segments.move(-1)),
            (ui.downButton, lambda: self.segments.move(1)),
            (ui.guessButton, self.guess_again),
            (ui.generateButton, self.generate),
            (ui.cancelButton, self.logic.cancel),
            (ui.beamButton, self.find_beam),
            (ui.copyCommandButton, self.copy_command),
            (ui.rerunButton, self.rerun),
            (ui.restoreButton, self.restore),
        ):
            button.connect("clicked()", slot)

    def generate(self) -> None:
        """Queue the images; packages that are missing are offered first."""
        self._attempt(lambda: self._keep_seed(self.logic.generate(self.parameters)), packages=True)

    def rerun(self) -> None:
        """Draw the chosen result once more."""
        self._attempt(lambda: self.run.say(self.logic.rerun(self.ui.resultSelector.currentNode())), packages=True)

    def restore(self) -> None:
        """Set the panel to what made the chosen result."""
        self._attempt(lambda: restore(self.parameters, self.ui.resultSelector.currentNode()))

    def find_beam(self) -> None:
        """Fit the beam to the loaded image, or read it from a file."""
        if self.parameters.beam_source is BeamSource.IMAGE:
            self._attempt(lambda: self.logic.fit_beam(self.parameters), packages=True)
            return
        title, kinds = _("File of SlicerUltrasound"), _("JSON (*.json)")
        path = qt.QFileDialog.getOpenFileName(self.root, title, "", kinds)
        if path:
            self._attempt(lambda: self.on_beam(self.logic.read_ultrasound_file(self.parameters, path)))

    def add_model(self) -> None:
        """Ask for a bundle's folder and choose it."""
        folder = qt.QFileDialog.getExistingDirectory(self.root, _("Folder of a model"))
        if folder and self._trusted(folder):
            self._attempt(lambda: self._choose_new(self.logic.shelf.add(folder)))

    def install_model(self) -> None:
        """Ask for a zip file with a model and choose it."""
        path = qt.QFileDialog.getOpenFileName(self.root, _("Model to install"), "", _("Models (*.zip)"))
        if path and self._trusted(path):
            self._attempt(lambda: self._choose_new(self.logic.shelf.install(path)))

    def remove_model(self) -> None:
        """Delete or forget the chosen model, and choose another."""

        def remove(model: Model) -> None:
            self.logic.shelf.remove(model)
            self._choose_new(next(iter(self.logic.shelf.models.values())))

        model = self.logic.shelf.models.get(self.parameters.model)
        question = _("Remove the model {title}?").format(title=model.title if model else "")
        if self.logic.shelf.removable(model) and slicer.util.confirmOkCancelDisplay(question):
            self._attempt(lambda: remove(model))

    def _trusted(self, path: str) -> bool:
        question = _(
            "A model can hold Python code, which runs when images are drawn.\n\n"
            "Add {path} only if you trust its source."
        )
        return bool(slicer.util.confirmOkCancelDisplay(question.format(path=path), windowTitle=_("B-Map Diffusion")))

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
            self._adopt(self.parameters, self.logic.shelf.models[names[index]])

    def _choose_new(self, model: Model) -> None:
        self._fill_models()
        self._adopt(self.parameters, model)

    def _adopt(self, parameters: Any, model: Model) -> None:
        """Choose a model with its own defaults: what fits one misleads another."""
        before = parameters.StartModify()
        try:
            parameters.model = model.name
            parameters.steps, parameters.attenuation_db = model.steps, model.attenuation_db
            parameters.beam_source = BeamSource.MODEL
            parameters.rows, parameters.columns = model.image_size
            parameters.row_mm, parameters.column_mm = model.spacing_mm
            planning.write_settings(parameters, planning.model_settings(model))
        finally:
            parameters.EndModify(before)

    def _keep_seed(self, seed: int) -> None:
        self.parameters.seed = seed

    def _attempt(self, action: Any, packages: bool = False) -> None:
        """Run what a button asks for; what cannot be done is said under it, and nothing else happens."""
        self.run.forget()
        try:
            if packages and self.logic.uses_own_python and install.ensure(self._agreed):
                self.logic.check_packages()
            action()
        except install.InstallDeclined as declined:
            self.run.say(str(declined))
        except (ValueError, OSError, install.InstallError) as error:
            self.on_failed(_sentence(str(error)), "")
        if packages:
            self._show_packages()
        self.run.busy(self.logic.busy)

    def _agreed(self, packages: str) -> bool:
        return bool(
            slicer.util.confirmOkCancelDisplay(
                _(
                    "These Python packages are missing and will be installed into Slicer:\n\n{packages}\n\n"
                    "This takes some minutes and happens once."
                ).format(packages=packages),
                windowTitle=_("B-Map Diffusion"),
            )
        )

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

    # What is to be seen

    def refresh_soon(self, *_: Any) -> None:
        """Look at everything again when the events of this moment are over."""
        self._timer.start()

    def refresh(self, *_: Any) -> None:
        """Make the panel show the parameters, and the scene the outline; not those of a scene that is half loaded."""
        if self.parameters is None or self._refreshing or not self._entered or slicer.mrmlScene.IsImporting():
            return
        self._refreshing = True
        try:
            self._choose_what_is_there()
            model = self.logic.shelf.models.get(self.parameters.model)
            self._show_model(model)
            self._show_table(model)
            self._show_plane(model)
            self._show_beam()
            self._show_choices()
            self._show_result()
            self._show_ready(model)
            self._watch(
                (self.parameters.segmentation, self.parameters.view, self.parameters.probe, self.parameters.markup)
            )
        finally:
            self._refreshing = False
        self.logic.outline(self.parameters)

    def _choose_what_is_there(self) -> None:
        """A new user sees a choice where there is one: the segmentation, the slice view, the model that fits."""
        parameters = self.parameters
        if parameters.view is None:
            first = planning.first_view() or slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSliceNode")
            if first is not None:
                parameters.view = first
        if parameters.segmentation is None and slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1:
            parameters.segmentation = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
        node = parameters.segmentation
        if node is not None and ClassTable.from_text(parameters.class_table).segmentation != node.GetID():
            fitting = self.logic.shelf.fitting(parameters.model, scene.segments_of(node))
            if fitting is not None:
                self._adopt(parameters, fitting)

    def _fill_models(self) -> None:
        self._refreshing, before = True, self._refreshing
        self.ui.modelSelector.clear()
        for model in self.logic.shelf.models.values():
            self.ui.modelSelector.addItem(model.title)
        self._refreshing = before

    def _show_model(self, model: Model | None) -> None:
        names = list(self.logic.shelf.models)
        self.ui.modelSelector.setCurrentIndex(names.index(model.name) if model else -1)
        self.remove_action.setEnabled(self.logic.shelf.removable(model))
        if model is None:
            self.ui.modelLabel.setText(_("No model was found. Add the folder of a bundle."))
            return
        self.ui.modelLabel.setText(
            "<small>{}<br><b>{}</b> {}</small>".format(model.description, _("Licence:"), model.licence)
        )
        self.ui.modelLabel.setToolTip(
            _("Labels: {labels}. Full terms: {file}").format(
                labels=", ".join(model.classes) or _("none"), file=model.licence_file or "-"
            )
        )

    def _show_table(self, model: Model | None) -> None:
        wanted = model is not None and model.labels
        self._show("segmentationSelector", wanted)
        segmentation = self.parameters.segmentation
        self.ui.classBox.setVisible(bool(wanted and segmentation))
        if not (wanted and segmentation):
            self.segments.show(ClassTable(), None, ())
            return
        table = ClassTable.from_text(self.parameters.class_table)
        segments = scene.segments_of(segmentation)
        table = table.updated(model.name, segmentation.GetID(), segments, model.classes)
        if table.to_text() != self.parameters.class_table:
            self.parameters.class_table = table.to_text()
        self.segments.show(table, segmentation, model.classes)

    def _show_plane(self, model: Model | None) -> None:
        kind, parameters = self.parameters.frame_kind, self.parameters
        self._show("viewSelector", kind in (FrameKind.VIEW, FrameKind.MARKUP))
        self._show(
            "volumeSelector",
            kind is FrameKind.SLICES
            or parameters.from_image
            or parameters.beam_source in (BeamSource.IMAGE, BeamSource.FILE),
        )
        self._show("sliceBox", kind is FrameKind.SLICES)
        self._show("probeSelector", kind is FrameKind.PROBE)
        self._show("markupSelector", kind is FrameKind.MARKUP)
        self.ui.planeLabel.setText(self._plane_text(model))

    def _plane_text(self, model: Model | None) -> str:
        if model is None:
            return ""
        try:
            frame = planning.frame_of(self.parameters, model)
        except ValueError:
            return ""
        row, column, _step = frame.spacing
        text = _(
            "{width:.0f} mm wide, {depth:.0f} mm deep; {columns} x {rows} pixels of {column:.2f} x {row:.2f} mm."
        ).format(
            width=frame.columns * column,
            depth=frame.rows * row,
            columns=frame.columns,
            rows=frame.rows,
            column=column,
            row=row,
        )
        doubts = scene.warnings_for(frame, model)
        if self.parameters.volume is not None and self.ui.volumeSelector.isVisibleTo(self.root):
            doubts += scene.warnings_for(self.parameters.volume, model)
        return "<small>{}</small>{}".format(text, "".join(f"<br><small>&#9888; {doubt}</small>" for doubt in doubts))

    def _show_beam(self) -> None:
        source, kind = self.parameters.beam_source, self.parameters.beam_kind
        self.ui.beamButton.setVisible(source in (BeamSource.IMAGE, BeamSource.FILE))
        self.ui.beamButton.setText(_("Fit") if source is BeamSource.IMAGE else _("Choose file..."))
        own = source is not BeamSource.MODEL
        self.ui.beamKindSelector.setEnabled(own)
        for name in _BEAM_NUMBERS:
            getattr(self.ui, f"beam{name}Slider").setEnabled(own)
        self._show("beamWidthSlider", kind is BeamKind.LINEAR)
        self._show("beamRadiusSlider", kind is BeamKind.CURVILINEAR)
        for name in ("Angle", "Steering"):
            self._show(f"beam{name}Slider", kind is not BeamKind.LINEAR)

    def _show_choices(self) -> None:
        parameters = self.parameters
        self._show("sweepCountBox", parameters.output_kind is OutputKind.SWEEP)
        self._show("sweepStepBox", parameters.output_kind is OutputKind.SWEEP)
        self._show("variantsBox", parameters.output_kind is OutputKind.VARIANTS)
        self._show("pixelsRow", parameters.own_size)
        self._show("spacingRow", parameters.own_size)
        self.ui.guidanceSlider.setEnabled(parameters.use_guidance)
        self.ui.seedBox.setEnabled(not parameters.random_seed)
        self.ui.strengthSlider.setEnabled(parameters.from_image)

    def _show_result(self) -> None:
        node = self.ui.resultSelector.currentNode()
        record = scene.record_of(node)
        for button in (self.ui.rerunButton, self.ui.restoreButton):
            button.setEnabled(record is not None)
            button.setToolTip("" if record is not None else _("Choose an image that this module made."))
        self.ui.resultLabel.setText("" if record is None else self._result_text(record))

    def _result_text(self, record: dict[str, Any]) -> str:
        model = self.logic.shelf.models.get(str(record.get("model")))
        text = _("{model}; seed {seed}, {steps} steps, B-map {db} dB.").format(
            model=model.title if model else record.get("model"),
            seed=record.get("seed"),
            steps=record.get("steps"),
            db=record.get("attenuation_db"),
        )
        return f"<small>{text}</small>"

    def _show_ready(self, model: Model | None) -> None:
        missing = planning.reason_not_ready(self.parameters, model)
        reason = None if missing is None else _sentence(missing)
        self.ui.generateButton.setEnabled(reason is None)
        self.ui.generateButton.setToolTip(reason or _("Draw the synthetic ultrasound image."))
        self.ui.copyCommandButton.setEnabled(reason is None)
        if not self.logic.busy and not self.run.failed:
            if reason is not None:
                self.run.say(reason)
            elif self.run.text == self._reason:
                self.run.say("")
        self._reason = reason

    def _show_packages(self) -> None:
        """Not at every change in the scene: reading what is installed takes longer than a slider should wait."""
        text, missing = _("Python packages are missing; Generate will offer to install them."), []
        try:
            missing = packages.missing() if self.logic.uses_own_python else []
        except install.InstallError as error:
            text, missing = str(error), [str(error)]
        self.ui.installLabel.setVisible(bool(missing))
        self.ui.installLabel.setText(text)
        self.ui.installLabel.setToolTip("\n".join(missing))

    def _rest(self, text: str = "") -> None:
        self.run.rest()
        self.run.busy(self.logic.busy)
        self.run.say(text)

    def _show(self, name: str, visible: bool) -> None:
        """Show or hide a row of a form: the field and its label."""
        getattr(self.ui, name).setVisible(visible)
        getattr(self.ui, f"{name}Label").setVisible(visible)

    def _watch(self, nodes: Any) -> None:
        """Look again when one of these nodes changes."""
        watched = [(node, event) for node in nodes if node is not None for event in _events(node)]
        if self._watched == watched:
            return
        for node, event in self._watched or ():
            self.removeObserver(node, event, self.refresh_soon)
        for node, event in watched:
            self.addObserver(node, event, self.refresh_soon)
        self._watched = watched


def _bound_widgets(ui: Any) -> dict[str, Any]:
    """Parameter to widget, as ``connectGui`` finds them; but that keeps its tag, so that nothing can be let go.

    A widget that stays bound writes into the next scene's choices while they are being shown. See
    https://github.com/Slicer/Slicer/issues/7547.
    """
    named = [(widget.property("SlicerParameterName"), widget) for widget in vars(ui).values()]
    return {str(name): widget for name, widget in named if name}


def _events(node: Any) -> list[int]:
    if node.IsA("vtkMRMLSegmentationNode"):
        held = slicer.vtkSegmentation
        return [vtk.vtkCommand.ModifiedEvent, held.SegmentAdded, held.SegmentRemoved, held.SegmentModified]
    if node.IsA("vtkMRMLTransformNode"):
        return [slicer.vtkMRMLTransformNode.TransformModifiedEvent]
    if node.IsA("vtkMRMLMarkupsNode"):
        return [slicer.vtkMRMLMarkupsNode.PointModifiedEvent, slicer.vtkMRMLMarkupsNode.PointAddedEvent]
    return [vtk.vtkCommand.ModifiedEvent]


def _sentence(text: str) -> str:
    """Errors of the pure modules begin in lower case."""
    text = text.strip() or _("Something went wrong.")
    return text[0].upper() + text[1:].rstrip(".") + "."

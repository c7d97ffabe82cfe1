"""What the panel shows of the parameters: rows that belong to a choice, sentences about model, plane and result."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from SlicerBMapDiffusionLib import defaults, planning, scene
from SlicerBMapDiffusionLib.models.bundles import Model
from SlicerBMapDiffusionLib.models.class_table import ClassTable
from SlicerBMapDiffusionLib.models.shelf import Shelf
from SlicerBMapDiffusionLib.panel.run_box import RunBox
from SlicerBMapDiffusionLib.panel.segment_table import SegmentTable
from SlicerBMapDiffusionLib.parameters import BeamKind, BeamSource, FrameKind, OutputKind

_BEAM_NUMBERS = ("Depth", "Width", "Radius", "Angle", "Steering", "Down", "Right")
_DOUBT = "<br><small>&#9888; {}</small>"


class PanelView:
    """Makes the widgets show the parameters; it changes none of them but the class table, which it completes.

    Args:
        ui: the panel's widgets by name.
        root: the panel, which holds them.
        segments: the table of segments.
        shelf: the models.
        run: where sentences are said.
    """

    def __init__(self, ui: Any, root: Any, segments: SegmentTable, shelf: Shelf, run: RunBox) -> None:
        self.ui, self.root, self.segments, self.shelf, self.run = ui, root, segments, shelf, run
        self._reason: str | None = None

    def show(self, parameters: Any, busy: bool) -> None:
        """Show all of it; while jobs run, their sentence stays."""
        model = self.shelf.models.get(parameters.model)
        self._show_model(model)
        self._show_table(parameters, model)
        self._show_plane(parameters, model)
        self._show_beam(parameters)
        self._show_choices(parameters)
        self._show_result()
        self._show_ready(parameters, model, busy)

    def list_models(self) -> None:
        """Offer the models that are there now."""
        self.ui.modelSelector.clear()
        for model in self.shelf.models.values():
            self.ui.modelSelector.addItem(model.title)

    def show_packages(self, text: str, missing: list[str]) -> None:
        """Say what has to be installed, or nothing."""
        self.ui.installLabel.setVisible(bool(missing))
        self.ui.installLabel.setText(text)
        self.ui.installLabel.setToolTip("\n".join(missing))

    def _show_model(self, model: Model | None) -> None:
        names = list(self.shelf.models)
        self.ui.modelSelector.setCurrentIndex(names.index(model.name) if model else -1)
        if model is None:
            text = _("No model was found. Add the folder of a bundle.")
        else:
            text = "<small>{}<br><b>{}</b> {}</small>".format(model.description, _("Licence:"), model.licence)
        refused = "\n".join(self.shelf.refused.values())
        self.ui.modelLabel.setText(text + (_DOUBT.format(_("A model cannot be used: rest here.")) if refused else ""))
        self.ui.modelLabel.setToolTip("\n\n".join(filter(None, (_model_details(model), refused))))

    def _show_table(self, parameters: Any, model: Model | None) -> None:
        wanted = model is not None and model.labels
        self._show("segmentationSelector", wanted)
        self.ui.classBox.setVisible(bool(wanted and parameters.segmentation))
        if model is not None and wanted and parameters.segmentation is not None:
            self.segments.show(defaults.update_table(parameters, model), parameters.segmentation, model.classes)
        else:
            self.segments.show(ClassTable(), None, ())

    def _show_plane(self, parameters: Any, model: Model | None) -> None:
        kind, beam = parameters.frame_kind, parameters.beam_source
        of_image = parameters.from_image or beam in (BeamSource.IMAGE, BeamSource.FILE)
        self._show("viewSelector", kind in (FrameKind.VIEW, FrameKind.MARKUP))
        self._show("volumeSelector", kind is FrameKind.SLICES or of_image)
        self._show("sliceBox", kind is FrameKind.SLICES)
        self._show("probeSelector", kind is FrameKind.PROBE)
        self._show("markupSelector", kind is FrameKind.MARKUP)
        labels = model is not None and model.labels and parameters.segmentation is not None
        self.ui.anatomyButton.setVisible(bool(labels and kind in (FrameKind.VIEW, FrameKind.SLICES)))
        self.ui.planeLabel.setText("" if model is None else self._plane_text(parameters, model))

    def _plane_text(self, parameters: Any, model: Model) -> str:
        try:
            frame = planning.frame_of(parameters, model)
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
        if parameters.volume is not None and self.ui.volumeSelector.isVisibleTo(self.root):
            doubts += scene.warnings_for(parameters.volume, model)
        return f"<small>{text}</small>" + "".join(map(_DOUBT.format, doubts))

    def _show_beam(self, parameters: Any) -> None:
        source, kind = parameters.beam_source, parameters.beam_kind
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

    def _show_choices(self, parameters: Any) -> None:
        self._show("sweepCountBox", parameters.output_kind is OutputKind.SWEEP)
        self._show("sweepStepBox", parameters.output_kind is OutputKind.SWEEP)
        self._show("variantsBox", parameters.output_kind is OutputKind.VARIANTS)
        self._show("pixelsRow", parameters.own_size)
        self._show("spacingRow", parameters.own_size)
        self.ui.guidanceSlider.setEnabled(parameters.use_guidance)
        self.ui.seedBox.setEnabled(not parameters.random_seed)
        self.ui.strengthSlider.setEnabled(parameters.from_image)

    def _show_result(self) -> None:
        record = scene.record_of(self.ui.resultSelector.currentNode())
        for button in (self.ui.rerunButton, self.ui.restoreButton):
            button.setEnabled(record is not None)
            button.setToolTip("" if record is not None else _("Choose an image that this module made."))
        self.ui.resultLabel.setText("" if record is None else self._result_text(record))

    def _result_text(self, record: dict[str, Any]) -> str:
        model = self.shelf.models.get(str(record.get("model")))
        text = _("{model}; seed {seed}, {steps} steps, B-map {db} dB.").format(
            model=model.title if model else record.get("model"),
            seed=record.get("seed"),
            steps=record.get("steps"),
            db=record.get("attenuation_db"),
        )
        return f"<small>{text}</small>"

    def _show_ready(self, parameters: Any, model: Model | None, busy: bool) -> None:
        missing = planning.reason_not_ready(parameters, model)
        reason = None if missing is None else sentence(missing)
        self.ui.generateButton.setEnabled(reason is None)
        self.ui.generateButton.setToolTip(reason or _("Draw the synthetic ultrasound image."))
        self.ui.copyCommandButton.setEnabled(reason is None)
        if not busy and not self.run.failed:
            if reason is not None:
                self.run.say(reason)
            elif self.run.text == self._reason:
                self.run.say("")
        self._reason = reason

    def _show(self, name: str, visible: Any) -> None:
        """Show or hide a row of a form: the field and its label."""
        getattr(self.ui, name).setVisible(bool(visible))
        getattr(self.ui, f"{name}Label").setVisible(bool(visible))


def sentence(text: str) -> str:
    """A message as a sentence: errors of the pure modules begin in lower case, without a full stop."""
    text = text.strip() or _("Something went wrong.")
    return text[0].upper() + text[1:].rstrip(".") + "."


def _model_details(model: Model | None) -> str:
    if model is None:
        return ""
    details = [
        _("Labels: {labels}. Full terms: {file}").format(
            labels=", ".join(model.classes) or _("none"), file=model.licence_file or "-"
        )
    ]
    if not model.calibrated:
        details.append(_("Its training images do not say how large their pixels are; a typical size is taken."))
    return "\n\n".join(details)

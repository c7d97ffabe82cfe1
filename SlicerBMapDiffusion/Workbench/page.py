"""The page: choices to the left, the phantom and what is drawn from it side by side. One user, one browser tab."""

from __future__ import annotations

import asyncio
from typing import Any

import vtk
from bench import Bench
from trame.app import TrameApp, asynchronous
from trame.decorators import change, controller, trigger
from trame.ui.vuetify3 import SinglePageWithDrawerLayout
from trame.widgets import html
from trame.widgets import vuetify3 as v3
from trame_slicer.core import LayoutManager, SlicerApp
from trame_slicer.rca_view import register_rca_factories
from trame_slicer.views import Layout, LayoutDirection, SliceView, ViewLayoutDefinition

from SlicerBMapDiffusionLib import planning, scene
from SlicerBMapDiffusionLib.geometry.beams import BeamSettings
from SlicerBMapDiffusionLib.jobs.messages import Message
from SlicerBMapDiffusionLib.panel.beam_display import BeamDisplay
from SlicerBMapDiffusionLib.scene import sample_data

_NAME = "B-map diffusion: browser workbench"
_NOTE = "This is not 3D Slicer. Synthetic images: for research and teaching, not for diagnosis."
_VIEWS = {"Input": "Phantom and its segmentation", "Synthetic": "Synthetic image"}
_STATES = {"starting": "Starting Python ...", "loading": "Loading the model ...", "writing": "Writing the result ..."}
_START = {
    "model": "",
    "slice": 0,
    "slices": 1,
    "steps": 20,
    "seed": 1,
    "attenuation": 44,
    "images": 1,
    "by_hand": False,
}
_PLAIN = {"density": "compact", "hide_details": True, "disabled": ("busy",)}


class Page(TrameApp):
    """The workbench in a browser.

    Args:
        application: the scene and its views.
        bench: what the page works with.
    """

    def __init__(self, application: SlicerApp, bench: Bench) -> None:
        super().__init__()
        self.bench = bench
        self._beam = BeamDisplay(self._pulled)
        self.state.update(
            {
                **_START,
                "variant": 1,
                "drawn": 0,
                "busy": False,
                "progress": 0,
                "beam": "",
                "drawable": False,
                "trame__title": _NAME,
            }
        )
        register_rca_factories(application.view_manager, self.server, slice_view_ui_f=_title)
        self._layout = LayoutManager(application.scene, application.view_manager, self.server)
        views = [ViewLayoutDefinition.slice_view("Axial", label=name) for name in _VIEWS]
        self._layout.register_layout("two", Layout(LayoutDirection.Horizontal, views))
        self._layout.set_layout("two")
        self._views: list[SliceView] = [application.view_manager.get_view(name) for name in _VIEWS]
        for view in self._views:
            # After the view's own observer, which gives the slice node its new size.
            view.interactor().AddObserver(vtk.vtkCommand.WindowResizeEvent, lambda *_: self._aim())
        self._build()

    def load(self, name: str) -> None:
        """Load a phantom."""
        self.bench.load(name)
        chosen = self.bench.parameters
        slices = chosen.volume.GetImageData().GetDimensions()[2]
        self.state.update({"slices": slices, "slice": chosen.slice_number, "model": chosen.model, "drawn": 0})
        self.state.update({"steps": chosen.steps, "attenuation": chosen.attenuation_db, "by_hand": False})
        self.choose()

    @change(*_START)
    def choose(self, **_: Any) -> None:
        """Take over the choices and say what is missing."""
        state, chosen = self.state, self.bench.parameters
        if state.model and state.model != chosen.model:
            self.bench.choose(state.model)
            state.update({"steps": chosen.steps, "attenuation": chosen.attenuation_db})
        self.bench.set_beam_by_hand(bool(state.by_hand))
        chosen.slice_number, chosen.attenuation_db = int(state.slice), float(state.attenuation)
        try:
            chosen.steps, chosen.seed = int(state.steps), int(state.seed)
            reason = planning.reason_not_ready(chosen, self.bench.model) if chosen.volume else "Load a phantom."
        except (ValueError, TypeError):
            reason = "Steps and seed must be whole numbers."
        state.drawable = reason is None
        self._say(reason or "Press Generate.")
        self._aim()

    def generate(self) -> None:
        """Start drawing."""
        try:
            self.bench.draw(int(self.state.images))
        except (ValueError, OSError) as error:
            self._say(str(error), failed=True)
        else:
            self.state.update({"busy": True, "progress": 0})
            asynchronous.create_task(self._watch())

    @controller.add("on_server_exited")
    def cancel(self, **_: Any) -> None:
        """Stop drawing; nothing is left running."""
        self.bench.cancel()

    @change("variant")
    def show_variant(self, **_: Any) -> None:
        """Show another variant."""
        if self.bench.result is not None:
            self.bench.show_variant(int(self.state.variant) - 1)
            self._aim()

    @trigger("nrrd")
    def nrrd(self) -> Any:
        """The result for the browser's downloads."""
        return self.server.protocol.addAttachment(self.bench.nrrd())

    async def _watch(self) -> None:
        while self.bench.process.state == "running":
            with self.state:
                for message in self.bench.poll():
                    self._heard(message)
            await asyncio.sleep(0.1)
        with self.state:
            self._ended(self.bench.process.state)

    def _heard(self, message: Message) -> None:
        if message.event == "state" and message["state"] in _STATES:
            self._say(_STATES[message["state"]])
        elif message.event == "progress":
            self.state.progress = round(100 * message.fraction)
            self._say(f"Drawing: step {message['step']} of {message['steps']}")

    def _ended(self, how: str) -> None:
        self.state.busy = False
        if how == "done":
            self.state.update({"drawn": int(self.state.images), "variant": 1})
            self._say(f"{self.bench.result.GetName()} is ready: seed {self.bench.parameters.seed}.")
            self._aim()
        elif how == "cancelled":
            self._say("Cancelled; the scene is as it was.")
        else:
            self._say(self.bench.process.failure or "", failed=True)

    def _aim(self) -> None:
        """Both views to the plane that the image lies in, with the beam's outline where there can be an image."""
        chosen = self.bench.parameters
        for view, volume in zip(self._views, (chosen.volume, self.bench.result), strict=True):
            view.set_background_volume_id(volume.GetID() if volume is not None else None)
            view.set_ruler(view.get_view_node().RulerTypeThin)
            if self.state.drawable:
                scene.aim(view.get_view_node(), planning.frame_of(chosen, self.bench.model))
        self._show_beam()

    def _show_beam(self) -> None:
        chosen = self.bench.parameters
        self._beam.show(chosen, self.bench.model if self.state.drawable else None)
        by_hand = bool(self.state.by_hand and self.state.drawable)
        self.state.beam = planning.settings_of(chosen).described() if by_hand else ""
        for view in self._views:
            view.schedule_render()

    def _pulled(self, beam: BeamSettings) -> None:
        planning.write_settings(self.bench.parameters, beam)
        with self.state:
            self._show_beam()

    def _say(self, text: str, failed: bool = False) -> None:
        self.state.update({"status": text, "failed": failed})

    def _build(self) -> None:
        with SinglePageWithDrawerLayout(self.server) as self.ui:
            self.ui.title.set_text(_NAME)
            self.ui.icon.hide()
            self.ui.footer.hide()
            with self.ui.toolbar:
                html.Span(_NOTE, classes="text-caption text-medium-emphasis mr-4")
            self.ui.drawer.width = 340
            with self.ui.drawer, v3.VContainer(classes="d-flex flex-column ga-3"):
                self._build_choices()
                self._build_run()
            with self.ui.content:
                self._layout.initialize_layout_grid(self.ui)

    def _build_choices(self) -> None:
        with html.Div(classes="d-flex ga-2"):
            for sample in sample_data.samples():
                click, name = (self.load, f"['{sample.name}']"), sample.name
                v3.VBtn(name.capitalize(), click=click, disabled=("busy",), classes=f"load-{name}")
        models = [{"title": model.title, "value": model.name} for model in self.bench.models.values()]
        v3.VSelect(label="Model", items=("models", models), v_model="model", classes="model", **_PLAIN)
        with html.Div(classes="d-flex ga-2"):
            for name in ("steps", "seed"):
                v3.VTextField(label=name.capitalize(), v_model=name, type="number", classes=name, **_PLAIN)
        _slider("slice", "'Slice ' + slice", 0, "slices - 1")
        _slider("attenuation", "'B-map: ' + attenuation + ' dB'", 0, "120")
        v3.VSwitch(label="Set the beam by hand: pull its points", v_model="by_hand", classes="by-hand", **_PLAIN)
        html.Div("{{ beam }}", v_if="beam", classes="beam text-caption")
        _slider("images", "images > 1 ? images + ' variants' : 'One image'", 1, "8")

    def _build_run(self) -> None:
        with html.Div(classes="d-flex ga-2"):
            v3.VBtn(
                "Generate", click=self.generate, disabled=("busy || !drawable",), color="primary", classes="generate"
            )
            v3.VBtn("Cancel", click=self.cancel, disabled=("!busy",), classes="cancel")
        v3.VProgressLinear(model_value=("progress",), v_show="busy", height=6)
        html.Div("{{ status }}", classes=("['status', failed ? 'text-error' : '']",))
        with html.Div(v_show="drawn > 1"):
            _slider("variant", "'Variant ' + variant", 1, "drawn")
        download = "utils.download('synthetic.nrrd', trigger('nrrd'), 'application/octet-stream')"
        v3.VBtn("Save image", click=download, v_if="drawn", disabled=("busy",), classes="save")


def _slider(name: str, label: str, least: int, most: str) -> None:
    html.Div(f"{{{{ {label} }}}}", classes="text-caption mb-n3")
    v3.VSlider(v_model=name, min=least, max=(most,), step=1, classes=name, **_PLAIN)


def _title(_server: Any, view: str, _slice_view: SliceView) -> None:
    html.Div(_VIEWS[view], style="position: absolute; left: 8px; top: 4px; color: #ccc; pointer-events: none")

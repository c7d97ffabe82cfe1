"""3D Slicer module: synthetic ultrasound images from a segmentation, drawn by B-map diffusion."""

import os

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)


class SlicerBMapDiffusion(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("B-Map Diffusion")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Ultrasound")]
        parent.dependencies = []
        parent.contributors = ["monai-bmaps contributors"]
        parent.helpText = _(
            "Draws synthetic ultrasound images from a segmentation: choose the segmentation, say where the image lies, "
            "press Generate. The images lie where they belong in space and are marked as synthetic. Not for diagnosis."
        )
        parent.acknowledgementText = _(
            "The method is that of Dominguez et al., Diffusion as Sound Propagation, MICCAI 2024 (arXiv:2407.05428)."
        )
        slicer.app.connect("startupCompleted()", register_sample_data)


def register_sample_data():
    """Offer the module's own phantoms in the Sample Data module; they are files of the extension, not downloads."""
    import SampleData

    from SlicerBMapDiffusionLib.scene import sample_data

    for sample in sample_data.samples():
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category=_("B-Map Diffusion"),
            sampleName=sample.title,
            thumbnailFileName=str(sample.thumbnail),
            uris=[],
            fileNames=[],
            nodeNames=[],
            customDownloader=lambda *_source, name=sample.name: sample_data.load(name),
        )


class SlicerBMapDiffusionWidget(ScriptedLoadableModuleWidget):
    """The panel; all that it does is in the library."""

    panel = None

    def setup(self):
        """Build the panel when the module is opened first."""
        ScriptedLoadableModuleWidget.setup(self)
        from SlicerBMapDiffusionLib.scene import terminology
        from SlicerBMapDiffusionLib.widget import Panel

        terminology.offer(self.resourcePath("Terminologies/BMapDiffusion.term.json"))
        ui_file = self.resourcePath("UI/SlicerBMapDiffusion.ui")
        python = os.environ.get("BMAP_WORKER_PYTHON")
        self.panel = Panel(ui_file, self.layout, SlicerBMapDiffusionLogic().getParameterNode, python)

    def enter(self):
        """The user comes to the module."""
        self.panel.enter()

    def exit(self):
        """The user leaves the module."""
        self.panel.exit()

    def cleanup(self):
        """The module is unloaded or Slicer ends."""
        if self.panel is not None:
            self.panel.cleanup()

    def onReload(self):
        """Reload the library, too."""
        import sys

        for name in [name for name in sys.modules if name.split(".")[0] == "SlicerBMapDiffusionLib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)


class SlicerBMapDiffusionLogic(ScriptedLoadableModuleLogic):
    """Gives the module's parameter node; the work is in the library."""


class SlicerBMapDiffusionTest(ScriptedLoadableModuleTest):
    """The self-test of the real application; the project's harness runs it, too."""

    def runTest(self, **_arguments):
        """Load a phantom, draw one image of it, and compare its place with the plane."""
        from SlicerBMapDiffusionLib import self_test

        slicer.mrmlScene.Clear(0)
        self.delayDisplay(_("Drawing an image of the heart phantom"))
        self_test.run(self, SlicerBMapDiffusionLogic().getParameterNode, os.environ.get("BMAP_WORKER_PYTHON"))
        self.delayDisplay(_("The test passed"))

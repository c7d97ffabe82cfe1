"""What the user chose: typed attributes of the module's parameter node, saved with the scene."""

from enum import Enum
from typing import Annotated

import slicer
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Minimum, WithinRange, parameterNodeWrapper


class FrameKind(Enum):
    """What says where the image lies."""

    VIEW = "view"
    SLICES = "slices"
    PROBE = "probe"
    MARKUP = "markup"

    def label(self) -> str:
        """What the user reads."""
        return {
            FrameKind.VIEW: _("A slice view: probe at its top edge"),
            FrameKind.SLICES: _("The slices of the volume"),
            FrameKind.PROBE: _("A tracked probe (transform)"),
            FrameKind.MARKUP: _("A line or plane markup"),
        }[self]


class BeamSource(Enum):
    """Where the beam's shape comes from."""

    MODEL = "model"
    IMAGE = "image"
    FILE = "file"
    MANUAL = "manual"

    def label(self) -> str:
        """What the user reads."""
        return {
            BeamSource.MODEL: _("The model's usual beam"),
            BeamSource.IMAGE: _("Fitted to the loaded image"),
            BeamSource.FILE: _("From a SlicerUltrasound file"),
            BeamSource.MANUAL: _("Set by hand"),
        }[self]


class BeamKind(Enum):
    """The shape of the beam."""

    LINEAR = "linear"
    CURVILINEAR = "curvilinear"
    PHASED = "phased"

    def label(self) -> str:
        """What the user reads."""
        return {
            BeamKind.LINEAR: _("Linear (rectangle)"),
            BeamKind.CURVILINEAR: _("Curvilinear (convex)"),
            BeamKind.PHASED: _("Phased (sector)"),
        }[self]


class OutputKind(Enum):
    """How many images there will be."""

    SINGLE = "single"
    SWEEP = "sweep"
    VARIANTS = "variants"

    def label(self) -> str:
        """What the user reads."""
        return {
            OutputKind.SINGLE: _("One image"),
            OutputKind.SWEEP: _("A sweep (3D volume)"),
            OutputKind.VARIANTS: _("Several variants (sequence)"),
        }[self]


class Device(Enum):
    """What computes."""

    AUTO = "auto"
    CUDA = "cuda"
    CPU = "cpu"

    def label(self) -> str:
        """What the user reads."""
        return {
            Device.AUTO: _("Automatic"),
            Device.CUDA: _("Graphics card (CUDA)"),
            Device.CPU: _("Processor (CPU)"),
        }[self]


@parameterNodeWrapper
class Parameters:
    """All choices of the panel.

    ``model`` is the name of a bundle's folder; ``slice_number`` -1 is the
    middle one. ``class_table`` is the text of a :class:`class_table.ClassTable`. Lengths are
    mm, angles degrees. The beam's numbers are those of :class:`beams.BeamSettings`.
    """

    model: str
    segmentation: slicer.vtkMRMLSegmentationNode
    class_table: str
    volume: slicer.vtkMRMLVolumeNode

    frame_kind: FrameKind = FrameKind.VIEW
    view: slicer.vtkMRMLSliceNode
    probe: slicer.vtkMRMLLinearTransformNode
    markup: slicer.vtkMRMLMarkupsNode
    slice_number: Annotated[int, Minimum(-1)] = -1
    upside_down: bool = False
    own_size: bool = False
    rows: Annotated[int, WithinRange(16, 1024)] = 128
    columns: Annotated[int, WithinRange(16, 1024)] = 128
    row_mm: Annotated[float, WithinRange(0.01, 10.0)] = 0.5
    column_mm: Annotated[float, WithinRange(0.01, 10.0)] = 0.5

    beam_source: BeamSource = BeamSource.MODEL
    beam_kind: BeamKind = BeamKind.LINEAR
    beam_depth: Annotated[float, WithinRange(1.0, 400.0)] = 50.0
    beam_width: Annotated[float, WithinRange(1.0, 400.0)] = 40.0
    beam_radius: Annotated[float, WithinRange(0.0, 200.0)] = 60.0
    beam_half_angle: Annotated[float, WithinRange(1.0, 90.0)] = 40.0
    beam_steering: Annotated[float, WithinRange(-60.0, 60.0)] = 0.0
    beam_down: Annotated[float, WithinRange(-200.0, 200.0)] = 0.0
    beam_right: Annotated[float, WithinRange(-200.0, 200.0)] = 0.0
    show_outline: bool = True

    output_kind: OutputKind = OutputKind.SINGLE
    sweep_count: Annotated[int, WithinRange(2, 500)] = 9
    sweep_step: Annotated[float, WithinRange(0.05, 50.0)] = 1.0
    variants: Annotated[int, WithinRange(2, 100)] = 4

    attenuation_db: Annotated[float, WithinRange(0.0, 120.0)] = 44.0
    steps: Annotated[int, WithinRange(1, 1000)] = 20
    use_guidance: bool = False
    guidance: Annotated[float, WithinRange(0.1, 10.0)] = 1.5
    random_seed: bool = True
    seed: Annotated[int, WithinRange(0, 2147483647)] = 0
    from_image: bool = False
    strength: Annotated[float, WithinRange(0.05, 1.0)] = 0.5
    device: Device = Device.AUTO
    preview: bool = True

"""Calls the network: noise in, condition and guidance applied, samples out."""

from monai_bmaps.inferers.diffusion import BMapDiffusionInferer
from monai_bmaps.inferers.editing import Edit
from monai_bmaps.inferers.synthesis import BMapSynthesisInferer
from monai_bmaps.inferers.synthesis_network import SynthesisNetwork

__all__ = ["BMapDiffusionInferer", "BMapSynthesisInferer", "Edit", "SynthesisNetwork"]

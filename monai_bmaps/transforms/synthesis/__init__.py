"""Images drawn by a diffusion model while another model trains: an item at a time, or a batch at a time.

Both roads place label maps on the model's grid (``grid``, ``frames``), draw with one loaded bundle (``model``), and
write down what they drew (``record``).
"""

from monai_bmaps.transforms.synthesis.batch import (
    BMapSynthesisMix,
    BMapSynthesisMixD,
    BMapSynthesisMixd,
    BMapSynthesisMixDict,
    SynthesisMixPrepareBatch,
)
from monai_bmaps.transforms.synthesis.item import (
    RandBMapSynthesis,
    RandBMapSynthesisD,
    RandBMapSynthesisd,
    RandBMapSynthesisDict,
)
from monai_bmaps.transforms.synthesis.model import SynthesisModel

__all__ = [
    "BMapSynthesisMix",
    "BMapSynthesisMixD",
    "BMapSynthesisMixDict",
    "BMapSynthesisMixd",
    "RandBMapSynthesis",
    "RandBMapSynthesisD",
    "RandBMapSynthesisDict",
    "RandBMapSynthesisd",
    "SynthesisMixPrepareBatch",
    "SynthesisModel",
]

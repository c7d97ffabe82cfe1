"""The sets that families of measures read, with settings and the features that several of them need."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from tqdm import tqdm

from monai_bmaps.metrics.comparison.settings import Settings
from monai_bmaps.metrics.comparison.store import Store, digest_of
from monai_bmaps.metrics.distributions import Contrast, Features, FeatureSet, InceptionStem, contrasts, file_features
from monai_bmaps.metrics.images import ImageSet


@dataclass(frozen=True, eq=False)
class Inputs:
    """Everything that a family of measures may read.

    Args:
        real: real images.
        synthetic: synthetic images.
        training: real images that the model was trained on, if they are known.
        settings: what decides the numbers.
        store: where features are kept, ``None``: in memory only.
        verbose: show progress bars.
    """

    real: ImageSet
    synthetic: ImageSet
    training: ImageSet | None = None
    settings: Settings = field(default_factory=Settings)
    store: Store | None = None
    verbose: bool = False

    @cached_property
    def features(self) -> dict[str, FeatureSet]:
        """Features of the sets at the Inception's first two max-pools, by the set's role.

        Raises:
            OSError: no weights.
            ValueError: weights that lack a tensor.
        """
        sets = {"synthetic": self.synthetic, "real": self.real, "training": self.training}
        stem = InceptionStem.load(self.settings.stem)
        return {role: self._features_of(images, stem) for role, images in sets.items() if images is not None}

    @cached_property
    def mirrored_features(self) -> dict[str, FeatureSet]:
        """The same of real and training images turned left to right."""
        sets = {"real mirrored": self.real, "training mirrored": self.training}
        stem = InceptionStem.load(self.settings.stem)
        turned = {role: replace(i, images=i.images.flip(-1)) for role, i in sets.items() if i is not None}
        return {role: self._features_of(images, stem) for role, images in turned.items()}

    @property
    def segmenters(self) -> Path | None:
        """Where trained segmenters are kept, if anywhere."""
        kept = None if self.store is None else self.store.folder
        return self.settings.segmenters or kept

    @cached_property
    def contrasts(self) -> list[Contrast]:
        """Synthetic against real, and the floor."""
        sets = self.features
        return contrasts(sets["synthetic"], sets["real"], sets.get("training"))

    def _features_of(self, images: ImageSet, stem: InceptionStem) -> FeatureSet:
        def compute() -> Features:
            bar = images.images.split(8)  # type: ignore[no-untyped-call]
            shown = tqdm(bar, desc=f"features of {images.name} images", disable=not self.verbose)
            return file_features((2 * batch - 1 for batch in shown), stem)

        if self.store is None:
            return FeatureSet(images.name, compute(), images.groups)
        key = digest_of(images.images.shape, images, self.settings.stem)
        return FeatureSet(images.name, self.store.features(key, compute), images.groups)

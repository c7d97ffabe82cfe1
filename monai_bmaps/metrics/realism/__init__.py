"""Whether synthetic images are good ultrasound: depth profiles, speckle, contrast and beam, against real images."""

try:
    import scipy as _scipy  # noqa: F401
except ImportError as error:
    raise ImportError("monai_bmaps.metrics.realism needs scipy: pip install 'monai-bmaps[metrics]'") from error

from monai_bmaps.metrics.realism.measuring import measure_realism

__all__ = ["measure_realism"]

"""Offers the models' structures in Slicer's terminology selector, so that segments carry codes, not names alone."""

import os

import slicer


def offer(path: str) -> bool:
    """Load the terminology file, where this Slicer has terminologies; whether it was loaded."""
    module = getattr(slicer.modules, "terminologies", None)
    return bool(module is not None and os.path.isfile(path) and module.logic().LoadTerminologyFromFile(path))

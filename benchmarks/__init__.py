"""Figures of the package beside named references measured in the same run: ``python benchmarks/run.py``."""

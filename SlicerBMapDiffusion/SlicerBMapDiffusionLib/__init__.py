"""The parts of the Slicer module, each usable without its window."""

"""A bundle's inference as the job of another program, which waits for its images: 3D Slicer, for example.

The two share a folder and lines of text: ``settings.json`` and ``dataset.json`` in, ``images.npy`` and ``result.json``
out, and on the way ``BMAP {"event": ...}`` lines on standard output.
"""

from monai_bmaps.jobs.lines import announce
from monai_bmaps.jobs.reporting import JobReport
from monai_bmaps.jobs.settings import begin, chosen_device, leave, with_seeds
from monai_bmaps.jobs.watching import end_with_parent

__all__ = ["JobReport", "announce", "begin", "chosen_device", "end_with_parent", "leave", "with_seeds"]

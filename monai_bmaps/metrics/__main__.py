"""``python -m monai_bmaps.metrics compare``, ``downstream``: synthetic images beside real ones, and for a segmenter."""

import sys

from monai_bmaps.metrics.command import main

if __name__ == "__main__":
    sys.exit(main())

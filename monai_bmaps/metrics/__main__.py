"""``python -m monai_bmaps.metrics compare``: synthetic images beside real ones."""

import sys

from monai_bmaps.metrics.command import main

if __name__ == "__main__":
    sys.exit(main())

"""``python -m monai_bmaps.jobs fit-beam``: small jobs that need no model."""

import sys

from monai_bmaps.jobs.fitting import main

if __name__ == "__main__":
    sys.exit(main())

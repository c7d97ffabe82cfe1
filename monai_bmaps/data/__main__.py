"""``python -m monai_bmaps.data prepare``: real data in, once."""

import sys

from monai_bmaps.data.prepare.command import main

if __name__ == "__main__":
    sys.exit(main())

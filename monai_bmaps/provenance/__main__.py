"""``python -m monai_bmaps.provenance verify``: is a file what it says, and can it be drawn again?"""

import sys

from monai_bmaps.provenance.command import main

if __name__ == "__main__":
    sys.exit(main())

"""``python -m monai_bmaps.data prepare``: real data in, once."""

import sys

try:
    from monai_bmaps.data.prepare.command import main
except ImportError as missing:
    print(f"error: {missing}", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(main())

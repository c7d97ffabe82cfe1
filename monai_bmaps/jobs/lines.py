"""What a job says while it runs: one JSON object a line, after a word that no log line begins with."""

from __future__ import annotations

import json

PREFIX = "BMAP "


def announce(event: str, **fields: object) -> None:
    """Print one message, at once and in ASCII, whatever the terminal's encoding.

    Example:
        >>> announce("progress", image=0, images=1, step=2, steps=20)
        BMAP {"event": "progress", "image": 0, "images": 1, "step": 2, "steps": 20}
    """
    print(PREFIX + json.dumps({"event": event, **fields}), flush=True)

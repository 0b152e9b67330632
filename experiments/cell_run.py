"""What every resumable cell does while it runs: events, checkpoints, times."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

Emit = Callable[[dict[str, Any]], None]
TIMES = ("seconds", "cpu_seconds")


def checkpoint_seconds() -> float:
    """Seconds of training between checkpoints: 10, or $REWIRE_CHECKPOINT_SECONDS."""
    return float(os.environ.get("REWIRE_CHECKPOINT_SECONDS", "10"))


def due(since: float, saving: float) -> bool:
    """Whether it is time to save, ``since`` seconds after the last time, which took ``saving``.

    Where nobody says how often, saving takes at most a fiftieth of the time.
    """
    at_least = 0.0 if "REWIRE_CHECKPOINT_SECONDS" in os.environ else 50 * saving
    return since > max(checkpoint_seconds(), at_least)

"""Finished runs opened from Python: `rewire.open`. Tables need no torch; graphs and models do."""

from .cell import OpenedCell
from .run import OpenedRun, open

__all__ = ["OpenedCell", "OpenedRun", "open"]

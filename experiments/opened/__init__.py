"""Runs opened from Python: `rewire.open`, `rewire.runs`, `rewire.compare`.

Tables need no torch; graphs and models do.
"""

from .cell import OpenedCell
from .compared_runs import compare
from .listed import Runs, runs
from .run import OpenedRun, open

__all__ = ["OpenedCell", "OpenedRun", "Runs", "compare", "open", "runs"]

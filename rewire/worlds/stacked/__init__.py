"""Many replicates of one model that train in one pass, each of them an ordinary session."""

from .loop import Batches, drive
from .stack import Replicate, Stacked

__all__ = ["Batches", "Replicate", "Stacked", "drive"]

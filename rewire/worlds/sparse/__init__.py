"""A torch model on the CPU whose sparse weights are lists of their edges."""

from . import signals as signals  # registered as they are imported
from .world import Sparse

__all__ = ["Sparse"]

"""A torch model with dense weights under masks, on a CPU or a GPU."""

from . import signals as signals  # registered as they are imported
from .world import Masked

__all__ = ["Masked"]

"""A torch model on the CPU whose sparse weights are lists of their edges."""

from ..torch_model import calibration as calibration
from ..torch_model import curvature as curvature
from . import signals as signals  # both register signals as they are imported
from .world import Sparse

__all__ = ["Sparse"]

"""A torch model with dense weights under masks, on a CPU or a GPU."""

from ..torch_model import calibration as calibration
from ..torch_model import curvature as curvature
from . import signals as signals  # both register signals as they are imported
from .world import Masked

__all__ = ["Masked"]

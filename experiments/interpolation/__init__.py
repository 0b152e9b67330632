"""The error on the straight line between two trained networks: linear mode connectivity."""

from .line import STABLE, Barrier, between
from .pairs import Pair, pairs_at, pairs_of

__all__ = ["STABLE", "Barrier", "Pair", "between", "pairs_at", "pairs_of"]

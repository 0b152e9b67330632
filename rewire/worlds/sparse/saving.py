"""States of a sparse model, saved and loaded."""

from __future__ import annotations

KEYS = "rewire.keys"  # in a saved model: which edges its weights are of

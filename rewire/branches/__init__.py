"""New starts from a finished run's edges: what they change and what they keep.

:mod:`~rewire.branches.kinds` has the branches that an experiment names; the operations that they
are made of stand here.
"""

from .operations import (
    blurred,
    complement,
    intersection,
    noisy,
    one_shot,
    random_labels,
    random_mask,
    rotated,
    shuffled,
    signed,
    spread_of,
    union,
)

__all__ = [
    "blurred", "complement", "intersection", "noisy", "one_shot", "random_labels", "random_mask",
    "rotated", "shuffled", "signed", "spread_of", "union",
]  # fmt: skip

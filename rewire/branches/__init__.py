"""New starts from a finished run's edges: what they change and what they keep.

:mod:`~rewire.branches.kinds` has the branches that an experiment names, each a class, no rule; the
operations that they are made of are functions, in :mod:`~rewire.branches.operations`.

>>> from rewire import branches
>>> branches.available()["RandomReinit"]().begins
'fresh'
"""

from ..plugins import with_installed
from ..rule import Rule
from .kinds import (
    Branch,
    FineTune,
    MaskAlgebra,
    OneShot,
    Pretrained,
    RandomMask,
    RandomReinit,
    RandomTicket,
    RateRewind,
    Shuffle,
    Sibling,
    Signs,
    Transfer,
    WeightNoise,
)
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

BUILT_IN: tuple[type[Branch], ...] = (
    RandomReinit, RandomMask, RandomTicket, OneShot, FineTune, RateRewind, Signs, Shuffle,
    WeightNoise, Pretrained, Sibling, Transfer, MaskAlgebra,
)  # fmt: skip

__all__ = [
    "BUILT_IN", "Branch", "available", *(branch.__name__ for branch in BUILT_IN),
    "blurred", "complement", "intersection", "noisy", "one_shot", "random_labels", "random_mask",
    "rotated", "shuffled", "signed", "spread_of", "union",
]  # fmt: skip


def available() -> dict[str, type[Branch]]:
    """Every branch by name: the built-in ones, then those of installed packages.

    A package registers a branch beside its rules, in the entry point group ``rewire.rules``.
    """
    return with_installed("rewire.rules", {b.__name__: b for b in BUILT_IN}, Branch, beside=Rule)

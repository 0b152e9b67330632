"""Choosing edges: the verbs that rules are written in.

Counts are exact, ties are broken by key (the smaller key goes first), NaN is refused by name.
"""

from .choose import SCOPES, counts_by, distinct, groups, largest, ranked_numbers, smallest
from .grow import sample_absent
from .pairs import pair_hash, pair_sign, salt

__all__ = [
    "SCOPES", "counts_by", "distinct", "groups", "largest", "pair_hash", "pair_sign",
    "ranked_numbers", "salt", "sample_absent", "smallest",
]  # fmt: skip

"""Choosing edges: the verbs that rules are written in.

Counts are exact, ties are broken by key (the smaller key goes first), NaN is refused by name.
"""

from .choose import SCOPES, counts_by, distinct, groups, largest, ranked_numbers, smallest
from .exchange import exchange
from .grow import replace_at_random, sample_absent, vacant
from .pairs import pair_hash, pair_sign, salt

__all__ = [
    "SCOPES", "counts_by", "distinct", "exchange", "groups", "largest", "pair_hash", "pair_sign",
    "ranked_numbers", "replace_at_random", "salt", "sample_absent", "smallest", "vacant",
]  # fmt: skip

"""Bytes of synaptic rows: what a projection takes on a core, by the layout of a target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .targets import Target


@dataclass(frozen=True)
class Block:
    """The rows of one projection on one core, in bytes.

    padding: bytes that make rows as long as the longest. longest: of a row with its header.
    """

    bytes: int = 0
    padding: int = 0
    longest: int = 0


def block(counts: np.ndarray, neurons: int, target: Target, *, least: int, simple: bool) -> Block:
    """The rows of ``counts`` synapses, (n_pre,), onto a core of ``neurons`` neurons.

    least:  synapses that each row of a padded block has room for (slots of the population).
    simple: whether no pair is joined twice, so that as many synapses as neurons are all pairs.

    >>> from rewire.hardware import SPINNAKER1
    >>> block(np.array([2, 0, 1]), 4, SPINNAKER1, least=0, simple=True)
    Block(bytes=64, padding=12, longest=20)

    Three rows of 3 + 2 words, 60 bytes, and a block begins at a multiple of 16.
    """
    longest = int(counts.max(initial=0))
    if target.padded:
        longest = max(longest, least)
    if not longest or not len(counts):
        return Block()
    index_bits = _index_bits(counts, neurons, target, simple)
    own = _row_bits(counts, target, index_bits)
    if target.padded:
        longest_bits = int(_row_bits(np.array([longest]), target, index_bits)[0])
        total, padding = longest_bits * len(counts), int((longest_bits - own).sum())
    else:
        own = own[counts > 0]
        longest_bits, total, padding = int(own.max()), int(own.sum()), 0
    n_bytes = -(-total // 8)
    rounding = target.block_round_bytes
    return Block(-(-n_bytes // rounding) * rounding, padding // 8, -(-longest_bits // 8))


def _row_bits(counts: np.ndarray, target: Target, index_bits: int) -> np.ndarray:
    """Bits of rows of so many synapses, headers and rounding included, (n_rows,)."""

    def part(synapses: np.ndarray) -> np.ndarray:
        body = _rounded(synapses * (target.synapse_bits + index_bits), target.synapses_round_bits)
        return _rounded(target.header_bits + body, target.row_round_bits)

    if target.group is None:
        return part(counts)
    whole, rest = np.divmod(counts, target.group)
    return whole * part(np.array(target.group)) + np.where(rest > 0, part(rest), 0)


def _index_bits(counts: np.ndarray, neurons: int, target: Target, simple: bool) -> int:
    if not target.indexed or (simple and bool((counts[counts > 0] == neurons).all())):
        return 0
    return max(target.least_index_bits, (neurons - 1).bit_length())


def _rounded(bits: np.ndarray, multiple: int) -> np.ndarray:
    return -(-bits // multiple) * multiple

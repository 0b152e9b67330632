"""The edit log as bytes: every record carries a checksum, and damage is found."""

import numpy as np
import pytest
import torch

from rewire.edit_log import History, Record, parse
from rewire.graph import NOTHING, Edit
from rewire.when import Clock

RECORDS = [
    Record(3, 3, 0, 0, np.array([1, 5], np.int32), np.array([7, 2**40], np.int64)),
    Record(9, 2, 1, 1, np.empty(0, np.int32), np.array([11], np.int64)),
]
LOG = b"".join(r.to_bytes() for r in RECORDS)


def test_a_log_comes_back_as_it_was() -> None:
    back = parse(LOG)
    assert [(r.total, r.step, r.round, r.rule) for r in back] == [(3, 3, 0, 0), (9, 2, 1, 1)]
    for a, b in zip(back, RECORDS, strict=True):
        assert np.array_equal(a.drop, b.drop) and np.array_equal(a.add, b.add)


def test_every_flipped_bit_is_found() -> None:
    for at in range(len(LOG)):
        for bit in range(8):
            damaged = bytearray(LOG)
            damaged[at] ^= 1 << bit
            with pytest.raises(ValueError, match="edit log"):
                parse(bytes(damaged))


def test_every_cut_but_those_between_records_is_found() -> None:
    whole = {0, len(RECORDS[0].to_bytes()), len(LOG)}
    for end in range(len(LOG) + 1):
        if end in whole:
            parse(LOG[:end])
        else:
            with pytest.raises(ValueError, match="edit log"):
                parse(LOG[:end])


def test_a_log_knows_what_waits_to_be_written() -> None:
    edit = Edit(drop=torch.tensor([0, 2]), add=torch.tensor([5, 6, 7]))
    history = History(torch.arange(4))
    clock = Clock(1, 10, 0, 1, None)
    history.note(clock, 0, edit)
    history.note(clock, 0, NOTHING)
    assert history.held == 2 * 4 + 3 * 8
    assert len(history.take()) > history.held == 0
    history.note(clock, 0, edit)
    assert history.held == 32 and (history.formed, history.dropped) == (6, 4)

"""The log of edits: clock, rule, dropped rows and added keys, from which the topology replays."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import SEEK_END, BytesIO
from typing import BinaryIO, NamedTuple
from zlib import crc32

import numpy as np
from torch import Tensor

from .graph import Edit, Graph
from .when import Clock

HEADER = struct.Struct("<qiihii")  # total, step, round, rule, dropped, added
CHECKSUM = struct.Struct("<I")  # CRC-32 of the record before it


class Record(NamedTuple):
    """One edit: when, by which rule (its number in the session), rows dropped and keys added."""

    total: int
    step: int
    round: int
    rule: int
    drop: np.ndarray  # (d,) int32, rows of the graph before the edit
    add: np.ndarray  # (a,) int64, keys

    def to_bytes(self) -> bytes:
        head = HEADER.pack(
            self.total, self.step, self.round, self.rule, len(self.drop), len(self.add)
        )
        record = head + self.drop.astype("<i4").tobytes() + self.add.astype("<i8").tobytes()
        return record + CHECKSUM.pack(crc32(record))


@dataclass(eq=False)
class History:
    """Every edit of a run that changed the topology: 4 bytes a dropped edge, 8 an added one.

    rules:  names of the session's rules; ``Record.rule`` is a number in this list.
    formed, dropped: synapses formed and dropped since the start.

    >>> import torch
    >>> from rewire.graph import Population, Projection, Space
    >>> space = Space([Population("a", 3)], [Projection("p", "a", "a", "linear", (3, 3))])
    >>> graph = Graph(space, torch.tensor([0, 4]))
    >>> history = History(graph.keys, ["SET"])
    >>> edit = Edit(drop=torch.tensor([0]), add=torch.tensor([7]))
    >>> history.note(Clock(step=1, span=10, round=0, total=1), 0, edit)
    >>> history
    History(1 edits: 1 formed, 1 dropped)
    >>> history.replay(graph).keys.tolist()
    [4, 7]
    """

    _start: Tensor | None  # (E,) int64
    rules: Sequence[str] = ()
    records: list[Record] = field(default_factory=list)
    formed: int = 0
    dropped: int = 0
    held: int = 0  # bytes of the edges in records since the last :meth:`take`

    @property
    def start(self) -> Tensor:
        """Keys of the graph before the first record, (E,) int64.

        Raises RuntimeError once :meth:`take` has handed the records to a log that has its own.
        """
        if self._start is None:
            raise RuntimeError(
                "the records were taken, and with them the keys that they start from: read the log "
                "that they were written to."
            )
        return self._start

    def note(self, clock: Clock, rule: int, edit: Edit) -> None:
        """Append an edit, if it changed the topology."""
        drop, add = edit.drop, edit.add
        if not len(drop) and not len(add):
            return
        step, _, round_, total, _ = clock
        self.records.append(Record(total, step, round_, rule, drop.astype(np.int32), add))
        self.dropped += len(drop)
        self.formed += len(add)
        self.held += 4 * len(drop) + 8 * len(add)

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def __repr__(self) -> str:
        return f"History({len(self)} edits: {self.formed:,} formed, {self.dropped:,} dropped)"

    def churn(self) -> np.ndarray:
        """Rows (total, formed, dropped), one for each record, shape (R, 3) int64."""
        return np.array([(r.total, len(r.add), len(r.drop)) for r in self.records]).reshape(-1, 3)

    def replay(self, graph: Graph) -> Graph:
        """The graph at the end, from any graph with the same space and the start's keys."""
        at = Graph(graph.space, self.start)
        for r in self.records:
            at = at.apply(Edit(drop=r.drop.astype(np.int64), add=r.add))
        return at

    def take(self) -> bytes:
        """The records as bytes, and forget them and the start: for a log written as it grows."""
        out = b"".join(r.to_bytes() for r in self.records)
        self.records.clear()
        self._start, self.held = None, 0
        return out


def parse(log: bytes) -> list[Record]:
    """The records of a log. Raises ValueError where it is cut off or damaged, saying where."""
    return list(read(BytesIO(log)))


def read(file: BinaryIO) -> Iterator[Record]:
    """The records of a log, one after the other, as :func:`parse` makes them: for a long one."""
    at, size = 0, file.seek(0, SEEK_END)
    file.seek(0)
    while head := file.read(HEADER.size):
        if len(head) < HEADER.size:
            raise ValueError(f"the edit log ends inside a record's head, at byte {at}.")
        total, step, round_, rule, n_drop, n_add = HEADER.unpack(head)
        rest = 4 * n_drop + 8 * n_add + CHECKSUM.size
        sound = n_drop >= 0 and n_add >= 0 and at + HEADER.size + rest <= size
        body = file.read(rest) if sound else b""
        if len(body) < rest or not body:
            raise ValueError(f"the edit log is cut off or damaged in the record at byte {at}.")
        end = rest - CHECKSUM.size
        if CHECKSUM.unpack_from(body, end)[0] != crc32(body[:end], crc32(head)):
            raise ValueError(
                f"the edit log is damaged: the record at byte {at} fails its checksum."
            )
        drop = np.frombuffer(body, "<i4", n_drop).copy()
        add = np.frombuffer(body, "<i8", n_add, 4 * n_drop).copy()
        yield Record(total, step, round_, rule, drop, add)
        at += HEADER.size + rest

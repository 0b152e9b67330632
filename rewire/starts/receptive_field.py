"""Local receptive fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from ..streams import Stream
from .start import Block, StartingTopology, shares

CHUNK = 2**22  # distances that are in memory at a time


@dataclass(frozen=True)
class ReceptiveField(StartingTopology):
    """Each postsynaptic unit is fed by units near its own place.

    Fan-ins are equal as far as counts allow; a unit's inputs are drawn without replacement in
    proportion to exp(-d**2 / (2 sigma**2)), d the distance between the two on their sheets, which
    lie on each other and are tori, as synapses form in a map (Bogdan et al. 2018,
    doi:10.3389/fnins.2018.00434). All kernel positions of an input channel have its place.

    sigma:  spread, in sides of the sheet.
    places: "sheet", positions of the units (`attach(positions=)`; by default a square sheet for
            each population that has outgoing synapses); or "line", where unit i of n lies at i / n,
            for populations without positions: fields near the diagonal of the weight matrix. The
            published model of that kind is `BipartiteReceptiveField`.
    """

    kind: ClassVar[str] = "local"
    source: ClassVar[str] = "Bogdan et al. 2018, doi:10.3389/fnins.2018.00434"

    sigma: float = 0.1
    places: Literal["sheet", "line"] = "sheet"

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise ValueError(f"ReceptiveField.sigma is a distance above 0, got {self.sigma}.")
        if self.places not in ("sheet", "line"):
            raise ValueError(f"ReceptiveField.places is 'sheet' or 'line', got {self.places!r}.")

    def cells(self, block: Block, count: int, rng: Stream) -> tuple[np.ndarray, np.ndarray]:
        posts_at, pres_at = self._places(block)
        fan_in = shares(count, block.rows, rng)
        columns = [np.empty(0, np.int64)]
        step = max(1, CHUNK // max(block.columns, 1))
        for first in range(0, block.rows, step):
            apart = np.abs(posts_at[first : first + step, None] - pres_at[None])
            apart = np.minimum(apart, 1 - apart) if self.places == "sheet" else apart
            nearness = -(apart**2).sum(2) / (2 * self.sigma**2)  # (rows, pres)
            scores = np.repeat(nearness, block.taps, 1)
            scores += rng.numpy.gumbel(size=scores.shape)  # the largest are a draw in proportion
            order = np.argsort(-scores, axis=1)
            columns += [order[r, :n] for r, n in enumerate(fan_in[first : first + step])]
        return np.repeat(np.arange(block.rows), fan_in), np.concatenate(columns)

    def _places(self, block: Block) -> tuple[np.ndarray, np.ndarray]:
        """Places of both sides' units, (n, 2) each, or (n, 1) on a line."""
        if self.places == "line":
            return tuple((np.arange(n)[:, None] + 0.5) / n for n in (block.rows, block.pres))  # type: ignore[return-value]
        ends = {"postsynaptic": block.posts_at, "presynaptic": block.pres_at}
        missing = [side for side, at in ends.items() if at is None]
        if missing:
            raise ValueError(
                f"receptive-field needs places of the units that {block.name!r} joins, and its "
                f"{' and '.join(missing)} ones have none: give positions={{population: (size, 2)}} "
                "to attach, start with ReceptiveField(places='line') (in a file: {name = "
                '"receptive-field", places = "line"}), or leave this weight out with exclude=.'
            )
        assert block.posts_at is not None and block.pres_at is not None
        return block.posts_at.astype(float), block.pres_at.astype(float)

"""Steps until the validation loss is least, and until it is the dense network's least, compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ... import compare
from ...early_stopping import LEAST, OWN, STEPS
from ..rounding import fixed, grouped
from ..run import RunData
from ..tables import Cell, Row, Table
from .sentences import compared_pairs

UNTIL = {OWN: "its own lowest loss", STEPS: "the dense network's lowest"}


@dataclass(frozen=True)
class Censored:
    """Two rules of which one does not reach the dense network's loss on every seed they share.

    reached: how many of the ``n`` seeds the first and the second reach it on.
    """

    a: str
    b: str
    density: float
    reached: tuple[int, int]
    n: int


def show(run: RunData) -> dict[str, Any] | None:
    """The table of paired differences in steps; None where nothing is compared."""
    pairs = steps_compared(run)
    if not pairs:
        return None
    titles = ["contrast", "density", "until", "n", "difference", "interval", "g", "interval of g",
              "what may be said"]  # fmt: skip
    rows = [Row(f"{pair.a} − {pair.b}", _cells(column, pair), {"first": pair.a, "second": pair.b})
            for column, pair in pairs]  # fmt: skip
    tests = sum(isinstance(p, compare.Contrast) and p.p is not None for _, p in pairs)
    table = Table(titles, rows, "steps compared", "contrasts", grouped=True)
    return {"table": table, "tests": tests, "every": run.config.get("evaluate_every")}


def steps_compared(run: RunData) -> list[tuple[str, compare.Contrast | Censored]]:
    """By column the contrasts of a page, or what stands in the place of one.

    A mean over the seeds that reach a loss would leave out the slowest, so that a contrast stands
    only where both rules reach it on all seeds. p-values are corrected together (Holm).
    """
    uncorrected = list(_compared(run))
    tested = [pair for _, pair in uncorrected if isinstance(pair, compare.Contrast)]
    corrected = iter(compare.corrected(tested))
    return [(column, next(corrected) if isinstance(pair, compare.Contrast) else pair)
            for column, pair in uncorrected]  # fmt: skip


def _compared(run: RunData) -> Iterator[tuple[str, compare.Contrast | Censored]]:
    pairs, named = compared_pairs(run)
    for left, right, density in compare.paired(run.points, pairs):
        yield OWN, compare.contrast(left, right, density, column=OWN, named=named)
        seeds = _with_dense(left) & _with_dense(right)
        reached = (_reached(left, seeds), _reached(right, seeds))
        if seeds and min(reached) == len(seeds):
            yield STEPS, compare.contrast(left, right, density, column=STEPS, named=named)
        elif seeds:
            yield STEPS, Censored(left.label, right.label, density, reached, len(seeds))


def _with_dense(point: compare.Point) -> set[int]:
    """Seeds of a point with a dense network to be held against."""
    return {row["seed"] for row in point.rows if row.get(LEAST) is not None}


def _reached(point: compare.Point, seeds: set[int]) -> int:
    return sum(row.get(STEPS) is not None for row in point.rows if row["seed"] in seeds)


def _cells(column: str, pair: compare.Contrast | Censored) -> list[Cell]:
    first = [Cell(f"{pair.density:g}"), Cell(UNTIL[column]), Cell(str(pair.n))]
    if isinstance(pair, Censored):
        a, b = pair.reached
        words = f"{pair.a} reaches it on {a} of {pair.n} seeds, {pair.b} on {b}: no difference"
        return [*first, *[Cell("–")] * 4, Cell(words, "words")]
    interval, g, g_interval = "–", "–", "–"
    if pair.low is not None and pair.high is not None:
        interval = f"{_signed(pair.low)} to {_signed(pair.high)}"
    if pair.g is not None and pair.g_low is not None and pair.g_high is not None:
        g, g_interval = fixed(pair.g, 1), f"{fixed(pair.g_low, 1)} to {fixed(pair.g_high, 1)}"
    difference = Cell(_signed(pair.mean), "main", {"value": pair.mean})
    return [*first, difference, *map(Cell, (interval, g, g_interval)), Cell(pair.verdict, "words")]


def _signed(steps: float) -> str:
    r"""A difference of steps with its sign.

    >>> _signed(1234.4), _signed(-50)
    ('+1\u202f234', '−50')
    """
    return f"{'−' if round(steps) < 0 else '+'}{grouped(abs(steps))}"
